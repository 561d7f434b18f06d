"""Confidence intervals in closed form: Wilson's interval, and t intervals that treat a question group as one unit.

The t intervals combine three published methods: the variance CR2 and the degrees of freedom of Bell & McCaffrey (2002)
for groups of unequal size, and the two added observations of Bonett & Price (2012), which keep an interval honest if
few questions differ. Intervals of averages combine the intervals of the tasks (Zou & Donner 2008). Intervals of
corrected means are prediction-powered (Angelopoulos et al. 2023).

Seeds and questions are crossed random effects: every seed answers every question. The variance between the means of the
seeds is estimated from few seeds, so it has a t quantile of its own, and the two parts of an interval are combined as
for independent estimates (Zou & Donner 2008). Both parts contain the variance of seeds within questions, as in the
pigeonhole bootstrap of Owen (2007), so the intervals are rather too wide than too narrow.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import exp, fsum, hypot, log, sqrt
from typing import NamedTuple

from kib.statistics.gains import LEVEL, Interval
from kib.statistics.question_groups import Kinds, rounded

__all__ = [
    "FEWEST_SEEDS",
    "average_interval",
    "corrected_interval",
    "difference_interval",
    "interval_p",
    "kappa_interval",
    "mean_interval",
    "ratio_interval",
    "widened",
    "wilson_interval",
]

FEWEST_SEEDS = 3
"""The smallest number of seeds for which intervals cover seeds; two seeds say too little about other seeds."""

LOWEST_P = 1e-300
"""The smallest p value that `interval_p` returns."""

LEAST_CORRELATION = 0.1
"""The correlation that is assumed between questions of a group if the observed correlation is smaller.

A correlation cannot be estimated well if few questions differ, and not at all if no questions differ.
"""


class _Groups(NamedTuple):
    """The number of questions, and the share of all questions and number of groups for each kind of group."""

    questions: float
    shares: tuple[tuple[float, int], ...]


class _Sample(NamedTuple):
    """A sample with two added questions: its size and mean, the residuals of its groups, and the added variance."""

    groups: _Groups
    size: float
    centre: float
    residuals: list[float]
    added: float


def wilson_interval(mean: float, trials: int) -> Interval:
    """Return Wilson's interval for a proportion."""
    squared = _normal_quantile() ** 2
    centre = (mean + squared / (2 * trials)) / (1 + squared / trials)
    reach = sqrt(squared * (mean * (1 - mean) / trials + squared / (4 * trials**2))) / (1 + squared / trials)
    return Interval(rounded(max(0.0, centre - reach)), rounded(min(1.0, centre + reach)))


def mean_interval(kinds: Kinds, lowest: float, highest: float, seed_means: Sequence[float] = ()) -> Interval:
    """Return the interval of the mean of values from `lowest` to `highest`.

    The columns of `kinds` are the sum of the values, the sum of their squares and the size. If `lowest` is `-highest`,
    changing the sign of all values mirrors the interval exactly. A single group yields the entire range.

    `seed_means` are the means of the seeds if the values are averaged over seeds. With FEWEST_SEEDS or more seeds, the
    interval covers other seeds as well as other questions; with equal means, this is the interval for questions alone.
    """
    if _count(_groups(kinds)) == 1:
        return Interval(lowest, highest)
    centre, error, freedom = _estimate(kinds, lowest, highest)
    reach = hypot(_t_quantile(freedom) * error, _seed_reach(seed_means))
    return Interval(rounded(max(lowest, centre - reach)), rounded(min(highest, centre + reach)))


def interval_p(kinds: Kinds, seed_means: Sequence[float], smallest: float = LOWEST_P) -> float:
    """Return the largest level at which the interval of `mean_interval` for values from -1 to 1 contains 0.

    The result is therefore below LEVEL exactly if the interval excludes 0. A result below `smallest` is replaced by
    `smallest`.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    if _count(_groups(kinds)) == 1:
        return 1.0
    centre, error, freedom = _estimate(kinds, -1.0, 1.0)
    seed_error, seed_freedom = _seed_error(seed_means), len(seed_means) - 1

    def excess(logarithm: float) -> float:
        """Return a number from -1 to 1 with the sign of the interval's reach minus the distance of its centre to 0."""
        half = exp(logarithm) / 2  # the lower tail, because 1 - half would lose the digits of small levels
        seeds = stdtrit(seed_freedom, half) * seed_error if seed_error else 0.0
        total = hypot(stdtrit(freedom, half) * error, seeds) + abs(centre)
        return float(1 - 2 * abs(centre) / total) if total else 0.0

    lowest = log(max(smallest, LOWEST_P))
    if lowest >= 0 or excess(lowest) <= 0:
        return smallest
    return rounded(exp(brentq(excess, lowest, 0.0, xtol=1e-15, rtol=1e-15)))


def widened(interval: Interval, mean: float, seed_means: Sequence[float]) -> Interval:
    """Return the interval of a mean, widened to cover other seeds; `interval` covers questions alone."""
    reach = _seed_reach(seed_means)
    below, above = hypot(mean - interval.low, reach), hypot(interval.high - mean, reach)
    return Interval(rounded(mean - below), rounded(mean + above)) if reach else interval


