from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kib_hf.scoring.prefix_cache import PrefixCache
from kib_hf.scoring.prefix_trees import SharedPrefix

KeyValues = dict[int, tuple[Any, Any]]
"""Keys and values per layer; NumPy arrays replace tensors, so that these tests do not import torch."""

TOKEN = 2 * 4 * 2
"""The number of bytes per token in these tests: a key and a value of two float32 numbers each."""


class Compute:
    """A replacement for the model that records each prefix and returns the prefix's tokens as keys and values."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, prefix: SharedPrefix, parents: Sequence[KeyValues]) -> KeyValues:
        self.calls.append(prefix.tokens.tolist())
        assert sum(parent[0][0].shape[2] for parent in parents) == prefix.length - len(prefix.tokens)
        keys = np.repeat(prefix.tokens.astype(np.float32)[None, None, :, None], 2, axis=3)
        return {0: (keys, keys.copy())}


def prefix(parent: SharedPrefix | None, *tokens: int) -> SharedPrefix:
    return SharedPrefix(parent, np.array(tokens, dtype=np.int32), (parent.length if parent else 0) + len(tokens))


@pytest.fixture
def compute() -> Compute:
    return Compute()


def keys(key_values: list[KeyValues]) -> list[Any]:
    return [one[0][0][0, 0, :, 0].tolist() for one in key_values]


def test_a_prefix_is_computed_once(compute: Compute) -> None:
    """A prefix is computed once, after its parents, and an equal prefix reuses the cached keys and values."""
    cache = PrefixCache(compute, budget=100 * TOKEN)
    parent = prefix(None, 1, 2)
    assert keys(cache.get(prefix(parent, 3))) == [[1, 2], [3]]
    assert keys(cache.get(prefix(parent, 4))) == [[1, 2], [4]]
    assert keys(cache.get(prefix(None, 1, 2))) == [[1, 2]]
    assert compute.calls == [[1, 2], [3], [4]]


def test_without_a_prefix_nothing_is_computed(compute: Compute) -> None:
    """A row without a shared prefix needs no cached keys and values."""
    assert PrefixCache(compute, budget=0).get(None) == []


def test_the_cache_stays_within_its_budget(compute: Compute) -> None:
    """The cache never exceeds its memory budget if the prefixes of the current row fit within the budget."""
    cache = PrefixCache(compute, budget=5 * TOKEN)
    for number in range(10):
        cache.get(prefix(None, *range(number, number + 3)))
        assert cache.bytes() <= 5 * TOKEN


def test_the_shortest_prefix_is_dropped_first(compute: Compute) -> None:
    """If the memory budget is exceeded, the prefix with the fewest tokens is evicted and recomputed when needed."""
    cache = PrefixCache(compute, budget=7 * TOKEN)
    short, long = prefix(None, 1, 2), prefix(None, 5, 6, 7, 8)
    for one in (short, long, prefix(None, 3, 4)):
        cache.get(one)
    compute.calls.clear()
    cache.get(long)
    cache.get(short)
    assert compute.calls == [[1, 2]]


def test_needed_prefixes_stay(compute: Compute) -> None:
    """The prefixes of the current row remain in the cache, even if the memory budget is exceeded."""
    cache = PrefixCache(compute, budget=0)
    assert keys(cache.get(prefix(prefix(None, 1, 2), 3, 4))) == [[1, 2], [3, 4]]


def test_prefixes_with_different_parents_differ(compute: Compute) -> None:
    """The same tokens with different parents are cached as a different prefix."""
    cache = PrefixCache(compute, budget=100 * TOKEN)
    cache.get(prefix(prefix(None, 1), 9))
    cache.get(prefix(prefix(None, 2), 9))
    assert compute.calls == [[1], [9], [2], [9]]


def test_clearing_frees_all_bytes(compute: Compute) -> None:
    """A cleared cache contains no keys and values."""
    cache = PrefixCache(compute, budget=100 * TOKEN)
    cache.get(prefix(None, 1, 2))
    assert cache.bytes() == 2 * TOKEN
    cache.clear()
    assert cache.bytes() == 0
