"""Renders the table as GitHub-flavoured Markdown: all rows, with markup in names and messages escaped."""

from collections.abc import Iterator, Sequence

from kib.leaderboard.render.blocks import Block, Column, Line, used_columns
from kib.leaderboard.render.further_tables import explanations, further_tables
from kib.leaderboard.render.gain_table import GAIN_COLUMNS, gain_blocks
from kib.leaderboard.render.legend import missing_results
from kib.leaderboard.table_records import Table

__all__ = ["markdown"]

SPECIAL = str.maketrans({**{letter: f"\\{letter}" for letter in "\\`*_|~$"}, "&": "&amp;", "<": "&lt;"})
NAMES = ("benchmark", "model", "method", "corpus", "against", "probe")
"""Columns with text from a spec, which is escaped; the other columns contain kib's own text."""


def markdown(table: Table) -> str:
    """Return the headlines, one Markdown table per block, and the legend."""
    gains = list(gain_blocks(table))
    columns = used_columns(gains, GAIN_COLUMNS)
    heading, *sentences = _above(table)
    parts = [f"## {heading}\n", *(f"- {sentence}\n" for sentence in sentences)]
    parts += ["\n" if sentences else ""]
    for block in gains:
        parts += _block(block, columns)
    for blocks, all_columns in further_tables(table):
        for block in blocks:
            parts += _block(block, used_columns(blocks, all_columns))
    texts = [missing_results(table), *explanations(table, [column.name for column in columns])]
    parts += [f"{_safe(text)}\n" for text in texts if text]
    return "".join(parts)


def _above(table: Table) -> Iterator[str]:
    """Yield the heading and the sentences below the heading, which lists the names of several benchmarks."""
    titles = [f"{_safe(one.name)}{': ' if one.title else ''}{_safe(one.title)}" for one in table.benchmarks]
    if len(titles) == 1:
        yield titles[0]
    else:
        yield ", ".join(_safe(one.name) for one in table.benchmarks)
        yield from titles
    yield from (_safe(sentence) for sentence in (*table.headlines, *table.remarks))


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
    """Return the text with Markdown markup, HTML and links escaped."""
    return text.translate(SPECIAL).replace("](", "]\\(")
