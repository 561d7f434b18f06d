"""A persistent file of embeddings, which is independent of any index, so that each text is encoded only once."""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kib.support.sqlite_errors import sqlite_errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Embedding = tuple[int, npt.NDArray[np.float32]]

__all__ = ["EmbeddingCache", "cache_key"]

FILE = "embeddings.sqlite"
KEYS_PER_QUERY = 500
"""Maximum number of keys per SQLite query."""

LOCK_TIMEOUT = 600.0
"""Seconds to wait for a different process that is writing."""

REPAIR = "delete this file and run the command again to recompute the embeddings"


def cache_key(text: str) -> bytes:
    """Return the 32-byte SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class EmbeddingCache:
    """A cache of texts' float32 vectors and token counts; stored vectors survive if the process is killed."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["EmbeddingCache"]:
        """Open or create the cache in a folder; raise InputError if its file is locked, damaged or not writable."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        with sqlite_errors(path, REPAIR):
            connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT)
        with closing(connection):
            with sqlite_errors(path, REPAIR):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings "
                    "(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, tokens INTEGER NOT NULL, vector BLOB NOT NULL)"
                )
            yield cls(path, connection)

    def get(self, keys: Sequence[bytes]) -> "dict[bytes, Embedding]":
        """Return the token count and the vector for each key in the cache."""
        import numpy as np

        found: dict[bytes, Embedding] = {}
        for first in range(0, len(keys), KEYS_PER_QUERY):
            some = keys[first : first + KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, tokens, vector FROM embeddings WHERE key IN ({marks})"  # noqa: S608 - question marks
            with sqlite_errors(self.path, REPAIR):
                rows = self.connection.execute(query, some).fetchall()
            for key, tokens, vector in rows:
                found[bytes(key)] = (int(tokens), np.frombuffer(vector, dtype="<f4"))
        return found

    def add(self, embeddings: "Mapping[bytes, Embedding]") -> None:
        """Add all embeddings in one transaction; if a key already exists, keep its stored vector."""
        rows = [(key, tokens, vector.astype("<f4").tobytes()) for key, (tokens, vector) in embeddings.items()]
        with sqlite_errors(self.path, REPAIR), self.connection:
            self.connection.executemany("INSERT OR IGNORE INTO embeddings (key, tokens, vector) VALUES (?, ?, ?)", rows)
