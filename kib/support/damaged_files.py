"""Converts errors from reading a damaged file to an error that names the file, for plugins that read an index."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kib.errors import DamagedError, KibError

__all__ = ["name_damaged_file"]

CAUSES = (ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""The errors that parsers raise for damaged content; UnicodeDecodeError and JSONDecodeError are ValueErrors."""


@contextmanager
def name_damaged_file(path: Path, remedy: str) -> Iterator[None]:
    """Raise DamagedError that states the path, cause and `remedy` if the block cannot read a file or folder."""
    try:
        yield
    except KibError:
        raise
    except CAUSES as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise DamagedError(f"{path}: damaged or missing ({cause}); {remedy}") from error
