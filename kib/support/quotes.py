"""Compares texts after white-space folding, and finds the positions of a quote in a document."""

import re
import unicodedata

from kib.support.characters import remove_invisible

__all__ = ["find_quote", "find_quotes", "folded"]


def folded(text: str) -> str:
    """Return the text without white space at its ends, and with one space instead of any other white space."""
    return " ".join(text.split())


def find_quotes(text: str, quote: str) -> list[tuple[int, int]]:
    """Return the character ranges of a quote in a text, ignoring white space differences.

    Positions inside a longer word count only if the quote occurs nowhere else. The quote may be in either of Unicode's
    two forms of accented letters, and may contain invisible characters that were removed from the text.
    """
    seen = remove_invisible(quote)
    for form in dict.fromkeys((quote, seen, unicodedata.normalize("NFC", seen), unicodedata.normalize("NFD", seen))):
        pattern = r"\s+".join(map(re.escape, form.split()))
        for whole in (rf"(?<!\w){pattern}(?!\w)", pattern) if pattern else ():
            if found := [match.span() for match in re.finditer(whole, text)]:
                return found
    return []


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Return the first character range of a quote in a text, or None if the quote is missing."""
    return next(iter(find_quotes(text, quote)), None)
