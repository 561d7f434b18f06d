"""Converts PDF files with pypdfium2, the Python interface of the PDF library of Chrome."""

import ctypes
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kib_files.file_records import BLANK_PAGES, BrokenFileError, ConvertedFile, FileLimits, one_line
from kib_files.pdf_layout import page_lines
from kib_files.pdf_rows import Run

__all__ = ["convert_pdf"]

REPLACEMENTS = {
    **dict.fromkeys(range(9), ""),
    **dict.fromkeys(range(14, 32), ""),
    0xAD: "-",
    0xF0B7: "•",
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}
"""Replacements for control characters, hyphens at line ends, bullets of symbol fonts and typographic ligatures."""

LINE_ENDS = {"\r": (), "\n": (Run("\n"),), "\ufffe": (Run("-"), Run("\n")), "\2": (Run("-"), Run("\n"))}
"""The characters that end a run, with the runs that replace each character.

pypdfium2 returns U+FFFE or U+0002 in place of a hyphen and the end of its line.
"""

Box = tuple[float, float, float, float]
"""The left, bottom, right and top edge of an area on a page, in points."""

ANGLE_SAMPLE = 50
"""The number of characters whose angles determine how a page is turned."""

LOGO = re.compile(r"\b(?:L\^A)?T_?EX\b")
"""The logos of TeX and LaTeX, whose letters are raised and lowered."""

SPLIT_WORD = re.compile(
    r"(?<!\w)(?<!\w[-\u2010])((?:\w+[-\u2010](?!\n))*+)(\w++)([-\u2010])\n(?=(\w+)((?:[-\u2010]\w+)*))"
)
WORD = re.compile(r"\w+(?:[-\u2010]\w+)*")

UNREADABLE = re.compile("[\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff]")
"""Characters without a meaning, from fonts that do not state which characters their glyphs are."""

MOST_UNREADABLE = 0.02
"""The part of unreadable characters from which a page is named in a remark."""

MOST_PAGES = 20
"""Maximum number of page ranges in one remark."""

PASSWORD_FIELD = 1 << 13
"""The flag of form fields whose value a viewer does not show."""

HIDDEN_ANNOTATION = 0x2 | 0x20
"""The flags of annotations that a viewer does not show."""


