"""Published and measured rows that are ranked together, as blocks of texts for people."""

from collections.abc import Iterator

from kib.leaderboard.number_format import interval, percent
from kib.leaderboard.render.columns import Block, Column, Line, note_of
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import Place, Table

__all__ = ["STANDINGS", "standings"]

STANDINGS = (
    Column("rank", "#", "rank"),
    Column("benchmark", "benchmark", "benchmark", left=True),
    Column("model", "model", "model", left=True),
    Column("method", "arm", "arm", left=True),
    Column("origin", "origin", "origin", left=True),
    Column("accuracy", "acc. %", "accuracy"),
    Column("accuracy interval", "interval", "interval of the accuracy", left=True),
    Column("note", "note", "note", left=True),
)


def standings(table: Table, limit: int | None = None) -> Iterator[Block]:
    """A block a set of questions and number of shots, best first; none where `limit` cuts off rows before them."""
    if limit is not None and len(table.rows) + len(table.averages) > limit:
        return
    for one in table.across:
        title = f"published and measured · {one.questions} · {one.shots}-shot · unpaired"
        yield Block(one_line(title), tuple(map(_line, one.places)))


def _line(place: Place) -> Line:
    row = place.row
    texts = {
        "rank": f"{place.rank}{'=' if place.tied else ' '}",
        "benchmark": one_line(row.benchmark),
        "model": one_line(row.model),
        "method": one_line(row.arm),
        "origin": row.origin,
        "accuracy": percent(row.accuracy.mean if row.accuracy else None),
        "accuracy interval": interval(row.accuracy.interval if row.accuracy else None),
        "note": note_of(row),
    }
    return Line(texts, "same")
