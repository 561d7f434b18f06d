"""Numbers as people read them: per cent and points with one decimal, p as <.001 or .012, – where there is none."""

from decimal import ROUND_HALF_UP, Decimal

from kib.statistics.gains import Interval

__all__ = ["NONE", "amount", "interval", "p_value", "percent", "points", "power", "size", "whole"]

NONE = "–"


def percent(fraction: float | None) -> str:
    """`95.0` for .95."""
    return NONE if fraction is None else _plain(_rounded(fraction, "0.1"))


def points(fraction: float | None) -> str:
    """`+69.0` for .69; zero has no sign."""
    text = percent(fraction)
    return text if fraction is None or text.startswith("-") or text == "0.0" else f"+{text}"


def interval(ends: Interval | None) -> str:
    """`[64.0, 74.0]`; "" where there is none."""
    return "" if ends is None else f"[{percent(ends.low)}, {percent(ends.high)}]"


def p_value(p: float | None) -> str:
    """`<.001`, `.012`, `1.000`."""
    if p is None:
        return NONE
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def whole(fraction: float) -> str:
    """`95` for .95, per cent without decimals."""
    return _plain(_rounded(fraction, "1"))


def _rounded(fraction: float, unit: str) -> str:
    """Per cent in whole units, halves away from zero, as people round; what binary fractions add is not seen."""
    return str(Decimal(repr(round(100 * fraction, 9))).quantize(Decimal(unit), ROUND_HALF_UP))


def _plain(text: str) -> str:
    """No minus before what was rounded to zero."""
    return text.removeprefix("-") if float(text) == 0 else text


def amount(number: float | None) -> str:
    """Three digits that count, none after the point from 100 on: `0.0123`, `12.3`, `1,235`."""
    if number is None:
        return NONE
    if abs(number) >= 100:
        return f"{number:,.0f}"
    text = f"{float(f'{number:.3g}'):.12f}"
    return text.rstrip("0").rstrip(".")


def power(number: float | None) -> str:
    """`1.23e9`; 0 stays so."""
    if not number:
        return NONE if number is None else "0"
    digits, _, exponent = f"{number:.2e}".partition("e")
    return f"{digits}e{int(exponent)}"


def size(count: float | None) -> str:
    """Bytes in the largest unit that leaves a whole one: `1.5 MB`."""
    if count is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
