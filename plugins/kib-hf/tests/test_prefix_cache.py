from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from kib_hf.scoring.prefix_cache import Trunks
from kib_hf.scoring.prefix_trees import Trunk
from kib_hf.scoring.tree_reader import States

TOKEN = 2 * 4 * 2
"""Bytes of a token in these tests: keys and values of two numbers."""


class Read:
    """Counts what is read; the keys of a trunk are its tokens."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, trunk: Trunk, before: Sequence[States]) -> States:
        self.asked.append(trunk.tokens.tolist())
        assert sum(states[0][0].shape[2] for states in before) == trunk.depth - len(trunk.tokens)
        keys = torch.as_tensor(trunk.tokens, dtype=torch.float32)[None, None, :, None].expand(1, 1, -1, 2).contiguous()
        return {0: (keys, keys.clone())}


def trunk(parent: Trunk | None, *tokens: int) -> Trunk:
    return Trunk(parent, np.array(tokens, dtype=np.int32), (parent.depth if parent else 0) + len(tokens))


@pytest.fixture
def read() -> Read:
    return Read()


def keys(states: list[States]) -> list[Any]:
    return [one[0][0][0, 0, :, 0].tolist() for one in states]


def test_a_trunk_is_read_once(read: Read) -> None:
    """A trunk is read after its parents, and once: asked again, it is there, also under an equal name."""
    trunks = Trunks(read, budget=100 * TOKEN)
    parent = trunk(None, 1, 2)
    assert keys(trunks.get(trunk(parent, 3))) == [[1, 2], [3]]
    assert keys(trunks.get(trunk(parent, 4))) == [[1, 2], [4]]
    assert keys(trunks.get(trunk(None, 1, 2))) == [[1, 2]]
    assert read.asked == [[1, 2], [3], [4]]


def test_no_trunk_is_no_states(read: Read) -> None:
    """A row that stands on nothing needs nothing."""
    assert Trunks(read, budget=0).get(None) == []


def test_trunks_stay_within_their_budget(read: Read) -> None:
    """What is held never exceeds the budget where what is needed now does not."""
    trunks = Trunks(read, budget=5 * TOKEN)
    for number in range(10):
        trunks.get(trunk(None, *range(number, number + 3)))
        assert trunks.bytes() <= 5 * TOKEN


def test_the_cheapest_goes_first(read: Read) -> None:
    """Where room is short, the trunk of the fewest tokens goes, and is read again when it is needed again."""
    trunks = Trunks(read, budget=7 * TOKEN)
    short, long = trunk(None, 1, 2), trunk(None, 5, 6, 7, 8)
    for one in (short, long, trunk(None, 3, 4)):
        trunks.get(one)
    read.asked.clear()
    trunks.get(long)
    trunks.get(short)
    assert read.asked == [[1, 2]]


def test_what_is_needed_stays(read: Read) -> None:
    """The trunks on the way to a row are kept while it is read, even beyond the budget."""
    trunks = Trunks(read, budget=0)
    assert keys(trunks.get(trunk(trunk(None, 1, 2), 3, 4))) == [[1, 2], [3, 4]]


def test_trunks_of_other_parents_differ(read: Read) -> None:
    """The same tokens after another beginning are another trunk."""
    trunks = Trunks(read, budget=100 * TOKEN)
    trunks.get(trunk(trunk(None, 1), 9))
    trunks.get(trunk(trunk(None, 2), 9))
    assert read.asked == [[1], [9], [2], [9]]


def test_clearing_lets_go(read: Read) -> None:
    """After clearing nothing is held."""
    trunks = Trunks(read, budget=100 * TOKEN)
    trunks.get(trunk(None, 1, 2))
    assert trunks.bytes() == 2 * TOKEN
    trunks.clear()
    assert trunks.bytes() == 0
