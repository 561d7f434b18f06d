"""Finds the entries of a BibTeX text."""

import re

__all__ = ["entries_in", "key_of"]

OPEN = re.compile(r"@(\w+)\s*\{(?:\s*([^,\s{}]+)\s*,)?")
"""The pattern of the beginning of an entry; text without a key is not an entry."""
SILENT = ("comment", "preamble", "string")
"""BibTeX commands that have the syntax of an entry but are not citations."""


def entries_in(text: str) -> list[str]:
    """Return every BibTeX entry in a text; the end of an entry is found by counting braces."""
    found: list[str] = []
    last = 0
    for match in OPEN.finditer(text):
        silent = match.group(1).lower() in SILENT
        if match.start() < last or not (match.group(2) or silent):
            continue  # inside the previous entry, or not an entry
        end = _end(text, match.start())
        if end:
            last = end
            found += [] if silent else [text[match.start() : end]]
    return found


def _end(text: str, start: int) -> int:
    """Return the index after the brace that closes the entry at `start`; 0 if the entry is never closed."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if text[place] == "}" and depth == 0:
            return place + 1
    return 0


def key_of(entry: str) -> str:
    """Return the citation key of an entry; "" if the text is not an entry."""
    match = OPEN.search(entry)
    return (match.group(2) or "") if match else ""
