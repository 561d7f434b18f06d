"""A SQLite file of rows by key, each with a digest of its values; errors state the file and the problem.

Each transaction is flushed to disk before it is considered complete, so that a power failure cannot lose a stored row.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import Any, NamedTuple

from kib.errors import DamagedError, InputError
from kib.identity import digest_lines
from kib.store.files import file_status, flush_folder, make_folder, remove
from kib.support.sqlite_errors import sqlite_errors

__all__ = ["OUT_OF_ORDER", "Repair", "SqliteFile", "Table", "set_aside"]

LOCK_TIMEOUT = 60.0
"""The number of seconds to wait for a different process to finish writing."""

KEYS_PER_STATEMENT = 500
"""Old builds of SQLite accept at most 999 parameters per statement."""

OUT_OF_ORDER = "its rows are out of order"

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that maps column names to SQL types; the first column is the key."""

    name: str
    columns: Mapping[str, str]

    @property
    def stored_columns(self) -> dict[str, str]:
        """The columns in the file: the declared columns and the digest of their values."""
        return {**self.columns, "digest": "TEXT"}

    def definition(self, name: str) -> str:
        """Return the SQL statement that creates the table under a name."""
        columns = ", ".join(f"{column} {sql_type}" for column, sql_type in self.stored_columns.items())
        return f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({next(iter(self.columns))})) WITHOUT ROWID"

    def insertion(self, name: str, replace: bool = False) -> str:
        """Return the SQL statement that inserts a row, including its digest, into a table with this name."""
        marks = ", ".join("?" * len(self.stored_columns))
        conflict = "REPLACE" if replace else "IGNORE"
        return f"INSERT OR {conflict} INTO {name} VALUES ({marks})"  # noqa: S608 - fixed names


class Repair(NamedTuple):
    """What was wrong with a table: the number of removed rows, and whether intact rows were stored out of order."""

    removed: int
    unordered: bool


def set_aside(path: Path) -> Path:
    """Rename a damaged file, together with its log, and return the new path `<name>.damaged`."""
    aside = path.with_name(f"{path.name}.damaged")
    for suffix in ("-shm", "-wal", ""):
        source, target = Path(f"{path}{suffix}"), Path(f"{aside}{suffix}")
        remove(target)
        if lexists(source):
            source.rename(target)
    flush_folder(path.parent)
    return aside


