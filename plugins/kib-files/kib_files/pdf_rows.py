"""Joins the parts of a PDF page to rows of text, in which superscripts and subscripts are marked."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

from kib.support.raised_text import subscript, superscript

__all__ = ["Chunk", "Run", "page_rows"]

SMALLEST, SMALLER = 0.3, 0.9
RAISED, LOWERED = 0.2, 0.08
"""The size of a script, and the least distance by which it is raised or lowered, per height of its base."""

SHORT = re.compile(r"[+\-\u2212]?(?:\d{1,4}|[A-Za-z])\s*")
SHIFTED, TOUCHING = (0.2, 0.8), 0.1
"""A script as large as its base is short, touches the text before it, and is shifted by these parts of the base."""

LARGE = 1.3
"""The height of large brackets and roots, per height of the text; their baselines are not on the line."""

SAME_LINE, WORD_GAP = 0.05, 0.15
"""The largest difference between baselines of a line, and the smallest gap between words, as parts of their height."""

GAP = 1.2
"""The white space between two columns, as a multiple of the character size; words are separated by less."""


@dataclass(frozen=True, slots=True)
class Run:
    """Text with the left and right edge, the baseline and the height of its characters, in points.

    A run without visible characters has the height 0.
    """

    text: str
    left: float = 0.0
    right: float = 0.0
    baseline: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a line without a wide gap, with the baseline and height of its first characters."""

    text: str
    left: float
    right: float
    baseline: float
    height: float


def page_rows(runs: Iterable[Run]) -> list[list[Chunk]]:
    """Return the rows of a page; wide gaps separate the chunks of a row.

    The runs are in the order in which the page draws them, and a run with a line feed ends each line.
    """
    return [row for row in map(_chunks, _whole_lines(runs)) if row]


def _whole_lines(runs: Iterable[Run]) -> list[list[Run]]:
    """Return the lines of a page; PDFium ends a line after a single character or a script, even within a row."""
    lines: list[list[Run]] = []
    for line in _split_lines(runs):
        gap = _gap_on_the_same_line(lines[-1], line) if lines else None
        if gap is None:
            lines.append(line)
        else:
            lines[-1] += [*([Run(" ")] if gap > WORD_GAP and not line[0].text[:1].isspace() else []), *line]
    return lines


def _gap_on_the_same_line(line: Sequence[Run], following: Sequence[Run]) -> float | None:
    """Return the gap between a line and its continuation, per character height, or None if a new line starts.

    A continuation is level with some text of the line, or it is a script that touches the end of the line.
    """
    placed = [run for run in line if run.height]
    first = next((run for run in following if run.height), None)
    if not placed or not first:
        return None
    gap = (first.left - max(run.right for run in placed)) / first.height
    shifts = [abs(run.baseline - first.baseline) / max(run.height, first.height) for run in placed]
    is_script = gap <= TOUCHING and shifts[-1] < SHIFTED[1]
    return gap if gap >= -TOUCHING and (is_script or min(shifts) <= SAME_LINE) else None


def _split_lines(runs: Iterable[Run]) -> Iterator[list[Run]]:
    line: list[Run] = []
    for run in runs:
        if run.text == "\n":
            yield line
            line = []
        else:
            line.append(run)
    yield line


def _chunks(line: Sequence[Run]) -> list[Chunk]:
    """Return the parts of a line between wide gaps; the text of a part marks superscripts and subscripts."""
    groups: list[list[Run]] = [[]]
    previous = None
    for run in line:
        if previous and run.height and run.left - previous.right > GAP * previous.height:
            groups.append([])
        groups[-1].append(run)
        previous = run if run.height else previous
    return [_chunk(group) for group in groups if any(run.height for run in group)]


def _chunk(runs: Sequence[Run]) -> Chunk:
    placed = [run for run in runs if run.height]
    left, right = min(run.left for run in placed), max(run.right for run in placed)
    return Chunk(_with_scripts(runs).strip(), left, right, placed[0].baseline, placed[0].height)


def _with_scripts(runs: Sequence[Run]) -> str:
    """Return the text of runs on one line, in which superscripts and subscripts are marked."""
    tallest = max((run.height for run in runs if _has_letters(run)), default=0.0)
    can_be_base = [bool(run.height) and (_has_letters(run) or run.height <= LARGE * tallest) for run in runs]
    base = _first_base(list(compress(runs, can_be_base)))
    text, script, direction, end = "", "", 0, 0.0
    for run, is_base in zip(runs, can_be_base, strict=True):
        new = _direction(base, run, end) if base else 0
        if new != direction:
            text, script, direction = text + _written(script, direction, text), "", new
        script += run.text
        end = run.right if run.height else end
        if is_base and not new:
            base = run
    return text + _written(script, direction, text)


def _has_letters(run: Run) -> bool:
    return any(map(str.isalnum, run.text))


def _first_base(bases: Sequence[Run]) -> Run | None:
    """Return the first base of a line, which may start with a superscript, such as the number of a footnote."""
    if bases[1:] and SHORT.fullmatch(bases[0].text) and _direction(bases[1], bases[0], bases[0].left) > 0:
        return bases[1]
    return next(iter(bases), None)


def _direction(base: Run, run: Run, end: float) -> int:
    """Return 1 for a superscript of the base, -1 for a subscript, and 0 for other text; `end` is the previous edge."""
    if not run.height:
        return 0
    shift, size = (run.baseline - base.baseline) / base.height, run.height / base.height
    if size <= SMALLER:
        return (shift > RAISED) - (shift < -LOWERED) if size >= SMALLEST else 0
    touches = abs(run.left - end) <= TOUCHING * base.height and size <= 1 / SMALLER
    is_script = touches and SHORT.fullmatch(run.text) and SHIFTED[0] < abs(shift) < SHIFTED[1]
    return (1 if shift > 0 else -1) if is_script else 0


def _written(text: str, direction: int, before: str) -> str:
    """Return a superscript or subscript with its mark, unless white space or nothing is in the place of its base.

    A raised number after a number has its mark even if a small gap separates both, because it may be an exponent.
    """
    is_after_number = direction > 0 and before[-2:-1].isdigit() and text.strip().isdigit()
    if not direction or (before[-1:].isspace() and not is_after_number) or (direction < 0 and not before):
        return text
    written = superscript(text, before) if direction > 0 else subscript(text)
    return written + text[len(text.rstrip()) :]
