"""Formulas of HTML pages (MathML) as text on one line: (a+b)/2, x², ∑_(i=1)^n i."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kib.support.raised_text import grouped, subscript, superscript, with_gap

__all__ = ["formula_text"]


def formula_text(node: Any) -> str:
    """Return the text of a MathML element, of a part of the element, or of a text node."""
    from turbohtml import Element, Text

    if isinstance(node, Text):
        return " ".join(node.data.split())
    if not isinstance(node, Element) or node.tag in ("annotation", "annotation-xml"):
        return ""
    named = [(getattr(child, "tag", ""), formula_text(child)) for child in node.children]
    named = [(tag, part) for tag, part in named if part]
    parts = [part for _, part in named]
    structure = STRUCTURES.get(node.tag)
    if structure and len(parts) == structure[0]:
        return structure[1](*parts)
    if node.tag in LISTS:
        return LISTS[node.tag](parts)
    line = _joined(named)
    return f"√{grouped(line)}" if node.tag == "msqrt" else line


def _joined(named: Sequence[tuple[str, str]]) -> str:
    """Join the texts of neighbouring elements; a space keeps numbers apart, and ends a fraction or a root."""
    line = previous = ""
    for tag, part in named:
        line = with_gap(line, part, open_end=previous in OPEN_ENDS or previous == tag == "mn")
        previous = tag
    return line


def _root(radicand: str, degree: str) -> str:
    return f"{superscript(degree)}√{grouped(radicand)}"


def _limits(base: str, below: str, above: str) -> str:
    return f"{base}{subscript(below)}{superscript(above)} "


STRUCTURES: Mapping[str, tuple[int, Callable[..., str]]] = {
    "mfrac": (2, lambda above, below: f"{grouped(above)}/{grouped(below)}"),
    "mover": (2, lambda base, above: base + superscript(above)),
    "mroot": (2, _root),
    "msub": (2, lambda base, low: grouped(base) + subscript(low)),
    "msubsup": (3, lambda base, low, high: grouped(base) + subscript(low) + superscript(high)),
    "msup": (2, lambda base, high: grouped(base) + superscript(high)),
    "munder": (2, lambda base, below: f"{base}{subscript(below)} "),
    "munderover": (3, _limits),
}
"""For each structure, the number of its parts and the function that joins the texts of the parts."""

OPEN_ENDS = frozenset(("mfrac", "mroot", "msqrt"))
"""Elements whose text would absorb a letter or a digit that follows immediately."""

LISTS: Mapping[str, Callable[[list[str]], str]] = {
    "mtable": lambda rows: f"[{'; '.join(rows)}]",
    "mtr": ", ".join,
}
"""The elements with any number of parts, and the function that joins the texts of the parts."""
