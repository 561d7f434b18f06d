"""Rankings that combine published and measured rows, and the reasons why some rows are not ranked together."""

from collections.abc import Iterator, Mapping, Sequence

from kib.leaderboard.compute.measurement_conditions import Conditions
from kib.leaderboard.compute.ranks import rank
from kib.leaderboard.table_records import ArmRow, CrossOriginRanking, RankedRow
from kib.statistics.unpaired_gains import unpaired_gain
from kib.support.phrases import join

__all__ = ["ConditionsByTask", "rank_across_origins"]

ConditionsByTask = Mapping[tuple[str, str, str], Conditions]
"""Measurement conditions by benchmark, model and task."""

TaskAndShots = tuple[str, int]


def rank_across_origins(
    rows: Sequence[ArmRow], conditions: ConditionsByTask
) -> tuple[tuple[CrossOriginRanking, ...], tuple[str, ...]]:
    """Return rankings of rows with equal conditions, and a sentence for each pair of benchmarks with unranked rows.

    Conditions are equal if both rows state the same questions, shots, metric and number of questions.
    """
    published = list(dict.fromkeys(row.benchmark for row in rows if row.origin == "published"))
    measured = list(dict.fromkeys(row.benchmark for row in rows if row.origin == "measured"))
    pairs = [(one, other) for one in published for other in measured]
    sentences = [_why_not_ranked(one, other, rows, conditions) for one, other in pairs]
    return tuple(_rankings(rows, conditions)), tuple(sentence for sentence in sentences if sentence)


def _of_row(row: ArmRow, conditions: ConditionsByTask) -> Conditions:
    return conditions[row.benchmark, row.model, row.task]


def _rankings(rows: Sequence[ArmRow], conditions: ConditionsByTask) -> Iterator[CrossOriginRanking]:
    """Yield one ranking per set of conditions that both published and measured rows meet."""
    blocks: dict[tuple[str, int, Conditions], list[ArmRow]] = {}
    for row in rows:
        stated = _of_row(row, conditions)
        if stated.questions and stated.complete and row.compared and not row.graded:
            blocks.setdefault((stated.questions, row.shots, stated), []).append(row)
    for (questions, shots, _), block in blocks.items():
        if len({row.origin for row in block}) == 2:
            means = [(row, row.accuracy.mean) for row in block if row.accuracy]
            ranked = tuple(RankedRow(row, position, tied) for row, position, tied in rank(means, _unpaired_p))
            yield CrossOriginRanking(questions, shots, ranked)


def _unpaired_p(worse: ArmRow, better: ArmRow) -> float:
    if worse.accuracy is None or better.accuracy is None:
        return 1.0
    sides = [(one.accuracy.mean, one.accuracy.n) for one in (worse, better) if one.accuracy]
    p = unpaired_gain(*sides).p
    return 1.0 if p is None else p


def _why_not_ranked(published: str, measured: str, rows: Sequence[ArmRow], conditions: ConditionsByTask) -> str:
    """Return the reason why some rows of a published and a measured benchmark are not ranked together, or ""."""
    theirs = [(row, _of_row(row, conditions)) for row in rows if row.benchmark == measured]
    ours = {(row.task, row.shots): _of_row(row, conditions) for row in rows if row.benchmark == published}
    by_reason: dict[str, list[TaskAndShots]] = {}
    for (task, shots), stated in ours.items():
        for reason in dict.fromkeys(_reasons(published, measured, stated, shots, theirs)):
            by_reason.setdefault(reason, []).append((task, shots))
    if not by_reason:
        return ""
    ranked = any(_is_ranked(stated, shots, theirs) for (_, shots), stated in ours.items())
    extent = "only partly" if ranked else "not"
    reasons = "; ".join(f"{_tasks(affected, list(ours))}{reason}" for reason, affected in by_reason.items())
    return f"{published} (published) and {measured} (measured) are {extent} ranked together: {reasons}."


def _is_ranked(stated: Conditions, shots: int, theirs: Sequence[tuple[ArmRow, Conditions]]) -> bool:
    """Return whether any measured row is ranked together with published rows under these conditions."""
    return stated.complete and any(
        other == stated and row.shots == shots and row.compared and not row.graded for row, other in theirs
    )


def _reasons(
    published: str, measured: str, stated: Conditions, shots: int, theirs: Sequence[tuple[ArmRow, Conditions]]
) -> Iterator[str]:
    """Yield the reasons why measured rows cannot be ranked together with published rows."""
    same = [(row, other) for row, other in theirs if stated.questions and other.questions == stated.questions]
    same_shots = [(row, other) for row, other in same if row.shots == shots]
    if stated.questions is None:
        yield f"{published} does not state which questions were asked"
    elif not same:
        yield f"{measured} asks different questions"
    elif stated.metric is None:
        yield f"{published} does not state how answers were scored"
    elif not same_shots:
        counts = sorted({row.shots for row, _ in same})
        yield f"{measured} used {' or '.join(map(str, counts))} examples"
    elif not any(row.compared for row, _ in same_shots):
        yield f"{measured} has no result to rank"
    elif stated.graded or any(row.graded for row, _ in same_shots):
        yield "ranks of graded scores require the scores of each question"
    else:
        for _, other in same_shots:
            yield from _differences(measured, stated, other)


def _differences(measured: str, stated: Conditions, other: Conditions) -> Iterator[str]:
    """Yield the differences between published and measured conditions for the same questions."""
    if other.deviations:
        yield from other.deviations
    elif other.metric is None:
        yield f"{measured} mixes metrics"
    elif stated.metric != other.metric:
        yield f"scored by {stated.metric} against {other.metric}"
    elif stated.n != other.n:
        yield f"{stated.n} questions against {other.n}"


def _tasks(affected: Sequence[TaskAndShots], every: Sequence[TaskAndShots]) -> str:
    """Return the affected tasks, with their shots unless all shots are affected; or "" if every task is affected."""
    if len(affected) == len(every):
        return ""
    tasks: dict[str, list[int]] = {}
    for task, shots in affected:
        tasks.setdefault(task, []).append(shots)
    whole = {task: sum(other == task for other, _ in every) == len(counts) for task, counts in tasks.items()}
    names = [
        task if whole[task] else f"{task} ({' and '.join(f'{count}-shot' for count in sorted(counts))})"
        for task, counts in tasks.items()
    ]
    return f"{join(names)}: "
