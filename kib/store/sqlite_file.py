"""A SQLite file of rows by key; errors name the file and its problem.

Rows are written in transactions, so that a power failure can lose only entire transactions.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kib.support.sqlite_errors import sqlite_errors

__all__ = ["SqliteFile"]

LOCK_TIMEOUT = 60.0
"""The number of seconds to wait for a different process that is writing."""

KEYS_PER_STATEMENT = 500
"""Old builds of SQLite accept at most 999 parameters per statement."""


class SqliteFile:
    """An open SQLite file. `repair` is the advice for a damaged file, for example to delete the file."""

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
        with sqlite_errors(path, repair):
            connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT, check_same_thread=False)
        with closing(connection):
            with sqlite_errors(path, repair):
                connection.execute("PRAGMA journal_mode = WAL")
                for table in tables:
                    connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            yield cls(path, connection, repair)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT statement."""
        with sqlite_errors(self.path, self.repair):
            return self.connection.execute(statement, parameters).fetchall()

    def rows_by_key(self, statement: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a SELECT statement for any number of keys; `{keys}` is replaced by the list of keys."""
        for first in range(0, len(keys), KEYS_PER_STATEMENT):
            some = keys[first : first + KEYS_PER_STATEMENT]
            yield from self.rows(statement.format(keys=",".join("?" * len(some))), some)

    def write(self, *statements: tuple[str, Sequence[Sequence[Any]]]) -> None:
        """Execute statements in one transaction, each statement once per row of parameters."""
        with sqlite_errors(self.path, self.repair), self.connection:
            for statement, rows in statements:
                self.connection.executemany(statement, rows)
