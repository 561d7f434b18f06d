"""Formulas of HTML pages (MathML) as text on one line: (a+b)/2, x², ∑_(i=1)^n i."""

from collections.abc import Callable, Mapping
from typing import Any

from kib_files.raised_text import grouped, subscript, superscript

__all__ = ["formula_text"]


def formula_text(node: Any) -> str:
    """Return the text of a MathML element, of a part of the element, or of a text node."""
    from turbohtml import Element, Text

    if isinstance(node, Text):
        return " ".join(node.data.split())
    if not isinstance(node, Element) or node.tag in ("annotation", "annotation-xml"):
        return ""
    parts = [formula_text(child) for child in node.children]
    parts = [part for part in parts if part]
    structure = STRUCTURES.get(node.tag)
    if structure and len(parts) == structure[0]:
        return structure[1](*parts)
    if node.tag in JOINED:
        return JOINED[node.tag](parts)
    return "".join(parts)


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

JOINED: Mapping[str, Callable[[list[str]], str]] = {
    "msqrt": lambda parts: f"√{grouped(''.join(parts))}",
    "mtable": lambda rows: f"[{'; '.join(rows)}]",
    "mtr": ", ".join,
}
"""The elements with any number of parts, and the function that joins the texts of the parts."""
