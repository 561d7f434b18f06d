"""Read the lines of an untrusted file; a line above the size limit raises an error before it fills the memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kib.errors import InputError

__all__ = ["MAX_UNPACKED_MB", "MB", "limited_lines", "too_large"]

MB = 1 << 20

MAX_UNPACKED_MB = 64
"""The default value of the option `max_unpacked_mb`."""


def limited_lines(path: Path, file: IO[bytes], max_mb: int) -> Iterator[tuple[int, bytes]]:
    """Yield one-based line numbers and lines; raise InputError for a line larger than `max_mb` MiB."""
    number = 0
    while line := file.readline(max_mb * MB + 1):
        number += 1
        if len(line) > max_mb * MB:
            raise too_large(f"{path}:{number}: the line", max_mb)
        yield number, line


def too_large(what: str, max_mb: int) -> InputError:
    """Return the InputError for a line, row or field that exceeds the size limit."""
    return InputError(f"{what} has more than `max_unpacked_mb = {max_mb}`; to read it, increase this limit")
