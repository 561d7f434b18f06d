"""Checks the input files of tasks."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from kib.errors import InputError

__all__ = ["check_columns", "check_files"]


def check_files(paths: Iterable[Path]) -> None:
    """Raise InputError that lists every missing file on a separate line."""
    missing = [path for path in dict.fromkeys(paths) if not path.is_file()]
    if missing:
        raise InputError("\n".join(f"{path}: no such file" for path in missing))


def check_columns(where: str, names: Iterable[str | None]) -> None:
    """Raise InputError if a column name appears twice in the header of a table at the position `where`."""
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise InputError(f"{where}: the column {repeated[0]!r} appears twice in the header")