def _seed_reach(means: Sequence[float]) -> float:
    error = _seed_error(means)
    return _t_quantile(len(means) - 1) * error if error else 0.0


def _seed_error(means: Sequence[float]) -> float:
    """Return the standard error of the mean over seeds, or 0 for fewer than FEWEST_SEEDS seeds."""
    count = len(means)
    if count < FEWEST_SEEDS:
        return 0.0
    mean = fsum(means) / count
    variance = fsum((one - mean) ** 2 for one in means) / (count - 1)
    return sqrt(variance / count) if variance > 1e-18 else 0.0  # equal means may differ in their last digits


@lru_cache(maxsize=64)  # the interval and the p value of a gain need the same estimate
def _estimate(kinds: Kinds, lowest: float, highest: float) -> tuple[float, float, float]:
    """Return the centre of an interval, and the standard error with its degrees of freedom."""
    groups, size, centre, residuals, added = _sample(kinds, lowest, highest)
    return centre, sqrt(_covariance(groups, residuals, residuals) + added) / size, _freedom(groups)


def corrected_interval(kinds: Kinds, lowest: float, highest: float) -> Interval:
    """Return the prediction-powered interval of a mean of values from `lowest` to `highest`; some are labelled.

    The estimate is the mean of the automatic values of all questions plus the mean correction of the labelled
    questions. The columns of `kinds` are the sums of the automatic values and of their squares, the sums of the
    corrections and of their squares, the number of labelled questions and the size. Corrections of different questions
    in a group are correlated with each other and with the automatic values of the group. At least two groups must be
    labelled.
    """
    values = _sample(tuple(((one[0], one[1], one[5]), count) for one, count in kinds), lowest, highest)
    corrections = _sample(tuple((one[2:5], count) for one, count in kinds), -1.0, 1.0)
    variance = fsum([values.added / values.size**2, corrections.added / corrections.size**2])
    for (share, count), (labelled, _), value, correction in zip(
        values.groups.shares, corrections.groups.shares, values.residuals, corrections.residuals, strict=True
    ):
        of_value = value / values.size / sqrt(1 - share)
        of_correction = correction / corrections.size / sqrt(1 - labelled)
        variance += count * (of_value + of_correction) ** 2
    freedom = min(_freedom(values.groups), _freedom(corrections.groups))
    centre, reach = values.centre + corrections.centre, _t_quantile(freedom) * sqrt(variance)
    return Interval(
        rounded(min(highest, max(lowest, centre - reach))), rounded(max(lowest, min(highest, centre + reach)))
    )


def kappa_interval(kinds: Kinds) -> Interval:
    """Return the interval of Cohen's kappa for two raters, who judged the outputs of at least two groups.

    The columns of `kinds` are the numbers of outputs that both raters call right, that only the first, only the second
    and neither rater calls right, and the size. The interval is linearised (delta method); the two added outputs are
    spread over the four outcomes.
    """
    groups = _groups(kinds)
    disagreements = tuple(((one[1] + one[2], one[1] + one[2], one[4]), count) for one, count in kinds)
    weight = _added_questions(disagreements, groups) / 2
    size = groups.questions + 4 * weight
    shares = [(fsum(count * one[at] for one, count in kinds) + weight) / size for at in range(4)]
    first, second = shares[0] + shares[1], shares[0] + shares[2]
    agreed, expected = shares[0] + shares[3], first * second + (1 - first) * (1 - second)
    slopes = [
        (
            ((one == other) - agreed) * (1 - expected)
            - (1 - agreed) * ((2 * second - 1) * (one - first) + (2 * first - 1) * (other - second))
        )
        / (1 - expected) ** 2
        for one, other in ((1, 1), (1, 0), (0, 1), (0, 0))
    ]
    residuals = [fsum(slope * number for slope, number in zip(slopes, one, strict=False)) for one, _ in kinds]
    added = weight**2 * fsum(slope**2 for slope in slopes)
    kappa = (agreed - expected) / (1 - expected)
    reach = _t_quantile(_freedom(groups)) * sqrt(_covariance(groups, residuals, residuals) + added) / size
    return Interval(rounded(max(-1.0, kappa - reach)), rounded(min(1.0, kappa + reach)))


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


def _sample(kinds: Kinds, lowest: float, highest: float) -> _Sample:
    """Add a question with the lowest and one with the highest value; see `mean_interval` for the columns of `kinds`."""
    groups = _groups(kinds)
    weight = _added_questions(kinds, groups)
    size = groups.questions + 2 * weight
    centre = (fsum(count * totals[0] for totals, count in kinds) + weight * (lowest + highest)) / size
    residuals = [totals[0] - centre * totals[-1] for totals, _ in kinds]
    added = weight**2 * ((highest - centre) ** 2 + (lowest - centre) ** 2)
    return _Sample(groups, size, centre, residuals, added)


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
