"""Whether two arms may be compared, and if not, why: n, metric, versions, device, questions."""

from collections.abc import Mapping, Sequence

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.question_scores import QuestionScores
from kib.records import Environment

__all__ = ["align", "difference", "own_trouble"]


def own_trouble(arm: Arm) -> str:
    """Why a measured arm can be compared with nothing; "" where it can."""
    planned = arm.task.n
    for result in arm.results:
        if planned is not None and result.n != planned:
            return f"{result.n} questions, but the plan has {planned}"
    metrics = list(dict.fromkeys(result.metric for result in arm.results))
    if len(metrics) > 1:
        return f"mixes metrics: {', '.join(metrics)}"
    kinds = _environments(arm)
    if len(kinds) > 1:
        return f"mixes {len(kinds)} environments: {_changes(kinds[0], kinds[1])}"
    return ""


def difference(arm: Arm, reference: Arm) -> str:
    """Why a measured arm and its reference are not comparable, as far as that is known without the questions."""
    name = reference.name
    if reference.status != "measured":
        return f"{name} has no number: {reference.reason}"
    trouble = own_trouble(arm)
    if trouble:
        return trouble
    trouble = own_trouble(reference)
    if trouble:
        return f"{name}: {trouble}"
    ours, theirs = arm.results[0], reference.results[0]
    if ours.n != theirs.n:
        return f"{ours.n} questions against {theirs.n}"
    if ours.metric != theirs.metric:
        return f"metric {ours.metric} against {theirs.metric}"
    return _changes(_environments(arm)[0], _environments(reference)[0])


def align(arm: QuestionScores, reference: QuestionScores) -> QuestionScores | str:
    """The reference's sheet in the order of the arm's questions, or why there is none."""
    if arm.ids == reference.ids:
        aligned = reference
    else:
        where = {question: position for position, question in enumerate(reference.ids)}
        other = [question for question in arm.ids if question not in where]
        if other or len(arm.ids) != len(reference.ids):
            return f"other questions: {len(other)} of {len(arm.ids)} are not among the other side's"
        order = [where[question] for question in arm.ids]
        aligned = QuestionScores(
            arm.ids,
            tuple(reference.scores[position] for position in order),
            tuple(reference.groups[position] for position in order),
            reference.recall,
            reference.traits,
        )
    if aligned.groups != arm.groups:
        return "the questions are grouped in another way"
    return aligned


def _environments(arm: Arm) -> list[Environment]:
    """The distinct environments of all cells, in order; an empty one where none is recorded."""
    found: list[Environment] = []
    for result in arm.results:
        for environment in result.environments:
            if environment not in found:
                found.append(environment)
    return found or [Environment("unknown")]


def _changes(ours: Environment, theirs: Environment) -> str:
    """What differs, as `torch 2.13.0 against 2.14.1`; "" for equal ones."""
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
