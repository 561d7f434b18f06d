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
    if not isinstance(node, Element) or node.tag in ANNOTATIONS:
        return ""
    parts = [(child, part) for child in node.children if (part := formula_text(child))]
    texts = [part for _, part in parts]
    structure = STRUCTURES.get(node.tag)
    if structure and len(texts) == structure[0]:
        return structure[1](*texts)
    if node.tag in LISTS:
        return LISTS[node.tag](texts)
    line = _joined(parts)
    return f"√{grouped(line)}" if node.tag == "msqrt" else line


def _joined(parts: Sequence[tuple[Any, str]]) -> str:
    """Join the texts of neighbouring nodes; a space keeps numbers apart, and ends a fraction or a root."""
    line = last = ""
    for node, part in parts:
        line = with_gap(line, part, last, _kind(node, 0))
        last = _kind(node, -1)
    return line


def _kind(node: Any, end: int) -> str:
    """Return the kind, as `with_gap` expects, of the first (0) or last (-1) element with text inside a node."""
    tag = getattr(node, "tag", "")
    inner = [child for child in getattr(node, "children", ()) if _has_text(child)]
    is_base = end == 0 and KINDS.get(tag) == "script"
    if not tag or not inner or (tag in KINDS and not is_base) or tag in LISTS:
        return KINDS.get(tag, "")
    return _kind(inner[end], end)


def _has_text(node: Any) -> bool:
    text: str = getattr(node, "text", "") or getattr(node, "data", "")
    return bool(text.strip()) and getattr(node, "tag", "") not in ANNOTATIONS


def _root(radicand: str, degree: str) -> str:
    return f"{superscript(degree)}√{grouped(radicand)}"


def _limits(base: str, below: str, above: str) -> str:
    return f"{base}{subscript(below)}{superscript(above)} "


ANNOTATIONS = frozenset(("annotation", "annotation-xml"))
"""Elements with a copy of the formula in another format, which browsers do not show."""

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

KINDS: Mapping[str, str] = {
    "mfrac": "fraction",
    "mn": "number",
    **dict.fromkeys(("mroot", "msqrt"), "root"),
    **dict.fromkeys(("mover", "msub", "msubsup", "msup", "munder", "munderover"), "script"),
}
"""The kinds of elements whose texts can merge with the text next to them."""

LISTS: Mapping[str, Callable[[list[str]], str]] = {
    "mtable": lambda rows: f"[{'; '.join(rows)}]",
    "mtr": ", ".join,
}
"""The elements with any number of parts, and the function that joins the texts of the parts."""
