"""The table for a terminal, by rich: as wide as it needs and as narrow as it must be."""

from collections.abc import Collection, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from kib.leaderboard.bill import BILL, bill, bill_legend
from kib.leaderboard.duels import DUELS, duels
from kib.leaderboard.finds import FINDS, finds, finds_legend
from kib.leaderboard.layout import COLUMNS, Block, Column, Line, blocks, used_columns
from kib.leaderboard.legend import counts, legend
from kib.leaderboard.row import Table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ROWS", "terminal"]

ROWS = 200
"""So many rows are shown; the other formats have all."""

HEADINGS = 12
NOTE = 20
NARROWEST = 14  # of the method's column; longer names are folded at their commas
DROP = (
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
    ("share",),
    ("relative",),
    ("points interval",),
)
"""Columns that a narrow terminal does without, in this order."""

DROP_COST = (
    ("peak",),
    ("indexing",),
    ("index",),
    ("searching",),
    ("trained",),
    ("training",),
    ("asking",),
    ("prompt",),
)
"""The same of the table of costs."""

DROP_FINDS = (
    ("index",),
    ("mrr interval",),
    ("recall interval",),
    ("indexing",),
    ("ndcg interval",),
    ("missed interval", "found interval"),
    ("searching",),
    ("mrr",),
)
"""The same of the table of retrieval."""

TONES = {"base": "bold", "better": "green", "worse": "red", "same": "", "ceiling": "italic", "absent": "yellow"}


def terminal(table: Table, *, width: int, colour: bool) -> str:
    """The first 200 rows in `width` columns, with headings above and what the numbers mean below."""
    gains = _Sheet(list(blocks(table, ROWS)), COLUMNS, DROP, width)
    between = _Sheet(list(duels(table)), DUELS, (), width)
    costs = _Sheet(list(bill(table, ROWS)), BILL, DROP_COST, width)
    found = _Sheet(list(finds(table, ROWS)), FINDS, DROP_FINDS, width)
    # Numbers are never cut: a table that is wider than the terminal stays so.
    console = _console(max(width, gains.width, between.width, costs.width, found.width), colour)
    _above(console, table)
    for sheet in (gains, between, costs, found):
        for block in sheet.blocks:
            _print_block(console, block, sheet.columns, sheet.widths)
    left_out = [*gains.left_out, *costs.left_out, *found.left_out]
    _below(console, table, [column.name for column in gains.columns], left_out)
    return "\n".join(line.rstrip() for line in _text(console).splitlines()).strip("\n") + "\n"


class _Sheet:
    """Blocks that share their columns, and which of these fit into `width`."""

    def __init__(
        self, shown: Sequence[Block], columns: Sequence[Column], drop: Sequence[Collection[str]], width: int
    ) -> None:
        self.blocks = shown
        used = used_columns(shown, columns)
        self.widths = _widths(shown, used)
        self.columns, self.left_out = _fit(used, self.widths, width, drop)

    @property
    def width(self) -> int:
        """The width that the columns need."""
        return sum(self.widths[column.name] + _gap(column) for column in self.columns)


