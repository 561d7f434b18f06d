"""The table of costs below the table of gains, as blocks of texts for people."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice

from kib.leaderboard.number_format import NONE, amount, power, size
from kib.leaderboard.render.columns import Block, Column, Line
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import Cost, Row, Table

__all__ = ["BILL", "bill", "bill_legend"]

BILL = (
    Column("method", "method", "method", left=True),
    Column("prompt", "tokens/q", "prompt tokens a question"),
    Column("operations", "operations/q", "operations a question"),
    Column("trained", "trained", "trained tokens"),
    Column("training operations", "operations once", "operations of the training"),
    Column("written", "writing", "tokens read and written to write the text"),
    Column("index", "index", "size of the index"),
    Column("asking", "asking s/q", "seconds of asking a question"),
    Column("searching", "searching s/q", "seconds of searching for a question"),
    Column("indexing", "indexing s", "seconds of indexing"),
    Column("training", "training s", "seconds of training"),
    Column("peak", "peak", "most memory"),
    Column("money", "money/q", "money a question"),
    Column("money once", "money once", "money once"),
    Column("money writing", "of writing", "money of writing the text"),
)


def bill(table: Table, limit: int | None = None) -> Iterator[Block]:
    """The costs of the first `limit` rows that have a number, block by block."""
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
        yield Block(one_line(title), lines, tuple(_notes(some)))


def bill_legend(table: Table) -> list[str]:
    """What the costs mean."""
    if not table.cost or not any(row.cost for row in table.rows):
        return []
    counted = "Cost: /q is a question, once is before the first; tokens and operations are counted"
    texts = [f"{counted} (reading a question: 2 x parameters x tokens), of several seeds the mean."]
    if table.times:
        texts.append(
            "Seconds and memory as measured; what several arms share (training, index) stands at each of them."
        )
    if any(row.cost and (row.cost.money is not None or row.cost.money_once is not None) for row in table.rows):
        texts.append("Money: by the spec's [prices], hours of the device as measured, else tokens read.")
    if any(row.cost and row.cost.written_requests for row in table.rows):
        texts.append("Writing: the tokens that the text's writers read and wrote; its money is part of money once.")
    return texts


def _texts(cost: Cost) -> dict[str, str]:
    trained = cost.trained_tokens is not None
    return {
        "prompt": amount(cost.prompt_tokens),
        "operations": power(cost.operations),
        "trained": NONE if cost.trained_tokens is None else f"{cost.trained_tokens:,.0f}",
        "written": _written(cost),
        "training operations": power(cost.operations_once) if trained else NONE,
        "index": size(cost.index_bytes) if cost.index_bytes else NONE,
        "asking": amount(cost.asking),
        "searching": amount(cost.searching) if cost.searching else NONE,
        "indexing": amount(cost.indexing) if cost.indexing else NONE,
        "training": amount(cost.training) if trained else NONE,
        "peak": size(cost.peak_bytes) if cost.peak_bytes else NONE,
        "money": amount(cost.money),
        "money once": amount(cost.money_once),
        "money writing": amount(cost.money_writing) if cost.written_requests else NONE,
    }


def _written(cost: Cost) -> str:
    if not cost.written_requests or cost.written_input_tokens is None or cost.written_output_tokens is None:
        return NONE
    return f"{cost.written_input_tokens:,.0f} + {cost.written_output_tokens:,.0f}"


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.cost and row.cost.fewer_operations_from:
            yield one_line(f"{row.arm}: fewer operations than {_places(row.cost.fewer_operations_from)}")
        if row.cost and row.cost.less_money_from:
            yield one_line(f"{row.arm}: less money than {_places(row.cost.less_money_from)}")


def _places(least: Mapping[str, int]) -> str:
    return ", than ".join(f"{arm} from {count:,} question{'s' * (count > 1)} on" for arm, count in least.items())
