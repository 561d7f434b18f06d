"""The rows of one model on one task, which stand under one title, and the tone of a gain."""

from collections.abc import Callable, Iterator
from itertools import groupby, islice

from kib.leaderboard.render.blocks import Tone
from kib.leaderboard.table_records import ArmRow, Table
from kib.statistics.gains import LEVEL, Gain

__all__ = ["gain_tone", "row_groups"]


def row_groups(
    table: Table, limit: int | None, keep: Callable[[ArmRow], object] = bool
) -> Iterator[tuple[str, list[ArmRow]]]:
    """Yield the kept rows among the first `limit` rows, by benchmark, model, task and shots, each with a title.

    By default, all rows are kept. The title names the benchmark only if the table contains several benchmarks.
    """
    rows = filter(keep, islice(table.rows, limit))
    for key, group in groupby(rows, lambda row: (row.benchmark, row.model, row.task, row.shots)):
        benchmark, model, task, shots = key
        start = f"{benchmark}: " if len(table.benchmarks) > 1 else ""
        yield f"{start}{model} · {task} · {shots}-shot", list(group)


def gain_tone(row: ArmRow, gain: Gain | None, p: float | None) -> Tone:
    """Return the tone of a row of gains; `p` is the p value that decides whether the gain is significant."""
    if row.kind == "ceiling":
        return "ceiling"
    if gain is None:
        return "base"
    if p is None or p >= LEVEL:
        return "same"
    return "better" if gain.absolute > 0 else "worse"
