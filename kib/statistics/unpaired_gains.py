"""Gains between published accuracies, for which only the number of questions is known, not the individual scores.

Unpaired intervals are usually wider than paired intervals: two arms tend to answer the same questions correctly, but an
unpaired comparison cannot use this correlation.
"""

from collections.abc import Sequence
from math import fsum, sqrt

from kib.statistics.confidence_intervals import wilson_interval
from kib.statistics.gains import LEVEL, Accuracy, Average, Gain, Interval
from kib.statistics.question_groups import rounded

__all__ = ["unpaired_accuracy", "unpaired_average", "unpaired_gain"]

Experiment = tuple[float, float, int]
"""The accuracy of the base, the accuracy of the arm, and the number of questions."""


def unpaired_accuracy(mean: float, n: int) -> Accuracy:
    """Return an accuracy on `n` independent questions, with Wilson's interval."""
    return Accuracy(mean, wilson_interval(mean, n), n, n)


def unpaired_gain(base: tuple[float, int], arm: tuple[float, int]) -> Gain:
    """Compare two accuracies, given their numbers of questions, as if the two arms had answered different questions.

    The interval is Newcombe's interval for a difference (method 10); the p value is from the two-sided score test.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

    (start, base_n), (end, n) = base, arm
    right, asked = (end * n, start * base_n), (n, base_n)
    low, high = confint_proportions_2indep(
        right[0], asked[0], right[1], asked[1], compare="diff", method="newcomb", alpha=LEVEL
    )
    p = 1.0 if start == end else float(proportions_ztest(right, asked)[1])
    return Gain(
        absolute=rounded(end - start),
        relative=rounded((end - start) / start) if start > 0 else None,
        interval=Interval(rounded(low), rounded(high)),
        p=rounded(p),
    )


def unpaired_average(tasks: Sequence[Sequence[Experiment]]) -> Average:
    """Return the mean gains over the experiments of all tasks, with equal weights and normal intervals.

    Experiments on the same task share their questions (0-shot and 5-shot, for example), so the standard errors of these
    experiments are added, as for perfectly correlated gains. The interval of the relative gain uses the delta method.
    """
    pairs = [pair for experiments in tasks for pair in experiments]
    absolute = [arm - base for base, arm, _ in pairs]
    known = all(base > 0 for base, _, _ in pairs)
    relative = [(arm - base) / base for base, arm, _ in pairs] if known else []
    errors = [[_difference_error(*pair) for pair in experiments] for experiments in tasks]
    ratio_errors = [[_ratio_error(*pair) for pair in experiments] for experiments in tasks] if known else []
    return Average(
        tasks=len(pairs),
        absolute=rounded(fsum(absolute) / len(pairs)),
        interval=_normal_interval(absolute, errors),
        relative=rounded(fsum(relative) / len(pairs)) if known else None,
        relative_interval=_normal_interval(relative, ratio_errors) if known else None,
    )


def _difference_error(base: float, arm: float, n: int) -> float:
    """Return the standard error of a difference of two proportions."""
    return sqrt((arm * (1 - arm) + base * (1 - base)) / n)


def _ratio_error(base: float, arm: float, n: int) -> float:
    """Return the standard error of a ratio of two proportions."""
    return sqrt((arm * (1 - arm) + arm**2 * (1 - base) / base) / n) / base


def _normal_interval(values: Sequence[float], errors: Sequence[Sequence[float]]) -> Interval:
    from scipy.stats import norm

    mean = fsum(values) / len(values)
    error = sqrt(fsum(fsum(task) ** 2 for task in errors)) / len(values)
    reach = float(norm.ppf(1 - LEVEL / 2)) * error
    return Interval(rounded(mean - reach), rounded(mean + reach))
