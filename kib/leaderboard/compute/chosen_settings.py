"""Which arm of a method was chosen, on validation questions or text: never on the questions that the table cites."""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum

from kib.leaderboard.compute.arms import Arm
from kib.records import Setting, Split
from kib.store.result_records import MethodEntry

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
    """The chosen settings of every group: what is chosen by loss has the least, the rest the best mean accuracy.

    Losses are those on the validation text, accuracies those on validation questions over the group's tasks, shots and
    seeds. What is equal goes to the first in the plan. A group with a cell that has no number has no choice yet.
    """
    groups: dict[Group, dict[Settings, list[Arm]]] = {}
    for arm in arms:
        if arm.cell.split == _judged_on(arm.method):
            group, settings = group_of(arm)
            groups.setdefault(group, {}).setdefault(settings, []).append(arm)
    return {(group, _best(some)) for group, some in groups.items() if _is_complete(some.values())}


def _judged_on(method: MethodEntry) -> Split | None:
    """The cells that a choice is made from: where all is chosen by loss, any cell knows that of its weights."""
    if not method.chosen:
        return None
    return "validation" if set(method.chosen) - set(method.by_loss) else "test"


def group_of(arm: Arm) -> tuple[Group, Settings]:
    """The group that an arm is chosen in, and its settings that are chosen."""
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
    """Those of the settings that are chosen by loss; none where all are chosen on questions."""
    return tuple(setting for setting in settings if setting[0] in arm.method.by_loss)


def _loss(arm: Arm) -> float:
    """The loss on the validation text, the mean over seeds."""
    losses = [result.training.validation_loss for result in arm.results if result.training]
    return fsum(loss for loss in losses if loss is not None) / len(losses)


def _is_complete(some: Iterable[Sequence[Arm]]) -> bool:
    return all(arm.status == "measured" for arms in some for arm in arms)


def _mean(arm: Arm) -> float:
    return fsum(result.correct / result.n for result in arm.results) / len(arm.results)
