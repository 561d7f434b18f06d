"""Simulate how often kib's corrected accuracies and gains contain the true value, for 20 to 200 labelled questions.

Two arms answer 500 questions; an automatic score, such as a judge's, is wrong for some answers, and wrong in favour of
one arm. People judge the answers to a random sample of the questions. The script prints how often the 95 % intervals
contain the true value, in percent: the corrected gain, the corrected accuracy, Cohen's kappa and, for comparison, the
gain without correction. It also prints the mean width of the interval of the corrected gain, and of the interval from
the labels alone, in points.
Usage: python bench/label_coverage.py [--json FILE] [--tables N] [--only TEXT] [LABELS …]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from coverage_tables import print_simulation

from kib.statistics.confidence_intervals import mean_interval
from kib.statistics.gains import Interval
from kib.statistics.human_labels import agreement, corrected_mean
from kib.statistics.question_groups import totals_by_group

LABELS = [20, 50, 100, 200]
QUESTIONS = 500


@dataclass(frozen=True)
class Judge:
    """The chances that the automatic score calls a wrong answer of an arm right, and a right answer wrong."""

    base_too_high: float
    base_too_low: float
    arm_too_high: float
    arm_too_low: float


BIASED = Judge(0.10, 0.35, 0.40, 0.08)
"""With the accuracies below, this judge is right for 80 % of the answers, and overstates the gain by 19 points."""

RARELY_WRONG = Judge(0.01, 0.04, 0.04, 0.01)


@dataclass(frozen=True)
class Setting:
    """The true accuracies of base and arm, the judge, the sizes of groups, and the correlation within a group.

    `noise` is the largest distance of a graded score from 0 or 1.
    """

    name: str
    base: float
    arm: float
    judge: Judge
    sizes: str
    correlation: float = 0.0
    noise: float = 0.0


SETTINGS = (
    Setting("biased judge, no groups", 0.40, 0.60, BIASED, "1"),
    Setting("biased judge, no groups, no gain", 0.50, 0.50, BIASED, "1"),
    Setting("biased judge, groups of 5", 0.40, 0.60, BIASED, "5", 0.2),
    Setting("biased judge, groups of 5, strongly correlated", 0.40, 0.60, BIASED, "5", 0.8),
    Setting("biased judge, unequal groups", 0.40, 0.60, BIASED, "unequal", 0.2),
    Setting("biased judge, graded scores, groups of 5", 0.40, 0.60, BIASED, "5", 0.2, 0.4),
    Setting("judge rarely wrong, no groups", 0.40, 0.60, RARELY_WRONG, "1"),
    Setting("judge rarely wrong, groups of 5", 0.40, 0.60, RARELY_WRONG, "5", 0.2),
)


@dataclass(frozen=True)
class Line:
    """The result for one setting and number of labels; shares in percent, widths in points."""

    setting: str
    labels: int
    corrected_gain: float
    corrected_accuracy: float
    kappa: float
    gain_without_correction: float
    width: float
    width_of_labels_alone: float


def groups(kind: str, rng: np.random.Generator) -> Any:
    """Return the group of each question."""
    if kind != "unequal":
        return np.arange(QUESTIONS) // int(kind)
    sizes = np.clip(np.round(np.exp(rng.normal(1.2, 1.0, QUESTIONS))), 1, 100).astype(int)
    return np.repeat(np.arange(QUESTIONS), sizes)[:QUESTIONS]


def events(chance: float, members: Any, correlation: float, rng: np.random.Generator) -> Any:
    """Return whether an event happens for each question; the chance of the event differs between groups."""
    chances = np.full(QUESTIONS, chance)
    if correlation:
        scale = (1 - correlation) / correlation
        chances = rng.beta(chance * scale, (1 - chance) * scale, QUESTIONS)[members]
    return rng.random(QUESTIONS) < chances


def answers(
    accuracy: float, too_high: float, too_low: float, setting: Setting, members: Any, rng: np.random.Generator
) -> tuple[Any, Any]:
    """Return the verdicts of people and the automatic scores for the answers of an arm."""
    right = events(accuracy, members, setting.correlation, rng)
    raised = events(too_high, members, setting.correlation, rng)
    lowered = events(too_low, members, setting.correlation, rng)
    called_right = np.where(right, ~lowered, raised)
    distance = setting.noise * rng.beta(2, 2, QUESTIONS) if setting.noise else 0.0
    return right.astype(float), np.where(called_right, 1.0 - distance, distance)


def true_kappa(accuracy: float, too_high: float, too_low: float) -> float:
    """Return Cohen's kappa of the automatic score and the verdicts over all possible questions."""
    called = accuracy * (1 - too_low) + (1 - accuracy) * too_high
    agreed = accuracy * (1 - too_low) + (1 - accuracy) * (1 - too_high)
    expected = accuracy * called + (1 - accuracy) * (1 - called)
    return (agreed - expected) / (1 - expected)


