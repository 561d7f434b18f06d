"""Converts HTML with turbohtml, which implements the WHATWG standards: the text is what a browser shows.

turbohtml decodes the bytes and builds the tree of elements, and `html_styles` applies style sheets. This module removes
what a browser does not show, and numbers the items of lists; `html_layout` writes the text.
"""

import re
from collections.abc import Callable, Mapping
from itertools import chain
from string import ascii_lowercase
from typing import Any

from kib.support.limited_process import LimitError
from kib_files.file_records import BrokenFileError, ConvertedFile, FileLimits, decode, left_out_remarks, one_line
from kib_files.html_layout import MARK, text_of_page
from kib_files.html_styles import HIDDEN, LIST_STYLE, apply_styles
from kib_files.numerals import roman

__all__ = ["convert_html", "render_html"]

XML_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]+)""")
"""The declaration of an XML file, which the standard reads if a page declares no encoding in another way."""

UNDECODABLE = "\ufffd"
"""The character that replaces invalid bytes."""

LITERAL = re.compile(rb"\0|\xef\xbf\xbd|&#(?:0*65533|0+|[xX]0*[fF]{3}[dD]|[xX]0+)\b")
"""The ways to write `UNDECODABLE` in valid HTML."""

NOT_SHOWN = (
    "template, noscript, script, style, datalist, noframes, noembed, iframe, audio, video, canvas, object, "
    "svg :is(title, desc, metadata, defs, symbol), "
    "select:not([multiple]):has(option[selected]) option:not([selected]), "
    "select:not([multiple]):not(:has(option[selected])) option:not(:first-of-type)"
)
"""Elements that a browser does not show as text."""

HIDDEN_TEXT = f"[{HIDDEN}], [hidden], dialog:not([open]), :is(a, b, em, i, small, span, svg)[aria-hidden=true i]"
"""Elements that a style or an attribute hides; inline elements with `aria-hidden` are icons or repeat other text."""

TYPES = {"1": "decimal", "a": "lower-alpha", "A": "upper-alpha", "i": "lower-roman", "I": "upper-roman"}
"""The attribute `type` of a list, mapped to the value of the property `list-style-type`."""


def convert_html(data: bytes, encoding: str, limits: FileLimits) -> ConvertedFile:
    """Return the text and title of an HTML page, decoded as a browser decodes the page.

    `encoding` applies to pages without a byte order mark and without a known declared encoding. Raise BrokenFileError
    if the bytes are not valid in the page's encoding, and LimitError if elements are nested too deeply.
    """
    page = _declared(data)
    if page is None:
        return render_html(decode(data, encoding), limits)
    if UNDECODABLE in page.html and not LITERAL.search(data):
        problem = f"the file is not valid {page.encoding}, the encoding that the file declares"
        raise BrokenFileError(f"{problem}; correct the declaration, or convert the file to UTF-8")
    return _render(page, limits)


def render_html(html: str, limits: FileLimits, *, leave_out: str = "", unmarked: str = "") -> ConvertedFile:
    """Return the text and title of an HTML page.

    The text does not contain the elements that match the CSS selector `leave_out`, nor the marks of the list items that
    match `unmarked`.
    """
    page = _parsed(html)
    if leave_out:
        page.remove(leave_out)
    return _render(page, limits, unmarked)


def _parsed(html: bytes | str, encoding: str | None = None) -> Any:
    import turbohtml

    return turbohtml.parse(html, encoding=encoding, scripting=True, positions=False)


def _declared(data: bytes) -> Any:
    """Return the parsed page, or None if the page declares no encoding that browsers know."""
    page = _parsed(data)
    if page.encoding_confidence == "certain":
        return page
    declared = XML_ENCODING.match(data)
    try:
        return _parsed(data, declared.group(1).decode("ascii")) if declared else None
    except LookupError:
        return None


def _render(page: Any, limits: FileLimits, unmarked: str = "") -> ConvertedFile:
    if page.select_one(" > ".join("*" * (limits.nesting + 1))):
        raise LimitError(f"nests more elements than `max_nesting = {limits.nesting}`", "depth")
    apply_styles(page)
    page.remove(NOT_SHOWN)
    hidden = _remove_hidden(page)
    _number_lists(page)
    for item in page.select(unmarked) if unmarked else ():
        item.attrs[MARK] = ""
    text = text_of_page(page.select_one("body") or page)
    return ConvertedFile(text, _title(page), remarks=left_out_remarks({"hidden text": hidden}))


def _remove_hidden(page: Any) -> int:
    """Remove hidden elements, and return the number of hidden elements with text that are not inside another one."""
    outermost = page.select(f":is({HIDDEN_TEXT}):not(:is({HIDDEN_TEXT}) *)")
    count = sum(bool(element.text.strip()) for element in outermost)
    page.remove(HIDDEN_TEXT)
    return count


def _title(page: Any) -> str:
    """Return the first title that is not empty: a title of the page, not of a picture in the page, or an `<h1>`."""
    from turbohtml import Namespace

    titles = (title.text for title in page.find_all("title") if title.namespace is Namespace.HTML)
    headings = (text_of_page(heading) for heading in page.select("h1"))
    return next(filter(None, map(one_line, chain(titles, headings))), "")


def _number_lists(page: Any) -> None:
    """Set the mark of each list item: the number that a browser shows, a bullet or, without a mark, nothing."""
    for listing in page.select("ol, ul"):
        items = [child for child in listing.children if getattr(child, "tag", "") == "li"]
        step = -1 if "reversed" in listing.attrs else 1
        number = _whole(listing.attr("start"), len(items) if step < 0 else 1)
        style = listing.attr(LIST_STYLE)
        style = style if style in MARKS else ("decimal" if listing.tag == "ol" else "disc")
        for item in items:
            number = _whole(item.attr("value"), number)
            mark = MARKS[TYPES.get(item.attr("type") or listing.attr("type") or "", style)]
            item.attrs[MARK] = mark(number)
            number += step


def _whole(value: str | None, default: int) -> int:
    """Return the integer at the start of an attribute's value, as browsers read it, or the default."""
    found = re.match(r"\s*([+-]?\d{1,9})", value or "")
    return int(found.group(1)) if found else default


def _letters(number: int) -> str:
    """Return a number as letters: a to z, then aa, ab and so on."""
    letters = ""
    while number > 0:
        number, last = divmod(number - 1, len(ascii_lowercase))
        letters = ascii_lowercase[last] + letters
    return letters


MARKS: Mapping[str, Callable[[int], str]] = {
    "none": lambda _: "",
    "disc": lambda _: "* ",
    "decimal": lambda number: f"{number}. ",
    "lower-alpha": lambda number: f"{_letters(number) or number}. ",
    "upper-alpha": lambda number: f"{_letters(number).upper() or number}. ",
    "lower-latin": lambda number: f"{_letters(number) or number}. ",
    "upper-latin": lambda number: f"{_letters(number).upper() or number}. ",
    "lower-roman": lambda number: f"{roman(number)}. ",
    "upper-roman": lambda number: f"{roman(number).upper()}. ",
}
"""The mark of the item with a given number, for each value of the property `list-style-type`."""
