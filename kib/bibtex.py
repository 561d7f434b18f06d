"""Entries of a BibTeX text, by their keys."""

import re

__all__ = ["entries_in", "key_of"]

ENTRY = re.compile(r"@(\w+)\s*\{\s*([^,\s{}]+)\s*,")


def entries_in(text: str) -> list[str]:
    """Every BibTeX entry in a text, found by counting braces."""
    found: list[str] = []
    last = 0
    for match in ENTRY.finditer(text):
        if match.start() < last:
            continue  # within the entry before
        depth = 0
        for end in range(match.start(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if text[end] == "}" and depth == 0:
                last = end + 1
                found.append(text[match.start() : last])
                break
    return found


def key_of(entry: str) -> str:
    """The key by which an entry is cited; "" for a text that is none."""
    match = ENTRY.search(entry)
    return match.group(2) if match else ""
