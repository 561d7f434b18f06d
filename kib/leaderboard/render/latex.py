"""The table as LaTeX: tables of booktabs that run over pages, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from kib.leaderboard.number_format import NONE
from kib.leaderboard.render.columns import Block, Column, Line, blocks, used_columns
from kib.leaderboard.render.cross_origin_table import STANDINGS, standings
from kib.leaderboard.render.legend import counts, legend
from kib.leaderboard.render.pairwise_table import DUELS, duels
from kib.leaderboard.table_records import Table

__all__ = ["latex"]

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": "-{}",  # two in a row are no dash
    ",": ",{}",  # and two of these no quotation mark
    "·": r"\textperiodcentered{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": r"\textendash{}",
    "…": r"\dots{}",
    "\ufffd": "?",
}
SMALL = r"\footnotesize\setlength{\tabcolsep}{3pt}"
GAP = r"\setlength{\belowcaptionskip}{4pt}"
PAGE = 45
"""Lines that a page has room for."""
NOTE = r">{\raggedright\arraybackslash}p{3.2cm}"
NUMBERS = (
    "accuracy interval",
    "points",
    "points interval",
    "relative",
    "relative interval",
    "share",
    "known",
    "unknown",
)
"""Columns whose texts are numbers: a hyphen in them is a minus."""

LEFT_OUT = (
    "corpus",
    "dropped",
    "known",
    "perplexity",
    "questions",
    "recall",
    "seeds",
    "tokens",
    "unknown",
)
"""Columns for which a page has no room."""

PLAIN = re.compile(r"[\x20-\x7e\u00a0-\u017f]*")
"""What pdfLaTeX knows with the font encoding T1."""


def latex(table: Table) -> str:
    """Tables with the blocks in them; the best accuracy is bold only where it differs by more than chance."""
    shown = list(blocks(table))
    groups = [list(some) for _, some in groupby(shown, key=_kind)]
    parts = [_grid(some, [one for one in used_columns(some) if one.name not in LEFT_OUT], table) for some in groups]
    parts += [_grid([block], used_columns([block], STANDINGS), table) for block in standings(table)]
    parts += [_grid([block], DUELS, table) for block in duels(table)]
    columns = {column.name for column in used_columns(shown)} - set(LEFT_OUT)
    names = [f"{one.name}: {one.title}" if one.title else one.name for one in table.benchmarks]
    texts = [*names, *table.headings, *table.remarks, counts(table), *legend(table, columns)]
    parts += [rf"{{\footnotesize\noindent {_safe(text)}\par}}" for text in texts if text]
    body = "\n\n".join(parts)
    return f"{_preamble(body)}\n{body}\n"


def _preamble(body: str) -> str:
    lines = [r"% needs \usepackage{array,booktabs,longtable,textcomp} and \usepackage[T1]{fontenc}"]
    if not all(PLAIN.fullmatch(line) for line in body.splitlines()):
        lines.append("% holds letters that pdfLaTeX does not know: XeLaTeX or LuaLaTeX and a font that has them")
    return "\n".join(lines) + "\n"


def _kind(block: Block) -> bool:
    """Rows have ranks, averages do not: each have their own columns."""
    return any("rank" in line.texts for line in block.lines)


def _grid(shown: Sequence[Block], columns: Sequence[Column], table: Table) -> str:
    """A table that floats where it fits a page, else one that goes on over pages."""
    align = "".join(NOTE if column.name == "note" else "l" if column.left else "r" for column in columns)
    head = rf"{' & '.join(_safe(column.header) for column in columns)} \\"
    caption = rf"\caption{{{_safe(', '.join(one.name for one in table.benchmarks))}}}"
    body = [line for block in shown for line in _block(block, columns)]
    if sum(1 + len(block.lines) + len(block.notes) for block in shown) <= PAGE:
        start = [r"\begin{table}[htbp]", r"\centering", SMALL, GAP, caption, rf"\begin{{tabular}}{{@{{}}{align}@{{}}}}"]
        body = [r"\toprule", head, *body, r"\bottomrule"]
        return "\n".join([*start, *body, r"\end{tabular}", r"\end{table}"])
    start = [r"\begingroup", SMALL, rf"\begin{{longtable}}{{@{{}}{align}@{{}}}}", rf"{caption}\\"]
    heads = [r"\toprule", head, r"\endfirsthead", r"\toprule", head, r"\endhead", r"\bottomrule", r"\endfoot"]
    return "\n".join([*start, *heads, *body, r"\end{longtable}", r"\endgroup"])


def _block(block: Block, columns: Sequence[Column]) -> Iterator[str]:
    span = rf"\multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}"
    yield r"\midrule"
    yield rf"{span}{{\textit{{{_safe(block.title)}}}}} \\*"
    best = _best(block)
    for line in block.lines:
        yield " & ".join(_cell(line, column, line is best) for column in columns) + r" \\"
    for note in block.notes:
        yield rf"\multicolumn{{{len(columns)}}}{{@{{}}p{{\linewidth}}@{{}}}}{{\raggedright {_safe(note)}}} \\"


def _best(block: Block) -> Line | None:
    """The line that has the first rank alone, among several that are ranked."""
    ranked = [line for line in block.lines if line.texts.get("rank", NONE) != NONE]
    first = [line for line in ranked if line.texts["rank"].strip() == "1"]
    return first[0] if len(ranked) > 1 and first else None


def _cell(line: Line, column: Column, best: bool) -> str:
    text = line.texts.get(column.name, "").strip()
    is_number = column.name in NUMBERS
    safe = re.sub(r"-(?=\d)", r"$-$", text).replace("–", SPECIAL["–"]) if is_number else _safe(text)
    return rf"\textbf{{{safe}}}" if best and column.name == "accuracy" else safe


def _safe(text: str) -> str:
    """Text that LaTeX prints as it is: no command, no ligature."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
