"""The records that the statistics functions return: accuracies, gains, averages and their intervals."""

from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["FEW_GROUPS", "LEVEL", "POWER", "REVISION", "Accuracy", "Average", "Gain", "Interval", "bounds"]

REVISION = 3
"""Incremented when the same scores yield different statistics; stored statistics are then recomputed."""

LEVEL = 0.05
"""The significance level: intervals cover 95 %, and a p value below 5 % counts as significant."""


POWER = 0.8
"""The probability with which a measurement finds a gain of the size of the minimum detectable effect."""

FEW_GROUPS = 20
"""The number of groups below which intervals are rough, because they depend on the distribution of the group means."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval, in the unit of the estimate."""

    low: float
    high: float


def bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    """Return the lower and the upper bound of an interval, or twice None if there is no interval."""
    return (None, None) if interval is None else (interval.low, interval.high)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The mean score of `n` questions in `groups` groups, as a fraction with its interval.

    `interval` is None for published graded scores without a stated error.
    """

    mean: float
    interval: Interval | None
    n: int
    groups: int


@dataclass(frozen=True, slots=True)
class Gain:
    """The difference between the accuracies of an arm and of its base on the same questions.

    `absolute` and its interval are differences between fractions (.69 means 69 percentage points). `relative` is the
    relative gain (Eq. 5 of arXiv 2312.05934), and is None if the base accuracy is 0. Wins, ties and losses are numbers
    of questions. These counts are None if the scores of individual questions are unknown; the interval and the p value
    are then based only on the numbers of questions or on the errors that a paper states, and are None if the paper
    states no error of graded scores.
    """

    absolute: float
    relative: float | None
    interval: Interval | None
    p: float | None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None

    @property
    def paired(self) -> bool:
        """Whether the two arms were compared question by question."""
        return self.wins is not None

    @property
    def significant(self) -> bool:
        """Whether the unadjusted p value is known and below the significance level."""
        return self.p is not None and self.p < LEVEL

    @property
    def detectable(self) -> float | None:
        """The minimum detectable effect: the smallest gain that such a measurement finds with a power of 80 %.

        The standard error is taken from the width of the interval, and the test has the unadjusted significance level.
        None if the questions are unknown, and at most 1.
        """
        if self.interval is None or not self.paired:
            return None
        normal = NormalDist()
        factor = 1 + normal.inv_cdf(POWER) / normal.inv_cdf(1 - LEVEL / 2)
        return min(1.0, round(factor * (self.interval.high - self.interval.low) / 2, 9))


@dataclass(frozen=True, slots=True)
class Average:
    """Mean gains over tasks, with equal task weights; `relative` is the bar in Figure 2 of arXiv 2312.05934.

    `relative` is None if any task has no relative gain. The interval of `relative` is None if the base accuracy of
    any task may be 0. Both intervals are None if any gain has no interval.
    """

    tasks: int
    absolute: float
    interval: Interval | None
    relative: float | None
    relative_interval: Interval | None
