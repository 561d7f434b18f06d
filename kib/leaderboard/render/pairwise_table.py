"""Arms against each other over all rows of a published table, as blocks of texts for people."""

from collections.abc import Iterator
from itertools import groupby

from kib.leaderboard.render.columns import Block, Column, Line
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import Table

__all__ = ["DUELS", "duels"]

DUELS = (
    Column("method", "method", "method", left=True),
    Column("against", "against", "method that it stands against", left=True),
    Column("won", "won", "rows won"),
    Column("tied", "tied", "rows tied"),
    Column("lost", "lost", "rows lost"),
)


def duels(table: Table) -> Iterator[Block]:
    """A block a published benchmark; rows are counted as printed, whether a difference is more than chance or not."""
    several = len(table.benchmarks) > 1
    for name, group in groupby(table.duels, key=lambda duel: duel.benchmark):
        some = list(group)
        rows = max(duel.wins + duel.ties + duel.losses for duel in some)
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
            for one in some
        ]
        title = f"arms against each other · {f'{name} · ' if several else ''}{rows} row{'s' * (rows != 1)}, as printed"
        yield Block(one_line(title), tuple(lines))
