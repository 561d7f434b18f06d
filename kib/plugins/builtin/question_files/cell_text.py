"""Converts the values of spreadsheet cells to text, as a person sees the cells."""

import re
from datetime import date, datetime, time, timedelta
from typing import Any

__all__ = ["cell_text"]

FIXED = re.compile(r"(0+)(?:\.(0+))?(%)?")
"""A number format with a fixed number of decimals, such as `0`, `0.00`, `000` or `0%`."""

DIGITS = 15
"""The number of significant digits that spreadsheet programs store and show."""


def cell_text(value: Any, number_format: str) -> str:
    """Return the value of a cell as text: dates in ISO format, and numbers without binary rounding errors.

    Leading zeros, decimals and percent signs are those of the number format. Thousands are not separated, and currency
    signs are omitted.
    """
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return _number(value, number_format)
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(timespec="seconds")
    if isinstance(value, time):
        return value.isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, date) else str(value)


def _number(value: float, number_format: str) -> str:
    percent = "%" if number_format.endswith("%") else ""
    shown = value * 100 if percent else value
    fixed = FIXED.fullmatch(number_format)
    if fixed:
        whole, decimals = len(fixed[1]), len(fixed[2] or "")
        text = f"{abs(shown):0{whole + decimals + bool(decimals)}.{decimals}f}"
        return f"{'-' if shown < 0 else ''}{text}{percent}"
    rounded = float(f"{shown:.{DIGITS}g}")
    return f"{int(rounded) if rounded.is_integer() and abs(rounded) < 10**DIGITS else rounded}{percent}"
