"""Texts of questions: removal of white space without meaning, and comparison of questions."""

import re
import unicodedata
from collections.abc import Hashable, Iterable

from kib.support.characters import lowercase
from kib.support.quotes import folded

__all__ = ["comparable", "normalised", "question_key", "repeated_questions", "trimmed"]

NAMED = 3
"""The maximum number of repeated questions that a remark names."""


def trimmed(text: str) -> str:
    """Return a text without surrounding white space, and with every line end written as a line feed."""
    return text.strip().replace("\r\n", "\n").replace("\r", "\n")


def comparable(text: str) -> str:
    """Return a text in Unicode's composed form (NFC) and with folded white space, for comparison with other texts."""
    return folded(unicodedata.normalize("NFC", text))


def question_key(text: str, options: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Return a key that is equal for questions with the same text and the same options in any order."""
    return comparable(text), tuple(sorted(map(comparable, options)))


def normalised(text: str) -> str:
    """Return the words of a text, so that texts with different case, white space and punctuation compare equal."""
    words = re.findall(r"\w+", lowercase(text).casefold())
    return " ".join(words) or text.strip()


def repeated_questions(keys: Iterable[tuple[str, Hashable]], *, options: bool = True) -> list[str]:
    """Return a remark on the questions of a split that repeat an earlier question, because each of them counts twice.

    `keys` contains the id and the key of each question; the list is empty if all keys differ. `options` states whether
    any question has options.
    """
    first: dict[Hashable, str] = {}
    pairs = [(first.setdefault(key, name), name) for name, key in keys]
    repeated = [f"{own} repeats {other}" for other, own in pairs if other != own]
    if not repeated:
        return []
    noun = "question repeats" if len(repeated) == 1 else "questions repeat"
    what, more = " and its options" if options else "", ", …" if repeated[NAMED:] else ""
    return [f"{len(repeated):,} {noun} an earlier question{what} ({', '.join(repeated[:NAMED])}{more})"]
