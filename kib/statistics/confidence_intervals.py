"""Confidence intervals: Wilson's interval, and bootstrap intervals that resample entire question groups."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import fsum
from typing import TYPE_CHECKING, Any

from kib.statistics.gains import LEVEL, Interval
from kib.statistics.question_groups import CHUNK, Totals, agree, random_state, rounded

if TYPE_CHECKING:
    from numpy.random import RandomState

__all__ = ["average_intervals", "mean_interval", "paired_interval", "wilson_interval"]

RESAMPLES = 10_000

Kinds = tuple[tuple[Totals, int], ...]
"""The distinct totals of all groups in sorted order, each with the number of groups that have these totals."""


def wilson_interval(mean: float, trials: int) -> Interval:
    """Return Wilson's interval for a proportion."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(mean * trials, trials, alpha=LEVEL, method="wilson")
    return Interval(rounded(max(0.0, low)), rounded(min(1.0, high)))


def mean_interval(clusters: Sequence[Totals]) -> Interval:
    """Return the bootstrap percentile interval of the mean score; the columns of `clusters` are score and size."""
    return _mean_interval(_kinds(clusters))


@lru_cache(maxsize=2048)
def _mean_interval(kinds: Kinds) -> Interval:
    """Return the cached interval; arms with equally many questions often have equal totals in a different order."""
    draws = _resample(kinds, random_state())
    return _percentiles(draws[:, 0] / draws[:, 1])


def paired_interval(clusters: Sequence[Totals]) -> Interval:
    """Return the confidence interval of the mean difference; swapping the two sides mirrors the interval exactly.

    If all groups have the same mean difference, resampling shows no variation. The interval then allows for unobserved
    groups with any difference from -1 to 1; the assumed share of such groups is the upper bound of Wilson's interval
    for zero successes.
    """
    if agree(clusters):
        value = fsum(total for total, _ in clusters) / fsum(size for _, size in clusters)
        unseen = wilson_interval(0.0, len(clusters)).high
        return Interval(rounded(value - unseen * (1 + value)), rounded(value + unseen * (1 - value)))
    mirrored: list[Totals] = sorted((-total + 0.0, size) for total, size in clusters)
    swap = mirrored < list(clusters)
    interval = mean_interval(mirrored if swap else clusters)
    if mirrored == list(clusters):  # the data is symmetric around 0, although the random draws need not be
        reach = rounded((interval.high - interval.low) / 2)
        return Interval(-reach, reach)
    return Interval(-interval.high + 0.0, -interval.low + 0.0) if swap else interval


def average_intervals(clustered: Sequence[Sequence[Totals]]) -> tuple[Interval, Interval | None]:
    """Return confidence intervals of the mean absolute and relative gain; each task's columns are base, arm and size.

    Groups are resampled within each task. If, within each task, all groups have the same difference, resampling shows
    no variation; the interval for the absolute gain is then the mean of the tasks' intervals.
    """
    import numpy as np

    if any(len(clusters) == 1 for clusters in clustered):
        return Interval(-1.0, 1.0), None
    differences = [[(arm - base, size) for base, arm, size in clusters] for clusters in clustered]
    if all(agree(clusters) for clusters in differences):
        parts = [paired_interval(clusters) for clusters in differences]
        low, high = (fsum(ends) / len(parts) for ends in zip(*((part.low, part.high) for part in parts), strict=True))
        return Interval(rounded(low), rounded(high)), None
    state = random_state()
    draws = [_resample(_kinds(clusters), state).T for clusters in clustered]
    absolute = _percentiles(np.mean([(arm - base) / size for base, arm, size in draws], axis=0))
    if any((base <= 0).any() for base, _, _ in draws):
        return absolute, None
    return absolute, _percentiles(np.mean([(arm - base) / base for base, arm, _ in draws], axis=0))


def _kinds(clusters: Sequence[Totals]) -> Kinds:
    return tuple(sorted(Counter(clusters).items()))


def _resample(kinds: Kinds, state: "RandomState") -> Any:
    """Resample groups with replacement; return an array (RESAMPLES, columns) of column totals.

    Groups with equal totals are drawn together, from a multinomial distribution over the distinct totals. The result
    has the same distribution as drawing group by group, but is computed faster and does not depend on the order of
    groups.
    """
    import numpy as np

    values = np.array([totals for totals, _ in kinds])
    counts = [count for _, count in kinds]
    shares = np.array(counts) / sum(counts)
    chunk = max(1, CHUNK // len(shares))
    parts = [
        state.multinomial(sum(counts), shares, size=min(chunk, RESAMPLES - start)) @ values
        for start in range(0, RESAMPLES, chunk)
    ]
    return np.concatenate(parts)


def _percentiles(values: Any) -> Interval:
    import numpy as np

    low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(rounded(low), rounded(high))
