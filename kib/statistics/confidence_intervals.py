"""Confidence intervals in closed form: Wilson's interval, and t intervals that treat a question group as one unit.

The t intervals combine three published methods: the variance CR2 and the degrees of freedom of Bell & McCaffrey (2002)
for groups of unequal size, and the two added observations of Bonett & Price (2012), which keep an interval honest if
few questions differ. Intervals of averages combine the intervals of the tasks (Zou & Donner 2008).
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import fsum, sqrt
from typing import NamedTuple

from kib.statistics.gains import LEVEL, Interval
from kib.statistics.question_groups import Kinds, rounded

__all__ = ["average_interval", "difference_interval", "mean_interval", "ratio_interval", "wilson_interval"]

LEAST_CORRELATION = 0.1
"""The correlation that is assumed between questions of a group if the observed correlation is smaller.

A correlation cannot be estimated well if few questions differ, and not at all if no questions differ.
"""


class _Groups(NamedTuple):
    """The number of questions, and the share of all questions and number of groups for each kind of group."""

    questions: float
    shares: tuple[tuple[float, int], ...]


def wilson_interval(mean: float, trials: int) -> Interval:
    """Return Wilson's interval for a proportion."""
    squared = _normal_quantile() ** 2
    centre = (mean + squared / (2 * trials)) / (1 + squared / trials)
    reach = sqrt(squared * (mean * (1 - mean) / trials + squared / (4 * trials**2))) / (1 + squared / trials)
    return Interval(rounded(max(0.0, centre - reach)), rounded(min(1.0, centre + reach)))


def mean_interval(kinds: Kinds, lowest: float, highest: float) -> Interval:
    """Return the interval of the mean of values from `lowest` to `highest`.

    The columns of `kinds` are the sum of the values, the sum of their squares and the size. If `lowest` is `-highest`,
    changing the sign of all values mirrors the interval exactly. A single group yields the entire range.
    """
    groups = _groups(kinds)
    if _count(groups) == 1:
        return Interval(lowest, highest)
    weight = _added_questions(kinds, groups)
    size = groups.questions + 2 * weight
    centre = (fsum(count * totals[0] for totals, count in kinds) + weight * (lowest + highest)) / size
    residuals = [totals[0] - centre * totals[-1] for totals, _ in kinds]
    added = weight**2 * ((highest - centre) ** 2 + (lowest - centre) ** 2)
    reach = _t_quantile(_freedom(groups)) * sqrt(_covariance(groups, residuals, residuals) + added) / size
    return Interval(rounded(max(lowest, centre - reach)), rounded(min(highest, centre + reach)))


def ratio_interval(kinds: Kinds) -> Interval | None:
    """Return Fieller's interval of the ratio of two accuracies, or None if the divisor may be 0.

    The columns of `kinds` are the score sums of the dividend and of the divisor, the sum of the squared differences
    and the size. The added questions are questions that only one of the two arms answers correctly.
    """
    groups = _groups(kinds)
    if _count(groups) == 1:
        return None
    differences = tuple(((arm - base, squares, size), count) for (arm, base, squares, size), count in kinds)
    weight = _added_questions(differences, groups)
    size = groups.questions + 2 * weight
    arm, base = ((fsum(count * totals[at] for totals, count in kinds) + weight) / size for at in (0, 1))
    arms = [totals[0] - arm * totals[-1] for totals, _ in kinds]
    bases = [totals[1] - base * totals[-1] for totals, _ in kinds]
    quantile = _t_quantile(_freedom(groups)) / size
    of_arm = quantile**2 * (_covariance(groups, arms, arms) + weight**2 * (arm**2 + (1 - arm) ** 2))
    of_base = quantile**2 * (_covariance(groups, bases, bases) + weight**2 * (base**2 + (1 - base) ** 2))
    of_both = quantile**2 * (_covariance(groups, arms, bases) - weight**2 * (arm * (1 - base) + base * (1 - arm)))
    scale = base**2 - of_base
    if scale <= 0:
        return None
    middle = arm * base - of_both
    reach = sqrt(max(0.0, middle**2 - scale * (arm**2 - of_arm)))
    return Interval(rounded((middle - reach) / scale), rounded((middle + reach) / scale))


def average_interval(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Return the interval of the mean of independent estimates, given the interval of each estimate."""
    mean = fsum(values) / len(values)
    below = sqrt(fsum(max(0.0, value - one.low) ** 2 for value, one in zip(values, intervals, strict=True)))
    above = sqrt(fsum(max(0.0, one.high - value) ** 2 for value, one in zip(values, intervals, strict=True)))
    return Interval(rounded(mean - below / len(values)), rounded(mean + above / len(values)))


def difference_interval(before: tuple[float, Interval], after: tuple[float, Interval]) -> Interval:
    """Return the interval of the difference between two independent estimates, given the interval of each estimate.

    For two Wilson intervals, the result is Newcombe's interval (method 10); Zou & Donner (2008) extend the method to
    other intervals.
    """
    (start, one), (end, other) = before, after
    below = sqrt((end - other.low) ** 2 + (one.high - start) ** 2)
    above = sqrt((other.high - end) ** 2 + (start - one.low) ** 2)
    return Interval(rounded(end - start - below), rounded(end - start + above))


def _groups(kinds: Kinds) -> _Groups:
    questions = fsum(count * totals[-1] for totals, count in kinds)
    return _Groups(questions, tuple((totals[-1] / questions, count) for totals, count in kinds))


def _count(groups: _Groups) -> int:
    return sum(count for _, count in groups.shares)


def _covariance(groups: _Groups, ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Return the covariance CR2 of two totals, given the residuals of the groups."""
    return fsum(
        count * one * other / (1 - share)
        for one, other, (share, count) in zip(ours, theirs, groups.shares, strict=True)
    )


def _freedom(groups: _Groups) -> float:
    """Return the degrees of freedom of Bell & McCaffrey; for n groups of equal size, this number is n - 1."""
    leverages = [(share**2 / (1 - share), count) for share, count in groups.shares]
    squares = fsum(count * share**2 for share, count in groups.shares)
    total = fsum(count * one for one, count in leverages)
    return 1 / (squares + total**2 - fsum(count * one**2 for one, count in leverages))


def _added_questions(kinds: Kinds, groups: _Groups) -> float:
    """Return how many questions with the lowest and with the highest value are added: the estimated design effect.

    The design effect is the variance of the mean divided by the variance for independent questions. The design effect
    is 1 for independent questions, and the mean group size if all questions of a group have the same value. The columns
    of `kinds` are the sum of the values, the sum of their squares and the size.
    """
    number = groups.questions
    mean = fsum(count * totals[0] for totals, count in kinds) / number
    residuals = [totals[0] - mean * totals[-1] for totals, _ in kinds]
    squares = fsum(count * totals[1] for totals, count in kinds) - number * mean**2
    independent = squares * number / (number - 1)
    effect = _covariance(groups, residuals, residuals) / independent if independent > 1e-9 else 0.0
    size = number * fsum(count * share**2 for share, count in groups.shares)
    return min(max(effect, 1 + LEAST_CORRELATION * (size - 1)), size)


@lru_cache(maxsize=1024)
def _t_quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - LEVEL / 2))


@lru_cache(maxsize=1)
def _normal_quantile() -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(1 - LEVEL / 2)
