"""The tables below the gains, and the sentences below all tables, which all text formats have in common."""

from collections.abc import Collection, Iterator, Sequence

from kib.leaderboard.render.answers_table import ANSWER_COLUMNS, answer_blocks, answer_legend
from kib.leaderboard.render.blocks import Block, Column
from kib.leaderboard.render.cost_table import COST_COLUMNS, cost_blocks, cost_legend
from kib.leaderboard.render.cross_origin_table import CROSS_ORIGIN_COLUMNS, cross_origin_blocks
from kib.leaderboard.render.label_table import LABEL_COLUMNS, label_blocks, label_legend
from kib.leaderboard.render.legend import legend
from kib.leaderboard.render.pairwise_table import PAIRWISE_COLUMNS, pairwise_blocks
from kib.leaderboard.render.probe_table import PROBE_COLUMNS, probe_blocks, probe_legend
from kib.leaderboard.render.retrieval_table import RETRIEVAL_COLUMNS, retrieval_blocks, retrieval_legend
from kib.leaderboard.table_records import Table

__all__ = ["explanations", "further_tables"]


def further_tables(table: Table, limit: int | None = None) -> Iterator[tuple[list[Block], Sequence[Column]]]:
    """Yield the blocks of each table below the gains, for the first `limit` rows, with all possible columns."""
    yield list(answer_blocks(table, limit)), ANSWER_COLUMNS
    yield list(probe_blocks(table, limit)), PROBE_COLUMNS
    yield list(label_blocks(table, limit)), LABEL_COLUMNS
    yield list(cross_origin_blocks(table, limit)), CROSS_ORIGIN_COLUMNS
    yield list(pairwise_blocks(table)), PAIRWISE_COLUMNS
    yield list(cost_blocks(table, limit)), COST_COLUMNS
    yield list(retrieval_blocks(table, limit)), RETRIEVAL_COLUMNS


def explanations(table: Table, columns: Collection[str]) -> list[str]:
    """Return the sentences that explain all tables; `columns` are the columns of the table of gains."""
    parts = (legend(table, columns), answer_legend(table), probe_legend(table), label_legend(table))
    return [text for part in (*parts, cost_legend(table), retrieval_legend(table)) for text in part]
