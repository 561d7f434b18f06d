"""Averages over the target tasks of a model, for each number of shots or for all numbers of shots together."""

from collections.abc import Iterator, Sequence
from math import fsum

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.block_statistics import Statistics
from kib.leaderboard.compute.row_builder import RowBuilder
from kib.leaderboard.table_records import AverageRow
from kib.published.results import UNSTATED
from kib.safe_text import one_line
from kib.support.phrases import join

__all__ = ["averages_at_each_shots", "averages_over_all_shots"]

Block = Sequence[RowBuilder]


def averages_at_each_shots(statistics: Statistics, blocks: Sequence[Block]) -> Iterator[AverageRow]:
    """Yield the averages of one model for each number of shots with at least two target tasks."""
    for shots in dict.fromkeys(block[0].arm.cell.shots for block in blocks):
        targets = [block for block in _targets(blocks) if block[0].arm.cell.shots == shots]
        if len(targets) > 1:
            yield from _averages(statistics, targets)


def averages_over_all_shots(statistics: Statistics, blocks: Sequence[Block]) -> Iterator[AverageRow]:
    """Yield one model's averages over all target tasks and numbers of shots, if the numbers of shots differ."""
    targets = _targets(blocks)
    if len({block[0].arm.cell.shots for block in targets}) > 1:
        yield from _averages(statistics, targets)


def _targets(blocks: Sequence[Block]) -> list[Block]:
    return [block for block in blocks if block[0].arm.task.role == "target"]


def _averages(statistics: Statistics, blocks: Sequence[Block]) -> list[AverageRow]:
    """Return one average per arm that is planned in every block: base first, then the other arms by gain."""
    by_arm: dict[str, list[RowBuilder]] = {}
    for row in (row for block in blocks for row in block):
        by_arm.setdefault(row.arm.name, []).append(row)
    complete = [rows for rows in by_arm.values() if len(rows) == len(blocks)]
    mixed = _mixed_metrics(blocks)
    return sorted((_average(statistics, rows, mixed) for rows in complete), key=_order)


def _mixed_metrics(blocks: Sequence[Block]) -> str:
    """Return a sentence if the tasks have different metrics, or "".

    A mean of different metrics, such as F1 and the share of right letters, has no meaning. A metric that a paper does
    not state does not count as different.
    """
    tasks: dict[str, dict[str, None]] = {}
    for row in (row for block in blocks for row in block):
        for result in row.arm.results:
            if result.metric != UNSTATED:
                tasks.setdefault(result.metric, {})[row.arm.cell.task] = None
    if len(tasks) < 2:
        return ""
    named = [f"{metric} ({', '.join(names)})" for metric, names in tasks.items()]
    return f"no average, because the tasks have different metrics: {join(named)}"


def _average(statistics: Statistics, rows: Sequence[RowBuilder], mixed: str) -> AverageRow:
    """Return the average of an arm over tasks, or its row without numbers if `mixed` states a reason."""
    arm = rows[0].arm
    pairs: list[tuple[Arm, Arm]] = [
        (row.arm, row.reference) for row in rows if row.gain and not isinstance(row.reference, str)
    ]
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        if row.reason:
            by_reason.setdefault(row.reason, []).append(row.arm.cell.task)
    means = [row.measure.accuracy.mean for row in rows if row.measure]
    return AverageRow(
        benchmark=arm.benchmark,
        model=arm.cell.model,
        method=arm.cell.method,
        arm=arm.name,
        shots=arm.cell.shots if len({row.arm.cell.shots for row in rows}) == 1 else None,
        kind=arm.kind,
        tasks=tuple(dict.fromkeys(row.arm.cell.task for row in rows)),
        accuracy=fsum(means) / len(means) if len(means) == len(rows) and not mixed else None,
        average=statistics.average(pairs) if len(pairs) == len(rows) and not mixed else None,
        reason=one_line(mixed or "; ".join(f"{', '.join(tasks)}: {reason}" for reason, tasks in by_reason.items())),
        mixed_metrics=bool(mixed),
        origin=rows[0].origin,
    )


def _order(row: AverageRow) -> tuple[int, float]:
    """Return the sort key: base, arms in descending order of gain, the gold passage, arms without an average."""
    if row.kind == "base" or row.average is None:
        return (0 if row.kind == "base" else 3, 0.0)
    return (2 if row.kind == "ceiling" else 1, -row.average.absolute)
