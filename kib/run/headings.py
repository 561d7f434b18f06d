"""Finds the headings of a document, because a heading means nothing without the text below it."""

import re
from bisect import bisect_right
from collections.abc import Iterator

__all__ = ["Headings"]

Range = tuple[int, int]

MARKED = re.compile(r" {0,3}#{1,6}(?:[ \t].*)?|(={2,6})[^=].*\1\s*")
"""A heading of Markdown (`## Valves`) or of a wiki (`== Valves ==`)."""

UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})\s*")
"""The line that marks the line above as a heading in Markdown."""

FENCE = re.compile(r" {0,3}(?:```|~~~)")

ITEM = re.compile(r"\s*(?:[-*+•–]|\(?\w{1,3}[.)])\s")
"""The start of a list item."""

LONGEST_BARE = 80
"""The maximum number of characters of a heading without marks."""


class Headings:
    """The headings of a text: lines with marks, and short lines without a full stop between blank lines.

    The text of a web page or a Word document contains headings without marks. A line without marks counts as a heading
    only if more text follows. Code blocks contain no headings.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        lone = "\n" not in text and not MARKED.fullmatch(text)
        self.ranges = [] if lone else list(_heading_lines(text))
        self._ends = [end for _, end in self.ranges]

    def fill(self, start: int, end: int) -> bool:
        """Return whether a range of the text contains headings and nothing else except white space."""
        if not self.ranges:
            return False
        at = start
        for low, high in self.ranges[bisect_right(self._ends, start) :]:
            if low >= end or self.text[at:low].strip():
                break
            at = max(at, high)
        return at > start and not self.text[at:end].strip()


def _heading_lines(text: str) -> Iterator[Range]:
    """Yield the character ranges of all heading lines, excluding line breaks."""
    lines = list(_lines(text))
    last = max((number for number, (start, end) in enumerate(lines) if text[start:end].strip()), default=-1)
    fenced = underline = False
    for number, (start, end) in enumerate(lines):
        line, above, below = text[start:end], _line(text, lines, number - 1), _line(text, lines, number + 1)
        if FENCE.match(line):
            fenced = not fenced
        elif fenced:
            continue
        elif underline or MARKED.fullmatch(line):
            yield start, end
        elif not above and line.strip() and UNDERLINE.fullmatch(below) and not ITEM.match(line):
            yield start, end
            underline = True
            continue
        elif not above and not below and number < last and _is_bare_heading(line):
            yield start, end
        underline = False


def _lines(text: str) -> Iterator[Range]:
    start = 0
    for line in text.split("\n"):
        yield start, start + len(line)
        start += len(line) + 1


def _line(text: str, lines: list[Range], number: int) -> str:
    """Return a line of the text, or "" if the line is blank or does not exist."""
    if not 0 <= number < len(lines):
        return ""
    start, end = lines[number]
    return text[start:end] if text[start:end].strip() else ""


def _is_bare_heading(line: str) -> bool:
    """Return whether a line between blank lines looks like a heading instead of a sentence, a list item or a row."""
    words = line.strip()
    return (
        0 < len(words) <= LONGEST_BARE
        and words[-1] not in ".!…,;。！，；"
        and any(letter.isalpha() for letter in words)
        and not any(sign in words for sign in ("|", "\t"))
        and not ITEM.match(line)
    )
