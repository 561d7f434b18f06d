"""Renders the table for a terminal with the library rich, fitted to the width of the terminal."""

from collections.abc import Collection, Iterable, Sequence
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING

from kib.leaderboard.render.answers_table import ANSWER_COLUMNS, answer_blocks
from kib.leaderboard.render.blocks import Block, Column, Line, used_columns
from kib.leaderboard.render.cost_table import COST_COLUMNS, cost_blocks
from kib.leaderboard.render.cross_origin_table import CROSS_ORIGIN_COLUMNS, cross_origin_blocks
from kib.leaderboard.render.further_tables import explanations
from kib.leaderboard.render.gain_table import GAIN_COLUMNS, gain_blocks
from kib.leaderboard.render.label_table import LABEL_COLUMNS, label_blocks
from kib.leaderboard.render.legend import missing_results
from kib.leaderboard.render.pairwise_table import PAIRWISE_COLUMNS, pairwise_blocks
from kib.leaderboard.render.probe_table import PROBE_COLUMNS, probe_blocks
from kib.leaderboard.render.retrieval_table import RETRIEVAL_COLUMNS, retrieval_blocks
from kib.leaderboard.table_records import Table
from kib.support.phrases import counted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["MAX_ROWS", "terminal"]

MAX_ROWS = 200
"""The maximum number of printed rows; all other formats contain every row."""

MAX_HEADLINES = 12
NOTE_WIDTH = 20  # preferred width of a note line
MIN_NOTE_WIDTH = 10
MIN_NAME_WIDTH = 14  # longer names are wrapped, preferably after commas
NAMES = ("benchmark", "model", "method", "probe")
"""Columns that are wrapped if they are too wide."""
BREAK_AFTER = "-_+./"
"""Characters after which a long name without commas may be broken."""
GAIN_DROPS = (
    ("tokens",),
    ("questions",),
    ("relative interval",),
    ("dropped",),
    ("accuracy interval",),
    ("perplexity",),
    ("known", "unknown"),
    ("corpus",),
    ("recall",),
    ("seeds",),
    ("n",),
    ("origin",),
    ("share",),
    ("relative",),
    ("points interval",),
)
"""Columns of the table of gains that are omitted on a narrow terminal, in this order."""

COST_DROPS = (
    ("peak",),
    ("indexing",),
    ("index",),
    ("searching",),
    ("trained",),
    ("training",),
    ("asking",),
    ("prompt",),
)
"""Columns of the cost table that are omitted on a narrow terminal, in this order."""

RETRIEVAL_DROPS = (
    ("index",),
    ("mrr interval",),
    ("recall interval",),
    ("indexing",),
    ("ndcg interval",),
    ("missed interval", "found interval"),
    ("searching",),
    ("mrr",),
)
"""Columns of the retrieval table that are omitted on a narrow terminal, in this order."""

PROBE_DROPS = (("questions",), ("accuracy interval",), ("n",), ("points interval",))
"""Columns of the table of gains by probe that are omitted on a narrow terminal, in this order."""

LABEL_DROPS = (
    ("automatic points",),
    ("automatic accuracy",),
    ("kappa interval",),
    ("kappa",),
    ("corrected accuracy interval",),
    ("too high", "too low"),
)
"""Columns of the comparison with labels that are omitted on a narrow terminal, in this order."""

CROSS_ORIGIN_DROPS = (("origin",), ("accuracy interval",))
"""Columns of cross-origin rankings that are omitted on a narrow terminal, in this order."""

TONES = {"base": "bold", "better": "green", "worse": "red", "same": "", "ceiling": "italic", "absent": "yellow"}


def terminal(table: Table, *, width: int, colour: bool) -> str:
    """Return the first 200 rows in lines of at most `width` characters, with headlines above and the legend below."""
    gains = _FittedTable(gain_blocks(table, MAX_ROWS), GAIN_COLUMNS, GAIN_DROPS, width)
    grids = (
        gains,
        _FittedTable(answer_blocks(table, MAX_ROWS), ANSWER_COLUMNS, (), width),
        _FittedTable(probe_blocks(table, MAX_ROWS), PROBE_COLUMNS, PROBE_DROPS, width),
        _FittedTable(label_blocks(table, MAX_ROWS), LABEL_COLUMNS, LABEL_DROPS, width),
        _FittedTable(cross_origin_blocks(table, MAX_ROWS), CROSS_ORIGIN_COLUMNS, CROSS_ORIGIN_DROPS, width),
        _FittedTable(pairwise_blocks(table), PAIRWISE_COLUMNS, (), width),
        _FittedTable(cost_blocks(table, MAX_ROWS), COST_COLUMNS, COST_DROPS, width),
        _FittedTable(retrieval_blocks(table, MAX_ROWS), RETRIEVAL_COLUMNS, RETRIEVAL_DROPS, width),
    )
    file = StringIO()
    console = _console(file, width, colour)
    # Numbers are never truncated: a table may be wider than the terminal, while sentences are wrapped at its width.
    wide = _console(file, max(width, *(grid.width for grid in grids)), colour)
    _above(console, table)
    for grid in grids:
        for block in grid.blocks:
            _print_block(console, wide, block, grid)
    left_out = list(dict.fromkeys(column.title for grid in grids for column in grid.left_out))
    _below(console, table, [column.name for column in gains.columns], left_out)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n") + "\n"


class _FittedTable:
    """Blocks with the same columns, limited to the columns that fit within `width`."""

    def __init__(
        self, blocks: Iterable[Block], columns: Sequence[Column], drops: Sequence[Collection[str]], width: int
    ) -> None:
        self.blocks = list(blocks)
        used = used_columns(self.blocks, columns)
        self.widths = _widths(self.blocks, used)
        self.columns, self.left_out = _fit(used, self.widths, width, drops)

    @property
    def width(self) -> int:
        """The total width of the columns."""
        return sum(self.widths[column.name] + _gap(column) for column in self.columns)


