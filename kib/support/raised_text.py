"""Superscripts and subscripts in plain text, as Unicode characters or after `^` and `_`: 10⁶ or 10^x, but never 106."""

import re

__all__ = ["grouped", "subscript", "superscript", "with_gap"]

SUPERSCRIPTS = str.maketrans("0123456789+-\u2212=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ")
SUBSCRIPTS = str.maketrans("0123456789+-\u2212=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")

ORDINAL = re.compile(r"st|nd|rd|th", re.IGNORECASE)
"""The raised endings of English ordinal numbers, which are usually written on the line: 4th."""

ATOM = re.compile(r"[+\-\u2212±]?[\w.,′'∞*°%]+|\([^()]*\)|\[[^\[\]]*\]")
"""A text that needs no parentheses as an exponent, an index, a numerator or a denominator."""


def superscript(text: str, before: str = "") -> str:
    """Return the text that shows a superscript; `before` is the text to its left."""
    text = text.strip()
    if ORDINAL.fullmatch(text) and before[-1:].isdigit():
        return text
    return _small(text, SUPERSCRIPTS, "^")


def subscript(text: str) -> str:
    """Return the text that shows a subscript."""
    return _small(text.strip(), SUBSCRIPTS, "_")


def grouped(text: str) -> str:
    """Return a text in parentheses, or unchanged if the text is a single number, word or bracketed expression."""
    text = text.strip()
    return text if ATOM.fullmatch(text) else f"({text})"


def with_gap(line: str, part: str, *, open_end: bool) -> str:
    """Append a part to a line; if the line has an open end, a space separates a letter, a digit or a root from it."""
    gap = " " if open_end and (part[:1].isalnum() or part.startswith("√")) else ""
    return f"{line}{gap}{part}"


def _small(text: str, characters: dict[int, int], mark: str) -> str:
    """Return a text in small characters, or after `mark`; marks such as `*` and `[1]` are already distinct."""
    small = text.translate(characters)
    if not set(small) & set(text):
        return small
    if not any(map(str.isalnum, text)) or text.startswith("["):
        return text
    return mark + grouped(text)
