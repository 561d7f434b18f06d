"""Formats numbers for readers: percentages with one decimal place, p values such as .012, and a dash for None."""

from decimal import ROUND_HALF_UP, Decimal

from kib.statistics.gains import Interval

__all__ = [
    "DASH",
    "byte_size",
    "interval",
    "p_value",
    "percent",
    "points",
    "scientific",
    "three_digits",
    "whole_percent",
]

DASH = "–"
"""The text printed in place of a missing number."""


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage, such as `95.0` for .95."""
    return DASH if fraction is None else _without_negative_zero(_rounded_percent(fraction, "0.1"))


def points(fraction: float | None) -> str:
    """Return a fraction in percentage points, such as `+69.0` for .69; zero has no sign."""
    text = percent(fraction)
    return text if fraction is None or text.startswith("-") or text == "0.0" else f"+{text}"


def interval(ends: Interval | None) -> str:
    """Return an interval as `[64.0, 74.0]`, or "" if there is no interval."""
    return "" if ends is None else f"[{percent(ends.low)}, {percent(ends.high)}]"


def p_value(p: float | None) -> str:
    """Return a p value as `<.001`, `.012` or `1.000`."""
    if p is None:
        return DASH
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def whole_percent(fraction: float) -> str:
    """Return a fraction as a whole percentage, such as `95` for .95."""
    return _without_negative_zero(_rounded_percent(fraction, "1"))


def _rounded_percent(fraction: float, unit: str) -> str:
    """Round a percentage half away from zero, unaffected by the binary rounding error of the fraction."""
    return str(Decimal(repr(round(100 * fraction, 9))).quantize(Decimal(unit), ROUND_HALF_UP))


def _without_negative_zero(text: str) -> str:
    return text.removeprefix("-") if float(text) == 0 else text


def three_digits(number: float | None) -> str:
    """Return a number with three significant digits, or without decimals if at least 100: `0.0123`, `12.3`, `1,235`."""
    if number is None:
        return DASH
    if abs(number) >= 100:
        return f"{number:,.0f}"
    text = f"{float(f'{number:.3g}'):.12f}"
    return text.rstrip("0").rstrip(".")


def scientific(number: float | None) -> str:
    """Return a number in scientific notation, such as `1.23e9`; zero is returned as `0`."""
    if not number:
        return DASH if number is None else "0"
    digits, _, exponent = f"{number:.2e}".partition("e")
    return f"{digits}e{int(exponent)}"


def byte_size(count: float | None) -> str:
    """Return a number of bytes in the largest unit that gives a value of at least 1, such as `1.5 MB`."""
    if count is None:
        return DASH
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
