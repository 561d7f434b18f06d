"""Renders the comparison of automatic scores with the verdicts of people, as blocks of printable text."""

from collections.abc import Iterator, Sequence
from itertools import islice

from kib.leaderboard.number_format import DASH, interval, percent, points
from kib.leaderboard.render.blocks import Block, Column, Line
from kib.leaderboard.table_records import ArmRow, LabelledArm, LabelledBlock, Table
from kib.safe_text import one_line
from kib.statistics.gains import Interval
from kib.statistics.human_labels import LEAST_GROUPS, Agreement, Corrected
from kib.support.phrases import counted

__all__ = ["LABEL_COLUMNS", "label_blocks", "label_legend"]

LABEL_COLUMNS = (
    Column("method", "method", "method", left=True),
    Column("automatic accuracy", "acc. %", "accuracy without correction"),
    Column("corrected accuracy", "corrected %", "corrected accuracy"),
    Column("corrected accuracy interval", "interval", "confidence interval for the corrected accuracy", left=True),
    Column("automatic points", "points", "gain without correction"),
    Column("corrected points", "corrected", "corrected gain"),
    Column("corrected points interval", "interval", "confidence interval for the corrected gain", left=True),
    Column("agree", "agree %", "agreement with labels"),
    Column("kappa", "kappa", "Cohen's kappa"),
    Column("kappa interval", "interval", "confidence interval for kappa", left=True),
    Column("too high", "too high", "outputs that only the automatic score calls right"),
    Column("too low", "too low", "outputs that only people call right"),
)

ALL_ARMS = "all arms"
"""The name of the line with the outputs of all arms; no method can have this name."""

LEGEND = (
    "labels: people judged the outputs of questions drawn at random. agree %, kappa: agreement of the automatic score "
    "with the verdict, and Cohen's kappa; at least 0.5 counts as right. too high, too low: numbers of outputs that "
    "only the automatic score, or only the verdict, calls right."
)
CORRECTED = (
    "corrected: prediction-powered accuracy and gain, which add the mean difference between verdict and automatic "
    "score on the labelled questions to the mean automatic score of all questions; the intervals contain the error of "
    "the automatic score, and cover other questions but not other seeds."
)


def label_blocks(table: Table, limit: int | None = None) -> Iterator[Block]:
    """Yield the comparison of the first `limit` rows with labels, block by block."""
    several = len(table.benchmarks) > 1
    rows = list(islice(table.rows, limit))
    for block in table.labelled:
        key = (block.benchmark, block.model, block.task, block.shots)
        some = [row for row in rows if (row.benchmark, row.model, row.task, row.shots) == key and row.labelled]
        if some:
            start = f"{block.benchmark}: " if several else ""
            title = f"labels · {start}{block.model} · {block.task} · {block.shots}-shot · {_sizes(block)}"
            lines = [_line(row, row.labelled) for row in some if row.labelled]
            total = Line({"method": ALL_ARMS, **_agreement(block.agreement)}, "base")
            yield Block(one_line(title), (*lines, total), tuple(_notes(block, some)))


def _sizes(block: LabelledBlock) -> str:
    return f"{block.questions:,} of {counted(block.population, 'question')} labelled"


def _notes(block: LabelledBlock, rows: Sequence[ArmRow]) -> Iterator[str]:
    """Yield sentences about questions without all verdicts, few groups, and arms that cannot be compared."""
    if left_out := block.drawn - block.questions:
        of = counted(block.drawn, "drawn question")
        yield f"left out {left_out} of {of}, because verdicts are missing; the rest may not be a random sample"
    if block.groups and block.groups < LEAST_GROUPS:
        unit = "question" if block.groups == block.questions else "group"
        yield f"only {counted(block.groups, f'labelled {unit}')}: intervals need at least {LEAST_GROUPS}"
    for row in rows:
        if row.labelled and row.labelled.reason:
            yield one_line(f"{row.arm}: {row.labelled.reason}")


def _line(row: ArmRow, labelled: LabelledArm) -> Line:
    gain = row.gain
    texts = {
        "method": one_line(row.arm),
        "automatic accuracy": percent(row.accuracy.mean if row.accuracy else None),
        "corrected accuracy": percent(_mean(labelled.accuracy)),
        "corrected accuracy interval": interval(_interval(labelled.accuracy)),
        "automatic points": points(gain.absolute if gain else None),
        "corrected points": points(_mean(labelled.gain)),
        "corrected points interval": interval(_interval(labelled.gain)),
        **_agreement(labelled.agreement),
    }
    return Line(texts, "ceiling" if row.kind == "ceiling" else "same")


def _mean(one: Corrected | None) -> float | None:
    return one.mean if one else None


def _interval(one: Corrected | None) -> Interval | None:
    return one.interval if one else None


def _agreement(one: Agreement | None) -> dict[str, str]:
    """Return the texts of the columns on agreement."""
    if one is None:
        return {"agree": DASH, "kappa": DASH, "too high": DASH, "too low": DASH}
    ends = one.interval
    return {
        "agree": percent(one.agreed / one.outputs),
        "kappa": DASH if one.kappa is None else f"{one.kappa:.2f}",
        "kappa interval": f"[{ends.low:.2f}, {ends.high:.2f}]" if ends else "",
        "too high": str(one.too_high),
        "too low": str(one.too_low),
    }


def label_legend(table: Table) -> list[str]:
    """Return sentences that explain the comparison with labels, if there is one."""
    return [LEGEND, CORRECTED] if any(row.labelled for row in table.rows) else []
