"""Accuracies, gains and averages from question scores; the results do not depend on the order of questions.

The statistics follow Miller, arXiv 2411.00640.
"""

from collections import Counter
from collections.abc import Sequence
from math import fsum

from kib.statistics.confidence_intervals import average_interval, mean_interval, ratio_interval, wilson_interval
from kib.statistics.gains import Accuracy, Average, Gain, Interval
from kib.statistics.paired_test import sign_flip_p
from kib.statistics.question_groups import Groups, Kinds, Pair, mean_change, rounded, totals_by_group

__all__ = ["accuracy", "average", "gain"]


def accuracy(scores: Sequence[float], groups: Groups) -> Accuracy:
    """Return the mean of scores from 0 to 1 with Wilson's interval or, for grouped or partial scores, a t interval."""
    kinds = _with_squares(scores, groups)
    count = sum(number for _, number in kinds)
    mean = rounded(fsum(scores) / len(scores))
    independent = count == len(scores) and {0, 1}.issuperset(scores)
    interval = wilson_interval(mean, count) if independent else mean_interval(kinds, 0.0, 1.0)
    return Accuracy(mean, interval, len(scores), count)


def gain(base: Sequence[float], scores: Sequence[float], groups: Groups) -> Gain:
    """Compare two arms question by question; scores range from 0 to 1, and both sequences have equal length."""
    differences = [score - other for score, other in zip(scores, base, strict=True)]
    kinds = _with_squares(differences, groups)
    absolute, relative = mean_change(base, scores)
    counts = Counter(differences)
    wins, losses = (sum(number for value, number in counts.items() if value * sign > 1e-9) for sign in (1, -1))
    return Gain(
        absolute=absolute,
        relative=relative,
        interval=mean_interval(kinds, -1.0, 1.0),
        p=sign_flip_p(kinds),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
    )


def average(tasks: Sequence[tuple[Pair, Gain]]) -> Average:
    """Return the mean absolute and the mean relative gain over tasks, with equal task weights."""
    gains = [found for _, found in tasks]
    relatives = [one.relative for one in gains if one.relative is not None]
    known = len(relatives) == len(gains)
    absolutes = [one.absolute for one in gains]
    return Average(
        tasks=len(gains),
        absolute=rounded(fsum(absolutes) / len(gains)),
        interval=average_interval(absolutes, [one.interval for one in gains if one.interval]),
        relative=rounded(fsum(relatives) / len(relatives)) if known else None,
        relative_interval=_relative_interval(relatives, [pair for pair, _ in tasks]) if known else None,
    )


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
