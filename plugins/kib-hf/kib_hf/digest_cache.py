"""SHA-256 digests of large files, cached on disk between runs so that many gigabytes of weights are not read again."""

import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from kib.identity import digest, digest_file

__all__ = ["cached_digest"]

SETTLED = 2_000_000_000
"""Age in nanoseconds below which a file may change again without a new time stamp, so its digest is not cached."""


def cached_digest(path: Path, cache: Path | None = None) -> str:
    """Return the SHA-256 digest of a file; use the cache if the path, size and time stamps are unchanged.

    `cache` is a folder; the default is `kib/digests` in the user's cache folder. If the folder is not writable, nothing
    is cached.
    """
    path = path.resolve()
    entry = (cache or _default_folder()) / f"{digest(path)}.json"
    before = _file_state(path)
    known = _read_entry(entry, before)
    if known is not None:
        return known
    value = digest_file(path)
    if _file_state(path) == before and time.time_ns() - before["mtime"] > SETTLED:
        with suppress(OSError):
            found = {"path": str(path), "state": before, "sha256": value}
            _write_entry(entry, json.dumps({**found, "digest": digest(found)}))
    return value


def _default_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("kib", appauthor=False) / "digests"


def _file_state(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime": status.st_mtime_ns, "ctime": status.st_ctime_ns}


def _read_entry(entry: Path, state: dict[str, int]) -> str | None:
    """Return the cached digest of a file, or None if the cache entry is missing, damaged or out of date."""
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or known.pop("digest", None) != digest(known) or known.get("state") != state:
        return None
    value = known.get("sha256")
    return value if isinstance(value, str) else None


def _write_entry(entry: Path, text: str) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(entry)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
