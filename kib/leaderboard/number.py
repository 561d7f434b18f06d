"""Numbers as people read them: per cent and points with one decimal, p as <.001 or .012, – where there is none."""

from kib.gains import Interval

__all__ = ["NONE", "interval", "p_value", "percent", "points", "whole"]

NONE = "–"


def percent(fraction: float | None) -> str:
    """`95.0` for .95."""
    return NONE if fraction is None else _plain(f"{100 * fraction:.1f}")


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
    return _plain(f"{100 * fraction:.0f}")


def _plain(text: str) -> str:
    """No minus before what was rounded to zero."""
    return text.removeprefix("-") if float(text) == 0 else text
