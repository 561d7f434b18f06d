"""Remove the quotes of bold and italic text, and keep apostrophes next to them, as MediaWiki does."""

import re

__all__ = ["mark_quotes", "remove_quotes"]

QUOTES = re.compile("'{2,}")
MARK = "\x01"
"""Replaces each quote of bold and italic text until a whole line is known; wikitext never contains this character."""

MARKS = re.compile(f"{MARK}+")
ITALIC, BOLD, BOTH = 2, 3, 5
"""The number of quotes that start or end italic text, bold text, and text that is bold and italic."""


def mark_quotes(text: str) -> str:
    """Replace the quotes of bold and italic text in a part of a line with marks."""
    return QUOTES.sub(lambda match: MARK * len(match[0]), text)


def remove_quotes(text: str) -> str:
    """Remove all marks, except those that MediaWiki displays as apostrophes, from complete lines."""
    if MARK not in text:
        return text
    return "\n".join(_without_quotes(line) if MARK in line else line for line in text.split("\n"))


def _without_quotes(line: str) -> str:
    texts = MARKS.split(line)
    runs = [len(run[0]) for run in MARKS.finditer(line)]
    apostrophes = [_surplus(run) for run in runs]
    sizes = [run - surplus for run, surplus in zip(runs, apostrophes, strict=True)]
    bold = sum(size in (BOLD, BOTH) for size in sizes)
    italic = sum(size in (ITALIC, BOTH) for size in sizes)
    before = {index: texts[index] for index, size in enumerate(sizes) if size == BOLD}
    if bold % 2 and italic % 2 and before:
        apostrophes[min(before, key=lambda index: (_rank(before[index]), index))] += 1
    shown = iter(apostrophes)
    return MARKS.sub(lambda _: "'" * next(shown), line)


def _surplus(run: int) -> int:
    """Return the number of quotes in a run that are apostrophes: one of four, and all beyond five."""
    return 1 if run == BOLD + 1 else max(0, run - BOTH)


def _rank(text: str) -> int:
    """Return how likely three quotes after a text are an apostrophe and two quotes, as in `L'''Aurore''`: 0 is likely.

    The order is the order of MediaWiki: after a word of one letter, after a longer word, after a space.
    """
    if text.endswith(" "):
        return 2
    return 0 if text[-2:-1] == " " else 1
