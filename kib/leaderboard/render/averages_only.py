"""A table cut down to its averages."""

from dataclasses import replace

from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import AverageRow, Table

__all__ = ["brief"]


def brief(table: Table) -> Table:
    """Only averages, over all numbers of shots where there are such; where a benchmark has none, its target rows.

    A remark says where it has none of these either.
    """
    averages: list[AverageRow] = []
    for one in table.benchmarks:
        some = [row for row in table.averages if row.benchmark == one.name]
        averages += [row for row in some if row.shots is None] or some
    with_average = {row.benchmark for row in averages}
    rows = [row for row in table.rows if row.benchmark not in with_average and row.role == "target"]
    left = with_average | {row.benchmark for row in rows}
    empty = [f"No average to show: {one.name} has no target task" for one in table.benchmarks if one.name not in left]
    remarks = (*table.remarks, *map(one_line, empty))
    return replace(table, headings=(), rows=tuple(rows), averages=tuple(averages), remarks=remarks)
