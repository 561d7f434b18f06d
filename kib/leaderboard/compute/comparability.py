"""Determines whether two arms are comparable: questions, metric, package versions and device must be equal."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.question_scores import QuestionScores
from kib.records import FINGERPRINT, SERVED_MODEL, UNKNOWN_DEVICE, Environment
from kib.support.phrases import counted

__all__ = ["align", "why_not_comparable", "why_not_comparable_at_all"]


def why_not_comparable_at_all(arm: Arm) -> str:
    """Return the reason why a measured arm is not comparable with any arm, or "" if there is no such reason."""
    planned = arm.task.n
    for result in arm.results:
        if planned is not None and result.n != planned:
            return f"measured on {counted(result.n, 'question')}, but the plan has {planned}"
    metrics = list(dict.fromkeys(result.metric for result in arm.results))
    if len(metrics) > 1:
        return f"mixes metrics: {', '.join(metrics)}"
    kinds = _environments(arm)
    if len(kinds) > 1:
        return f"mixes {len(kinds)} environments: {_changes(kinds[0], kinds[1])}"
    return ""


def why_not_comparable(arm: Arm, reference: Arm) -> str:
    """Return the reason why a measured arm and its reference are not comparable, or "".

    The function does not read any questions. A server reports a model trained elsewhere under a name of its own, so the
    name is compared only if the same model answered.
    """
    name = reference.name
    if reference.status != "measured":
        return f"{name} has no result: {reference.reason}"
    trouble = why_not_comparable_at_all(arm)
    if trouble:
        return trouble
    trouble = why_not_comparable_at_all(reference)
    if trouble:
        return f"{name}: {trouble}"
    ours, theirs = arm.results[0], reference.results[0]
    if ours.n != theirs.n:
        return f"{counted(ours.n, 'question')} against {theirs.n}"
    if ours.metric != theirs.metric:
        return f"metric {ours.metric} against {theirs.metric}"
    return _changes_between(arm, reference)


def _changes_between(arm: Arm, reference: Arm) -> str:
    """Return the differences between the environments of two arms, except differences that their methods imply."""
    if arm.method.system is not None or reference.method.system is not None:
        return ""  # a system is measured as it runs, together with its own model, packages and device
    ours, theirs = _environments(arm)[0], _environments(reference)[0]
    if arm.method.trained_as != reference.method.trained_as:
        ours, theirs = _without(ours, SERVED_MODEL), _without(theirs, SERVED_MODEL)
    return _changes(ours, theirs)


def align(arm: QuestionScores, reference: QuestionScores, *, grouped: bool = True) -> QuestionScores | str:
    """Return the reference's scores in the order of the arm's questions, or the reason why the questions differ.

    If `grouped` is false, the groups may differ, for example because reworded questions state none.
    """
    if arm.ids == reference.ids:
        aligned = reference
    else:
        position_of = {question_id: position for position, question_id in enumerate(reference.ids)}
        other = [question_id for question_id in arm.ids if question_id not in position_of]
        if other or len(arm.ids) != len(reference.ids):
            return f"the questions differ: the reference lacks {len(other)} of {counted(len(arm.ids), 'question')}"
        order = [position_of[question_id] for question_id in arm.ids]
        aligned = QuestionScores(
            arm.ids,
            tuple(reference.scores[position] for position in order),
            tuple(reference.groups[position] for position in order),
            reference.recall,
            reference.warning_facts,
            seeds=tuple(tuple(seed[position] for position in order) for seed in reference.seeds),
        )
    if grouped and aligned.groups != arm.groups:
        return "the questions are grouped differently"
    return aligned


def _environments(arm: Arm) -> list[Environment]:
    """Return the distinct environments of all cells in order, or one empty environment if none is recorded.

    The fingerprint of a server's configuration is left out, because rows with different fingerprints are comparable.
    """
    found: list[Environment] = []
    for result in arm.results:
        for recorded in result.environments:
            environment = _without(recorded, FINGERPRINT)
            if environment not in found:
                found.append(environment)
    return found or [Environment(UNKNOWN_DEVICE)]


def _without(environment: Environment, left_out: str) -> Environment:
    packages = {name: version for name, version in environment.packages.items() if name != left_out}
    return replace(environment, packages=packages)


def _changes(ours: Environment, theirs: Environment) -> str:
    """Return the differences between two environments, such as `torch 2.13.0 against 2.14.1`; "" if they are equal."""
    parts = [f"{ours.device} against {theirs.device}"] if ours.device != theirs.device else []
    names: Sequence[str] = sorted({*ours.packages, *theirs.packages})
    parts += [
        f"{name} {_version(ours.packages, name)} against {_version(theirs.packages, name)}"
        for name in names
        if ours.packages.get(name) != theirs.packages.get(name)
    ]
    return ", ".join(parts)


def _version(packages: Mapping[str, str], name: str) -> str:
    return packages.get(name, "(none)")
