from pathlib import Path

import numpy as np
import pytest

from kib.errors import InputError
from kib_dense.memory import Embeddings, key_of


def test_many_keys(tmp_path: Path) -> None:
    """What was added is found by its key, bit for bit, also where thousands are asked for, and nothing else is."""
    vectors = np.random.default_rng(0).normal(size=(1200, 7)).astype(np.float32)
    keys = [key_of(f"text {number}") for number in range(1300)]
    with Embeddings.open(tmp_path) as kept:
        kept.add({key: (number, vectors[number]) for number, key in enumerate(keys[:1200])})
    with Embeddings.open(tmp_path) as kept:
        found = kept.get(keys)
        assert len(kept) == len(found) == 1200
    for number, key in enumerate(keys[:1200]):
        tokens, vector = found[key]
        assert tokens == number
        assert np.array_equal(vector, vectors[number])


def test_compact(tmp_path: Path) -> None:
    """A vector takes little more than its bytes."""
    vectors = np.zeros((2000, 384), np.float32)
    with Embeddings.open(tmp_path) as kept:
        kept.add({key_of(str(number)): (1, vector) for number, vector in enumerate(vectors)})
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.4 * vectors.nbytes


def test_two_at_once(tmp_path: Path) -> None:
    """Two processes may add at the same time: the first vector of a text stays, and each sees what the other added."""
    one, other = np.ones(3, np.float32), np.zeros(3, np.float32)
    with Embeddings.open(tmp_path) as first, Embeddings.open(tmp_path) as second:
        first.add({key_of("a"): (1, one)})
        second.add({key_of("a"): (1, other), key_of("b"): (2, other)})
        found = first.get([key_of("a"), key_of("b")])
    assert np.array_equal(found[key_of("a")][1], one)
    assert found[key_of("b")][0] == 2


def test_any_text_has_a_key() -> None:
    """Every text has a key of 32 bytes, half a character included, and no two the same."""
    keys = {key_of(text) for text in ("", " ", "é", "e\u0301", "\ud83d")}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}


def test_no_place_for_it(tmp_path: Path) -> None:
    """A file that cannot be made is named with the reason."""
    (tmp_path / "embeddings.sqlite").mkdir()
    with (
        pytest.raises(
            InputError, match=r"embeddings\.sqlite: embeddings cannot be stored or read here: unable to open"
        ),
        Embeddings.open(tmp_path),
    ):
        pass
