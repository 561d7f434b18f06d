"""Checks the input files of tasks."""

from collections.abc import Iterable
from pathlib import Path

from kib.errors import InputError

__all__ = ["check_files"]


def check_files(paths: Iterable[Path]) -> None:
    """Raise InputError that lists every missing file on a separate line."""
    missing = [path for path in dict.fromkeys(paths) if not path.is_file()]
    if missing:
        raise InputError("\n".join(f"{path}: no such file" for path in missing))
