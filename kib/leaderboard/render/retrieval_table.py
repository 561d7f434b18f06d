"""Renders the retrieval table, which is printed below the table of gains, as blocks of printable text."""

from collections.abc import Iterator

from kib.leaderboard.number_format import DASH, byte_size, interval, percent, three_digits
from kib.leaderboard.render.blocks import Block, Column, Line
from kib.leaderboard.render.row_groups import row_groups
from kib.leaderboard.table_records import ArmRow, RetrievalQuality, Table
from kib.safe_text import one_line
from kib.statistics.gains import Accuracy
from kib.support.phrases import counted

__all__ = ["RETRIEVAL_COLUMNS", "retrieval_blocks", "retrieval_legend"]

RETRIEVAL_COLUMNS = (
    Column("method", "method", "method", left=True),
    Column("recall", "recall", "recall of the gold passage"),
    Column("recall interval", "interval", "confidence interval for recall", left=True),
    Column("mrr", "MRR", "mean reciprocal rank"),
    Column("mrr interval", "interval", "confidence interval for the mean reciprocal rank", left=True),
    Column("ndcg", "nDCG", "nDCG"),
    Column("ndcg interval", "interval", "confidence interval for nDCG", left=True),
    Column("accuracy", "acc. %", "accuracy on judged questions"),
    Column("found", "found", "accuracy when a gold passage was retrieved"),
    Column(
        "found interval", "interval", ("confidence interval for accuracy when a gold passage was retrieved"), left=True
    ),
    Column("missed", "missed", "accuracy when no gold passage was retrieved"),
    Column(
        "missed interval",
        "interval",
        ("confidence interval for accuracy when no gold passage was retrieved"),
        left=True,
    ),
    Column("dropped", "dropped", "dropped passages"),
    Column("index", "index", "index size"),
    Column("indexing", "indexing s", "indexing time"),
    Column("searching", "ms/q", "search time per question"),
)


MEANINGS = (
    (
        "Retrieval quality in %, over questions with a gold passage in the corpus. Recall is the share of "
        "questions with a retrieved gold passage, MRR is the mean of 1 / rank of the first gold passage, and nDCG "
        "takes all gold passages into account."
    ),
    (
        "found, missed: accuracy on questions with and without a retrieved gold passage. The two sets of questions "
        "may also differ in difficulty; to see the effect of a passage, compare the rows with the gold passage and "
        "with random passages."
    ),
)


def retrieval_blocks(table: Table, limit: int | None = None) -> Iterator[Block]:
    """Yield the retrieval quality of the first `limit` rows, block by block."""
    if not table.retrieval:
        return
    for name, some in row_groups(table, limit, lambda row: row.retrieval):
        judged = max(row.retrieval.judged for row in some if row.retrieval)
        title = f"retrieval · {name} · {counted(judged, 'question')} with a gold passage"
        lines = tuple(
            Line(_texts(row, row.retrieval), "ceiling" if row.kind == "ceiling" else "same")
            for row in some
            if row.retrieval
        )
        yield Block(one_line(title), lines)


def _texts(row: ArmRow, found: RetrievalQuality) -> dict[str, str]:
    measures = {"recall": found.recall, "mrr": found.mrr, "ndcg": found.ndcg}
    parts = {"found": found.found, "missed": found.missed}
    return {
        "method": one_line(row.arm),
        **{name: percent(one.mean) if one else DASH for name, one in measures.items()},
        **{f"{name} interval": interval(one.interval if one else None) for name, one in measures.items()},
        "accuracy": percent(found.accuracy),
        **{name: _accuracy_of_n(one) for name, one in parts.items()},
        **{f"{name} interval": interval(one.interval if one else None) for name, one in parts.items()},
        "dropped": str(row.dropped_passages) if row.dropped_passages else "",
        "index": byte_size(found.index_bytes) if found.index_bytes else DASH,
        "indexing": three_digits(found.indexing) if found.indexing else DASH,
        "searching": three_digits(1000 * found.searching) if found.searching else DASH,
    }


def _accuracy_of_n(part: Accuracy | None) -> str:
    """Return an accuracy together with its number of questions, because the number may be small."""
    return DASH if part is None else f"{percent(part.mean)} of {part.n}"


def retrieval_legend(table: Table) -> list[str]:
    """Return sentences that explain the retrieval columns."""
    if not table.retrieval or not any(row.retrieval for row in table.rows):
        return []
    times = "Indexing and search times are measured; the time of a fusion is the sum of the times of its retrievers."
    return [*MEANINGS, *([times] if table.times else [])]
