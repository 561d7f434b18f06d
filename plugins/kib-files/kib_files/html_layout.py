"""Lays out an HTML tree as lines of text: blocks, list items and table rows begin new lines, as in a browser."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kib.support.raised_text import subscript, superscript
from kib_files.mathml_text import formula_text

__all__ = ["BLOCK", "BLOCKS", "MARK", "SCRIPT", "text_of_page"]

BLOCK, MARK, SCRIPT = "data-kib-block", "data-kib-mark", "data-kib-script"
"""Attributes that the caller may set.

The element is a block; the mark before a list item, such as "3. "; the text is raised (`sup`) or lowered (`sub`).
"""

BLOCK_NAMES = (
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li listing main menu nav ol optgroup option p "
    "plaintext pre search section summary table tbody tfoot thead tr ul xmp"
)
BLOCKS = frozenset(BLOCK_NAMES.split())
"""Elements that begin and end a line; the list follows the HTML standard's rendering of elements."""

SPACED_NAMES = "blockquote dl fieldset figure h1 h2 h3 h4 h5 h6 hr ol p pre table ul"
SPACED = frozenset(SPACED_NAMES.split())
"""Elements with a blank line before and after them, except inside a list item or a table cell."""

NO_TEXT_INPUTS = {"checkbox", "color", "file", "hidden", "image", "password", "radio", "range"}
"""The types of `<input>` whose value a browser does not show as text."""

PREFORMATTED = {"listing", "plaintext", "pre", "textarea", "xmp"}

SPACES = re.compile(r"[ \t\n\f\r]+")
"""White space that browsers collapse to one space; a no-break space is not collapsed."""

INDENT, CELL_GAP = "  ", "  "


def text_of_page(page: Any) -> str:
    """Return the text of an HTML page or element, without blank lines at the start and end."""
    lines = _Lines()
    _write(page, lines, preformatted=False)
    return lines.text()


class _Lines:
    """Lines of text that grow from left to right; blank lines are added only between lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.current = ""
        self.blank = False

    def add(self, text: str, preformatted: bool = True) -> None:
        """Append text to the current line; outside preformatted text, white space is collapsed."""
        if not preformatted:
            text = SPACES.sub(" ", text)
            self.current += text.lstrip(" ") if not self.current or self.current.endswith(" ") else text
            return
        first, *others = text.split("\n")
        self.current += first
        for other in others:
            self.end_line(forced=True)
            self.current = other

    def end_line(self, blank: bool = False, forced: bool = False) -> None:
        """End the current line unless it is empty; `forced` also ends an empty line, as a line break does."""
        line = self.current.rstrip()
        self.current = ""
        if line or forced:
            if self.blank and self.lines and self.lines[-1]:
                self.lines.append("")
            self.blank = False
            self.lines.append(line)
        self.blank = self.blank or blank

    def text(self) -> str:
        """Return all lines."""
        self.end_line()
        return "\n".join(self.lines).strip("\n")


def _write(node: Any, lines: _Lines, preformatted: bool) -> None:
    """Append the text of a node and its descendants to the lines."""
    from turbohtml import Document, Element, Text

    if isinstance(node, Text):
        lines.add(node.data, preformatted)
    elif isinstance(node, Document):
        _write_all(node.children, lines, preformatted)
    elif isinstance(node, Element):
        tag = node.attr(SCRIPT) or node.tag
        is_block = tag in BLOCKS or BLOCK in node.attrs
        if is_block:
            lines.end_line(tag in SPACED)
        if tag in WRITERS:
            WRITERS[tag](node, lines)
        else:
            _write_all(node.children, lines, preformatted or tag in PREFORMATTED)
        if is_block:
            lines.end_line(tag in SPACED)


def _write_all(nodes: Iterable[Any], lines: _Lines, preformatted: bool) -> None:
    for node in nodes:
        _write(node, lines, preformatted)


def _inner(element: Any) -> str:
    """Return the text inside an element as separate lines."""
    inner = _Lines()
    _write_all(element.children, inner, preformatted=False)
    return inner.text()


def _write_item(item: Any, lines: _Lines) -> None:
    """Append a list item with its mark, and indent its other lines."""
    first, *others = [line for line in _inner(item).split("\n") if line] or [""]
    lines.add("\n".join([item.attr(MARK, "* ") + first, *(INDENT + line for line in others)]))


def _write_row(row: Any, lines: _Lines) -> None:
    """Append a table row as one line or, if a cell has several lines, cell by cell."""
    cells = [_inner(child) for child in row.children if getattr(child, "tag", "") in ("td", "th")]
    if any("\n" in cell for cell in cells):
        for cell in cells:
            lines.add(cell)
            lines.end_line()
    else:
        lines.add(CELL_GAP.join(cells))


def _write_quote(quote: Any, lines: _Lines) -> None:
    lines.add('"')
    _write_all(quote.children, lines, preformatted=False)
    lines.add('"')


def _write_superscript(raised: Any, lines: _Lines) -> None:
    _write_script(raised, superscript(_inner(raised), before=lines.current), lines)


def _write_subscript(lowered: Any, lines: _Lines) -> None:
    _write_script(lowered, subscript(_inner(lowered)), lines)


def _write_script(element: Any, written: str, lines: _Lines) -> None:
    """Append a superscript or subscript between the white space at the ends of the element."""
    text = element.text
    before, after = (" " if SPACES.match(end) else "" for end in (text[:1], text[-1:]))
    lines.add(f"{before}{written}{after}", preformatted=False)


def _write_framed(box: Any, lines: _Lines) -> None:
    """Append the text of a button or text area; its frame separates the text from the words next to it."""
    lines.add(" ", preformatted=False)
    _write_all(box.children, lines, box.tag in PREFORMATTED)
    lines.add(" ", preformatted=False)


def _write_input(field: Any, lines: _Lines) -> None:
    """Append the visible value of a form field or button; its frame separates the value from the words next to it."""
    if (field.attr("type") or "text").strip().lower() not in NO_TEXT_INPUTS:
        lines.add(f" {field.attr('value') or ''} ", preformatted=False)


WRITERS: Mapping[str, Callable[[Any, _Lines], None]] = {
    "br": lambda _, lines: lines.end_line(forced=True),
    "button": _write_framed,
    "input": _write_input,
    "li": _write_item,
    "math": lambda formula, lines: lines.add(formula_text(formula)),
    "q": _write_quote,
    "rp": lambda _, __: None,
    "rt": lambda reading, lines: lines.add(f"({_inner(reading)})"),
    "sub": _write_subscript,
    "sup": _write_superscript,
    "textarea": _write_framed,
    "title": lambda _, __: None,
    "tr": _write_row,
}
"""The function that writes an element, for elements whose text differs from the text of their children."""
