"""Computes digests as SHA-256 of canonical JSON, so that equal inputs have equal digests on every machine."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

__all__ = ["canonical", "digest", "digest_file", "digest_lines"]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} has no canonical form")


# creating an encoder for every value would take more time than encoding a small value
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and without spaces or NaN.

    Dataclasses are converted to objects, and paths to POSIX strings.
    """
    return ENCODER.encode(value)


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def digest_lines(lines: Iterable[str]) -> str:
    """Return the SHA-256 of a list of texts; each text is hashed with its length to distinguish lists."""
    total = hashlib.sha256()
    for line in lines:
        data = line.encode("utf-8", "surrogatepass")
        total.update(data)
        total.update(len(data).to_bytes(8, "big"))
    return total.hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
