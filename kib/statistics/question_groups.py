"""Question groups, and helper functions that make statistics reproducible to the last digit.

Questions in one group (a document, a person) are not independent, so the statistics treat these questions as one
unit. A question without a group forms a group of its own.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from math import fsum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from numpy.random import RandomState

__all__ = ["CHUNK", "Groups", "Kinds", "Pair", "Totals", "mean_change", "random_state", "rounded", "totals_by_group"]

T = TypeVar("T", bound=Hashable)

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


def totals_by_group(groups: Groups, rows: Sequence[T], columns: Callable[[T], Totals]) -> Kinds:
    """Return the distinct totals of all groups, so that the order of questions does not affect results.

    `rows` contains one value per question, and `columns` returns the columns of a row, which are computed only once for
    equal rows.
    """
    if not groups:
        raise ValueError("there are no questions to average over")
    if len(rows) != len(groups):
        raise ValueError(f"{len(groups)} group names, but {len(rows)} scores; expected one group name per score")
    numbers, members = _separate(groups, rows)
    values = {row: columns(row) for row in {*numbers, *chain.from_iterable(members)}}
    found = [(values[row], 1, count) for row, count in numbers.items()]
    found += [(tuple(map(fsum, zip(*(values[row] for row in some), strict=True))), len(some), 1) for some in members]
    kinds: dict[Totals, int] = {}
    for sums, size, count in found:
        totals = (*(round(value, 9) + 0.0 for value in sums), float(size))
        kinds[totals] = kinds.get(totals, 0) + count
    return tuple(sorted(kinds.items()))


def _separate(groups: Groups, rows: Sequence[T]) -> tuple[Counter[T], list[list[T]]]:
    """Return the numbers of equal rows without a group, and the rows of each group."""
    if set(groups) == {None}:  # counting without a loop in Python, which would take most of the time of a large table
        return Counter(rows), []
    members: dict[str, list[T]] = {}
    for group, row in zip(groups, rows, strict=True):
        if group is not None:
            members.setdefault(group, []).append(row)
    alone = Counter(row for group, row in zip(groups, rows, strict=True) if group is None)
    return alone, list(members.values())


def mean_change(base: Sequence[float], scores: Sequence[float]) -> tuple[float, float | None]:
    """Return the absolute and the relative gain; the relative gain is None if the base accuracy is 0."""
    start, end = fsum(base) / len(base), fsum(scores) / len(scores)
    return rounded(end - start), rounded((end - start) / start) if start > 0 else None