def convert_pdf(data: bytes, _: str, __: FileLimits) -> ConvertedFile:
    """Return the text of all pages of a PDF, separated by blank lines, with the values of form fields after each page.

    Remarks name the pages without text, pages whose columns were separated, pages with unreadable characters, and pages
    with text that is left out because it is outside the page.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
        if document.get_formtype():
            document.init_forms()
        pages = [_read_page(document, number) for number in range(len(document))]
        title = document.get_metadata_value("Title")
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise BrokenFileError("the file has a password; save the file without a password") from error
        raise BrokenFileError(f"the file is damaged or is not a PDF ({error})") from error
    texts = [page.text for page in pages if page.text]
    remarks = {
        "columns drawn row by row, whose order may be wrong": _ranges(pages, lambda page: page.has_columns),
        "characters without a known meaning": _ranges(pages, lambda page: page.is_unreadable),
        "text outside the page, which the text leaves out": _ranges(pages, lambda page: page.has_text_outside),
    }
    if len(texts) < len(pages):
        remarks[BLANK_PAGES] = f"{_ranges(pages, lambda page: not page.text)} of {len(pages)}"
    text = _join_words("\n\n".join(texts))
    return ConvertedFile(text, one_line(title), len(pages), {what: where for what, where in remarks.items() if where})


@dataclass(frozen=True, slots=True)
class _Page:
    """The text of a page, and the properties that a remark names."""

    text: str
    has_columns: bool
    is_unreadable: bool
    has_text_outside: bool


def _read_page(document: Any, number: int) -> _Page:
    page = document[number]
    quarters = _turn_upright(page)
    runs = list(_runs(page.get_textpage(), quarters))
    area = _turned(page.get_bbox(), quarters)
    inside = [run for run in runs if not run.height or _is_inside(run, area)]
    lines, has_columns = page_lines(inside)
    text = LOGO.sub(lambda found: re.sub(r"[_^]", "", found.group()), "\n".join(lines)).translate(REPLACEMENTS)
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    unreadable = len(UNREADABLE.findall(joined)) > MOST_UNREADABLE * len(joined)
    fields = "\n".join(_fields(document, page))
    return _Page(f"{joined.strip()}\n\n{fields}".strip(), has_columns, unreadable, len(inside) < len(runs))


def _turn_upright(page: Any) -> int:
    """Rotate a page so that most of its text is upright, because only then are lines found reliably.

    Return the direction of the text: 0 to the right, 1 upwards, 2 to the left and 3 downwards.
    """
    from pypdfium2 import raw

    textpage = page.get_textpage()
    count = textpage.count_chars()
    directions = Counter(
        round(math.degrees(raw.FPDFText_GetCharAngle(textpage, index)) / 90) % 4
        for index in range(0, count, max(1, count // ANGLE_SAMPLE))
        if raw.FPDFText_IsGenerated(textpage, index) != 1
    )
    [(direction, _)] = directions.most_common(1) or [(0, 0)]
    page.set_rotation(90 * direction)
    return direction


def _runs(textpage: Any, direction: int) -> Iterator[Run]:
    """Yield the runs of a page, each drawn by one operator; a run with a line feed ends a line."""
    from pypdfium2 import raw

    count = textpage.count_chars()
    text = textpage.get_text_range()
    if len(text) != count:  # characters beyond the Basic Multilingual Plane
        text = "".join(chr(raw.FPDFText_GetUnicode(textpage, index)) for index in range(count))
    start, last, drawn = 0, -1, None
    for index, character in enumerate(text):
        if character in LINE_ENDS:
            yield _run(textpage, text[start:index], start, last, direction)
            yield from LINE_ENDS[character]
            start, last = index + 1, -1
        elif not character.isspace():
            by = ctypes.cast(raw.FPDFText_GetTextObject(textpage, index), ctypes.c_void_p).value
            if by != drawn and last >= 0:
                yield _run(textpage, text[start:index], start, last, direction)
                start = index
            drawn, last = by, index
    yield _run(textpage, text[start:], start, last, direction)


def _run(textpage: Any, text: str, start: int, last: int, direction: int) -> Run:
    """Return a run with its place on the turned page; `last` is the index of its last visible character, or -1."""
    from pypdfium2 import raw

    if last < 0:
        return Run(text)
    first = start + len(text) - len(text.lstrip())
    box, other, x, y = raw.FS_RECTF(), raw.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetLooseCharBox(textpage, first, box)
    raw.FPDFText_GetLooseCharBox(textpage, last, other)
    raw.FPDFText_GetCharOrigin(textpage, first, x, y)
    left, bottom, _, top = _turned((box.left, box.bottom, box.right, box.top), direction)
    _, _, right, _ = _turned((other.left, other.bottom, other.right, other.top), direction)
    _, baseline, _, _ = _turned((x.value, y.value, x.value, y.value), direction)
    return Run(text, left, right, baseline, top - bottom)


def _turned(box: Box, direction: int) -> Box:
    """Return the left, bottom, right and top edge of a box on a page whose text has been turned to the right."""
    left, bottom, right, top = box
    return (box, (bottom, -right, top, -left), (-right, -top, -left, -bottom), (-top, left, -bottom, right))[direction]


def _is_inside(run: Run, area: Box) -> bool:
    """Return whether at least a part of a run is inside an area."""
    left, bottom, right, top = area
    return run.left < right and run.right > left and bottom < run.baseline + run.height and run.baseline < top


def _fields(document: Any, page: Any) -> Iterator[str]:
    """Yield the name and value of each form field that is filled in, and the text of each typed note on the page."""
    from pypdfium2 import raw

    for index in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if not raw.FPDFAnnot_GetFlags(annotation) & HIDDEN_ANNOTATION:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == raw.FPDF_ANNOT_FREETEXT:
                yield _string(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
            elif kind == raw.FPDF_ANNOT_WIDGET and document.formenv:
                yield from _field(document.formenv, annotation)
        raw.FPDFPage_CloseAnnot(annotation)


def _field(form: Any, annotation: Any) -> Iterator[str]:
    """Yield the name and value of a form field, unless it is empty, a password, a button, or an unchecked box."""
    from pypdfium2 import raw

    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind == raw.FPDF_FORMFIELD_TEXTFIELD and raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & PASSWORD_FIELD:
        return
    value = _string(raw.FPDFAnnot_GetFormFieldValue, form, annotation)
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        value = value if raw.FPDFAnnot_IsChecked(form, annotation) else ""
    if value.strip() and kind != raw.FPDF_FORMFIELD_PUSHBUTTON:
        name = _string(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
        yield f"{name or _string(raw.FPDFAnnot_GetFormFieldName, form, annotation)}: {value}"


def _string(function: Callable[..., int], *arguments: Any) -> str:
    """Return the UTF-16 text that a function of PDFium writes into a buffer."""
    from pypdfium2 import raw

    size = function(*arguments, None, 0)
    buffer = ctypes.create_string_buffer(size)
    function(*arguments, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return buffer.raw.decode("utf-16-le", "replace").rstrip("\0")


def _join_words(text: str) -> str:
    """Join words that a hyphen splits at the end of a line.

    The hyphen remains before capitals and digits, after single letters, and if the document contains the hyphenated
    word within a line. A word with other hyphens also keeps its last one, unless the document contains the joined word.
    """
    known = {word.lower().replace("\u2010", "-") for word in WORD.findall(text)}
    known |= {part for word in known for part in word.split("-")} | {
        "-".join(pair) for word in known for pair in pairwise(word.split("-"))
    }

    def joined(found: re.Match[str]) -> str:
        start, first, hyphen, second, end = found.groups()
        whole = f"{start}{first}-{second}{end}".lower().replace("\u2010", "-")
        must_keep = not second[0].islower() or not first[-1].isalpha() or len(first) == 1
        may_keep = start and f"{first}{second}".lower() not in known
        keeps_hyphen = must_keep or whole in known or f"{first}-{second}".lower() in known or may_keep
        return f"{start}{first}{hyphen if keeps_hyphen else ''}"

    return SPLIT_WORD.sub(joined, text)


def _ranges(pages: Sequence[_Page], has: Callable[[_Page], bool]) -> str:
    """Return the numbers of the pages with a property, such as "pages 3-4, 7", or "" if no page has the property."""
    numbers = [number for number, page in enumerate(pages, 1) if has(page)]
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    shown = ", ".join("-".join(map(str, one)) for one in ranges[:MOST_PAGES])
    more = f" and {len(ranges) - MOST_PAGES} more" if ranges[MOST_PAGES:] else ""
    return f"page{'s' if numbers[1:] else ''} {shown}{more}" if numbers else ""
