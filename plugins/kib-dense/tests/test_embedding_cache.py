from pathlib import Path

import numpy as np
import pytest

from kib.errors import InputError
from kib_dense.embedding_cache import EmbeddingCache, cache_key


def test_many_keys(tmp_path: Path) -> None:
    """Exactly the added vectors are found by their keys, bit for bit, even with more than a thousand keys at once."""
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
    """The file is little larger than its vectors."""
    vectors = np.zeros((2000, 384), np.float32)
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add({cache_key(str(number)): (1, vector) for number, vector in enumerate(vectors)})
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.4 * vectors.nbytes


def test_two_processes(tmp_path: Path) -> None:
    """Two processes may add to the same cache: the first vector of a text stays, and both see all vectors."""
    one, other = np.ones(3, np.float32), np.zeros(3, np.float32)
    with EmbeddingCache.open(tmp_path) as first, EmbeddingCache.open(tmp_path) as second:
        first.add({cache_key("a"): (1, one)})
        second.add({cache_key("a"): (1, other), cache_key("b"): (2, other)})
        found = first.get([cache_key("a"), cache_key("b")])
    assert np.array_equal(found[cache_key("a")][1], one)
    assert found[cache_key("b")][0] == 2


def test_any_text_has_a_key() -> None:
    """Every text, even with an unpaired surrogate, has its own key of 32 bytes."""
    keys = {cache_key(text) for text in ("", " ", "é", "e\u0301", "\ud83d")}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}


def test_a_file_that_cannot_be_created(tmp_path: Path) -> None:
    """An error about a file that cannot be created names the file and the reason."""
    (tmp_path / "embeddings.sqlite").mkdir()
    with (
        pytest.raises(InputError, match=r"embeddings\.sqlite: cannot store or read embeddings: unable to open"),
        EmbeddingCache.open(tmp_path),
    ):
        pass
