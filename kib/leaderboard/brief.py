"""A table cut down to its averages."""

from dataclasses import replace

from kib.leaderboard.row import AverageRow, Table

__all__ = ["brief"]


def brief(table: Table) -> Table:
    """Only averages, over all numbers of shots where there are such; where a benchmark has none, its target rows."""
    averages: list[AverageRow] = []
    for one in table.benchmarks:
        some = [row for row in table.averages if row.benchmark == one.name]
        averages += [row for row in some if row.shots is None] or some
    with_average = {row.benchmark for row in averages}
    rows = [row for row in table.rows if row.benchmark not in with_average and row.role == "target"]
    return replace(table, headings=(), rows=tuple(rows), averages=tuple(averages))
