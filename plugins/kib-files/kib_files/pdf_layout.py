"""Puts the rows of a PDF page in reading order: columns are read one after the other."""

from collections.abc import Iterable, Sequence
from statistics import median

from kib_files.pdf_rows import Chunk, Run, page_rows

__all__ = ["page_lines"]

Row = Sequence[Chunk]

COLUMN_ROWS = 5
"""The number of rows with text in both columns that are evidence of columns; fewer rows may be a small table."""

LEADING = 1.6
"""The largest distance from a row of columns to a following row that has text in one column, per character height."""

COLUMN_CHARACTERS = 20
"""The median number of characters per row and column in prose; the cells of a table are usually shorter."""

RAGGED = 0.3
"""The most white space at the right of a column of prose: the median, as a part of the column's width."""

CONTINUED = 0.5
"""The smallest part of the lines of prose that do not start with a capital, a digit or a punctuation mark."""


def page_lines(runs: Iterable[Run]) -> tuple[list[str], bool]:
    """Return the lines of a page, and whether columns that are drawn row by row have been separated."""
    return _in_order(page_rows(runs))


def _in_order(rows: Sequence[Row]) -> tuple[list[str], bool]:
    """Return the lines of rows, and whether columns have been separated; the right column may consist of columns."""
    lines: list[str] = []
    separated = False
    start = 0
    while start < len(rows):
        pairs = _columns(rows, start)
        if pairs:
            lines += [_line(left) for left, _ in pairs if left]
            lines += _in_order([right for _, right in pairs if right])[0]
            separated = True
        else:
            lines.append(_line(rows[start]))
        start += len(pairs) or 1
    return lines, separated


def _line(chunks: Row) -> str:
    return "  ".join(chunk.text for chunk in chunks)


def _columns(rows: Sequence[Row], start: int) -> list[tuple[Row, Row]]:
    """Return the left and right part of the rows, from `start`, that belong to two columns of prose, or no parts.

    Every part is on one side of a gap that all rows have in common; a part is empty if its column has no text there.
    """
    pairs: list[tuple[Row, Row]] = []
    low, high = rows[start][0].right, rows[start][1].left if rows[start][1:] else float("-inf")
    for row in rows[start:] if low < high else ():
        middle = (low + high) / 2
        left, right = ([part for part in row if part.right < middle], [part for part in row if part.left > middle])
        if len(left) + len(right) < len(row) or not ((left and right) or _follows(pairs[-1], row)):
            break
        low, high = max([low, *(part.right for part in left)]), min([high, *(part.left for part in right)])
        pairs.append((left, right))
    full = [pair for pair in pairs if all(pair)]
    is_prose = len(full) >= COLUMN_ROWS and all(_is_running_text([pair[side][0] for pair in full]) for side in (0, 1))
    return pairs if is_prose else []


def _follows(pair: tuple[Row, Row], row: Row) -> bool:
    """Return whether the only text of a row is as close to the previous row as the next line of a column."""
    distance = (pair[0] or pair[1])[0].baseline - row[0].baseline
    return 0 < distance <= LEADING * row[0].height


def _is_running_text(lines: Sequence[Chunk]) -> bool:
    """Return whether the lines of a column are long, fill the column, and mostly start within a sentence."""
    end = max(line.right for line in lines)
    width = end - min(line.left for line in lines)
    within = [line.text[0].isalpha() and not line.text[0].isupper() for line in lines]
    return (
        median(len(line.text) for line in lines) >= COLUMN_CHARACTERS
        and median(end - line.right for line in lines) <= RAGGED * width
        and sum(within) >= CONTINUED * len(lines)
    )
