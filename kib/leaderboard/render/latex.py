"""Renders the table as LaTeX for use in a paper: booktabs tables that may span several pages."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from kib.leaderboard.number_format import DASH
from kib.leaderboard.render.blocks import Block, Column, Line, used_columns
from kib.leaderboard.render.further_tables import explanations, further_tables
from kib.leaderboard.render.gain_table import GAIN_COLUMNS, gain_blocks
from kib.leaderboard.render.legend import missing_results
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
    "-": "-{}",  # prevents the ligature of two hyphens
    ",": ",{}",  # prevents the ligature of two commas
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
"""The number of table lines that fit on one page."""
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
    "automatic points",
    "corrected points",
    "corrected points interval",
    "kappa",
    "kappa interval",
)
"""Columns with numeric text, in which a hyphen is a minus sign."""

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
"""Columns that do not fit on a page."""

T1_TEXT = re.compile(r"[\x20-\x7e\u00a0-\u017f]*")
"""The characters that pdfLaTeX can print with the font encoding T1."""


def latex(table: Table) -> str:
    """Return the tables and the legend; a block's best accuracy is bold if it differs significantly from all others."""
    gains = list(gain_blocks(table))
    groups = [list(group) for _, group in groupby(gains, key=_is_ranked)]
    parts = [_grid(group, _columns_for_a_page(group), table) for group in groups]
    for blocks, all_columns in further_tables(table):
        parts += [_grid([one], used_columns(blocks, all_columns), table) for one in blocks]
    columns = {column.name for column in _columns_for_a_page(gains)}
    names = [f"{one.name}: {one.title}" if one.title else one.name for one in table.benchmarks]
    texts = [*names, *table.headlines, *table.remarks, missing_results(table), *explanations(table, columns)]
    parts += [rf"{{\footnotesize\noindent {_safe(text)}\par}}" for text in texts if text]
    body = "\n\n".join(parts)
    return f"{_preamble(body)}\n{body}\n"


def _columns_for_a_page(blocks: Sequence[Block]) -> list[Column]:
    return [column for column in used_columns(blocks, GAIN_COLUMNS) if column.name not in LEFT_OUT]


def _preamble(body: str) -> str:
    lines = [r"% needs \usepackage{array,booktabs,longtable,textcomp} and \usepackage[T1]{fontenc}"]
    if not all(T1_TEXT.fullmatch(line) for line in body.splitlines()):
        lines.append(
            "% contains characters that pdfLaTeX does not support; use XeLaTeX or LuaLaTeX with a font that "
            "contains these characters"
        )
    return "\n".join(lines) + "\n"


def _is_ranked(block: Block) -> bool:
    """Return whether a block has ranks; blocks with and without ranks have different columns."""
    return any("rank" in line.texts for line in block.lines)


def _grid(blocks: Sequence[Block], columns: Sequence[Column], table: Table) -> str:
    """Return a floating LaTeX table if the lines fit on one page, or else a table that spans several pages."""
    align = "".join(NOTE if column.name == "note" else "l" if column.left else "r" for column in columns)
    head = rf"{' & '.join(_safe(column.header) for column in columns)} \\"
    caption = rf"\caption{{{_safe(', '.join(one.name for one in table.benchmarks))}}}"
    body = [line for block in blocks for line in _block(block, columns)]
    if sum(1 + len(block.lines) + len(block.notes) for block in blocks) <= PAGE:
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
    """Return the line with rank 1, or None if several lines share rank 1 or only one line is ranked."""
    ranked = [line for line in block.lines if line.texts.get("rank", DASH) != DASH]
    first = [line for line in ranked if line.texts["rank"].strip() == "1"]
    return first[0] if len(ranked) > 1 and first else None


def _cell(line: Line, column: Column, best: bool) -> str:
    text = line.texts.get(column.name, "").strip()
    is_number = column.name in NUMBERS
    safe = re.sub(r"-(?=\d)", r"$-$", text).replace("–", SPECIAL["–"]) if is_number else _safe(text)
    return rf"\textbf{{{safe}}}" if best and column.name == "accuracy" else safe


def _safe(text: str) -> str:
    """Return the text with LaTeX commands escaped and ligatures prevented."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
