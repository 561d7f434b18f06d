"""Entries of a BibTeX text, by their keys."""

import re

__all__ = ["entries_in", "key_of"]

OPEN = re.compile(r"@(\w+)\s*\{(?:\s*([^,\s{}]+)\s*,)?")
"""Where an entry may begin; one without a key is none."""
SILENT = ("comment", "preamble", "string")
"""What BibTeX writes like an entry, and cites nothing."""


def entries_in(text: str) -> list[str]:
    """Every BibTeX entry in a text, found by identity_options braces."""
    found: list[str] = []
    last = 0
    for match in OPEN.finditer(text):
        silent = match.group(1).lower() in SILENT
        if match.start() < last or not (match.group(2) or silent):
            continue  # within the one before, or none
        end = _end(text, match.start())
        if end:
            last = end
            found += [] if silent else [text[match.start() : end]]
    return found


def _end(text: str, start: int) -> int:
    """Where the braces that open behind `start` are all closed; 0 where they never are."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if text[place] == "}" and depth == 0:
            return place + 1
    return 0


def key_of(entry: str) -> str:
    """The key by which an entry is cited; "" for a text that is none."""
    match = OPEN.search(entry)
    return (match.group(2) or "") if match else ""
