"""Headlines: one sentence per model and kind of method, with the gain in percentage points on the main task."""

from collections.abc import Iterable, Sequence

from kib.leaderboard.number_format import whole_percent
from kib.leaderboard.table_records import ArmRow
from kib.statistics.gains import LEVEL, POWER, Gain
from kib.support.phrases import counted

__all__ = ["headlines", "representatives", "start_of"]

WAYS = ((False, True), (True, False), (True, True))
"""Pairs of flags, (trains, retrieves), for retrieval, fine-tuning and both together."""


def headlines(rows: Sequence[ArmRow], tasks: Sequence[str], several: bool) -> tuple[str, ...]:
    """Return the headlines of one benchmark; `tasks` are its target tasks in plan order.

    If `several` is set, each headline starts with the name of the benchmark. The main task is the first target task,
    measured with its lowest number of shots. Each kind of method is represented by its first method, with the K chosen
    on validation questions or else the largest K, but never with the K that is best on the test questions.
    """
    by_block: dict[tuple[str, str, int], list[ArmRow]] = {}
    for row in rows:
        by_block.setdefault((row.model, row.task, row.shots), []).append(row)
    sentences: list[str] = []
    for model in dict.fromkeys(row.model for row in rows):
        blocks = [(tasks.index(task), shots, task) for name, task, shots in by_block if name == model and task in tasks]
        if blocks:
            _, shots, task = min(blocks)
            block = by_block[model, task, shots]
            sentences += list(_sentences(block, several)) or [_no_gain(block, several)]
        else:
            sentences.append(
                f"{_benchmark(rows[0], several)}{model}: no gain to report; the plan has no target task for this model"
            )
    return tuple(sentences)


def _no_gain(block: Sequence[ArmRow], several: bool) -> str:
    """Return the reason why a model has no headline, such as a missing reference arm or no arm to compare with it."""
    without_reference = next((row for row in block if row.kind == "" and row.reference is None), None)
    methods = " and ".join(dict.fromkeys(row.method for row in block))
    reason = without_reference.reason if without_reference else f"for this task, the plan contains only {methods}"
    return f"{start_of(block[0], several)}no gain to report; {reason}"


def _benchmark(row: ArmRow, several: bool) -> str:
    return f"{row.benchmark}: " if several else ""


def start_of(row: ArmRow, several: bool) -> str:
    """Return the beginning of a sentence about a row, which names the model, the task and any few-shot examples."""
    shots = f", {row.shots}-shot" if row.shots else ""
    return f"{_benchmark(row, several)}{row.model} on {row.task}{shots}: "


def _sentences(block: Sequence[ArmRow], several: bool) -> Iterable[str]:
    for way in WAYS:
        rows = [
            row
            for row in block
            if (row.trained, row.retrieving) == way
            and row.system is None
            and row.kind == ""
            and row.reference not in (None, row.arm)
        ]
        if rows:
            yield _sentence(block, rows, several)
    for row in block:
        if row.system is not None and row.reference not in (None, row.arm):
            yield _sentence(block, [row], several)


def _sentence(block: Sequence[ArmRow], rows: Sequence[ArmRow], several: bool) -> str:
    methods = list(dict.fromkeys(row.method for row in rows))
    row = _representative([row for row in rows if row.method == methods[0]])
    reference = next(one for one in block if one.arm == row.reference)
    over = "" if reference.kind == "base" else f" against {reference.arm}"
    start = f"{start_of(row, several)}{_way(row, len(methods) > 1)}{over}: "
    if row.gain is None or row.accuracy is None or reference.accuracy is None:
        prefix = f"not comparable with {reference.arm}, " if row.status == "measured" else ""
        return f"{start}{prefix}{row.reason}"
    gain = row.gain
    change = whole_percent(gain.absolute)
    sign = "" if change.startswith("-") or change == "0" else "+"
    unit = "point" if change in ("1", "-1") else "points"
    parts = [
        f"{whole_percent(reference.accuracy.mean)} -> {whole_percent(row.accuracy.mean)} %",
        f"{sign}{change} {unit}{_interval(gain)}",
    ]
    if row.undecidable:
        parts.append("too few groups of questions to test significance")
    elif row.p is not None and row.p >= LEVEL:
        parts.append(_not_significant(gain))
    if row.gold_share is not None:
        parts.append(f"{whole_percent(row.gold_share)} % of the gain from the gold passage")
    return start + ", ".join(parts)


def _not_significant(gain: Gain) -> str:
    """Return words for a gain that may be due to chance, with the gain that the questions could have shown."""
    if gain.detectable is None or gain.detectable >= 1:
        return "not significant"
    size, power = whole_percent(gain.detectable), whole_percent(POWER)
    return (
        f"not significant (a gain of {size} {'point' if size == '1' else 'points'} is found with a power of {power} %)"
    )


def _interval(gain: Gain) -> str:
    ends = gain.interval
    return "" if ends is None else f" [{whole_percent(ends.low)}, {whole_percent(ends.high)}]"


def representatives(block: Sequence[ArmRow]) -> list[ArmRow]:
    """Return one arm per method that has a reference, except for the gold passage and random passages."""
    by_method: dict[str, list[ArmRow]] = {}
    for row in block:
        if row.kind == "" and row.reference not in (None, row.arm):
            by_method.setdefault(row.method, []).append(row)
    return [_representative(rows) for rows in by_method.values()]


def _representative(rows: Sequence[ArmRow]) -> ArmRow:
    """Return the arm chosen on validation questions, or else the last arm with the largest K."""
    chosen = [row for row in rows if row.chosen]
    return max(reversed(chosen or rows), key=lambda row: dict(row.settings).get("k", 0))


def _way(row: ArmRow, several: bool) -> str:
    if row.system is not None:
        return f"the system {row.system}" if row.system == row.method else f"the system {row.system} ({row.arm})"
    passages = dict(row.settings).get("k")
    retrieval = "retrieval" if passages is None else f"retrieval with {counted(int(passages), 'passage')}"
    if not row.trained:
        return f"{retrieval} ({row.arm})" if several else retrieval
    return f"fine-tuning and {retrieval} ({row.arm})" if row.retrieving else f"fine-tuning ({row.arm})"
