"""Entries of a BibTeX text, by their keys."""

import re

__all__ = ["entries_in", "key_of"]

ENTRY = re.compile(r"^\s*@(\w+)\s*\{\s*([^,\s]+)\s*,", re.MULTILINE)


def entries_in(text: str) -> list[str]:
    """Every BibTeX entry in a text, found by counting braces."""
    found = []
    for match in ENTRY.finditer(text):
        depth = 0
        for end in range(match.start(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if text[end] == "}" and depth == 0:
                found.append(text[match.start() : end + 1].strip())
                break
    return found


def key_of(entry: str) -> str:
    """The key by which an entry is cited; "" for a text that is none."""
    match = ENTRY.search(entry)
    return match.group(2) if match else ""