def plain_interval(differences: Any, names: Sequence[str]) -> Interval:
    """Return the interval of a mean difference without correction."""
    kinds = totals_by_group(names, differences.tolist(), lambda value: (value, value * value))
    return mean_interval(kinds, -1.0, 1.0)


def contains(interval: Interval, value: float) -> bool:
    """Return whether an interval contains a value."""
    return bool(interval.low - 1e-12 <= value <= interval.high + 1e-12)


def table(setting: Setting, labels: int, rng: np.random.Generator) -> tuple[float, ...] | None:
    """Return which intervals of a simulated table contain the true value, and two widths; None without an interval."""
    judge, members = setting.judge, groups(setting.sizes, rng)
    base = answers(setting.base, judge.base_too_high, judge.base_too_low, setting, members, rng)
    arm = answers(setting.arm, judge.arm_too_high, judge.arm_too_low, setting, members, rng)
    drawn = np.zeros(QUESTIONS, dtype=bool)
    drawn[rng.choice(QUESTIONS, labels, replace=False)] = True
    names = [f"g{number}" for number in members]

    def labelled(values: Any) -> list[float | None]:
        return [float(value) if one else None for value, one in zip(values, drawn, strict=True)]

    gained = corrected_mean((arm[1] - base[1]).tolist(), labelled(arm[0] - base[0]), names, -1.0, 1.0)
    accuracy = corrected_mean(arm[1].tolist(), labelled(arm[0]), names, 0.0, 1.0)
    some = [name for name, one in zip(names, drawn, strict=True) if one]
    agreed = agreement(arm[1][drawn].tolist(), arm[0][drawn].tolist(), some)
    automatic = plain_interval(arm[1] - base[1], names)
    alone = plain_interval((arm[0] - base[0])[drawn], some)
    if gained.interval is None or accuracy.interval is None:  # too few groups are labelled
        return None
    kappa = true_kappa(setting.arm, judge.arm_too_high, judge.arm_too_low)
    return (
        contains(gained.interval, setting.arm - setting.base),
        contains(accuracy.interval, setting.arm),
        agreed.interval is None or contains(agreed.interval, kappa),
        contains(automatic, setting.arm - setting.base),
        gained.interval.high - gained.interval.low,
        alone.high - alone.low,
    )


def simulate(setting: Setting, labels: int, tables: int) -> Line:
    """Return the coverage and the widths of the intervals of `tables` simulated tables."""
    rng = np.random.default_rng([labels, *setting.name.encode()])
    found = [one for one in (table(setting, labels, rng) for _ in range(tables)) if one]
    return Line(setting.name, labels, *(100 * np.mean(found, axis=0)).tolist())


def main() -> None:
    """Run the simulation, print the tables, and write the values as JSON if `--json` is given."""
    values = list(Line.__dataclass_fields__)[2:]
    print_simulation(str(__doc__), "labels", LABELS, SETTINGS, simulate, values)


if __name__ == "__main__":
    main()
