"""The comparison of automatic scores with the verdicts of people on a random sample of questions.

Corrected means are prediction-powered: the mean of the automatic scores of all questions plus the mean of the
differences between verdict and automatic score on the labelled questions (Angelopoulos et al., Science 382, 2023).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from kib.statistics.confidence_intervals import corrected_interval, kappa_interval
from kib.statistics.gains import Interval
from kib.statistics.question_groups import Groups, rounded, totals_by_group

__all__ = ["LEAST_GROUPS", "Agreement", "Corrected", "agreement", "corrected_mean"]

LEAST_GROUPS = 10
"""The number of labelled groups below which no interval is computed, because the interval would not be reliable."""

RIGHT = 0.5
"""The score or verdict from which an output counts as right."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of automatic scores and verdicts, for outputs that count as right or wrong.

    `too_high` is the number of outputs that only the automatic score calls right, and `too_low` the number of outputs
    that only the verdict calls right. `kappa` is Cohen's kappa, and None if chance alone would give full agreement. The
    interval is None if fewer than 10 groups are labelled.
    """

    outputs: int
    agreed: int
    too_high: int
    too_low: int
    kappa: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Corrected:
    """A prediction-powered mean with its interval; the interval is None if fewer than 10 groups are labelled."""

    mean: float
    interval: Interval | None


def agreement(scores: Sequence[float], verdicts: Sequence[float], groups: Groups) -> Agreement:
    """Compare automatic scores with verdicts, output by output; there must be at least one output."""
    pairs = [(score >= RIGHT, verdict >= RIGHT) for score, verdict in zip(scores, verdicts, strict=True)]
    outcomes = ((True, True), (True, False), (False, True), (False, False))
    kinds = totals_by_group(groups, pairs, lambda pair: tuple(float(pair == outcome) for outcome in outcomes))
    counts = Counter(pairs)
    n = len(pairs)
    first, second = (sum(pair[at] for pair in pairs) / n for at in (0, 1))
    agreed = counts[True, True] + counts[False, False]
    expected = first * second + (1 - first) * (1 - second)
    known = expected < 1
    enough = sum(number for _, number in kinds) >= LEAST_GROUPS
    return Agreement(
        outputs=n,
        agreed=agreed,
        too_high=counts[True, False],
        too_low=counts[False, True],
        kappa=rounded((agreed / n - expected) / (1 - expected)) if known else None,
        interval=kappa_interval(kinds) if known and enough else None,
    )


def corrected_mean(
    values: Sequence[float], verdicts: Sequence[float | None], groups: Groups, lowest: float, highest: float
) -> Corrected:
    """Return the prediction-powered mean of values from `lowest` to `highest`.

    `verdicts` contains None for questions without a label; at least one question must be labelled. The mean is limited
    to the range of the values, which few labels can exceed by chance.
    """
    rows = list(zip(values, verdicts, strict=True))
    kinds = totals_by_group(groups, rows, _columns)
    corrections = [verdict - value for value, verdict in rows if verdict is not None]
    mean = fsum(values) / len(values) + fsum(corrections) / len(corrections)
    labelled = sum(number for totals, number in kinds if totals[4])
    interval = corrected_interval(kinds, lowest, highest) if labelled >= LEAST_GROUPS else None
    return Corrected(rounded(min(highest, max(lowest, mean))), interval)


def _columns(row: tuple[float, float | None]) -> tuple[float, ...]:
    """Return the columns of `corrected_interval` for one question."""
    value, verdict = row
    correction = 0.0 if verdict is None else verdict - value
    return value, value * value, correction, correction * correction, float(verdict is not None)
