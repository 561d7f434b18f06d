"""Which arm of a method was chosen on validation questions: never on those that the table cites."""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum

from kib.leaderboard.arm import Arm
from kib.records import Setting

__all__ = ["choose", "group_of", "validation_accuracies"]

Settings = tuple[tuple[str, Setting], ...]
Group = tuple[str, str, str | None, Settings]
"""Model, method, corpus and the settings that are not chosen: of each one arm is picked."""


def validation_accuracies(arms: Iterable[Arm]) -> dict[tuple[str, str, str, int], float]:
    """Accuracy on validation questions, the mean over seeds, by model, arm, task and shots, where all were measured."""
    return {
        (arm.cell.model, arm.name, arm.cell.task, arm.cell.shots): _mean(arm)
        for arm in arms
        if arm.cell.split == "validation" and arm.status == "measured"
    }


def choose(arms: Iterable[Arm]) -> set[tuple[Group, Settings]]:
    """The chosen settings of every group: best mean validation accuracy over its tasks, shots and seeds.

    Equal accuracies go to the first in the plan. A group with a cell that has no number has no choice yet.
    """
    groups: dict[Group, dict[Settings, list[Arm]]] = {}
    for arm in arms:
        if arm.cell.split == "validation" and arm.method.chosen:
            group, settings = group_of(arm)
            groups.setdefault(group, {}).setdefault(settings, []).append(arm)
    return {(group, _best(some)) for group, some in groups.items() if _is_complete(some.values())}


def group_of(arm: Arm) -> tuple[Group, Settings]:
    """The group that an arm is chosen in, and its settings that are chosen."""
    cell, names = arm.cell, arm.method.chosen
    fixed = tuple(setting for setting in cell.settings if setting[0] not in names)
    varied = tuple(setting for setting in cell.settings if setting[0] in names)
    return (cell.model, cell.method, cell.corpus, fixed), varied


def _best(some: Mapping[Settings, Sequence[Arm]]) -> Settings:
    means = {settings: fsum(_mean(arm) for arm in arms) / len(arms) for settings, arms in some.items()}
    return max(means, key=lambda settings: means[settings])


def _is_complete(some: Iterable[Sequence[Arm]]) -> bool:
    return all(arm.status == "measured" for arms in some for arm in arms)


def _mean(arm: Arm) -> float:
    return fsum(result.correct / result.n for result in arm.results) / len(arm.results)
