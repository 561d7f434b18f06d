"""Texts of others (messages, titles, names from a results folder) made fit to print."""

__all__ = ["one_line"]


def one_line(text: str) -> str:
    """Text without line breaks and control characters, so that it can neither break a table nor steer a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))
