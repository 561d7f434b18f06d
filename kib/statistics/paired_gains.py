"""Accuracies, gains and averages from question scores; the results do not depend on the order of questions.

The statistics follow Miller, arXiv 2411.00640.
"""

from collections.abc import Sequence
from math import fsum

from kib.statistics.confidence_intervals import average_intervals, mean_interval, paired_interval, wilson_interval
from kib.statistics.gains import Accuracy, Average, Gain
from kib.statistics.paired_test import sign_flip_p
from kib.statistics.question_groups import Groups, Pair, agree, mean_change, rounded, totals_by_group

__all__ = ["accuracy", "average", "gain"]


def accuracy(scores: Sequence[float], groups: Groups) -> Accuracy:
    """Return the mean of scores from 0 to 1 with Wilson's interval or, for grouped scores, a bootstrap interval.

    If every group has the same mean, resampling shows no variation: Wilson's interval then counts each group as one
    trial.
    """
    clusters = totals_by_group(groups, scores)
    mean = rounded(fsum(scores) / len(scores))
    independent = len(clusters) == len(scores) and all(score in (0, 1) for score in scores)
    use_wilson = independent or agree(clusters)
    interval = wilson_interval(mean, len(clusters)) if use_wilson else mean_interval(clusters)
    return Accuracy(mean, interval, len(scores), len(clusters))


def gain(base: Sequence[float], scores: Sequence[float], groups: Groups) -> Gain:
    """Compare two arms question by question; scores range from 0 to 1, and both sequences have equal length."""
    differences = [score - other for score, other in zip(scores, base, strict=True)]
    clusters = totals_by_group(groups, differences)
    absolute, relative = mean_change(base, scores)
    wins, losses = (sum(1 for value in differences if value * sign > 1e-9) for sign in (1, -1))
    return Gain(
        absolute=absolute,
        relative=relative,
        interval=paired_interval(clusters),
        p=sign_flip_p([total for total, _ in clusters]),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
    )


def average(tasks: Sequence[Pair]) -> Average:
    """Return the mean absolute and the mean relative gain over tasks, with equal task weights."""
    changes = [mean_change(base, scores) for base, scores, _ in tasks]
    relatives = [relative for _, relative in changes if relative is not None]
    clustered = [totals_by_group(groups, base, scores) for base, scores, groups in tasks]
    interval, relative_interval = average_intervals(clustered)
    known = len(relatives) == len(changes)
    return Average(
        tasks=len(changes),
        absolute=rounded(fsum(absolute for absolute, _ in changes) / len(changes)),
        interval=interval,
        relative=rounded(fsum(relatives) / len(relatives)) if known else None,
        relative_interval=relative_interval if known else None,
    )
