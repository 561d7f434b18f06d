"""Scores become accuracy, gain, interval, p, ties. Pure: the same scores give the same bytes, in whatever order.

Questions of one group (a document, a person) are not independent: they are resampled and flipped together; a question
without a group is a group of its own. Statistics after Miller, arXiv 2411.00640; relative gain: Eq. 5 of 2312.05934.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.random import RandomState

__all__ = [
    "LEVEL",
    "REVISION",
    "Accuracy",
    "Average",
    "Gain",
    "Interval",
    "accuracy",
    "average",
    "gain",
    "holm",
    "p_value",
    "unpaired_accuracy",
    "unpaired_average",
    "unpaired_gain",
]

REVISION = 2
"""Raised when the same scores give other statistics: stored ones are then computed again."""

LEVEL = 0.05
"""Intervals cover 95 %; p below this is "more than chance"."""

RESAMPLES = 10_000
FLIPS = 20_000
SEED = 20231205
CHUNK = 2_000_000  # numbers held at once while resampling

Groups = Sequence[str | None]
Pair = tuple[Sequence[float], Sequence[float], Groups]
"""Scores of the base, scores of an arm, groups; question by question."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval, in the unit of what it belongs to."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean score of `n` questions in `groups` groups, a fraction with its interval."""

    mean: float
    interval: Interval
    n: int
    groups: int


@dataclass(frozen=True, slots=True)
class Gain:
    """What an arm scores above a base on the same questions.

    `absolute` and its interval are differences of fractions (.69 is 69 points); `relative` is Eq. 5, None over a base
    of 0; wins, ties and losses count questions, and are None where the answers are not known question by question:
    interval and p then come from the numbers of questions alone.
    """

    absolute: float
    relative: float | None
    interval: Interval
    p: float
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None

    @property
    def paired(self) -> bool:
        """Whether the two sides were compared question by question."""
        return self.wins is not None


@dataclass(frozen=True, slots=True)
class Average:
    """Mean gains over tasks, each task with the same weight; `relative` is the bar of the paper's Figure 2.

    `relative` is None where one task's is; its interval is None where a resampled base can be 0.
    """

    tasks: int
    absolute: float
    interval: Interval
    relative: float | None
    relative_interval: Interval | None


def accuracy(scores: Sequence[float], groups: Groups) -> Accuracy:
    """Mean of scores in 0..1: Wilson's interval for independent 0/1 scores, else a bootstrap over groups.

    Where every group has the same mean there is nothing to resample: Wilson's interval with a trial a group.
    """
    clusters = _clusters(groups, scores)
    mean = _steady(fsum(scores) / len(scores))
    independent = len(clusters) == len(scores) and all(score in (0, 1) for score in scores)
    if independent or _unanimous(clusters):
        interval = _wilson(mean, len(clusters))
    else:
        draws = _resample(clusters, _state())
        interval = _interval(draws[:, 0] / draws[:, 1])
    return Accuracy(mean, interval, len(scores), len(clusters))


def gain(base: Sequence[float], scores: Sequence[float], groups: Groups) -> Gain:
    """Compare two sides question by question (scores in 0..1, equal lengths): paired bootstrap and exact p, by group.

    p is two-sided, from all sign flips of the groups' differences; where each question is its own group and scores are
    0/1 this is the exact McNemar test. Where all groups differ by the same there is nothing to resample: the interval
    allows for groups not asked, as many as Wilson's for none of so many, that differ by anything from -1 to 1.
    """
    differences = [score - other for score, other in zip(scores, base, strict=True)]
    clusters = _clusters(groups, differences)
    absolute, relative = _change(base, scores)
    wins, losses = (sum(1 for value in differences if value * sign > 1e-9) for sign in (1, -1))
    return Gain(
        absolute=absolute,
        relative=relative,
        interval=_paired_interval(clusters),
        p=_sign_flip([total for total, _ in clusters]),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
    )


def p_value(base: Sequence[float], scores: Sequence[float], groups: Groups) -> float:
    """The p of `gain` alone."""
    differences = [score - other for score, other in zip(scores, base, strict=True)]
    return _sign_flip([total for total, _ in _clusters(groups, differences)])


def average(tasks: Sequence[Pair]) -> Average:
    """Mean of the tasks' relative gains beside the mean of their absolute ones; resampled within each task."""
    changes = [_change(base, scores) for base, scores, _ in tasks]
    relatives = [relative for _, relative in changes if relative is not None]
    clustered = [_clusters(groups, base, scores) for base, scores, groups in tasks]
    interval, relative_interval = _average_intervals(clustered)
    known = len(relatives) == len(changes)
    return Average(
        tasks=len(changes),
        absolute=_steady(fsum(absolute for absolute, _ in changes) / len(changes)),
        interval=interval,
        relative=_steady(fsum(relatives) / len(relatives)) if known else None,
        relative_interval=relative_interval if known else None,
    )


def unpaired_accuracy(mean: float, n: int) -> Accuracy:
    """An accuracy of which no more is known than the number of questions: Wilson's interval."""
    return Accuracy(mean, _wilson(mean, n), n, n)


