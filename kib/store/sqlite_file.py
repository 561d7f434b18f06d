"""A SQLite file of rows by key; its errors name the file and say what happened to it.

Rows are written in transactions, so that a power cut loses whole transactions only.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kib.errors import InputError

__all__ = ["SqliteFile"]

LOCK_TIMEOUT = 60.0
"""Seconds to wait for a different process that is writing."""

KEYS_PER_STATEMENT = 500
"""Old builds of SQLite accept at most 999 parameters per statement."""

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class SqliteFile:
    """An open SQLite file. `repair` is the advice for a damaged file, such as to delete it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, repair: str) -> None:
        self.path = path
        self.connection = connection
        self.repair = repair

    @classmethod
    @contextmanager
    def open(cls, path: Path, tables: Sequence[str], repair: str) -> Iterator["SqliteFile"]:
        """Open or create a file with `tables`, given as SQL column lists such as "notes (text TEXT PRIMARY KEY)".

        Several threads may share the open file. Raises InputError if the file is locked, damaged or not writable.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with _errors_named(path, repair):
            connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT, check_same_thread=False)
        with closing(connection):
            with _errors_named(path, repair):
                connection.execute("PRAGMA journal_mode = WAL")
                for table in tables:
                    connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            yield cls(path, connection, repair)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT statement."""
        with _errors_named(self.path, self.repair):
            return self.connection.execute(statement, parameters).fetchall()

    def rows_by_key(self, statement: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a SELECT statement for any number of keys; `{keys}` in it becomes the list of keys."""
        for first in range(0, len(keys), KEYS_PER_STATEMENT):
            some = keys[first : first + KEYS_PER_STATEMENT]
            yield from self.rows(statement.format(keys=",".join("?" * len(some))), some)

    def write(self, *statements: tuple[str, Sequence[Sequence[Any]]]) -> None:
        """Execute statements, each once per row of parameters, in one transaction."""
        with _errors_named(self.path, self.repair), self.connection:
            for statement, rows in statements:
                self.connection.executemany(statement, rows)


@contextmanager
def _errors_named(path: Path, repair: str) -> Iterator[None]:
    """Turn SQLite's errors about the file or the disk into an InputError; errors in the use of SQLite pass through."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: {_explain(error, repair)}") from error


def _explain(error: sqlite3.DatabaseError, repair: str) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits hold details
    if code in LOCKED:
        return f"in use by a different process ({error}); wait until that process ends, then run the command again"
    if code == sqlite3.SQLITE_FULL:
        return f"no space left to write ({error}); free disk space, then run the command again. Nothing stored is lost"
    if code in DAMAGED:
        return f"damaged ({error}); {repair}"
    return f"cannot be read or written ({error}); check the permissions of the file and the state of the disk"
