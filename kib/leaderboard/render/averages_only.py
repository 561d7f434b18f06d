"""Reduces a table to its averages."""

from dataclasses import replace

from kib.leaderboard.table_records import AverageRow, Table
from kib.safe_text import one_line

__all__ = ["averages_only"]


def averages_only(table: Table) -> Table:
    """Return a table that contains only averages, restricted to averages over all numbers of shots if there are any.

    A benchmark without averages keeps its rows for target tasks. A remark lists each benchmark that has neither
    averages nor rows for target tasks, and states the reason if tasks with different metrics have no average.
    """
    averages: list[AverageRow] = []
    for one in table.benchmarks:
        own = [row for row in table.averages if row.benchmark == one.name and not row.mixed_metrics]
        averages += [row for row in own if row.shots is None] or own
    with_average = {row.benchmark for row in averages}
    rows = [row for row in table.rows if row.benchmark not in with_average and row.role == "target"]
    shown = with_average | {row.benchmark for row in rows}
    empty = [
        (f"No average to show: benchmark {one.name} has no target task")
        for one in table.benchmarks
        if one.name not in shown
    ]
    several = len(table.benchmarks) > 1
    mixed = {
        f"{f'{row.benchmark}: ' * several}{row.model}: {row.reason}": None
        for row in table.averages
        if row.mixed_metrics
    }
    remarks = (*table.remarks, *map(one_line, [*empty, *mixed]))
    return replace(table, headlines=(), rows=tuple(rows), averages=tuple(averages), remarks=remarks)
