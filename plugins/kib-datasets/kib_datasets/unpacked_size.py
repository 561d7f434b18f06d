"""Check the unpacked size of compressed files, because `datasets` reads whole lines of any length into memory."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

from kib.errors import InputError

__all__ = ["check_unpacked_sizes"]

MB = 1 << 20

OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
"""Maps the first bytes of a compressed file to the function that opens the file."""

ZIP_START = b"PK\x03\x04"


def check_unpacked_sizes(paths: Iterable[Path], max_mb: int) -> None:
    """Raise InputError for a gzip, bzip2, xz or zip file that unpacks to more than `max_mb`.

    A damaged file raises no error here, because `datasets` later reports the damage.
    """
    for path in paths:
        with suppress(EOFError, OSError, lzma.LZMAError, zlib.error, BadZipFile):
            if _exceeds(path, max_mb * MB):
                problem = f"the file unpacks to more than `max_unpacked_mb = {max_mb}`"
                raise InputError(f"{path}: {problem}; to read it, increase this limit")


def _exceeds(path: Path, limit: int) -> bool:
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(ZIP_START):
        with ZipFile(path) as archive:
            return sum(part.file_size for part in archive.infolist()) > limit
    for signature, opener in OPENERS.items():
        if start.startswith(signature):
            with opener(path) as unpacked:
                return _is_longer(unpacked, limit)
    return False


def _is_longer(file: IO[bytes], limit: int) -> bool:
    length = 0
    while block := file.read(MB):
        length += len(block)
        if length > limit:
            return True
    return False