def _console(file: StringIO, width: int, colour: bool) -> "Console":
    from rich.console import Console

    # The empty environment keeps the output reproducible; the command line handles COLUMNS and NO_COLOR.
    return Console(
        file=file,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )


def _above(console: "Console", table: Table) -> None:
    for benchmark in table.benchmarks:
        console.print(f"{benchmark.name} · {benchmark.title}" if benchmark.title else benchmark.name, style="bold")
    for headline in table.headlines[:MAX_HEADLINES]:
        _print_indented(console, headline, "")
    more = len(table.headlines) - MAX_HEADLINES
    if more > 0:
        _print_indented(
            console, f"and {counted(more, 'more headline')}; use --format markdown to print all headlines", ""
        )
    for remark in table.remarks:
        _print_indented(console, remark, "")
    console.print()


def _below(console: "Console", table: Table, names: Sequence[str], left_out: Sequence[str]) -> None:
    total = len(table.rows) + len(table.averages)
    if total > MAX_ROWS:
        console.print(
            (f"Showing the first {MAX_ROWS} of {total} rows; use --format markdown, csv or json to print all rows."),
            style="bold",
        )
    if missing_results(table):
        console.print(missing_results(table), style="bold")
    for text in explanations(table, names):
        console.print(text, style="dim")
    if left_out:
        console.print(f"Omitted at this width: {', '.join(left_out)}.", style="dim")


def _print_block(console: "Console", wide: "Console", block: Block, fitted: _FittedTable) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    columns, widths = fitted.columns, fitted.widths
    grid = Grid(box=None, pad_edge=False, padding=0, header_style="dim")
    for column in columns:
        width = widths[column.name] + _gap(column)
        header = f"{' ' * _gap(column) * column.left}{column.header}"
        grid.add_column(header, justify="left" if column.left else "right", width=width, no_wrap=True)
    for line in block.lines:
        grid.add_row(*(Text(_fold(line, column, widths), style=_style(line, column)) for column in columns))
    console.print(block.title, style="bold")
    wide.print(grid)
    for note in block.notes:
        _print_indented(console, note, "yellow")
    console.print()


def _print_indented(console: "Console", text: str, style: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


def _gap(column: Column) -> int:
    """Return the number of spaces before a column; an interval is printed close to its number."""
    return 0 if column.name == "rank" else 1 if column.header == "interval" else 2


def _style(line: Line, column: Column) -> str:
    if line.tone in ("better", "worse") and column.name not in ("points", "points interval", "relative", "p", "note"):
        return ""
    return TONES[line.tone]


def _widths(shown: Sequence[Block], columns: Sequence[Column]) -> dict[str, int]:
    """Return the width of each column over all blocks, so that the columns of different blocks are aligned."""
    widths = {column.name: len(column.header) for column in columns}
    for block in shown:
        for line in block.lines:
            for name, text in line.texts.items():
                if name in widths:
                    widths[name] = max(widths[name], *map(len, _note_lines(text) if name == "note" else [text]))
    return widths


def _fit(
    columns: Sequence[Column], widths: dict[str, int], width: int, drops: Sequence[Collection[str]]
) -> tuple[list[Column], list[Column]]:
    """Return the columns that fit within `width`, and the omitted columns; reduces the `widths` of names and notes."""
    kept = list(columns)
    names = [column.name for column in columns if column.name in NAMES]

    def rest() -> int:
        """Return the width that remains for the name columns."""
        return width - sum(_gap(column) + (0 if column.name in NAMES else widths[column.name]) for column in kept)

    wanted = sum(min(widths[name], max(MIN_NAME_WIDTH, width // 5)) for name in names)
    for names_to_drop in drops:
        if rest() >= wanted:
            break
        kept = [column for column in kept if column.name not in names_to_drop]
    if "note" in widths:
        widths["note"] = max(min(MIN_NOTE_WIDTH, widths["note"]), widths["note"] - max(0, wanted - rest()))
        if rest() < sum(min(widths[name], MIN_NAME_WIDTH) for name in names):
            kept = [column for column in kept if column.name != "note"]
    while sum(widths[name] for name in names) > rest():
        widest = max(names, key=lambda name: widths[name])
        if widths[widest] <= MIN_NAME_WIDTH:
            break
        widths[widest] -= 1
    return kept, [column for column in columns if column not in kept]


def _fold(line: Line, column: Column, widths: dict[str, int]) -> str:
    """Return a text preceded by the gap of its column; names and notes are wrapped to the column width."""
    text, width = line.texts.get(column.name, ""), widths[column.name]
    gap = " " * _gap(column) if column.left else ""
    if column.name == "note":
        return "\n".join(gap + line for part in _note_lines(text) for line in wrap(part, width) or [""])
    if column.name not in NAMES or len(text) <= width:
        return gap + text
    lines = [""]
    for part in text.replace(",", ",\0").split("\0"):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("  ")
        rest = lines.pop() + part
        while len(rest) > width:
            end = max((rest.rfind(mark, 2, width) + 1 for mark in BREAK_AFTER), default=0)
            end = end if end > MIN_NAME_WIDTH // 2 else width
            lines.append(rest[:end])
            rest = "  " + rest[end:]
        lines.append(rest)
    return "\n".join(gap + line for line in lines)


def _note_lines(note: str) -> list[str]:
    """Return the lines of a note, about 20 characters each and broken after commas."""
    lines = [""]
    for part in note.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) > NOTE_WIDTH:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] += f", {part}" if lines[-1] else part
    return lines
