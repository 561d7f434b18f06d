"""Finds the first number of an answer, such as -3.5 in "about −3.5 °C (in winter)"."""

import re
from typing import Any

__all__ = ["first_number", "reads_as_thousands"]

DECIMAL_COMMA = re.compile(
    "bg|cs|da|de|el|es|et|fi|fr|hr|hu|id|it|lt|lv|nb|nl|no|pl|pt|ro|ru|sk|sl|sr|sv|tr|uk|vi",
)
"""The languages that write 1.234,5 or 1 234,5 instead of 1,234.5."""

MAGNITUDES = {
    "thousand": 3, "million": 6, "billion": 9, "trillion": 12,
    "tausend": 3, "millionen": 6, "mio": 6, "milliarde": 9, "milliarden": 9, "mrd": 9,
}  # fmt: skip
"""Powers of ten that are written as words, in English and German."""

SPACES = " \u00a0\u2009\u202f"
"""The spaces that separate groups of three digits."""

RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
MINUS = str.maketrans("−‐‑–", "----")


def _pattern(group: str, mark: str) -> re.Pattern[str]:
    """Return the pattern of a number with separators between groups of three digits and a decimal mark.

    A separator that is not followed by a group of three digits is the decimal mark of the other notation.
    """
    other = re.escape(group)
    grouped = rf"[1-9]\d{{0,2}}(?:[{other}'’{SPACES}]\d{{3}})+(?!\d)"
    whole = rf"{grouped}|(?P<plain>\d+)|(?={re.escape(mark)}\d)"
    part = rf"{re.escape(mark)}(?P<part>\d+)|(?(plain){other}(?P<other>\d+)(?!\d|[.,]\d)|(?!))"
    power = r"(?:e|\s?[×x*·]\s?10\s?\^?)(?P<power>[-+]?\d+|⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)(?!\w)"
    return re.compile(
        rf"(?<![\w.,])(?P<sign>[-+]\s?)?(?:[^\W\d_]{{0,3}}\$|[€£¥$])?\s?(?P<whole>{whole})"
        rf"(?:{part})?(?:{power})?(?:\s?(?P<magnitude>{'|'.join(MAGNITUDES)})\b)?",
        re.IGNORECASE,
    )


POWER_OF_TEN = re.compile(r"(?<![\w.,×*·])(?<![×x*·]\s)10(?:\^([-+]?\d+)|(⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+))")
"""A power of ten without a factor, such as 10^6 or 10⁶."""

POINT = _pattern(",", ".")
COMMA = _pattern(".", ",")


def first_number(text: str, language: str = "en") -> float | None:
    """Return the first number in a text, without its unit, or None if the text contains no number.

    The language determines whether 1,234 is a whole number or a fraction; 1,23 and 0,234 are fractions in every
    language. Percent signs and units are ignored, and powers of ten are applied, for example 1.2e3, 1.2 × 10^3, 1.2 ×
    10³ and 1.2 thousand.
    """
    pattern = COMMA if DECIMAL_COMMA.fullmatch(language) else POINT
    found = pattern.search(POWER_OF_TEN.sub(r"1e\1\2", text.translate(MINUS)))
    return None if found is None else _value(found)


def reads_as_thousands(text: str, language: str) -> bool:
    """Return whether the point in a number such as 1.125 separates thousands, although it may be a decimal point.

    This is the case only in languages with decimal commas, and only if no other separator shows the notation.
    """
    found = COMMA.search(text.translate(MINUS)) if DECIMAL_COMMA.fullmatch(language) else None
    return found is not None and found["part"] is None and re.fullmatch(r"\d+\.\d{3}", found["whole"]) is not None


def _value(found: re.Match[str]) -> float | None:
    parts: dict[str, Any] = found.groupdict(default="")
    digits = re.sub(r"\D", "", parts["whole"])
    power = int(parts["power"].translate(RAISED) or 0) + MAGNITUDES.get(parts["magnitude"].lower(), 0)
    sign = "-" if parts["sign"].strip() == "-" else ""
    return float(f"{sign}{digits}.{parts['part'] or parts['other'] or 0}e{power}")
