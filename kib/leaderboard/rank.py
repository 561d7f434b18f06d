"""Ranks within a block of comparable arms; neighbours that do not differ by more than chance share one."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from kib.gains import LEVEL, holm

__all__ = ["rank"]

T = TypeVar("T")


def rank(arms: Sequence[tuple[T, float]], p: Callable[[T, T], float]) -> list[tuple[T, int, bool]]:
    """Arms with their accuracies, best first, with rank and whether they share it.

    `p(worse, better)` is the paired p of two neighbours; Holm over the neighbours of the block. Equal accuracies stand
    in the order given. A chain of ties shares one rank, so its ends may differ.
    """
    ordered = [arm for arm, _ in sorted(arms, key=lambda one: -one[1])]
    apart = [value < LEVEL for value in holm([p(worse, better) for better, worse in pairwise(ordered)])]
    starts = [0, *(position + 1 for position, is_apart in enumerate(apart) if is_apart), len(ordered)]
    return [
        (ordered[position], start + 1, end - start > 1)
        for start, end in pairwise(starts)
        for position in range(start, end)
    ]
