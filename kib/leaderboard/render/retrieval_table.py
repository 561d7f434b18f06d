"""The table of retrieval below the table of gains, as blocks of texts for people."""

from collections.abc import Iterator
from itertools import groupby, islice

from kib.leaderboard.number_format import NONE, amount, interval, percent, size
from kib.leaderboard.render.columns import Block, Column, Line
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import Retrieval, Row, Table
from kib.statistics.gains import Accuracy

__all__ = ["FINDS", "finds", "finds_legend"]

FINDS = (
    Column("method", "method", "method", left=True),
    Column("recall", "recall", "recall of the gold passage"),
    Column("recall interval", "interval", "interval of the recall", left=True),
    Column("mrr", "MRR", "mean reciprocal rank"),
    Column("mrr interval", "interval", "interval of the mean reciprocal rank", left=True),
    Column("ndcg", "nDCG", "nDCG"),
    Column("ndcg interval", "interval", "interval of nDCG", left=True),
    Column("accuracy", "acc. %", "accuracy on these questions"),
    Column("found", "found", "accuracy where a gold passage was retrieved"),
    Column("found interval", "interval", "its interval", left=True),
    Column("missed", "missed", "accuracy where none was retrieved"),
    Column("missed interval", "interval", "its interval where none was retrieved", left=True),
    Column("dropped", "dropped", "dropped passages"),
    Column("index", "index", "size of the index"),
    Column("indexing", "indexing s", "seconds of indexing"),
    Column("searching", "ms/q", "milliseconds of searching for a question"),
)


MEANINGS = (
    (
        "Retrieval, in %, over questions with a gold passage in the corpus: recall, those with one among the passages "
        "retrieved; MRR, 1 over the rank of the first one; nDCG, of all of them (ir_measures)."
    ),
    (
        "found, missed: accuracy on the questions of which a gold passage was retrieved, and on the others. Questions "
        "of the two kinds may differ in more than that: what a passage does, the ceiling and random passages show."
    ),
)


def finds(table: Table, limit: int | None = None) -> Iterator[Block]:
    """The retrieval of the first `limit` rows that have a number, block by block."""
    if not table.retrieval:
        return
    several = len(table.benchmarks) > 1
    rows = (row for row in islice(table.rows, limit) if row.retrieval)
    for (benchmark, model, task, shots), group in groupby(
        rows, lambda row: (row.benchmark, row.model, row.task, row.shots)
    ):
        some = list(group)
        judged = max(row.retrieval.judged for row in some if row.retrieval)
        name = f"{benchmark}: {model}" if several else model
        title = f"retrieval · {name} · {task} · {shots}-shot · {judged} questions with gold"
        lines = tuple(
            Line(_texts(row, row.retrieval), "ceiling" if row.kind == "ceiling" else "same")
            for row in some
            if row.retrieval
        )
        yield Block(one_line(title), lines)


def _texts(row: Row, found: Retrieval) -> dict[str, str]:
    measures = {"recall": found.recall, "mrr": found.mrr, "ndcg": found.ndcg}
    parts = {"found": found.found, "missed": found.missed}
    return {
        "method": one_line(row.arm),
        **{name: percent(one.mean) if one else NONE for name, one in measures.items()},
        **{f"{name} interval": interval(one.interval if one else None) for name, one in measures.items()},
        "accuracy": percent(found.accuracy),
        **{name: _of(one) for name, one in parts.items()},
        **{f"{name} interval": interval(one.interval if one else None) for name, one in parts.items()},
        "dropped": str(row.dropped_passages) if row.dropped_passages else "",
        "index": size(found.index_bytes) if found.index_bytes else NONE,
        "indexing": amount(found.indexing) if found.indexing else NONE,
        "searching": amount(1000 * found.searching) if found.searching else NONE,
    }


def _of(part: Accuracy | None) -> str:
    """An accuracy with the number of its questions: it may rest on few."""
    return NONE if part is None else f"{percent(part.mean)} of {part.n}"


def finds_legend(table: Table) -> list[str]:
    """What the columns of retrieval mean."""
    if not table.retrieval or not any(row.retrieval for row in table.rows):
        return []
    times = "Seconds of indexing and searching as measured; a fusion's are those of its retrievers together."
    return [*MEANINGS, *([times] if table.times else [])]
