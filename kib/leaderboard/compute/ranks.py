"""Ranks within a block of comparable arms; arms that do not differ significantly share a rank."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from kib.statistics.gains import LEVEL

__all__ = ["rank"]

T = TypeVar("T")


def rank(arms: Sequence[tuple[T, float]], p: Callable[[T, T], float]) -> list[tuple[T, int, bool]]:
    """Return each arm with its rank and a flag for a shared rank, best arm first.

    An arm opens a new rank if it differs significantly from the first arm of the rank above: `p(worse, better)`,
    multiplied by the number of such comparisons (Bonferroni), must be below 5 %. Comparing each arm with the first arm
    of a rank, not with the arm above, prevents a series of small differences from putting the worst arm into the best
    rank. Arms with equal accuracies stay in their original order.
    """
    ordered = [arm for arm, _ in sorted(arms, key=lambda one: -one[1])]
    starts = [0]
    for position in range(1, len(ordered)):
        if p(ordered[position], ordered[starts[-1]]) * (len(ordered) - 1) < LEVEL:
            starts.append(position)
    ends = [*starts[1:], len(ordered)]
    return [
        (ordered[position], start + 1, end - start > 1)
        for start, end in zip(starts, ends, strict=True)
        for position in range(start, end)
    ]
