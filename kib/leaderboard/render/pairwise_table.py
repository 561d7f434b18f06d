"""Renders pairwise comparisons of published arms as blocks of printable text."""

from collections.abc import Iterator
from itertools import groupby

from kib.leaderboard.render.blocks import Block, Column, Line
from kib.leaderboard.table_records import Table
from kib.safe_text import one_line
from kib.support.phrases import counted

__all__ = ["PAIRWISE_COLUMNS", "pairwise_blocks"]

PAIRWISE_COLUMNS = (
    Column("method", "method", "method", left=True),
    Column("against", "against", "compared method", left=True),
    Column("won", "won", "rows won"),
    Column("tied", "tied", "rows tied"),
    Column("lost", "lost", "rows lost"),
)


def pairwise_blocks(table: Table) -> Iterator[Block]:
    """Yield one block per published benchmark; every printed difference counts, whether significant or not."""
    several = len(table.benchmarks) > 1
    for name, group in groupby(table.pairwise, key=lambda one: one.benchmark):
        comparisons = list(group)
        rows = max(one.wins + one.ties + one.losses for one in comparisons)
        lines = [
            Line(
                {
                    "method": one_line(one.arm),
                    "against": one_line(one.other),
                    "won": str(one.wins),
                    "tied": str(one.ties),
                    "lost": str(one.losses),
                },
                "same",
            )
            for one in comparisons
        ]
        title = f"pairwise comparisons · {f'{name} · ' if several else ''}{counted(rows, 'row')}, as printed"
        yield Block(one_line(title), tuple(lines))
