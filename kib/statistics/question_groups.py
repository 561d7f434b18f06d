"""Question groups, and helper functions that make statistics reproducible to the last digit.

Questions in one group (a document, a person) are not independent, so the statistics treat these questions as one
unit. A question without a group forms a group of its own.
"""

from collections import Counter
from collections.abc import Sequence
from math import fsum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.random import RandomState

__all__ = ["CHUNK", "Groups", "Kinds", "Pair", "Totals", "mean_change", "random_state", "rounded", "totals_by_group"]

SEED = 20231205
CHUNK = 2_000_000
"""The maximum number of random numbers held in memory at once."""

Groups = Sequence[str | None]
"""The group name of each question; None for a question without a group."""

Pair = tuple[Sequence[float], Sequence[float], Groups]
"""The scores of the base, the scores of the arm, and the groups of the questions."""

Totals = tuple[float, ...]
"""The totals of one group: the sum of each score column, followed by the number of questions."""

Kinds = tuple[tuple[Totals, int], ...]
"""The distinct totals of all groups in sorted order, each with the number of groups that have these totals."""


def rounded(value: float) -> float:
    """Return a value rounded to twelve significant digits; processors and BLAS libraries differ in later digits."""
    return float(f"{value:.12g}") + 0.0  # + 0.0 turns -0.0 into 0.0


def random_state() -> "RandomState":
    """Return a new random number generator with kib's fixed seed."""
    # numpy guarantees a stable stream for RandomState (NEP 19); default_rng may change between releases.
    from numpy.random import RandomState

    return RandomState(SEED)


def totals_by_group(groups: Groups, *columns: Sequence[float]) -> Kinds:
    """Return the distinct totals of all groups, so that the order of questions does not affect results."""
    if not groups:
        raise ValueError("there are no questions to average over")
    if any(len(column) != len(groups) for column in columns):
        sizes = [len(column) for column in columns]
        raise ValueError(f"{len(groups)} group names, but {sizes} scores; expected one group name per score")
    alone: Counter[Totals] = Counter()
    members: dict[str, list[Totals]] = {}
    for group, row in zip(groups, zip(*columns, strict=True), strict=True):
        if group is None:
            alone[row] += 1
        else:
            members.setdefault(group, []).append(row)
    found = [(row, 1, count) for row, count in alone.items()]
    found += [(tuple(map(fsum, zip(*rows, strict=True))), len(rows), 1) for rows in members.values()]
    kinds: dict[Totals, int] = {}
    for sums, size, count in found:
        totals = (*(round(value, 9) + 0.0 for value in sums), float(size))
        kinds[totals] = kinds.get(totals, 0) + count
    return tuple(sorted(kinds.items()))


def mean_change(base: Sequence[float], scores: Sequence[float]) -> tuple[float, float | None]:
    """Return the absolute and the relative gain; the relative gain is None if the base accuracy is 0."""
    start, end = fsum(base) / len(base), fsum(scores) / len(scores)
    return rounded(end - start), rounded((end - start) / start) if start > 0 else None
