"""Ids as users write them: a whole number counts as its digits, and text is compared in Unicode's composed form."""

import unicodedata
from typing import Any

__all__ = ["normal_id"]


def normal_id(value: Any) -> Any:
    """Return a whole number as text, and text in Unicode's composed form (NFC); return any other value unchanged.

    macOS writes `ü` in file names as two characters, whereas keyboards write one character; NFC has one character.
    """
    if type(value) is int:
        return str(value)
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value
