"""Renders the gains by probe, which are printed below the table of gains, as blocks of printable text."""

from collections.abc import Iterator

from kib.leaderboard.number_format import DASH, interval, p_value, percent, points
from kib.leaderboard.render.blocks import Block, Column, Line
from kib.leaderboard.render.row_groups import gain_tone, row_groups
from kib.leaderboard.table_records import ArmRow, ProbeGain, Table
from kib.safe_text import one_line

__all__ = ["PROBE_COLUMNS", "probe_blocks", "probe_legend"]

PROBE_COLUMNS = (
    Column("method", "method", "method", left=True),
    Column("probe", "probe", "probe", left=True),
    Column("n", "n", "number of questions"),
    Column("accuracy", "acc. %", "accuracy by probe"),
    Column("accuracy interval", "interval", "confidence interval for accuracy by probe", left=True),
    Column("points", "points", "gain in points by probe"),
    Column("points interval", "interval", "confidence interval for the gain by probe", left=True),
    Column("p", "p", "p by probe"),
    Column("questions", "won/tied/lost", "questions won, tied and lost by probe"),
)


def probe_blocks(table: Table, limit: int | None = None) -> Iterator[Block]:
    """Yield the gains by probe of the first `limit` rows, block by block."""
    for name, rows in row_groups(table, limit, lambda row: row.probes):
        lines = [_line(row, one) for row in rows for one in row.probes]
        yield Block(one_line(f"by probe · {name}"), tuple(lines))


def _line(row: ArmRow, one: ProbeGain) -> Line:
    gain, p = one.gain, p_value(one.p)
    texts = {
        "method": one_line(row.arm),
        "probe": one_line(one.name),
        "n": str(one.accuracy.n),
        "accuracy": percent(one.accuracy.mean),
        "accuracy interval": interval(one.accuracy.interval),
        "points": points(gain.absolute if gain else None),
        "points interval": interval(gain.interval if gain else None),
        "p": f"({p})" if gain and one.p_adjusted is None else p,
        "questions": f"{gain.wins}/{gain.ties}/{gain.losses}" if gain else DASH,
    }
    return Line(texts, gain_tone(row, gain, one.p))


def probe_legend(table: Table) -> list[str]:
    """Return sentences that explain the gains by probe."""
    if not any(row.probes for row in table.rows):
        return []
    count = sum(one.p_adjusted is not None for row in table.rows for one in row.probes)
    adjusted = f"; Holm's method adjusts p over the {count} gains of all methods and probes" if count else ""
    text = f"by probe: accuracy and paired gain on the questions of each probe alone{adjusted}."
    meaning = (
        "A gain does not generalise to a probe if the gain on the probe is not significant, although the number of "
        "questions would allow a significant gain."
    )
    return [f"{text} {meaning}"]
