"""Renders the cost table, which appears below the table of gains, as blocks of printable text."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice

from kib.leaderboard.number_format import DASH, byte_size, scientific, three_digits
from kib.leaderboard.render.blocks import Block, Column, Line
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import ArmRow, Cost, Table

__all__ = ["COST_COLUMNS", "cost_blocks", "cost_legend"]

COST_COLUMNS = (
    Column("method", "method", "method", left=True),
    Column("prompt", "tokens/q", "prompt tokens per question"),
    Column("operations", "operations/q", "operations per question"),
    Column("trained", "trained", "trained tokens"),
    Column("training operations", "operations once", "training operations"),
    Column("written", "writing", "tokens for writing the training text"),
    Column("index", "index", "index size"),
    Column("asking", "asking s/q", "answering time per question"),
    Column("searching", "searching s/q", "search time per question"),
    Column("indexing", "indexing s", "indexing time"),
    Column("training", "training s", "training time"),
    Column("peak", "peak", "peak memory"),
    Column("money", "money/q", "money per question"),
    Column("money once", "money once", "money once"),
    Column("money writing", "of writing", "money for writing the training text"),
)


def cost_blocks(table: Table, limit: int | None = None) -> Iterator[Block]:
    """Yield the costs of the first `limit` rows, block by block."""
    if not table.cost:
        return
    several = len(table.benchmarks) > 1
    rows = (row for row in islice(table.rows, limit) if row.cost)
    for (benchmark, model, task, shots), group in groupby(
        rows, lambda row: (row.benchmark, row.model, row.task, row.shots)
    ):
        some = list(group)
        title = f"cost · {f'{benchmark}: ' if several else ''}{model} · {task} · {shots}-shot"
        lines = tuple(
            Line({"method": one_line(row.arm), **_texts(row.cost)}, "base" if row.kind == "base" else "same")
            for row in some
            if row.cost
        )
        yield Block(one_line(title), lines, tuple(_break_even_notes(some)))


def cost_legend(table: Table) -> list[str]:
    """Return sentences that explain the cost columns."""
    if not table.cost or not any(row.cost for row in table.rows):
        return []
    counted = "Tokens and operations (2 x parameters x tokens to read a question) are counted and averaged over seeds."
    texts = [f"Cost: /q means per question, once means before the first question. {counted}"]
    if table.times:
        texts.append(
            "Seconds and memory are measured; an index or training run that arms share counts for each of these arms."
        )
    if any(row.cost and (row.cost.money is not None or row.cost.money_once is not None) for row in table.rows):
        texts.append("Money follows from the [prices] in the spec: measured device hours, or else the tokens read.")
    if any(row.cost and row.cost.written_requests for row in table.rows):
        texts.append(
            "Writing: tokens read and written by the writers of the training text; money once includes their price."
        )
    return texts


def _texts(cost: Cost) -> dict[str, str]:
    trained = cost.trained_tokens is not None
    return {
        "prompt": three_digits(cost.prompt_tokens),
        "operations": scientific(cost.operations),
        "trained": DASH if cost.trained_tokens is None else f"{cost.trained_tokens:,.0f}",
        "written": _written(cost),
        "training operations": scientific(cost.operations_once) if trained else DASH,
        "index": byte_size(cost.index_bytes) if cost.index_bytes else DASH,
        "asking": three_digits(cost.asking),
        "searching": three_digits(cost.searching) if cost.searching else DASH,
        "indexing": three_digits(cost.indexing) if cost.indexing else DASH,
        "training": three_digits(cost.training) if trained else DASH,
        "peak": byte_size(cost.peak_bytes) if cost.peak_bytes else DASH,
        "money": three_digits(cost.money),
        "money once": three_digits(cost.money_once),
        "money writing": three_digits(cost.money_writing) if cost.written_requests else DASH,
    }


def _written(cost: Cost) -> str:
    if not cost.written_requests or cost.written_input_tokens is None or cost.written_output_tokens is None:
        return DASH
    return f"{cost.written_input_tokens:,.0f} + {cost.written_output_tokens:,.0f}"


def _break_even_notes(rows: Sequence[ArmRow]) -> Iterator[str]:
    for row in rows:
        if row.cost and row.cost.fewer_operations_from:
            yield one_line(f"{row.arm}: fewer operations than {_break_even(row.cost.fewer_operations_from)}")
        if row.cost and row.cost.less_money_from:
            yield one_line(f"{row.arm}: less money than {_break_even(row.cost.less_money_from)}")


def _break_even(least: Mapping[str, int]) -> str:
    return ", than ".join(f"{arm} from {count:,} question{'s' * (count > 1)} upwards" for arm, count in least.items())
