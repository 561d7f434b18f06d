"""Turns SQLite errors about a file or its disk into messages that name the file and the remedy."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kib.errors import DamagedError, InputError, KibError, StepError

__all__ = ["sqlite_errors"]

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""The error codes for damage; SQLITE_ERROR means that a table, a column or the file format differs from kib's own."""

LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextmanager
def sqlite_errors(path: Path, repair: str) -> Iterator[None]:
    """Turn SQLite errors about the file or the disk into an InputError; programming errors are raised unchanged.

    A full disk raises StepError. A damaged file raises DamagedError with the advice in `repair`, for example to restore
    the file from a backup.
    """
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except UnicodeDecodeError as error:  # sqlite3 cannot decode the name of a damaged table
        raise DamagedError(f"{path}: damaged ({error}); {repair}") from error
    except sqlite3.DatabaseError as error:
        kinds: dict[int, type[KibError]] = {**dict.fromkeys(DAMAGED, DamagedError), sqlite3.SQLITE_FULL: StepError}
        kind = kinds.get(_code(error), InputError)
        raise kind(f"{path}: {_explain(error, repair)}") from error


def _code(error: sqlite3.DatabaseError) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits contain details


def _explain(error: sqlite3.DatabaseError, repair: str) -> str:
    code = _code(error)
    if code in LOCKED:
        return (
            f"the file is in use by a different process ({error}); wait until that process ends, then run the "
            "command again"
        )
    if code == sqlite3.SQLITE_FULL:
        return f"no disk space left ({error}); free disk space, then run the command again. Stored data is not lost"
    if code in DAMAGED:
        return f"the file is damaged ({error}); {repair}"
    return (
        f"the file cannot be read or written ({error}); check the file permissions, the free space on the disk and the "
        "state of the disk"
    )
