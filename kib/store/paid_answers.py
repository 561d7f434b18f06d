"""What plugins remember beyond one step: a writer's answers, by what it asked, so that nothing is paid for twice.

A retriever that remembers has a folder of its own making.
"""

import re
import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import closing, contextmanager
from pathlib import Path

from kib.errors import InputError

__all__ = ["PaidAnswers", "memory_of", "retriever_memory"]

NAME = re.compile(r"[a-z0-9-]{1,100}")


def memory_of(work: Path, plugin: str) -> Path:
    """The file of a writer plugin's memory: one for all its tables, as its keys hold all that decides an answer."""
    return work / "written" / f"{plugin}.sqlite"


def retriever_memory(work: Path, name: str) -> Path:
    """The folder that retrievers of one memory share; InputError where its name is none."""
    if not NAME.fullmatch(name):
        raise InputError(f"memory() gives the name {name!r}; expected small letters, digits and hyphens")
    return work / "remembered" / name


class PaidAnswers(MutableMapping[str, str]):
    """Texts by key in a file; each is on the disk before the next is asked for. Safe for the threads of a writer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["PaidAnswers"]:
        """The memory in a file, made where it is not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=60, check_same_thread=False)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
            yield cls(connection)

    def __getitem__(self, key: str) -> str:
        row = self.connection.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return str(row[0])

    def __setitem__(self, key: str, value: str) -> None:
        with self.connection:
            self.connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))

    def __delitem__(self, key: str) -> None:
        self[key]
        with self.connection:
            self.connection.execute("DELETE FROM kept WHERE key = ?", (key,))

    def __iter__(self) -> Iterator[str]:
        return (str(row[0]) for row in self.connection.execute("SELECT key FROM kept ORDER BY key"))

    def __len__(self) -> int:
        return int(self.connection.execute("SELECT COUNT(*) FROM kept").fetchone()[0])
