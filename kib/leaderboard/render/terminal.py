"""The table for a terminal, by rich: as wide as it needs and as narrow as it must be."""

from collections.abc import Collection, Sequence
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING

from kib.leaderboard.render.columns import COLUMNS, Block, Column, Line, blocks, used_columns
from kib.leaderboard.render.cost_table import BILL, bill, bill_legend
from kib.leaderboard.render.cross_origin_table import STANDINGS, standings
from kib.leaderboard.render.legend import counts, legend
from kib.leaderboard.render.pairwise_table import DUELS, duels
from kib.leaderboard.render.retrieval_table import FINDS, finds, finds_legend
from kib.leaderboard.table_records import Table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ROWS", "terminal"]

ROWS = 200
"""So many rows are shown; the other formats have all."""

HEADINGS = 12
NOTE = 20
SHORTEST = 10  # of the note's column
NARROWEST = 14  # of a column of names; longer ones are folded, at commas where they have some
NAMES = ("benchmark", "model", "method")
"""Columns that are folded where they are too wide."""
SEAMS = "-_+./"
"""Signs after which a name without commas is broken, if it must be."""
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
    ("origin",),
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

DROP_STANDINGS = (("origin",), ("accuracy interval",))
"""The same of rankings across origins."""

TONES = {"base": "bold", "better": "green", "worse": "red", "same": "", "ceiling": "italic", "absent": "yellow"}


def terminal(table: Table, *, width: int, colour: bool) -> str:
    """The first 200 rows in `width` columns, with headings above and what the numbers mean below."""
    gains = _Sheet(list(blocks(table, ROWS)), COLUMNS, DROP, width)
    ranked = _Sheet(list(standings(table, ROWS)), STANDINGS, DROP_STANDINGS, width)
    between = _Sheet(list(duels(table)), DUELS, (), width)
    costs = _Sheet(list(bill(table, ROWS)), BILL, DROP_COST, width)
    found = _Sheet(list(finds(table, ROWS)), FINDS, DROP_FINDS, width)
    sheets = (gains, ranked, between, costs, found)
    file = StringIO()
    console = _console(file, width, colour)
    # Numbers are never cut: a table that is wider than the terminal stays so, while sentences keep to its width.
    wide = _console(file, max(width, *(sheet.width for sheet in sheets)), colour)
    _above(console, table)
    for sheet in sheets:
        for block in sheet.blocks:
            _print_block(console, wide, block, sheet)
    left_out = list(dict.fromkeys(column.title for sheet in sheets for column in sheet.left_out))
    _below(console, table, [column.name for column in gains.columns], left_out)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n") + "\n"


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


def _console(file: StringIO, width: int, colour: bool) -> "Console":
    from rich.console import Console

    # An empty environment: COLUMNS, NO_COLOR and the like are the command line's business, and bytes may not vary.
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
    for heading in table.headings[:HEADINGS]:
        _print_indented(console, heading, "")
    if len(table.headings) > HEADINGS:
        _print_indented(console, f"and {len(table.headings) - HEADINGS} more sentences; --format markdown has all", "")
    for remark in table.remarks:
        _print_indented(console, remark, "")
    console.print()


def _below(console: "Console", table: Table, names: Sequence[str], left_out: Sequence[str]) -> None:
    total = len(table.rows) + len(table.averages)
    if total > ROWS:
        console.print(f"The first {ROWS} of {total} rows; --format markdown, csv or json gives all.", style="bold")
    if counts(table):
        console.print(counts(table), style="bold")
    for text in (*legend(table, names), *bill_legend(table), *finds_legend(table)):
        console.print(text, style="dim")
    if left_out:
        console.print(f"Left out at this width: {', '.join(left_out)}.", style="dim")


def _print_block(console: "Console", wide: "Console", block: Block, sheet: _Sheet) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    columns, widths = sheet.columns, sheet.widths
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
    """Columns that fit and those left out; narrows the columns of names and the note (in `widths`) to what remains."""
    kept = list(columns)
    names = [column.name for column in columns if column.name in NAMES]

    def rest() -> int:
        """What is left for names."""
        return width - sum(_gap(column) + (0 if column.name in NAMES else widths[column.name]) for column in kept)

    wanted = sum(min(widths[name], max(NARROWEST, width // 5)) for name in names)
    for some in drop:
        if rest() >= wanted:
            break
        kept = [column for column in kept if column.name not in some]
    if "note" in widths:
        widths["note"] = max(min(SHORTEST, widths["note"]), widths["note"] - max(0, wanted - rest()))
        if rest() < sum(min(widths[name], NARROWEST) for name in names):
            kept = [column for column in kept if column.name != "note"]
    while sum(widths[name] for name in names) > rest():
        widest = max(names, key=lambda name: widths[name])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return kept, [column for column in columns if column not in kept]


def _fold(line: Line, column: Column, widths: dict[str, int]) -> str:
    """A text behind its column's gap; a name or note in lines of its column's width."""
    text, width = line.texts.get(column.name, ""), widths[column.name]
    gap = " " * _gap(column) if column.left else ""
    if column.name == "note":
        return "\n".join(gap + line for part in _words(text) for line in wrap(part, width) or [""])
    if column.name not in NAMES or len(text) <= width:
        return gap + text
    lines = [""]
    for part in text.replace(",", ",\0").split("\0"):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("  ")
        rest = lines.pop() + part
        while len(rest) > width:
            end = max((rest.rfind(sign, 2, width) + 1 for sign in SEAMS), default=0)
            end = end if end > NARROWEST // 2 else width
            lines.append(rest[:end])
            rest = "  " + rest[end:]
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
