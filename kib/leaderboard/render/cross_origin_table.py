"""Renders the combined rankings of published and measured rows as blocks of printable text."""

from collections.abc import Iterator

from kib.leaderboard.number_format import interval, percent
from kib.leaderboard.render.blocks import Block, Column, Line
from kib.leaderboard.render.gain_table import note_of
from kib.leaderboard.table_records import RankedRow, Table
from kib.safe_text import one_line

__all__ = ["CROSS_ORIGIN_COLUMNS", "cross_origin_blocks"]

CROSS_ORIGIN_COLUMNS = (
    Column("rank", "#", "rank"),
    Column("benchmark", "benchmark", "benchmark", left=True),
    Column("model", "model", "model", left=True),
    Column("method", "arm", "arm", left=True),
    Column("origin", "origin", "origin", left=True),
    Column("accuracy", "acc. %", "accuracy"),
    Column("accuracy interval", "interval", "confidence interval for accuracy", left=True),
    Column("note", "note", "note", left=True),
)


def cross_origin_blocks(table: Table, limit: int | None = None) -> Iterator[Block]:
    """Yield one block per set of questions and number of shots, best row first.

    Yields nothing if the table has more than `limit` rows and averages.
    """
    if limit is not None and len(table.rows) + len(table.averages) > limit:
        return
    for ranking in table.cross_origin:
        title = f"published and measured · {ranking.questions} · {ranking.shots}-shot · unpaired"
        yield Block(one_line(title), tuple(map(_line, ranking.rows)))


def _line(ranked: RankedRow) -> Line:
    row = ranked.row
    texts = {
        "rank": f"{ranked.rank}{'=' if ranked.tied else ' '}",
        "benchmark": one_line(row.benchmark),
        "model": one_line(row.model),
        "method": one_line(row.arm),
        "origin": row.origin,
        "accuracy": percent(row.accuracy.mean if row.accuracy else None),
        "accuracy interval": interval(row.accuracy.interval if row.accuracy else None),
        "note": note_of(row),
    }
    return Line(texts, "same")