class SqliteFile:
    """An open SQLite file.

    `repair` is the advice for a damaged file, for example to restore the file. `owner` is part of each digest, so that
    a file that was swapped with a different file is detected.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, repair: str, owner: str) -> None:
        self.path = path
        self.connection = connection
        self.repair = repair
        self.owner = owner

    @classmethod
    def open(cls, path: Path, tables: Sequence[Table], repair: str, owner: str = "") -> "SqliteFile":
        """Open or create a file with `tables`; digests are added to the rows of a table from an earlier version.

        Several threads may share the open file. Raises InputError if the file is locked or not writable, and
        DamagedError if the file is damaged.
        """
        make_folder(path.parent)
        _require_regular_files(path)
        with sqlite_errors(path, repair):
            connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT, check_same_thread=False)
        # Damaged text must not raise an error before its digest is compared.
        connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        file = cls(path, connection, repair, owner)
        try:
            with sqlite_errors(path, repair):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")  # with NORMAL, a power failure undoes transactions
            for table in tables:
                file._prepare(table)
            flush_folder(path.parent)
        except BaseException:
            file.close()
            raise
        return file

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a SELECT statement."""
        with sqlite_errors(self.path, self.repair):
            return self.connection.execute(statement, parameters).fetchall()

    def rows_by_key(self, statement: str, keys: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a SELECT statement for any number of keys; `{keys}` is replaced by the list of keys."""
        for first in range(0, len(keys), KEYS_PER_STATEMENT):
            some = keys[first : first + KEYS_PER_STATEMENT]
            yield from self.rows(statement.format(keys=",".join("?" * len(some))), some)

    def write(self, *statements: tuple[str, Sequence[Sequence[Any]]]) -> None:
        """Execute statements in one transaction, each statement once per row of parameters."""
        with sqlite_errors(self.path, self.repair), self.connection:
            for statement, rows in statements:
                self.connection.executemany(statement, rows)

    def insertion(self, table: Table, rows: Iterable[Row], *, replace: bool = False) -> tuple[str, list[Row]]:
        """Return the SQL statement that inserts rows, and the rows with their digests.

        Unless `replace` is set, existing rows are not replaced.
        """
        return table.insertion(table.name, replace), [(*row, self.row_digest(row)) for row in rows]

    def row_digest(self, values: Row) -> str:
        """Return the digest of a row's values. Strings, bytes and numbers have different digests."""
        return digest_lines([self.owner, *(value if isinstance(value, str) else repr(value) for value in values)])

    def _is_intact(self, row: Row) -> bool:
        return bool(row[-1] == self.row_digest(row[:-1]))

    def remove_damaged(self, table: Table, keep_in: str = "") -> Repair:
        """Remove the rows whose digest differs from their values, and put rows into the order of their keys.

        SQLite finds a row by its key only if all rows are stored in order. If `keep_in` is given, the removed rows are
        copied to the table with this name.
        """
        every = f"SELECT {', '.join(table.stored_columns)} FROM {table.name}"  # noqa: S608 - fixed names
        damaged, unordered, last = [], False, ""
        with sqlite_errors(self.path, self.repair):
            for row in self.connection.execute(every):
                if not self._is_intact(row):
                    damaged.append(row)
                    continue
                unordered = unordered or bool(last and row[0] <= last)
                last = row[0]
        if damaged or unordered:
            # A row whose key is damaged cannot be found by its key, so the intact rows are copied to a new table.
            with self._transaction():
                if keep_in:
                    self.connection.execute(f"CREATE TABLE IF NOT EXISTS {keep_in} ({', '.join(table.stored_columns)})")
                    self.connection.executemany(table.insertion(keep_in), [tuple(map(_bytes, row)) for row in damaged])
                self._rewrite(table, filter(self._is_intact, self.connection.execute(every)))
        return Repair(len(damaged), unordered)

    def _prepare(self, table: Table) -> None:
        """Create a missing table, and add digests to a table from an earlier version."""
        if self._columns(table) == table.stored_columns:
            return
        with self._transaction():
            found = self._columns(table)
            if not found:
                self.connection.execute(table.definition(table.name))
            elif found == table.columns:
                every = self.connection.execute(f"SELECT {', '.join(table.columns)} FROM {table.name}")  # noqa: S608
                self._rewrite(table, ((*row, self.row_digest(row)) for row in every))
            elif found != table.stored_columns:
                raise DamagedError(
                    f"{self.path}: the file is damaged (the table {table.name} has unknown columns); {self.repair}"
                )

    def _columns(self, table: Table) -> dict[str, str]:
        """Return the columns of a table in the file; the list is empty if there is no such table."""
        return {name: sql_type for _, name, sql_type, *_ in self.rows(f"PRAGMA table_info({table.name})")}

    def _rewrite(self, table: Table, rows: Iterable[Row]) -> None:
        """Replace a table with a new table that contains `rows`."""
        self.connection.execute(table.definition("rewritten"))
        self.connection.executemany(table.insertion("rewritten"), rows)
        self.connection.execute(f"DROP TABLE {table.name}")
        self.connection.execute(f"ALTER TABLE rewritten RENAME TO {table.name}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Execute a block, including schema changes, in one transaction while no other process can write."""
        with sqlite_errors(self.path, self.repair):
            self.connection.execute("BEGIN IMMEDIATE")
            with self.connection:
                yield


def _require_regular_files(path: Path) -> None:
    """Raise an error if the path of the file or of one of its logs is a folder, a pipe or a device.

    For the file itself, the error is a DamagedError. For a log, the error is an InputError that suggests deleting the
    path, because a folder or a pipe contains no rows.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        part = Path(f"{path}{suffix}")
        try:
            with suppress(FileNotFoundError):
                file_status(part)
        except ValueError as error:
            if part == path:
                raise DamagedError(f"{path}: the file cannot be read or written ({error})") from error
            raise InputError(f"{part}: {error}; delete this path and run the command again") from error


def _bytes(value: Any) -> Any:
    """Return a text as bytes, because damaged text may not be valid UTF-8; return any other value unchanged."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
