"""Equations of Word documents (Office Math Markup Language) as text on one line: (a+b)/2, x², ∑_(i=1)^n i."""

from collections.abc import Callable, Iterable, Mapping
from xml.etree.ElementTree import Element

from kib.support.raised_text import grouped, subscript, superscript, with_gap

__all__ = ["MATH", "equation_text"]

MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"

OVER, UNDER = "\u0305", "\u0332"
"""Combining lines above and below a character."""

HAT = "\u0302"
"""The default accent of an equation, a combining circumflex."""


def equation_text(element: Element) -> str:
    """Return the text of an equation, or of a part of an equation."""
    name = element.tag.removeprefix(MATH)
    if name == "t":
        return element.text or ""
    if name.endswith("Pr"):
        return ""
    return STRUCTURES[name](element) if name in STRUCTURES else _all(element)


def _all(elements: Iterable[Element]) -> str:
    line, last = "", ""
    for element in elements:
        text = equation_text(element)
        if text:
            line = with_gap(line, text, last, _kind(element, 0))
            last = _kind(element, -1)
    return line


def _kind(element: Element, end: int) -> str:
    """Return the kind, as `with_gap` expects, of the first (0) or last (-1) structure inside an element."""
    name = element.tag.removeprefix(MATH)
    inner = [child for child in element if not child.tag.endswith("Pr")]
    if name in STRUCTURES or not inner:
        return KINDS.get(name, "")
    return _kind(inner[end], end)


def _part(element: Element, name: str) -> str:
    """Return the text of a named part of a structure, or "" if the part is missing."""
    part = element.find(MATH + name)
    return "" if part is None else _all(part)


def _property(element: Element, name: str, default: str) -> str:
    """Return the value of a structure's property, or the default if the structure does not set the property."""
    structure = element.tag.removeprefix(MATH)
    found = element.find(f"{MATH}{structure}Pr/{MATH}{name}")
    return default if found is None else found.get(f"{MATH}val", default)


def _is_on(element: Element, name: str) -> bool:
    """Return whether a structure sets a property that is either on or off; a property without a value is on."""
    structure = element.tag.removeprefix(MATH)
    found = element.find(f"{MATH}{structure}Pr/{MATH}{name}")
    return found is not None and found.get(f"{MATH}val", "1") in ("1", "on", "true")


def _fraction(element: Element) -> str:
    above, below = _part(element, "num"), _part(element, "den")
    if _property(element, "type", "bar") == "noBar":  # as in a binomial coefficient
        return f"{grouped(above)} over {grouped(below)}"
    return f"{grouped(above)}/{grouped(below)}"


def _scripts(element: Element) -> str:
    """Return the text of a base with a subscript, a superscript or both."""
    return grouped(_part(element, "e")) + _low_and_high(element)


def _scripts_before(element: Element) -> str:
    """Return the text of a base with scripts to its left, such as the symbol of an isotope."""
    return superscript(_part(element, "sup")) + subscript(_part(element, "sub")) + _part(element, "e")


def _low_and_high(element: Element) -> str:
    low, high = _part(element, "sub"), _part(element, "sup")
    return (subscript(low) if low else "") + (superscript(high) if high else "")


def _sum(element: Element) -> str:
    """Return the text of a sum, product or integral with its limits."""
    return f"{_property(element, 'chr', '∫')}{_low_and_high(element)} {_part(element, 'e')}"


def _root(element: Element) -> str:
    degree = "" if _is_on(element, "degHide") else _part(element, "deg")
    return f"{superscript(degree) if degree else ''}√{grouped(_part(element, 'e'))}"


def _brackets(element: Element) -> str:
    opening, closing = _property(element, "begChr", "("), _property(element, "endChr", ")")
    inner = _property(element, "sepChr", "|").join(map(_all, element.findall(f"{MATH}e")))
    return f"{opening}{inner}{closing}"


def _function(element: Element) -> str:
    argument = _part(element, "e")
    return f"{_part(element, 'fName')}{'' if argument.startswith(('(', '[')) else ' '}{argument}"


def _accent(element: Element) -> str:
    return _part(element, "e") + _property(element, "chr", HAT)


def _line(element: Element) -> str:
    return _part(element, "e") + (OVER if _property(element, "pos", "bot") == "top" else UNDER)


def _limit_below(element: Element) -> str:
    return f"{_part(element, 'e')}_{grouped(_part(element, 'lim'))}"


def _limit_above(element: Element) -> str:
    return f"{_part(element, 'e')}^{grouped(_part(element, 'lim'))}"


def _matrix(element: Element) -> str:
    rows = (", ".join(map(_all, row.findall(f"{MATH}e"))) for row in element.findall(f"{MATH}mr"))
    return f"[{'; '.join(rows)}]"


def _lines(element: Element) -> str:
    return "; ".join(map(_all, element.findall(f"{MATH}e")))


KINDS: Mapping[str, str] = {
    "f": "fraction",
    "func": "function",
    "nary": "function",
    "rad": "root",
    "sPre": "prescript",
    **dict.fromkeys(("limLow", "limUpp", "sSub", "sSubSup", "sSup"), "script"),
}
"""The kinds of structures whose texts can merge with the text next to them."""

STRUCTURES: Mapping[str, Callable[[Element], str]] = {
    "acc": _accent,
    "bar": _line,
    "d": _brackets,
    "eqArr": _lines,
    "f": _fraction,
    "func": _function,
    "limLow": _limit_below,
    "limUpp": _limit_above,
    "m": _matrix,
    "nary": _sum,
    "rad": _root,
    "sPre": _scripts_before,
    "sSub": _scripts,
    "sSubSup": _scripts,
    "sSup": _scripts,
}
"""The function for each structure of an equation; the text of any other element is the text of its children."""
