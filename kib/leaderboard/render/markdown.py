"""The table as Markdown (GitHub's): all rows, safe against markup in names and messages."""

from collections.abc import Iterator, Sequence

from kib.leaderboard.render.columns import Block, Column, Line, blocks, used_columns
from kib.leaderboard.render.cost_table import BILL, bill, bill_legend
from kib.leaderboard.render.cross_origin_table import STANDINGS, standings
from kib.leaderboard.render.legend import counts, legend
from kib.leaderboard.render.pairwise_table import DUELS, duels
from kib.leaderboard.render.retrieval_table import FINDS, finds, finds_legend
from kib.leaderboard.table_records import Table

__all__ = ["markdown"]

SPECIAL = str.maketrans({**{letter: f"\\{letter}" for letter in "\\`*_|~$"}, "&": "&amp;", "<": "&lt;"})
NAMES = ("benchmark", "model", "method", "corpus", "against")
"""Columns whose texts come from a spec; the others hold numbers and words of ours."""


def markdown(table: Table) -> str:
    """Headings, a table a block, and what the numbers mean."""
    shown = list(blocks(table))
    columns = used_columns(shown)
    heading, *sentences = _above(table)
    parts = [f"## {heading}\n", *(f"- {sentence}\n" for sentence in sentences)]
    parts += ["\n" if sentences else ""]
    for block in shown:
        parts += _block(block, columns)
    ranked = list(standings(table))
    for block in ranked:
        parts += _block(block, used_columns(ranked, STANDINGS))
    for block in duels(table):
        parts += _block(block, DUELS)
    costs = list(bill(table))
    for block in costs:
        parts += _block(block, used_columns(costs, BILL))
    found = list(finds(table))
    for block in found:
        parts += _block(block, used_columns(found, FINDS))
    names = [column.name for column in columns]
    texts = [counts(table), *legend(table, names), *bill_legend(table), *finds_legend(table)]
    parts += [f"{_safe(text)}\n" for text in texts if text]
    return "".join(parts)


def _above(table: Table) -> Iterator[str]:
    """One heading for all blocks, of several benchmarks their names, and the sentences below it."""
    titles = [f"{_safe(one.name)}{': ' if one.title else ''}{_safe(one.title)}" for one in table.benchmarks]
    if len(titles) == 1:
        yield titles[0]
    else:
        yield ", ".join(_safe(one.name) for one in table.benchmarks)
        yield from titles
    yield from (_safe(sentence) for sentence in (*table.headings, *table.remarks))


def _block(block: Block, columns: Sequence[Column]) -> Iterator[str]:
    yield f"### {_safe(block.title)}\n\n"
    yield _row([column.header for column in columns])
    yield _row([":--" if column.left else "--:" for column in columns])
    for line in block.lines:
        yield _row([_cell(line, column) for column in columns])
    yield "\n"
    for note in block.notes:
        yield f"- {_safe(note)}\n"
    if block.notes:
        yield "\n"


def _row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.strip() for text in texts) + " |\n"


def _cell(line: Line, column: Column) -> str:
    text = line.texts.get(column.name, "")
    return _safe(text) if column.name in NAMES else text


def _safe(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no links."""
    return text.translate(SPECIAL).replace("](", "]\\(")