def unpaired_gain(base: tuple[float, int], arm: tuple[float, int]) -> Gain:
    """Compare two accuracies, each with its number of questions, as if other questions had been asked of each side.

    Newcombe's interval of a difference (his method 10) and the two-sided score test. On the same questions both are
    wider than paired ones would be wherever the two sides tend to be right on the same questions.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

    (start, base_n), (end, n) = base, arm
    right, asked = (end * n, start * base_n), (n, base_n)
    low, high = confint_proportions_2indep(
        right[0], asked[0], right[1], asked[1], compare="diff", method="newcomb", alpha=LEVEL
    )
    p = 1.0 if start == end else float(proportions_ztest(right, asked)[1])
    return Gain(
        absolute=_steady(end - start),
        relative=_steady((end - start) / start) if start > 0 else None,
        interval=Interval(_steady(low), _steady(high)),
        p=_steady(p),
    )


def unpaired_average(tasks: Sequence[Sequence[tuple[float, float, int]]]) -> Average:
    """Mean gains over experiments given as (base, arm, number of questions), each with the same weight.

    Experiments of one item of `tasks` share their questions, as two numbers of shots do: their errors are added up as
    if they were one. Normal intervals; the relative gain's by the delta method.
    """
    pairs = [pair for some in tasks for pair in some]
    absolute = [arm - base for base, arm, _ in pairs]
    known = all(base > 0 for base, _, _ in pairs)
    relative = [(arm - base) / base for base, arm, _ in pairs] if known else []
    return Average(
        tasks=len(pairs),
        absolute=_steady(fsum(absolute) / len(pairs)),
        interval=_normal(absolute, [[_error(*pair) for pair in some] for some in tasks]),
        relative=_steady(fsum(relative) / len(pairs)) if known else None,
        relative_interval=(
            _normal(relative, [[_relative_error(*pair) for pair in some] for some in tasks]) if known else None
        ),
    )


def _error(base: float, arm: float, n: int) -> float:
    """Standard error of a difference of two proportions."""
    return sqrt((arm * (1 - arm) + base * (1 - base)) / n)


def _relative_error(base: float, arm: float, n: int) -> float:
    """Standard error of their ratio."""
    return sqrt((arm * (1 - arm) + arm**2 * (1 - base) / base) / n) / base


def _normal(values: Sequence[float], errors: Sequence[Sequence[float]]) -> Interval:
    from scipy.stats import norm

    mean = fsum(values) / len(values)
    reach = float(norm.ppf(1 - LEVEL / 2)) * sqrt(fsum(fsum(some) ** 2 for some in errors)) / len(values)
    return Interval(_steady(mean - reach), _steady(mean + reach))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted = [1.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = _steady(highest)
    return adjusted


def _steady(value: float) -> float:
    """Twelve digits: what machines and BLAS libraries may disagree on lies beyond them."""
    return float(f"{value:.12g}") + 0.0  # + 0.0 makes -0.0 a 0.0


def _state() -> "RandomState":
    # numpy promises RandomState's numbers for ever (NEP 19); those of default_rng may change with a release.
    from numpy.random import RandomState

    return RandomState(SEED)


def _clusters(groups: Groups, *columns: Sequence[float]) -> list[tuple[float, ...]]:
    """For each group the sum of each column and, last, the number of its questions; sorted."""
    if not groups:
        raise ValueError("no questions: there is nothing to average")
    members: dict[str, list[int]] = {}
    alone: list[list[int]] = []
    for index, group in enumerate(groups):
        if group is None:
            alone.append([index])
        else:
            members.setdefault(group, []).append(index)
    if any(len(column) != len(groups) for column in columns):
        raise ValueError(f"{len(groups)} groups for columns of {[len(column) for column in columns]} scores")
    parts = [*alone, *members.values()]
    return sorted(
        (*(round(fsum(column[index] for index in part), 9) + 0.0 for column in columns), float(len(part)))
        for part in parts
    )


def _resample(clusters: Sequence[tuple[float, ...]], state: "RandomState") -> Any:
    """Bootstrap of groups: array (RESAMPLES, columns) of column totals.

    Groups with equal sums are drawn together, by a multinomial over the kinds of groups: the same distribution as
    drawing group by group, but the work grows with the kinds, and the order of groups cannot matter.
    """
    import numpy as np

    kinds = Counter(clusters)
    values = np.array(sorted(kinds))
    shares = np.array([kinds[kind] for kind in sorted(kinds)]) / len(clusters)
    chunk = max(1, CHUNK // len(shares))
    parts = [
        state.multinomial(len(clusters), shares, size=min(chunk, RESAMPLES - start)) @ values
        for start in range(0, RESAMPLES, chunk)
    ]
    return np.concatenate(parts)


def _interval(values: Any) -> Interval:
    import numpy as np

    low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(_steady(low), _steady(high))


def _wilson(mean: float, trials: int) -> Interval:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(mean * trials, trials, alpha=LEVEL, method="wilson")
    return Interval(_steady(max(0.0, low)), _steady(min(1.0, high)))


def _unanimous(clusters: Sequence[tuple[float, ...]]) -> bool:
    """Whether every group has the same mean: resampling them shows no spread."""
    return len({round(total / size, 9) for total, size in clusters}) == 1


def _change(base: Sequence[float], scores: Sequence[float]) -> tuple[float, float | None]:
    """Absolute and relative gain; no relative one over a base of 0."""
    start, end = fsum(base) / len(base), fsum(scores) / len(scores)
    return _steady(end - start), _steady((end - start) / start) if start > 0 else None


def _average_intervals(clustered: Sequence[Sequence[tuple[float, ...]]]) -> tuple[Interval, Interval | None]:
    """Intervals of the mean absolute and the mean relative gain; columns are base, arm, size.

    Where the groups of each task differ by the same there is nothing to resample: the mean of the tasks' intervals.
    """
    import numpy as np

    if any(len(clusters) == 1 for clusters in clustered):
        return Interval(-1.0, 1.0), None
    differences = [[(arm - base, size) for base, arm, size in clusters] for clusters in clustered]
    if all(_unanimous(clusters) for clusters in differences):
        parts = [_paired_interval(clusters) for clusters in differences]
        low, high = (fsum(ends) / len(parts) for ends in zip(*((part.low, part.high) for part in parts), strict=True))
        return Interval(_steady(low), _steady(high)), None
    state = _state()
    draws = [_resample(clusters, state).T for clusters in clustered]
    absolute = _interval(np.mean([(arm - base) / size for base, arm, size in draws], axis=0))
    if any((base <= 0).any() for base, _, _ in draws):
        return absolute, None
    return absolute, _interval(np.mean([(arm - base) / base for base, arm, _ in draws], axis=0))


def _paired_interval(clusters: Sequence[tuple[float, ...]]) -> Interval:
    """Percentile interval of the mean difference; swapping the two sides mirrors it exactly."""
    if _unanimous(clusters):
        value = fsum(total for total, _ in clusters) / fsum(size for _, size in clusters)
        unseen = _wilson(0.0, len(clusters)).high
        return Interval(_steady(value - unseen * (1 + value)), _steady(value + unseen * (1 - value)))
    mirrored: list[tuple[float, ...]] = sorted((-total + 0.0, size) for total, size in clusters)
    swap = mirrored < list(clusters)
    draws = _resample(mirrored if swap else clusters, _state())
    interval = _interval(draws[:, 0] / draws[:, 1])
    if mirrored == list(clusters):  # its own mirror image: so is what it is drawn from, if not the draws
        reach = _steady((interval.high - interval.low) / 2)
        return Interval(-reach, reach)
    return Interval(-interval.high + 0.0, -interval.low + 0.0) if swap else interval


def _sign_flip(totals: Sequence[float]) -> float:
    """Two-sided p of a sum of groups' differences when each sign is a coin: exact where they are on a common grid."""
    magnitudes = Counter(abs(total) for total in totals if total)
    if abs(fsum(totals)) < 1e-9:
        return 1.0
    grid = _grid(magnitudes)
    if grid is not None:
        return _exact_flips(grid, magnitudes, fsum(totals))
    return _random_flips(magnitudes, fsum(totals))


