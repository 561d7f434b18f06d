"""A persistent file of embeddings, which is independent of any index, so that each text is encoded only once."""

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kib.errors import DamagedError
from kib.store.sqlite_file import set_aside
from kib.support.sqlite_errors import sqlite_errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Embedding = tuple[int, npt.NDArray[np.float32]]

__all__ = ["EmbeddingCache", "cache_key"]

FILE = "embeddings.sqlite"
KEYS_PER_QUERY = 500
"""Maximum number of keys per SQLite query."""

COLUMNS = (
    "id INTEGER PRIMARY KEY",
    "key BLOB NOT NULL UNIQUE",
    "tokens INTEGER NOT NULL",
    "vector BLOB NOT NULL",
    "digest BLOB",
)

LOG = logging.getLogger(__name__)
"""Warnings appear on standard error unless the user configures logging."""

LOCK_TIMEOUT = 600.0
"""Maximum number of seconds to wait while another process writes to the cache."""

REPAIR = "run the command again to rename the file and encode the texts again"


def cache_key(text: str) -> bytes:
    """Return the 32-byte SHA-256 digest of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class EmbeddingCache:
    """A persistent cache of float32 vectors and token counts of texts; a killed process loses no stored vectors.

    Damaged vectors and damaged files are reported and treated as missing, so that their texts are encoded again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = self._connect()

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["EmbeddingCache"]:
        """Open or create the cache in a folder; raise InputError if its file is locked or not writable."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            cache = cls(folder / FILE)
        except DamagedError as error:
            _set_aside(folder / FILE, error)
            cache = cls(folder / FILE)
        try:
            yield cache
        finally:
            cache.connection.close()

    def _row_digest(self, key: bytes, tokens: int, vector: bytes) -> bytes:
        """Return the 32-byte SHA-256 digest of a row and the cache's name, because each encoder has its own cache."""
        parts = (self.path.parent.name.encode(), key, tokens.to_bytes(8, "little", signed=True), vector)
        return hashlib.sha256(b"".join(parts)).digest()

    def _connect(self) -> sqlite3.Connection:
        """Open the cache file; if an earlier version of kib wrote the file, add the missing row digests."""
        with sqlite_errors(self.path, REPAIR):
            connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT)
        try:
            with sqlite_errors(self.path, REPAIR):
                connection.execute("PRAGMA journal_mode = WAL")
                # After a power failure, the file is intact, but the last vectors may be missing and are recomputed.
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(f"CREATE TABLE IF NOT EXISTS embeddings ({', '.join(COLUMNS)})")
                with connection:
                    found = [name for _, name, *_ in connection.execute("PRAGMA table_info(embeddings)")]
                    if "digest" not in found:
                        connection.create_function("row_digest", 3, self._row_digest, deterministic=True)
                        connection.execute("ALTER TABLE embeddings ADD COLUMN digest BLOB")
                        connection.execute("UPDATE embeddings SET digest = row_digest(key, tokens, vector)")
        except BaseException:
            connection.close()
            raise
        return connection

    def get(self, keys: Sequence[bytes]) -> "dict[bytes, Embedding]":
        """Return the token count and the vector for each key in the cache."""
        import numpy as np

        found: dict[bytes, Embedding] = {}
        damaged: list[tuple[int]] = []
        try:
            for row, key, tokens, vector, digest in self._rows(keys):
                if digest == self._row_digest(key, tokens, vector):
                    found[key] = (tokens, np.frombuffer(vector, dtype="<f4"))
                else:
                    damaged.append((row,))
            if damaged:
                LOG.warning("%s: %s vectors are damaged; their texts are encoded again", self.path, len(damaged))
                with sqlite_errors(self.path, REPAIR), self.connection:
                    self.connection.executemany("DELETE FROM embeddings WHERE id = ?", damaged)
        except DamagedError as error:
            self.connection.close()
            _set_aside(self.path, error)
            self.connection = self._connect()
        return found

    def _rows(self, keys: Sequence[bytes]) -> Iterator[tuple[int, bytes, int, bytes, bytes]]:
        """Yield the rows with the given keys. Raises DamagedError if a value has the wrong type."""
        for first in range(0, len(keys), KEYS_PER_QUERY):
            some = keys[first : first + KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            query = f"SELECT id, key, tokens, vector, digest FROM embeddings WHERE key IN ({marks})"  # noqa: S608 - marks
            with sqlite_errors(self.path, REPAIR):
                rows = self.connection.execute(query, some).fetchall()
            for row, key, tokens, vector, digest in rows:
                if not (isinstance(key, bytes) and isinstance(tokens, int) and isinstance(vector, bytes)):
                    raise DamagedError(f"{self.path}: the file is damaged (a value has the wrong type); {REPAIR}")
                yield row, key, tokens, vector, digest

    def add(self, embeddings: "Mapping[bytes, Embedding]") -> None:
        """Add all embeddings in one transaction; if a key already exists, keep its stored vector."""
        rows = [(key, tokens, vector.astype("<f4").tobytes()) for key, (tokens, vector) in embeddings.items()]
        insert = "INSERT OR IGNORE INTO embeddings (key, tokens, vector, digest) VALUES (?, ?, ?, ?)"
        with sqlite_errors(self.path, REPAIR), self.connection:
            self.connection.executemany(insert, [(*row, self._row_digest(*row)) for row in rows])


def _set_aside(path: Path, error: DamagedError) -> None:
    """Report and rename a damaged file."""
    reason = str(error).removesuffix(f"; {REPAIR}")
    LOG.warning("%s; kib renames the file to %s and encodes the texts again", reason, set_aside(path).name)
