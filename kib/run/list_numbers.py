"""Recognises the numbers of list items and sections, because a number means nothing without the text that follows."""

import re

__all__ = ["is_number", "number_at_end"]

ROMAN = "(?=[ivxl])(?:x[cl]|l?x{0,3})(?:i[xv]|v?i{0,3})"
NUMBER = rf"(?:\d{{1,3}}|{ROMAN.upper()}|{ROMAN})(?:\.(?:\d{{1,3}}|[a-z]))*[.)\]]{{1,2}}"
"""The number of a section, such as `3.1.` or `IV.`; a year is not such a number."""

MARK = rf"(?:[\[(]?(?:{NUMBER}|[A-Za-z](?:\.\d{{1,3}})*[.)\]]{{1,2}})|[-*+•–])"
"""The mark of a list item: `1.`, `a)`, `(2)`, `A.1.` or a bullet."""

ALONE = re.compile(rf"(?:{MARK}|(?:§+|[^\W\d_]\w{{0,11}}\.?)\s+{NUMBER})")
"""A mark alone, or a number after a word, such as `Step 1.`, `Art. 3.` or `§ 5.`"""

AT_END = re.compile(
    rf"(?:\n[ \t]*|(?:\b[a-zß-ÿ]{{4,}}|[^\W\d_]{{5}})(?<!approx)[.!?][ \t]+)({MARK})\s*\Z",
)
"""A mark after a line break or a sentence, whose last word is not a short abbreviation such as `Art.` or `Nr.`"""

LOOK_BACK = 60
"""The number of characters at the end of a text in which a number is searched."""


def is_number(text: str) -> bool:
    """Return whether a text consists of the number or mark of a list item or a section."""
    return ALONE.fullmatch(text.strip()) is not None


def number_at_end(text: str, start: int, end: int) -> int | None:
    """Return the position of a number that ends a range of the text and belongs to the text that follows, or None."""
    low = max(start, end - LOOK_BACK)
    found = AT_END.search(text[low:end])
    return low + found.start(1) if found else None
