"""Makes foreign text (messages, titles, names from a results folder) safe to print."""

__all__ = ["one_line"]


def one_line(text: str) -> str:
    """Return the text without line breaks and control characters, which could break a table or control a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))
