"""Phrases for messages: counts, lists of names, shortened values and suggestions for a misspelled name."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches

__all__ = ["counted", "first_names", "join", "nearest", "offer", "pairs_that_repeat", "quoted", "shortened"]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as `1 cell`, `2 cells` or `1,000 cells`; `plural` is an irregular plural."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def pairs_that_repeat(number: int) -> str:
    """Return a number of question-answer pairs that were removed because they repeat a question of a task."""
    return f"{counted(number, 'pair')} that {'repeats' if number == 1 else 'repeat'} a question of a task"


def join(names: Collection[str], word: str = "and") -> str:
    """Return names joined by commas and "and", such as `a, b and c`, or "" if there are no names."""
    *others, last = names or [""]
    return f"{', '.join(others)} {word} {last}" if others else last


def quoted(values: Sequence[str]) -> str:
    """Return values in quotation marks, such as `'a' or 'b'`."""
    return " or ".join(map(repr, values))


def shortened(value: object, limit: int = 60) -> str:
    """Return a value as text with at most `limit` characters; the end of a longer text is replaced by "..."."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def first_names(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return the first `most` names joined by a separator, with the number of the remaining names."""
    more = f" and {len(names) - most:,} more" if names[most:] else ""
    return separator.join(names[:most]) + more


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name with the most similar spelling, ignoring case; None if no name is similar."""
    folded = {other.lower(): other for other in sorted(known)}
    found = get_close_matches(name.lower(), sorted(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def offer(name: str, known: Collection[str]) -> str:
    """Return the end of an error message about a misspelled name: the most similar name and all known names."""
    if not known:
        return "none is defined"
    like = nearest(name, known)
    listed = ", ".join(sorted(known))
    return f'did you mean "{like}"? Known: {listed}' if like else f"known: {listed}"
