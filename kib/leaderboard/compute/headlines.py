"""One sentence a model on its main task, for each way of injecting the knowledge, in points."""

from collections.abc import Iterable, Sequence

from kib.leaderboard.number_format import whole
from kib.leaderboard.table_records import Row
from kib.statistics.gains import LEVEL

__all__ = ["heading_sentences"]

WAYS = ((False, True), (True, False), (True, True))
"""Trained, retrieving: retrieval, fine-tuning, both."""


def heading_sentences(rows: Sequence[Row], tasks: Sequence[str], several: bool) -> tuple[str, ...]:
    """Sentences of one benchmark's rows, named where the table has several; `tasks` are its targets in order.

    The main task is the first target at its lowest number of shots. Of each way the first method speaks, with the K
    chosen on validation, else the largest: never the best on the test questions.
    """
    by_block: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        by_block.setdefault((row.model, row.task, row.shots), []).append(row)
    sentences: list[str] = []
    for model in dict.fromkeys(row.model for row in rows):
        blocks = [(tasks.index(task), shots, task) for name, task, shots in by_block if name == model and task in tasks]
        if blocks:
            _, shots, task = min(blocks)
            block = by_block[model, task, shots]
            sentences += list(_sentences(block, several)) or [_nothing(block, several)]
        else:
            sentences.append(
                f"{_place(rows[0], several)}{model}: no gain to report, the plan has no target task for it"
            )
    return tuple(sentences)


def _nothing(block: Sequence[Row], several: bool) -> str:
    """Why no sentence speaks of a gain: there is no reference, or nothing that is measured against it."""
    orphan = next((row for row in block if row.kind == "" and row.reference is None), None)
    methods = " and ".join(dict.fromkeys(row.method for row in block))
    reason = orphan.reason if orphan else f"the plan has only {methods} here"
    return f"{_start(block[0], several)}no gain to report, {reason}"


def _place(row: Row, several: bool) -> str:
    return f"{row.benchmark}: " if several else ""


def _start(row: Row, several: bool) -> str:
    shots = f", {row.shots}-shot" if row.shots else ""
    return f"{_place(row, several)}{row.model} on {row.task}{shots}: "


def _sentences(block: Sequence[Row], several: bool) -> Iterable[str]:
    for way in WAYS:
        rows = [
            row
            for row in block
            if (row.trained, row.retrieving) == way and row.kind == "" and row.reference not in (None, row.arm)
        ]
        if rows:
            yield _sentence(block, rows, several)


def _sentence(block: Sequence[Row], rows: Sequence[Row], several: bool) -> str:
    methods = list(dict.fromkeys(row.method for row in rows))
    row = _speaker([row for row in rows if row.method == methods[0]])
    reference = next(one for one in block if one.arm == row.reference)
    over = "" if reference.kind == "base" else f" against {reference.arm}"
    start = f"{_start(row, several)}{_way(row, len(methods) > 1)}{over}: "
    if row.gain is None or row.accuracy is None or reference.accuracy is None:
        apart = f"not comparable with {reference.arm}, " if row.status == "measured" else ""
        return f"{start}{apart}{row.reason}"
    gain = row.gain
    change = whole(gain.absolute)
    sign = "" if change.startswith("-") or change == "0" else "+"
    unit = "point" if change in ("1", "-1") else "points"
    parts = [
        f"{whole(reference.accuracy.mean)} -> {whole(row.accuracy.mean)} %",
        f"{sign}{change} {unit} [{whole(gain.interval.low)}, {whole(gain.interval.high)}]",
    ]
    if row.p is not None and row.p >= LEVEL:
        parts.append("no more than chance")
    if row.gold_share is not None and _gold_gains(block):
        parts.append(f"{whole(row.gold_share)} % of what the gold passage gives")
    return start + ", ".join(parts)


def _gold_gains(block: Sequence[Row]) -> bool:
    """Whether the gold passage gives the untrained model more than chance; a share of less than that says nothing."""
    return any(
        row.kind == "ceiling" and not row.trained and row.gain is not None and row.gain.p < LEVEL for row in block
    )


def _speaker(rows: Sequence[Row]) -> Row:
    """The arm chosen on validation, else the last one with the largest K."""
    chosen = [row for row in rows if row.chosen]
    return max(reversed(chosen or rows), key=lambda row: dict(row.settings).get("k", 0))


def _way(row: Row, several: bool) -> str:
    passages = dict(row.settings).get("k")
    retrieval = "retrieval" if passages is None else f"retrieval with {passages} passage{'s' * (passages != 1)}"
    if not row.trained:
        return f"{retrieval} ({row.arm})" if several else retrieval
    return f"fine-tuning and {retrieval} ({row.arm})" if row.retrieving else f"fine-tuning ({row.arm})"
