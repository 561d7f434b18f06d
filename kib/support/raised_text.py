"""Superscripts and subscripts in plain text, as Unicode characters or after `^` and `_`: 10⁶ or 10^x, but never 106."""

import re

__all__ = ["grouped", "subscript", "superscript", "with_gap"]

SUPERSCRIPTS = str.maketrans("0123456789+-\u2212=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ")
SUBSCRIPTS = str.maketrans("0123456789+-\u2212=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")

SMALL = frozenset(map(chr, {*SUPERSCRIPTS.values(), *SUBSCRIPTS.values()}))
"""The small characters of superscripts and subscripts."""

ABSORBING, ABSORBED = frozenset(("fraction", "function", "root")), frozenset(("fraction", "function"))
"""The kinds of elements whose end merges with the text that follows, and whose start merges with the text before."""

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


def with_gap(line: str, part: str, last: str, first: str) -> str:
    """Append a part to the line of an equation, after a space if both would otherwise merge to another number or name.

    `last` is the kind of the element at the end of the line, and `first` the kind of the element at the start of the
    part: "fraction", "function", "root", "script", "prescript" (a script to the left), "number" or "" (other elements).
    """
    if not line or not part:
        return line + part
    is_plain = line[-1].isalnum() and line[-1] not in SMALL
    absorbs = last in ABSORBING or (last == "script" and is_plain)
    merges = (
        (absorbs and (part[0].isalnum() or first == "root"))
        or (last == "script" and part[0].isdigit())
        or (last == first == "number")
        or (first in ABSORBED and line[-1].isalnum() and part[0].isalnum())
        or (first in ("root", "prescript") and line[-1].isalnum() and part[0] != "√")
    )
    return f"{line} {part}" if merges else line + part


def _small(text: str, characters: dict[int, int], mark: str) -> str:
    """Return a text in small characters, or after `mark`; marks such as `*` and `[1]` are already distinct."""
    small = text.translate(characters)
    if not set(small) & set(text):
        return small
    if not any(map(str.isalnum, text)) or text.startswith("["):
        return text
    return mark + grouped(text)
