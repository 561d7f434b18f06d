"""Simulate how often intervals that cover seeds and questions contain the true gain, for 3 and 5 seeds.

Every seed answers every question. A seed changes the chance to win a question, questions and groups make wins of
several seeds more likely together, and the rest is chance. The script prints, in percent, the coverage of kib's
interval, the coverage of the interval for questions alone, and the tables with p below .05, which must not exceed 5
without a gain.
Usage: python bench/seed_coverage.py [--tables N] [--only TEXT]
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from typing import Any

import command
import numpy as np
from scipy.special import ndtri

from kib.statistics.confidence_intervals import interval_p, mean_interval
from kib.statistics.gains import LEVEL
from kib.statistics.paired_test import sign_flip_p

SEEDS = (3, 5)
GROUPS = (20, 50, 300)
MOST = 0.19
"""The largest effect of a seed, which keeps all chances between 0 and 1."""


@dataclass(frozen=True)
class Setting:
    """The chances of a won and of a lost question, the deviation between seeds, and the size of a group.

    `fixed` is the share of the variance that questions have in common for all seeds, and `grouped` the share that the
    questions of a group have in common for all seeds.
    """

    name: str
    won: float
    lost: float
    deviation: float
    size: int = 1
    fixed: float = 0.5
    grouped: float = 0.0


SETTINGS = (
    Setting("no seed effect", 0.30, 0.10, 0.0),
    Setting("no seed effect, all seeds answer alike", 0.30, 0.10, 0.0, fixed=1.0),
    Setting("no seed effect, seeds answer independently", 0.30, 0.10, 0.0, fixed=0.0),
    Setting("seed effect of 3 points", 0.30, 0.10, 0.03),
    Setting("seed effect of 10 points", 0.30, 0.10, 0.10),
    Setting("no seed effect, groups of 5", 0.30, 0.10, 0.0, 5, 0.4, 0.2),
    Setting("seed effect of 3 points, groups of 5", 0.30, 0.10, 0.03, 5, 0.4, 0.2),
    Setting("seed effect of 10 points, groups of 5", 0.30, 0.10, 0.10, 5, 0.4, 0.2),
    Setting("no gain, no seed effect", 0.20, 0.20, 0.0),
    Setting("no gain, seed effect of 3 points", 0.20, 0.20, 0.03),
    Setting("no gain, seed effect of 10 points", 0.20, 0.20, 0.10),
)


def draw(setting: Setting, seeds: int, groups: int, rng: np.random.Generator) -> Any:
    """Return the differences of all seeds, as an array (seeds, groups, questions per group)."""
    shape = (groups, setting.size)
    rest = 1 - setting.fixed - setting.grouped
    latent = np.sqrt(setting.grouped) * rng.standard_normal((1, groups, 1))
    latent = latent + np.sqrt(setting.fixed) * rng.standard_normal((1, *shape))
    latent = latent + np.sqrt(rest) * rng.standard_normal((seeds, *shape))
    effect = np.clip(setting.deviation * rng.standard_normal((seeds, 1, 1)), -MOST, MOST)
    won = setting.won + effect
    return (latent < ndtri(won)).astype(int) - (latent > ndtri(1 - setting.lost)).astype(int)


def simulate(setting: Setting, seeds: int, groups: int, tables: int) -> tuple[float, float, float, float]:
    """Return the two coverages, the width of kib's interval in points, and the significant tables, in percent."""
    rng = np.random.default_rng([seeds, groups, *setting.name.encode()])
    truth = setting.won - setting.lost
    found = []
    for _ in range(tables):
        differences = draw(setting, seeds, groups, rng)
        values = differences.mean(axis=0)
        columns = np.stack([values.sum(axis=1), (values**2).sum(axis=1), np.full(groups, setting.size)], axis=1)
        kinds = tuple(sorted(Counter(map(tuple, columns.round(9).tolist())).items()))
        means = differences.mean(axis=(1, 2)).tolist()
        ours, alone = mean_interval(kinds, -1.0, 1.0, means), mean_interval(kinds, -1.0, 1.0)
        p = interval_p(kinds, means, smallest=sign_flip_p(kinds))
        if (p < LEVEL) and ours.low <= 0 <= ours.high:
            raise AssertionError(f"a significant gain with the interval {ours}")
        inside = [one.low <= truth <= one.high for one in (ours, alone)]
        found.append((*inside, ours.high - ours.low, p < LEVEL))
    return tuple(float(100 * one) for one in np.mean(found, axis=0))  # type: ignore[return-value]  # four columns


def main() -> None:
    """Run the simulation and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=command.count, default=2_000)
    parser.add_argument("--only", default="", help="simulate only settings whose name contains this text")
    options = parser.parse_args()
    print("| setting | seeds | groups | coverage | questions alone | width | significant |")
    print("|---|---|---|---|---|---|---|")
    for setting in (one for one in SETTINGS if options.only in one.name):
        for seeds in SEEDS:
            for groups in GROUPS:
                values = simulate(setting, seeds, groups, options.tables)
                print(
                    f"| {setting.name} | {seeds} | {groups} | {' | '.join(f'{one:.1f}' for one in values)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
