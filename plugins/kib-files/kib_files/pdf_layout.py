"""Puts the text of a PDF page in reading order: exponents are marked, and columns are read one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from kib.support.raised_text import subscript, superscript

__all__ = ["Run", "page_lines"]

SMALLER, RAISED, LOWERED = 0.9, 0.2, 0.08
"""A script is smaller than this part of its base, and is raised or lowered by at least these parts of its size."""

GAP = 1.2
"""The white space between two columns, as a multiple of the character size; words are separated by less."""

COLUMN_ROWS = 5
"""The number of consecutive rows that are evidence of columns; fewer rows may be a small table."""

COLUMN_CHARACTERS = 20
"""The median number of characters per row and column in prose; the cells of a table are usually shorter."""

RAGGED = 0.3
"""The most white space at the right of a column of prose: the median, as a part of the column's width."""

CONTINUED = 0.5
"""The smallest part of the lines of prose that do not start with a capital, a digit or a punctuation mark."""


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
class _Chunk:
    """A part of a line without a wide gap."""

    text: str
    left: float
    right: float


def page_lines(runs: Iterable[Run]) -> tuple[list[str], bool]:
    """Return the lines of a page, and whether columns that are drawn row by row have been separated.

    The runs are in the order in which the page draws them, and a run with a line feed ends each line.
    """
    rows = [_chunks(line) for line in _split_lines(runs)]
    lines: list[str] = []
    separated = False
    start = 0
    while start < len(rows):
        end = _end_of_columns(rows, start)
        if end - start >= COLUMN_ROWS and _is_prose(rows[start:end]):
            for part in (slice(0, 1), slice(1, None)):
                lines += [_line(row[part]) for row in rows[start:end]]
            separated = True
            start = end
        else:
            lines.append(_line(rows[start]))
            start += 1
    return lines, separated


def _line(chunks: Sequence[_Chunk]) -> str:
    return "  ".join(chunk.text for chunk in chunks)


def _split_lines(runs: Iterable[Run]) -> Iterator[list[Run]]:
    line: list[Run] = []
    for run in runs:
        if run.text == "\n":
            yield line
            line = []
        else:
            line.append(run)
    yield line


def _chunks(line: Sequence[Run]) -> list[_Chunk]:
    """Return the parts of a line between wide gaps; the text of a part marks superscripts and subscripts."""
    groups: list[list[Run]] = [[]]
    previous = None
    for run in line:
        if previous and run.height and run.left - previous.right > GAP * previous.height:
            groups.append([])
        groups[-1].append(run)
        previous = run if run.height else previous
    return [_chunk(group) for group in groups if any(run.height for run in group)]


def _chunk(runs: Sequence[Run]) -> _Chunk:
    placed = [run for run in runs if run.height]
    return _Chunk(_with_scripts(runs).strip(), min(run.left for run in placed), max(run.right for run in placed))


def _with_scripts(runs: Sequence[Run]) -> str:
    """Return the text of runs on one line, in which superscripts and subscripts are marked."""
    text, script, direction = "", "", 0
    base: Run | None = None
    for run in runs:
        new = _direction(base, run) if base else 0
        if new != direction:
            text, script, direction = text + _written(script, direction, text), "", new
        script += run.text
        if run.height and not new:
            base = run
    return text + _written(script, direction, text)


def _direction(base: Run, run: Run) -> int:
    """Return 1 for a superscript of the base, -1 for a subscript, and 0 for any other text."""
    if not run.height or run.height > SMALLER * base.height:
        return 0
    shift = (run.baseline - base.baseline) / base.height
    return (shift > RAISED) - (shift < -LOWERED)


def _written(text: str, direction: int, before: str) -> str:
    """Return a superscript or subscript with its mark, unless white space separates the script from its base."""
    if not direction or not before.strip() or before[-1].isspace():
        return text
    written = superscript(text, before) if direction > 0 else subscript(text)
    return written + text[len(text.rstrip()) :]


def _end_of_columns(rows: Sequence[Sequence[_Chunk]], start: int) -> int:
    """Return the end of the consecutive rows, from `start`, that have a common gap between two columns."""
    low, high = float("-inf"), float("inf")
    for number in range(start, len(rows)):
        row = rows[number]
        if len(row) < 2:
            return number
        low, high = max(low, row[0].right), min(high, row[1].left)
        if low >= high:
            return number
    return len(rows)


def _is_prose(rows: Sequence[Sequence[_Chunk]]) -> bool:
    """Return whether both columns contain running text rather than the cells of a table."""
    return all(_is_running_text([row[column] for row in rows]) for column in (0, 1))


def _is_running_text(lines: Sequence[_Chunk]) -> bool:
    """Return whether the lines of a column are long, fill the column, and mostly start within a sentence."""
    end = max(line.right for line in lines)
    width = end - min(line.left for line in lines)
    within = [line.text[0].isalpha() and not line.text[0].isupper() for line in lines]
    return (
        median(len(line.text) for line in lines) >= COLUMN_CHARACTERS
        and median(end - line.right for line in lines) <= RAGGED * width
        and sum(within) >= CONTINUED * len(lines)
    )
