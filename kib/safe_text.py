"""Makes untrusted text (messages, titles, questions, names from a results folder) safe to print.

Untrusted text could contain escape sequences that control the terminal, or bidirectional formatting characters that
reorder a line on the screen.
"""

import json
import re

__all__ = ["escaped_json", "one_line", "visible", "visible_or_style"]

UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters (except tabs and newlines), Unicode line breaks, bidirectional formatting and lone surrogates."""

STYLE = r"\x1b\[[0-9;]*m"
"""The escape sequences for colours and fonts."""

SUBSTITUTE = "\ufffd"


def one_line(text: str) -> str:
    """Return the text without line breaks or control characters, which could break a table or control a terminal."""
    return "".join(letter if letter.isprintable() else SUBSTITUTE for letter in " ".join(text.split()))


def visible(text: str) -> str:
    """Return a multi-line text with control characters and bidirectional formatting characters replaced."""
    return re.sub(UNSAFE, SUBSTITUTE, text.replace("\r\n", "\n"))


def visible_or_style(text: str) -> str:
    """Return the result of `visible`, except that the escape sequences for colours and fonts are preserved."""
    return re.sub(f"({STYLE})|{UNSAFE}", lambda found: found[1] or SUBSTITUTE, text)


def escaped_json(text: str) -> str:
    """Return equivalent JSON in which control characters and bidirectional formatting characters are escaped."""
    return re.sub(UNSAFE, lambda found: json.dumps(found[0])[1:-1], text)
