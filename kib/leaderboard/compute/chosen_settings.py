"""The settings chosen for each method on validation questions or validation text, never on test questions."""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum

from kib.leaderboard.compute.arms import Arm
from kib.records import Setting, Split
from kib.store.result_records import MethodEntry

__all__ = ["choose", "group_of", "validation_accuracies"]

Settings = tuple[tuple[str, Setting], ...]
Group = tuple[str, str, str | None, Settings]
"""Model, method, corpus and the settings that are not chosen; one arm is chosen per group."""


def validation_accuracies(arms: Iterable[Arm]) -> dict[tuple[str, str, str, int], float]:
    """Return the validation accuracy, averaged over seeds, by model, arm, task and shots, for fully measured arms."""
    return {
        (arm.cell.model, arm.name, arm.cell.task, arm.cell.shots): _mean(arm)
        for arm in arms
        if arm.cell.split == "validation" and arm.status == "measured"
    }


def choose(arms: Iterable[Arm]) -> set[tuple[Group, Settings]]:
    """Return the chosen settings of every group.

    Settings chosen by loss minimize the loss on the validation text. All other settings maximize the mean accuracy on
    validation questions over the tasks, shots and seeds of the group. In a tie, the arm that comes first in the plan is
    chosen. A group with a missing cell has no chosen settings yet.
    """
    groups: dict[Group, dict[Settings, list[Arm]]] = {}
    for arm in arms:
        if arm.cell.split == _chosen_on(arm.method):
            group, settings = group_of(arm)
            groups.setdefault(group, {}).setdefault(settings, []).append(arm)
    return {(group, _best(some)) for group, some in groups.items() if _is_complete(some.values())}


def _chosen_on(method: MethodEntry) -> Split | None:
    """Return the split that determines the choice, which is the test split if the choice depends only on the loss."""
    if not method.chosen:
        return None
    return "validation" if set(method.chosen) - set(method.by_loss) else "test"


def group_of(arm: Arm) -> tuple[Group, Settings]:
    """Return the group of an arm, and the settings of the arm that are subject to choice."""
    cell, names = arm.cell, arm.method.chosen
    fixed = tuple(setting for setting in cell.settings if setting[0] not in names)
    varied = tuple(setting for setting in cell.settings if setting[0] in names)
    return (cell.model, cell.method, cell.corpus, fixed), varied


def _best(some: Mapping[Settings, Sequence[Arm]]) -> Settings:
    losses: dict[Settings, list[float]] = {}
    for settings, arms in some.items():
        losses.setdefault(_by_loss(settings, arms[0]), []).extend(_loss(arm) for arm in arms if arm.method.by_loss)
    least = min(losses, key=lambda part: fsum(losses[part]) / max(1, len(losses[part])))
    left = {settings: arms for settings, arms in some.items() if _by_loss(settings, arms[0]) == least}
    means = {settings: fsum(_mean(arm) for arm in arms) / len(arms) for settings, arms in left.items()}
    return max(means, key=lambda settings: means[settings])


def _by_loss(settings: Settings, arm: Arm) -> Settings:
    """Return the settings that are chosen by loss."""
    return tuple(setting for setting in settings if setting[0] in arm.method.by_loss)


def _loss(arm: Arm) -> float:
    """Return the mean loss on the validation text over seeds."""
    losses = [result.training.validation_loss for result in arm.results if result.training]
    return fsum(loss for loss in losses if loss is not None) / len(losses)


def _is_complete(some: Iterable[Sequence[Arm]]) -> bool:
    return all(arm.status == "measured" for arms in some for arm in arms)


def _mean(arm: Arm) -> float:
    return fsum(result.correct / result.n for result in arm.results) / len(arm.results)