def _grid(magnitudes: Mapping[float, int]) -> int | None:
    """The least number (a number of seeds, as a rule) that makes whole numbers of all; None where it is above 100."""
    for grid in range(1, 101):
        if all(round(value * grid) > 0 and abs(value * grid - round(value * grid)) < 1e-6 for value in magnitudes):
            return grid
    return None


def _exact_flips(grid: int, magnitudes: Mapping[float, int], observed: float) -> float:
    """Exact p: the distribution of the flipped part of the sum, a convolution of one binomial a magnitude."""
    import numpy as np
    from scipy.stats import binom

    chances = np.ones(1)
    for value in sorted(magnitudes):
        step, count = round(value * grid), magnitudes[value]
        part = np.zeros(step * count + 1)
        part[::step] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, part)
    total = len(chances) - 1
    tail = chances[: (total - abs(round(observed * grid))) // 2 + 1]
    return _steady(min(1.0, 2 * fsum(tail)))


def _random_flips(magnitudes: Mapping[float, int], observed: float) -> float:
    """Monte Carlo p with the +1 correction (Phipson & Smyth 2010), where differences share no grid."""
    import numpy as np

    values = np.array(sorted(magnitudes))
    counts = np.array([magnitudes[value] for value in sorted(magnitudes)])
    state, reached = _state(), 0
    chunk = max(1, CHUNK // len(values))
    for start in range(0, FLIPS, chunk):
        ups = state.binomial(counts, 0.5, size=(min(chunk, FLIPS - start), len(values)))
        reached += int((np.abs((2 * ups - counts) @ values) >= abs(observed) - 1e-9).sum())
    return _steady((reached + 1) / (FLIPS + 1))
