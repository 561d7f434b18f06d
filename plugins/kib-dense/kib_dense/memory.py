"""Embeddings by the digest of their text, in a file that outlives an index: a text is encoded once."""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kib.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    PaidAnswers = tuple[int, npt.NDArray[np.float32]]

__all__ = ["Embeddings", "key_of"]

FILE = "embeddings.sqlite"
AT_ONCE = 500
"""Keys in one question to SQLite."""


def key_of(text: str) -> bytes:
    """SHA-256 of a text, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Embeddings:
    """Float32 vectors, and the number of tokens of their texts, by key; what was added is there after a kill."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["Embeddings"]:
        """The memory in a folder, made where it is not there; InputError where its file is damaged."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        try:
            with closing(sqlite3.connect(path, timeout=600)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings "
                    "(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, tokens INTEGER NOT NULL, vector BLOB NOT NULL)"
                )
                yield cls(connection, path)
        except sqlite3.OperationalError as error:
            raise InputError(f"{path}: embeddings cannot be stored or read here: {error}") from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: not readable as stored embeddings ({error}); delete it and run again") from error

    def get(self, keys: Sequence[bytes]) -> "dict[bytes, PaidAnswers]":
        """Tokens and vector of each known key."""
        import numpy as np

        found: dict[bytes, PaidAnswers] = {}
        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            marks = ",".join("?" * len(some))
            asked = f"SELECT key, tokens, vector FROM embeddings WHERE key IN ({marks})"  # noqa: S608 - question marks
            for key, tokens, vector in self.connection.execute(asked, some):
                found[bytes(key)] = (int(tokens), np.frombuffer(vector, dtype="<f4"))
        return found

    def add(self, embedded: "Mapping[bytes, PaidAnswers]") -> None:
        """Keep vectors, all of them or none; those that are known already stay as they are."""
        rows = [(key, tokens, vector.astype("<f4").tobytes()) for key, (tokens, vector) in embedded.items()]
        with self.connection:
            self.connection.executemany("INSERT OR IGNORE INTO embeddings (key, tokens, vector) VALUES (?, ?, ?)", rows)

    def __len__(self) -> int:
        return int(self.connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0])
