"""Accuracies, gains and averages from question scores; the results do not depend on the order of questions.

The statistics follow Miller, arXiv 2411.00640.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import fsum

from kib.statistics.confidence_intervals import (
    FEWEST_SEEDS,
    average_interval,
    interval_p,
    mean_interval,
    ratio_interval,
    widened,
    wilson_interval,
)
from kib.statistics.gains import Accuracy, Average, Gain, Interval
from kib.statistics.paired_test import sign_flip_p
from kib.statistics.question_groups import Groups, Kinds, Pair, mean_change, rounded, totals_by_group

__all__ = ["accuracy", "average", "gain", "p_value"]


def accuracy(scores: Sequence[float], groups: Groups, seed_means: Sequence[float] = ()) -> Accuracy:
    """Return the mean of scores from 0 to 1 with Wilson's interval or, for grouped or partial scores, a t interval.

    `seed_means` are the accuracies of the seeds if the scores are averaged over seeds; see `mean_interval`.
    """
    kinds = _with_squares(scores, groups)
    count = sum(number for _, number in kinds)
    mean = rounded(fsum(scores) / len(scores))
    independent = count == len(scores) and {0, 1}.issuperset(scores)
    interval = wilson_interval(mean, count) if independent else mean_interval(kinds, 0.0, 1.0, seed_means)
    return Accuracy(mean, interval, len(scores), count)


def gain(base: Sequence[float], scores: Sequence[float], groups: Groups, seed_gains: Sequence[float] = ()) -> Gain:
    """Compare two arms question by question; scores range from 0 to 1, and both sequences have equal length.

    `seed_gains` are the gains of the seeds if the scores are averaged over seeds.
    """
    differences = _differences(base, scores)
    kinds = _with_squares(differences, groups)
    absolute, relative = mean_change(base, scores)
    counts = Counter(differences)
    wins, losses = (sum(number for value, number in counts.items() if value * sign > 1e-9) for sign in (1, -1))
    return Gain(
        absolute=absolute,
        relative=relative,
        interval=mean_interval(kinds, -1.0, 1.0, seed_gains),
        p=_p_value(kinds, seed_gains),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
    )


def p_value(base: Sequence[float], scores: Sequence[float], groups: Groups, seed_gains: Sequence[float] = ()) -> float:
    """Return the p value of a gain, without the other numbers; see `gain`."""
    return _p_value(_with_squares(_differences(base, scores), groups), seed_gains)


def _p_value(kinds: Kinds, seed_gains: Sequence[float]) -> float:
    """Return the p value of the sign-flip test.

    If the interval covers seeds, the p value is not smaller than the level at which the interval contains 0, because
    flips of signs do not cover seeds.
    """
    p = sign_flip_p(kinds)
    return interval_p(kinds, seed_gains, smallest=p) if len(seed_gains) >= FEWEST_SEEDS else p


def average(tasks: Sequence[tuple[Pair, Gain]], seed_gains: Sequence[Sequence[float]] = ()) -> Average:
    """Return the mean absolute and the mean relative gain over tasks, with equal task weights.

    `seed_gains` are the gains of the seeds on each task. The gain of a seed is averaged over the tasks before seeds are
    compared, because one training run may affect all tasks in the same way.
    """
    covers_seeds = any(len(some) >= FEWEST_SEEDS for some in seed_gains)
    gains = [replace(one, interval=_question_interval(pair)) if covers_seeds else one for pair, one in tasks]
    relatives = [one.relative for one in gains if one.relative is not None]
    known = len(relatives) == len(gains)
    absolutes = [one.absolute for one in gains]
    found = Average(
        tasks=len(gains),
        absolute=rounded(fsum(absolutes) / len(gains)),
        interval=average_interval(absolutes, [one.interval for one in gains if one.interval]),
        relative=rounded(fsum(relatives) / len(relatives)) if known else None,
        relative_interval=_relative_interval(relatives, [pair for pair, _ in tasks]) if known else None,
    )
    return _over_seeds(found, [pair for pair, _ in tasks], seed_gains) if covers_seeds else found


def _over_seeds(found: Average, pairs: Sequence[Pair], seed_gains: Sequence[Sequence[float]]) -> Average:
    """Return an average whose intervals cover questions, widened by the variance between the seeds' averages."""
    bases = [fsum(base) / len(base) for base, _, _ in pairs]
    by_seed = list(zip(*seed_gains, strict=True))
    absolutes = [fsum(some) / len(some) for some in by_seed]
    interval = found.interval and widened(found.interval, found.absolute, absolutes)
    relative_interval = found.relative_interval
    if relative_interval is not None and found.relative is not None:
        relatives = [fsum(one / base for one, base in zip(some, bases, strict=True)) / len(some) for some in by_seed]
        relative_interval = widened(relative_interval, found.relative, relatives)
    return replace(found, interval=interval, relative_interval=relative_interval)


def _question_interval(pair: Pair) -> Interval:
    """Return the interval of a gain that covers other questions, but no other seeds."""
    base, scores, groups = pair
    return mean_interval(_with_squares(_differences(base, scores), groups), -1.0, 1.0)


def _differences(base: Sequence[float], scores: Sequence[float]) -> list[float]:
    return [score - other for score, other in zip(scores, base, strict=True)]


def _with_squares(values: Sequence[float], groups: Groups) -> Kinds:
    """Return the sum of the values, the sum of their squares and the size of each group."""
    return totals_by_group(groups, values, lambda value: (value, value * value))


def _relative_interval(relatives: Sequence[float], tasks: Sequence[Pair]) -> Interval | None:
    """Return the interval of the mean relative gain, or None if the base accuracy of any task may be 0."""
    ratios = []
    for base, scores, groups in tasks:
        pairs = list(zip(scores, base, strict=True))
        ratio = ratio_interval(totals_by_group(groups, pairs, lambda pair: (*pair, (pair[0] - pair[1]) ** 2)))
        if ratio is None:
            return None
        ratios.append(Interval(ratio.low - 1, ratio.high - 1))
    return average_interval(relatives, ratios)
