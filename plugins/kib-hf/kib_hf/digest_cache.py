"""SHA-256 of large files, remembered from run to run: weights of many gigabytes are read once, not at every start."""

import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from kib.identity import digest, digest_file

__all__ = ["cached_digest"]

SETTLED = 2_000_000_000
"""Nanoseconds: a file written later than this before now may change again within its time stamp's precision."""


def cached_digest(path: Path, cache: Path | None = None) -> str:
    """SHA-256 of a file's bytes, remembered under its path, size and time stamps in `cache`.

    `cache` is by default `kib/digests` in the user's cache folder; where it cannot be written, nothing is remembered.
    """
    path = path.resolve()
    entry = (cache or _folder()) / f"{digest(path)}.json"
    before = _state(path)
    known = _read(entry, before)
    if known is not None:
        return known
    value = digest_file(path)
    if _state(path) == before and time.time_ns() - before["mtime"] > SETTLED:
        with suppress(OSError):
            _write(entry, json.dumps({"path": str(path), "state": before, "sha256": value}))
    return value


def _folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("kib", appauthor=False) / "digests"


def _state(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"size": found.st_size, "mtime": found.st_mtime_ns, "ctime": found.st_ctime_ns}


def _read(entry: Path, state: dict[str, int]) -> str | None:
    """The digest remembered for a file in this state, if the entry can be read and is of that state."""
    try:
        known = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or known.get("state") != state:
        return None
    value = known.get("sha256")
    return value if isinstance(value, str) and len(value) == 64 else None


def _write(entry: Path, text: str) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(entry)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
