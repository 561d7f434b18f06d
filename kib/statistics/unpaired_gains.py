"""Gains between published accuracies, for which only the number of questions is known, not the individual scores.

Unpaired intervals are usually wider than paired intervals: two arms tend to answer the same questions correctly, but an
unpaired comparison cannot use this correlation.
"""

from collections.abc import Sequence
from math import fsum, hypot, sqrt

from kib.statistics.confidence_intervals import wilson_interval
from kib.statistics.gains import LEVEL, Accuracy, Average, Gain, Interval
from kib.statistics.question_groups import rounded

__all__ = [
    "Estimate",
    "Experiment",
    "graded_accuracy",
    "graded_gain",
    "unpaired_accuracy",
    "unpaired_average",
    "unpaired_gain",
]

Estimate = tuple[float, float | None]
"""An accuracy and its standard error; the standard error of graded scores is None if the paper does not state it."""

Experiment = tuple[Estimate, Estimate]
"""The accuracies of the base and of the arm."""


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


def graded_accuracy(estimate: Estimate, n: int) -> Accuracy:
    """Return the mean of `n` graded scores, with a normal interval if its standard error is known."""
    mean, error = estimate
    ends = None if error is None else _normal_interval(mean, error)
    return Accuracy(mean, ends and Interval(max(0.0, ends.low), min(1.0, ends.high)), n, n)


def graded_gain(base: Estimate, arm: Estimate) -> Gain:
    """Compare two means of graded scores with a normal interval and a z test, if both standard errors are known."""
    from scipy.stats import norm

    error = _difference_error(base, arm)
    change = rounded(arm[0] - base[0])
    ends = None if error is None else _normal_interval(change, error)
    p = None if error is None else rounded(2 * float(norm.sf(abs(change) / error))) if error else float(change == 0)
    return Gain(change, rounded(change / base[0]) if base[0] > 0 else None, ends, p)


def unpaired_average(tasks: Sequence[Sequence[Experiment]]) -> Average:
    """Return the mean gains over the experiments of all tasks, with equal weights and normal intervals.

    Experiments on the same task share their questions (0-shot and 5-shot, for example), so the standard errors of these
    experiments are added, as for perfectly correlated gains. The interval of the relative gain uses the delta method.
    There are no intervals if any standard error is unknown.
    """
    pairs = [pair for experiments in tasks for pair in experiments]
    absolute = fsum(arm - base for (base, _), (arm, _) in pairs) / len(pairs)
    known = all(base > 0 for (base, _), _ in pairs)
    relative = fsum((arm - base) / base for (base, _), (arm, _) in pairs) / len(pairs) if known else None
    error = _mean_error([[_difference_error(*pair) for pair in experiments] for experiments in tasks])
    ratio_error = _mean_error([[_ratio_error(*pair) for pair in experiments] for experiments in tasks] if known else [])
    return Average(
        tasks=len(pairs),
        absolute=rounded(absolute),
        interval=None if error is None else _normal_interval(absolute, error),
        relative=None if relative is None else rounded(relative),
        relative_interval=None if relative is None or ratio_error is None else _normal_interval(relative, ratio_error),
    )


def _difference_error(base: Estimate, arm: Estimate) -> float | None:
    """Return the standard error of a difference, or None if either standard error is unknown."""
    return None if base[1] is None or arm[1] is None else hypot(arm[1], base[1])


def _ratio_error(base: Estimate, arm: Estimate) -> float | None:
    """Return the standard error of a ratio by the delta method, or None if either standard error is unknown."""
    return None if base[1] is None or arm[1] is None else hypot(arm[1], arm[0] / base[0] * base[1]) / base[0]


def _mean_error(tasks: Sequence[Sequence[float | None]]) -> float | None:
    """Return the standard error of a mean over experiments, or None if any standard error is unknown."""
    errors = [[error for error in task if error is not None] for task in tasks]
    count = sum(map(len, tasks))
    if not count or count != sum(map(len, errors)):
        return None
    return sqrt(fsum(fsum(task) ** 2 for task in errors)) / count


def _normal_interval(mean: float, error: float) -> Interval:
    from scipy.stats import norm

    reach = float(norm.ppf(1 - LEVEL / 2)) * error
    return Interval(rounded(mean - reach), rounded(mean + reach))
