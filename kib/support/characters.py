"""Removes characters that nobody sees but that split words, and converts text to lowercase without splitting words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

__all__ = ["describe_removed", "lowercase", "remove_invisible"]

ALWAYS = (
    "\u00ad\u034f\u061c\u17b4\u17b5\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufff8"
    "\U000e0000-\U000e0fff"
)
"""The characters with Unicode's property `Default_Ignorable_Code_Point`, except those that some script needs."""

CONTROL = "\x00-\x08\x0e-\x1b\x7f"
"""Control characters, except white space."""

NEEDED = {
    "\u115f\u1160": "\u1100-\u115e\u1161-\u11ff\ua960-\ua97f\ud7b0-\ud7ff",
    "\u180b-\u180f": "\u1820-\u18aa",
    "\U0001bca0-\U0001bca3": "\U0001bc00-\U0001bc9f",
    "\U0001d173-\U0001d17a": "\U0001d100-\U0001d172\U0001d17b-\U0001d1ff",
}
"""Invisible characters that remain next to their scripts: old Hangul, Mongolian, shorthand and musical notes."""

SEPARATED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf"
"""Letters of South-East Asian scripts without spaces, in which a zero-width space may mark the end of a word."""

UNJOINED = "A-Za-z\u00aa-\u024f\u0370-\u052f\u1e00-\u1fff"
"""Latin, Greek and Cyrillic letters; zero-width joiners between these letters have no meaning."""

BLANK, BRAILLE = "\u2800\u3164\uffa0", "\u2801-\u28ff"
"""Characters that are drawn as blanks but are no white space, and the letters between which U+2800 is a space."""

FLAG = "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
"""An emoji of a regional flag; elsewhere, the tag characters of such an emoji are hidden text."""

CANDIDATE = re.compile(f"[{ALWAYS}{CONTROL}{''.join(NEEDED)}{BLANK}\u200b-\u200d]")
"""Matches every character that may be removed; most texts contain no such character."""

INVISIBLE = re.compile(
    "|".join(
        (
            f"({FLAG})",
            f"(?<![{BRAILLE}])([{BLANK}]++)(?![{BRAILLE}])",
            f"[{ALWAYS}{CONTROL}]",
            *(f"(?<![{script}])[{characters}](?![{script}])" for characters, script in NEEDED.items()),
            rf"(?<![{SEPARATED}])\u200b|\u200b(?![{SEPARATED}])|(?<=[{UNJOINED}])[\u200c\u200d](?=[{UNJOINED}])",
        )
    )
)


def remove_invisible(text: str, removed: Counter[str] | None = None) -> str:
    """Return a text without invisible characters, and add the removed characters to `removed` by code, such as U+00AD.

    Zero-width joiners and non-joiners remain, except between Latin, Greek and Cyrillic letters, because they matter in
    Persian, in Indic scripts and in emoji. Zero-width spaces remain between letters of scripts without spaces, and some
    characters remain next to the only script that needs them. A blank between letters or digits becomes a space.
    """
    if not CANDIDATE.search(text):
        return text
    counts = removed if removed is not None else Counter()

    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        counts.update(f"U+{ord(character):04X}" for character in match[0])
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        return " " if match[2] and before.isalnum() and after.isalnum() else ""

    return INVISIBLE.sub(replaced, text)


def describe_removed(removed: Mapping[str, int]) -> str:
    """Return counts of characters in words, such as `U+00AD soft hyphen (2)`, most frequent first."""
    return ", ".join(f"{code} {_name(code)} ({count:,})" for code, count in Counter(removed).most_common())


def _name(code: str) -> str:
    character = chr(int(code.removeprefix("U+"), base=16))
    return unicodedata.name(character, "control character").lower()


def lowercase(text: str) -> str:
    """Return lowercase text in the Unicode form NFKC, in which every letter stays one character.

    Python's `lower` converts İ to an i and a combining dot, which most patterns for words treat as the end of a word.
    """
    return unicodedata.normalize("NFKC", text).lower().replace("i\u0307", "i")
