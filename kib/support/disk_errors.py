"""Recognizes a full disk, and formats errors about a file for the user."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["explain_os_error", "is_disk_full", "naming"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error codes for a full disk, an exceeded quota and a file that is larger than the limit."""

TEXTS = ("No space left on device", "Disk quota exceeded", "File too large")
"""The texts of these errors in the messages of libraries that raise their own errors."""

NUMPY = re.compile(r"\d+ requested and \d+ written")
"""NumPy's error for a file that could not be written completely; the error has no code."""


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or the error that caused it, means that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(text in str(error) for text in TEXTS) or NUMPY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def explain_os_error(error: BaseException) -> str:
    """Return a sentence about an operating system error that names the file and, if the disk is full, the remedy."""
    path = getattr(error, "filename", None)
    place = f"{path}: " if path else ""
    reason = getattr(error, "strerror", None) or str(error)
    if not is_disk_full(error):
        return f"{place}{reason}"
    where = f"on the disk of {Path(path).absolute().parent}" if path else "on the disk"
    return f"{place}cannot be written ({reason}); free space {where}, then run the same command again to resume"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError without a path, which is raised if writing to an open file fails."""
    try:
        yield
    except OSError as error:
        if error.errno is None and is_disk_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