def _console(width: int, colour: bool) -> "Console":
    from rich.console import Console

    # An empty environment: COLUMNS, NO_COLOR and the like are the command line's business, and bytes may not vary.
    return Console(
        file=StringIO(),
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


def _text(console: "Console") -> str:
    file = console.file
    return file.getvalue() if isinstance(file, StringIO) else ""


def _above(console: "Console", table: Table) -> None:
    for benchmark in table.benchmarks:
        console.print(f"{benchmark.name} · {benchmark.title}" if benchmark.title else benchmark.name, style="bold")
    for heading in table.headings[:HEADINGS]:
        _print_indented(console, heading, "")
    if len(table.headings) > HEADINGS:
        _print_indented(console, f"and {len(table.headings) - HEADINGS} more sentences; --format markdown has all", "")
    for remark in table.remarks:
        _print_indented(console, remark, "")
    console.print()


def _below(console: "Console", table: Table, names: Sequence[str], left_out: Sequence[Column]) -> None:
    total = len(table.rows) + len(table.averages)
    if total > ROWS:
        console.print(f"The first {ROWS} of {total} rows; --format markdown, csv or json gives all.", style="bold")
    if counts(table):
        console.print(counts(table), style="bold")
    for text in (*legend(table, names), *bill_legend(table), *finds_legend(table)):
        console.print(text, style="dim")
    if left_out:
        titles = ", ".join(column.title for column in left_out)
        console.print(f"Left out at this width: {titles}.", style="dim")


def _print_block(console: "Console", block: Block, columns: Sequence[Column], widths: dict[str, int]) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=0, header_style="dim")
    for column in columns:
        width = widths[column.name] + _gap(column)
        header = f"{' ' * _gap(column) * column.left}{column.header}"
        grid.add_column(header, justify="left" if column.left else "right", width=width, no_wrap=True)
    for line in block.lines:
        grid.add_row(*(Text(_fold(line, column, widths), style=_style(line, column)) for column in columns))
    console.print(block.title, style="bold")
    console.print(grid)
    for note in block.notes:
        _print_indented(console, note, "yellow")
    console.print()


def _print_indented(console: "Console", text: str, style: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


def _gap(column: Column) -> int:
    """Blanks before a column: an interval stands close to its number."""
    return 0 if column.name == "rank" else 1 if column.header == "interval" else 2


def _style(line: Line, column: Column) -> str:
    if line.tone in ("better", "worse") and column.name not in ("points", "points interval", "relative", "p", "note"):
        return ""
    return TONES[line.tone]


def _widths(shown: Sequence[Block], columns: Sequence[Column]) -> dict[str, int]:
    """The width that each column needs, over all blocks, so that they stand under each other."""
    widths = {column.name: len(column.header) for column in columns}
    for block in shown:
        for line in block.lines:
            for name, text in line.texts.items():
                if name in widths:
                    widths[name] = max(widths[name], *map(len, _words(text) if name == "note" else [text]))
    return widths


def _fit(
    columns: Sequence[Column], widths: dict[str, int], width: int, drop: Sequence[Collection[str]]
) -> tuple[list[Column], list[Column]]:
    """Columns that fit and those left out; narrows the method's column (in `widths`) to what remains for it."""
    kept = list(columns)

    def rest() -> int:
        return width - sum(widths[column.name] + _gap(column) for column in kept if column.name != "method") - 2

    wanted = min(widths.get("method", 0), max(NARROWEST, width // 5))
    for names in drop:
        if rest() >= wanted:
            break
        kept = [column for column in kept if column.name not in names]
    if "method" in widths:
        widths["method"] = max(min(NARROWEST, widths["method"]), min(widths["method"], rest()))
    return kept, [column for column in columns if column not in kept]


def _fold(line: Line, column: Column, widths: dict[str, int]) -> str:
    """A text behind its column's gap; a method's name in lines of its column's width, broken after commas."""
    text, width = line.texts.get(column.name, ""), widths[column.name]
    gap = " " * _gap(column) if column.left else ""
    if column.name == "note":
        return "\n".join(gap + line for line in _words(text))
    if column.name != "method" or len(text) <= width:
        return gap + text
    lines = [""]
    for part in text.replace(",", ",\0").split("\0"):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("  ")
        rest = lines.pop() + part
        while len(rest) > width:
            lines.append(rest[:width])
            rest = "  " + rest[width:]
        lines.append(rest)
    return "\n".join(gap + line for line in lines)


def _words(note: str) -> list[str]:
    """A note in lines of about 20 characters, broken after commas."""
    lines = [""]
    for part in note.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) > NOTE:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] += f", {part}" if lines[-1] else part
    return lines
