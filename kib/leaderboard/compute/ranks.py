"""Ranks within a block of comparable arms; those that do not differ from the best of a rank share it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from kib.statistics.gains import LEVEL

__all__ = ["rank"]

T = TypeVar("T")


def rank(arms: Sequence[tuple[T, float]], p: Callable[[T, T], float]) -> list[tuple[T, int, bool]]:
    """Arms with their accuracies become arms with their ranks and whether these are shared, best first.

    Going down, an arm opens a new rank where it differs from the first arm of the rank above by more than chance:
    `p(worse, better)`, their paired p, times the number of such comparisons (Bonferroni) is below 5 %. So a long row of
    small steps does not make the last as good as the first. Equal accuracies stand in the order given.
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
