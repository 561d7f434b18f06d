import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from kib.errors import InputError, StepError
from kib_dense import embedding_cache
from kib_dense.embedding_cache import EmbeddingCache, cache_key


def test_many_keys(tmp_path: Path) -> None:
    """The cache returns bit-identical vectors for their keys, even for more than a thousand keys at once."""
    vectors = np.random.default_rng(0).normal(size=(1200, 7)).astype(np.float32)
    keys = [cache_key(f"text {number}") for number in range(1300)]
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add({key: (number, vectors[number]) for number, key in enumerate(keys[:1200])})
    with EmbeddingCache.open(tmp_path) as cache:
        found = cache.get(keys)
        assert len(found) == 1200
    for number, key in enumerate(keys[:1200]):
        tokens, vector = found[key]
        assert tokens == number
        assert np.array_equal(vector, vectors[number])


def test_compact(tmp_path: Path) -> None:
    """The cache file is only slightly larger than its vectors."""
    vectors = np.zeros((2000, 384), np.float32)
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add({cache_key(str(number)): (1, vector) for number, vector in enumerate(vectors)})
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.4 * vectors.nbytes


def test_two_processes(tmp_path: Path) -> None:
    """If two processes share a cache, the first vector for each text is kept, and both processes read all vectors."""
    one, other = np.ones(3, np.float32), np.zeros(3, np.float32)
    with EmbeddingCache.open(tmp_path) as first, EmbeddingCache.open(tmp_path) as second:
        first.add({cache_key("a"): (1, one)})
        second.add({cache_key("a"): (1, other), cache_key("b"): (2, other)})
        found = first.get([cache_key("a"), cache_key("b")])
    assert np.array_equal(found[cache_key("a")][1], one)
    assert found[cache_key("b")][0] == 2


def test_every_text_has_a_key() -> None:
    """Every text, even a text with an unpaired surrogate, has a unique 32-byte key."""
    keys = {cache_key(text) for text in ("", " ", "é", "e\u0301", "\ud83d")}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}


def test_a_file_that_cannot_be_created(tmp_path: Path) -> None:
    """The error for a file that cannot be created names the file and the reason."""
    (tmp_path / "embeddings.sqlite").mkdir()
    with (
        pytest.raises(InputError, match=r"embeddings\.sqlite: the file cannot be read or written \(unable to open"),
        EmbeddingCache.open(tmp_path),
    ):
        pass


VECTORS = {cache_key(str(number)): (1, np.ones(1000, np.float32)) for number in range(50)}


@contextmanager
def locked(path: Path, mode: str) -> Iterator[None]:
    """Hold a lock on a database file through a second connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if mode == "EXCLUSIVE":
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"BEGIN {mode}")
        yield
        connection.execute("ROLLBACK")


def test_a_full_disk(tmp_path: Path) -> None:
    """The error for a full disk does not suggest deleting the cache, and vectors can be added after space is freed."""
    with EmbeddingCache.open(tmp_path) as cache:
        cache.connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StepError, match=r"embeddings\.sqlite: no disk space left") as caught:
            cache.add(VECTORS)
        assert "delete" not in str(caught.value)
        cache.connection.execute("PRAGMA max_page_count = 100000")
        assert cache.get(list(VECTORS)) == {}
        cache.add(VECTORS)
        assert len(cache.get(list(VECTORS))) == len(VECTORS)


def test_a_file_locked_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache file locked by another process cannot be opened, and the error does not suggest deleting the file."""
    monkeypatch.setattr(embedding_cache, "LOCK_TIMEOUT", 0.05)
    with EmbeddingCache.open(tmp_path):
        pass
    with (
        locked(tmp_path / "embeddings.sqlite", "EXCLUSIVE"),
        pytest.raises(InputError, match=r"embeddings\.sqlite: the file is in use by a different process") as caught,
        EmbeddingCache.open(tmp_path),
    ):
        pass
    assert "delete" not in str(caught.value)


def test_a_file_locked_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process locks the open cache file, adding vectors fails until the lock is released."""
    monkeypatch.setattr(embedding_cache, "LOCK_TIMEOUT", 0.05)
    with EmbeddingCache.open(tmp_path) as cache:
        with (
            locked(tmp_path / "embeddings.sqlite", "IMMEDIATE"),
            pytest.raises(InputError, match=r"embeddings\.sqlite: the file is in use by a different process"),
        ):
            cache.add(VECTORS)
        cache.add(VECTORS)


def test_a_damaged_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged cache file is reported and renamed, and a new file is created."""
    (tmp_path / "embeddings.sqlite").write_bytes(b"not a database" * 100)
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add(VECTORS)
        assert len(cache.get(list(VECTORS))) == len(VECTORS)
    assert (tmp_path / "embeddings.sqlite.damaged").read_bytes() == b"not a database" * 100
    [warning] = caplog.messages
    assert warning.startswith(
        f"{tmp_path / 'embeddings.sqlite'}: the file is damaged (file is not a database); kib renames"
    )


def test_a_damaged_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If SQLite detects damage while reading vectors, the cache file is reported, renamed and replaced."""
    path = tmp_path / "embeddings.sqlite"
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add(VECTORS)
    path.write_bytes(path.read_bytes()[:8192] + bytes(path.stat().st_size - 8192))
    with EmbeddingCache.open(tmp_path) as cache:
        assert cache.get(list(VECTORS)) == {}
        cache.add(VECTORS)
        assert len(cache.get(list(VECTORS))) == len(VECTORS)
    assert "kib renames the file to embeddings.sqlite.damaged" in caplog.text


def test_damaged_vectors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A vector stored under the key of a different text is reported and removed, and can be added again."""
    vectors = {cache_key(str(number)): (1, np.full(8, number, np.float32)) for number in range(9)}
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add(vectors)
        with cache.connection as connection:
            connection.execute("UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 9)")
    with EmbeddingCache.open(tmp_path) as cache:
        found = cache.get(list(vectors))
        assert {key: vector.tolist() for key, (_, vector) in found.items()} == {cache_key("8"): [8.0] * 8}
        cache.add(vectors)
        assert cache.get(list(vectors))[cache_key("3")][1].tolist() == [3.0] * 8
    assert caplog.messages == [
        f"{tmp_path / 'embeddings.sqlite'}: 8 vectors are damaged; their texts are encoded again"
    ]


def test_a_file_of_an_earlier_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Vectors that an earlier version stored without digests can still be read."""
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add(VECTORS)
        cache.connection.execute("ALTER TABLE embeddings DROP COLUMN digest")
    for _ in range(2):
        with EmbeddingCache.open(tmp_path) as cache:
            assert len(cache.get(list(VECTORS))) == len(VECTORS)
    assert caplog.messages == []


def test_errors_of_the_caller(tmp_path: Path) -> None:
    """Errors raised by the caller while the cache is open, even SQLite errors, are not attributed to the cache file."""
    with pytest.raises(sqlite3.DatabaseError, match="of the caller"), EmbeddingCache.open(tmp_path):
        raise sqlite3.DatabaseError("of the caller")
    with EmbeddingCache.open(tmp_path) as cache:
        cache.connection.close()
        with pytest.raises(sqlite3.ProgrammingError):
            cache.add(VECTORS)
