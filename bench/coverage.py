"""Simulate how often kib's 95 % confidence intervals contain the true value, for 3 to 200 groups of questions.

Each setting draws the number of questions won, tied and lost in each group, so that the questions of a group are
correlated. The scores of a graded setting differ by fractions, as those of F1 do. The script prints the coverage in
percent, the mean width of the intervals in points, the percentage of tables in which interval and test disagree, and
the percentage of tables with a significant gain, which must not exceed 5 if the true gain is 0.
Usage: python bench/coverage.py [--json FILE] [--tables N] [--only TEXT] [GROUPS …]
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from coverage_tables import print_simulation

from kib.statistics.confidence_intervals import average_interval, mean_interval, ratio_interval, wilson_interval
from kib.statistics.gains import LEVEL, Interval
from kib.statistics.paired_test import sign_flip_p

GROUPS = [3, 5, 8, 12, 20, 50, 200]
TASKS = 3
"""The number of tasks in an average."""


@dataclass(frozen=True)
class Setting:
    """The chances of a won and of a lost question, the sizes of groups, and the correlation within a group."""

    name: str
    won: float
    lost: float
    sizes: str
    correlation: float = 0.0

    @property
    def gain(self) -> float:
        """The true gain."""
        return self.won - self.lost


GAINS = (
    Setting("no groups", 0.30, 0.10, "1"),
    Setting("no groups, few questions differ", 0.05, 0.02, "1"),
    Setting("no groups, only wins", 0.05, 0.0, "1"),
    Setting("groups of 5", 0.30, 0.10, "5", 0.2),
    Setting("groups of 5, strongly correlated", 0.30, 0.10, "5", 0.8),
    Setting("groups of 5, no gain", 0.15, 0.15, "5", 0.2),
    Setting("groups of 5, few questions differ", 0.04, 0.02, "5", 0.1),
    Setting("groups of 20", 0.30, 0.10, "20", 0.1),
    Setting("groups of 20, only few wins", 0.03, 0.0, "20", 0.1),
    Setting("unequal groups", 0.30, 0.10, "unequal", 0.2),
    Setting("unequal groups, few questions differ", 0.04, 0.02, "unequal", 0.2),
    Setting("one group has half of the questions", 0.30, 0.10, "half", 0.2),
)
GRADED = (
    Setting("graded, no groups", 0.30, 0.10, "1"),
    Setting("graded, no groups, 95 % tied", 0.04, 0.01, "1"),
    Setting("graded, no groups, 95 % tied, no gain", 0.025, 0.025, "1"),
    Setting("graded, groups of 5", 0.30, 0.10, "5", 0.2),
    Setting("graded, groups of 5, no gain", 0.15, 0.15, "5", 0.2),
    Setting("graded, groups of 5, 95 % tied, no gain", 0.025, 0.025, "5", 0.2),
    Setting("graded, unequal groups, no gain", 0.15, 0.15, "unequal", 0.2),
)
"""A won or lost question changes its score by a fraction with the distribution Beta(2, 2), which has the mean 1/2."""

ACCURACIES = (
    Setting("accuracy 40 %, groups of 5", 0.40, 0.0, "5", 0.2),
    Setting("accuracy 95 %, groups of 5", 0.95, 0.0, "5", 0.2),
    Setting("accuracy 70 %, unequal groups", 0.70, 0.0, "unequal", 0.3),
    Setting("accuracy 90 %, no groups", 0.90, 0.0, "1"),
)
AVERAGES = (
    Setting("average gain of 3 tasks, unequal groups", 0.30, 0.10, "unequal", 0.2),
    Setting("average relative gain of 3 tasks, unequal groups", 0.30, 0.10, "unequal", 0.2),
)
RIGHT = 0.4
"""The chance that both arms answer a tied question correctly."""


@dataclass(frozen=True)
class Line:
    """The result for one setting and number of groups; shares in percent, the width in points."""

    setting: str
    groups: int
    covered: float
    width: float
    disagreeing: float | None
    significant: float | None


def sizes(kind: str, groups: int, rng: np.random.Generator) -> Any:
    """Return the sizes of all groups."""
    if kind == "unequal":
        return np.clip(np.round(np.exp(rng.normal(1.2, 1.0, groups))), 1, 100).astype(int)
    if kind == "half":
        return np.array([4 * (groups - 1), *[4] * (groups - 1)])
    return np.full(groups, int(kind))


def draw(setting: Setting, groups: int, rng: np.random.Generator) -> Any:
    """Return the numbers of won, lost and tied questions of each group, as an array (groups, 3)."""
    chances = np.array([setting.won, setting.lost, 1 - setting.won - setting.lost])
    rows = np.tile(chances, (groups, 1))
    if setting.correlation:
        drawn = rng.standard_gamma(rows * (1 - setting.correlation) / setting.correlation)
        lost = drawn.sum(axis=1) == 0  # underflow of very small parameters: the group has a single outcome
        drawn[lost] = np.eye(3)[rng.choice(3, size=int(lost.sum()), p=chances)]
        rows = drawn / drawn.sum(axis=1, keepdims=True)
    return rng.multinomial(sizes(setting.sizes, groups, rng), rows)


def kinds(columns: Any) -> Any:
    """Return the rows of an array as kinds of groups."""
    return tuple(sorted(Counter(map(tuple, columns.astype(float).tolist())).items()))


def of_gain(setting: Setting, groups: int, rng: np.random.Generator) -> tuple[Interval, float, float]:
    """Return the interval of a simulated gain, the true gain, and the p value."""
    won, lost, tied = draw(setting, groups, rng).T
    some = kinds(np.stack([won - lost, won + lost, won + lost + tied], axis=1))
    return mean_interval(some, -1.0, 1.0), setting.gain, sign_flip_p(some)


def of_graded_gain(setting: Setting, groups: int, rng: np.random.Generator) -> tuple[Interval, float, float]:
    """Return the interval of a simulated gain of graded scores, the true gain, and the p value."""
    won, lost, tied = draw(setting, groups, rng).T
    totals, squares = np.zeros(groups), np.zeros(groups)
    for sign, count in ((1, won), (-1, lost)):
        amounts = sign * rng.beta(2, 2, count.sum())
        group = np.repeat(np.arange(groups), count)
        totals += np.bincount(group, amounts, groups)
        squares += np.bincount(group, amounts**2, groups)
    some = kinds(np.stack([totals.round(9), squares.round(9), won + lost + tied], axis=1))
    return mean_interval(some, -1.0, 1.0), setting.gain / 2, sign_flip_p(some)


def of_accuracy(setting: Setting, groups: int, rng: np.random.Generator) -> tuple[Interval, float, None]:
    """Return the interval of a simulated accuracy and the true accuracy."""
    right, _, wrong = draw(setting, groups, rng).T
    if setting.sizes == "1":
        return wilson_interval(float(right.sum()) / groups, groups), setting.won, None
    return mean_interval(kinds(np.stack([right, right, right + wrong], axis=1)), 0.0, 1.0), setting.won, None


def of_average(setting: Setting, groups: int, rng: np.random.Generator) -> tuple[Interval, float, None]:
    """Return the interval of a simulated average over tasks, and the true average."""
    values, intervals = [], []
    ratio = RIGHT * (1 - setting.won - setting.lost)
    relative = "relative" in setting.name
    for _ in range(TASKS):
        won, lost, tied = draw(setting, groups, rng).T
        right = rng.binomial(tied, RIGHT)
        columns = [won + right, lost + right, won + lost, won + lost + tied]
        arm, base, _, size = (float(column.sum()) for column in columns)
        if relative:
            found = ratio_interval(kinds(np.stack(columns, axis=1)))
            if found is None:
                return Interval(-np.inf, np.inf), 0.0, None
            values.append(arm / base if base else found.low)
        else:
            found = mean_interval(kinds(np.stack([won - lost, *columns[2:]], axis=1)), -1.0, 1.0)
            values.append((arm - base) / size)
        intervals.append(found)
    return (
        average_interval(values, intervals),
        (setting.won + ratio) / (setting.lost + ratio) if relative else setting.gain,
        None,
    )


def simulate(setting: Setting, groups: int, tables: int) -> Line:
    """Return the coverage and the mean width of the intervals of `tables` simulated tables.

    Relative gains whose interval is unknown are left out.
    """
    rng = np.random.default_rng([groups, *setting.name.encode()])
    of = next(one for one, some in SIMULATIONS if setting in some)
    found = [of(setting, groups, rng) for _ in range(tables)]
    known = [one for one in found if np.isfinite(one[0].low)]
    if not known:
        return Line(setting.name, groups, float("nan"), float("nan"), None, None)
    covered = np.mean([one.low <= true <= one.high for one, true, _ in known])
    width = np.mean([one.high - one.low for one, _, _ in known])
    tested = [(one.low > 0 or one.high < 0, p < LEVEL) for one, _, p in known if p is not None]
    disagreeing = float(100 * np.mean([apart != low for apart, low in tested])) if tested else None
    significant = float(100 * np.mean([low for _, low in tested])) if tested else None
    return Line(setting.name, groups, float(100 * covered), float(100 * width), disagreeing, significant)


SIMULATIONS = ((of_gain, GAINS), (of_graded_gain, GRADED), (of_accuracy, ACCURACIES), (of_average, AVERAGES))
"""The function that simulates one table, for each list of settings."""


def main() -> None:
    """Run the simulation, print the tables, and write the values as JSON if `--json` is given."""
    settings = [setting for _, some in SIMULATIONS for setting in some]
    values = ("covered", "width", "disagreeing", "significant")
    print_simulation(str(__doc__), "groups", GROUPS, settings, simulate, values)


if __name__ == "__main__":
    main()
