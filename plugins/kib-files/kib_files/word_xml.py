"""Rewrites the XML of a Word document so that mammoth, which then converts it, shows what Word shows.

mammoth ignores equations, text boxes without a copy in the old format, headers, some wrappers of text, the numbers of
lists, and text that a style or a position raises, and it shows hidden text.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from posixpath import join, normpath
from xml.etree.ElementTree import Element, SubElement, tostring
from zipfile import ZIP_STORED, ZipFile

from kib_files.file_records import left_out_remarks
from kib_files.word_equations import MATH, equation_text
from kib_files.word_lists import WORD, ListNumbers, Lists

__all__ = ["rewrite_document"]

COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"

STRICT_NAMESPACES = {
    b"http://purl.oclc.org/ooxml/wordprocessingml/main": WORD[1:-1].encode(),
    b"http://purl.oclc.org/ooxml/officeDocument/math": MATH[1:-1].encode(),
    b"http://purl.oclc.org/ooxml/officeDocument/relationships": RELATION[1:-3].encode(),
}
"""The namespaces of documents saved as "Strict Open XML", mapped to the namespaces of all other documents."""

PARTS = ("word/document.xml", "word/footnotes.xml", "word/endnotes.xml")
"""The parts with text that mammoth reads, apart from parts with unusual names."""

TRANSPARENT = {f"{WORD}{name}" for name in ("bdo", "dir", "fldSimple")}
"""Wrappers of visible text that mammoth ignores together with their text."""

FIELD_PARTS = {f"{WORD}{name}" for name in ("rPr", "fldChar", "instrText")}
"""The parts of a run that remain if the text of the run is hidden."""

POSITION = re.compile(r"([+-]?\d+(?:\.\d+)?)(pt)?")
"""The distance of raised text from the line, in half points or, in the format "Strict Open XML", in points."""

SHIFTED = 4
"""The least distance, in half points, by which raised or lowered text is a superscript or subscript."""

DECIMAL = "list numbers in an unsupported format, written as decimal numbers"
"""The remark about numbers of lists, such as `Two` or `②`."""

DRAWINGS = {f"{WORD}drawing", f"{WORD}pict"}
DIAGRAMS = {
    "{http://schemas.openxmlformats.org/drawingml/2006/chart}chart",
    "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds",
}
OLE_OBJECT = "{urn:schemas-microsoft-com:office:office}OLEObject"

Parse = Callable[[bytes], Element]


def rewrite_document(archive: ZipFile, parse: Parse) -> tuple[BytesIO, dict[str, str]]:
    """Return a Word document for mammoth, and remarks about content that has been left out or changed.

    `parse` converts the bytes of an XML part to its root element. Pictures and other binary parts are not copied.
    """
    names = archive.namelist()
    left_out: Counter[str] = Counter()
    unknown = 0
    styles = _Styles(_read(archive, "word/styles.xml", parse))
    lists = Lists(_read(archive, "word/numbering.xml", parse), styles.by_id)
    out = BytesIO()
    with ZipFile(out, "w", ZIP_STORED) as copy:
        for name in dict.fromkeys(names):
            if name in PARTS:
                root = parse(_transitional(archive.read(name)))
                if name == PARTS[0]:
                    _insert_headers(root, archive, parse)
                numbers = ListNumbers(lists)
                _Rewriter(styles, numbers, left_out).rewrite(root)
                unknown += numbers.unknown
                copy.writestr(name, tostring(root, "utf-8"))
            elif name.endswith((".xml", ".rels")):
                copy.writestr(name, archive.read(name))
    out.seek(0)
    return out, left_out_remarks(left_out) | ({DECIMAL: f"{unknown:,}"} if unknown else {})


def _transitional(data: bytes) -> bytes:
    for strict, common in STRICT_NAMESPACES.items():
        data = data.replace(strict, common)
    return data


def _read(archive: ZipFile, name: str, parse: Parse) -> Element:
    """Return the root of a part, or an element without children if the document has no such part."""
    return parse(_transitional(archive.read(name))) if name in archive.namelist() else Element("none")


def _is_on(element: Element | None) -> bool:
    return element is not None and element.get(f"{WORD}val", "1") not in ("0", "false", "off")


class _Styles:
    """The text properties that the styles of a document set or inherit."""

    def __init__(self, root: Element) -> None:
        self.by_id = {style.get(f"{WORD}styleId", ""): style for style in root.iter(f"{WORD}style")}

    def find(self, reference: Element | None, name: str) -> Element | None:
        """Return the element of a property, such as `vanish`, from a style or the nearest style that it is based on."""
        seen: set[str] = set()
        while reference is not None:
            current = reference.get(f"{WORD}val", "")
            if current in seen or current not in self.by_id:
                return None
            seen.add(current)
            found = self.by_id[current].find(f"{WORD}rPr/{WORD}{name}")
            if found is not None:
                return found
            reference = self.by_id[current].find(f"{WORD}basedOn")
        return None

    def of_run(self, run: Element, name: str) -> Element | None:
        """Return the element of a property from a run or, if missing, from the character style of the run."""
        own = run.find(f"{WORD}rPr/{WORD}{name}")
        return own if own is not None else self.find(run.find(f"{WORD}rPr/{WORD}rStyle"), name)


class _Rewriter:
    """Rewrites the elements of one part, and counts in `left_out` what the text of the document does not show.

    `joined` is the first of the last paragraphs, if the next paragraph continues their line.
    """

    def __init__(self, styles: _Styles, numbers: ListNumbers, left_out: Counter[str]) -> None:
        self.styles = styles
        self.numbers = numbers
        self.left_out = left_out
        self.joined: Element | None = None

    def rewrite(self, element: Element, in_hidden_style: bool = False) -> None:
        """Rewrite the children of an element; `in_hidden_style` is the default for runs in a paragraph."""
        if element.tag == f"{WORD}p":
            in_hidden_style = _is_on(self.styles.find(element.find(f"{WORD}pPr/{WORD}pStyle"), "vanish"))
            self._mark_scripts(element)
        elif element.tag == f"{WORD}r" and self._is_hidden(element, in_hidden_style):
            self._hide(element)
        children: list[Element] = []
        for child in element:
            for new in self._replaced(child):
                self.rewrite(new, in_hidden_style)
                children.append(new)
        element[:] = children
        if element.tag == f"{WORD}p":
            self._number(element, in_hidden_style)

    def _number(self, paragraph: Element, in_hidden_style: bool) -> None:
        """Insert the number of a paragraph, unless the end is hidden; a deleted end joins the next paragraph."""
        end = paragraph.find(f"{WORD}pPr/{WORD}rPr")
        start = paragraph if self.joined is None else self.joined
        self.joined = None if end is None or end.find(f"{WORD}del") is None else start
        vanish = None if end is None else end.find(f"{WORD}vanish")
        if self.joined is not None or (in_hidden_style if vanish is None else _is_on(vanish)):
            return
        label = self.numbers.label(paragraph)
        if label and any(one.find(f".//{WORD}r") is not None for one in (start, paragraph)):
            start.insert(int(start[0].tag == f"{WORD}pPr"), _run(f"{label} "))

    def _replaced(self, child: Element) -> Iterator[Element]:
        """Yield the elements that replace an element."""
        if child.tag in (f"{MATH}oMath", f"{MATH}oMathPara"):
            yield _run(equation_text(child))
        elif child.tag == f"{COMPATIBILITY}AlternateContent":
            yield from self._chosen(child)
        elif child.tag in DRAWINGS and child.find(f".//{WORD}txbxContent") is not None:
            yield _text_boxes(child)
        elif child.tag == f"{WORD}ruby":
            yield from _ruby(child)
        elif child.tag in TRANSPARENT:
            for inner in child:
                yield from self._replaced(inner)
        else:
            self._count(child)
            yield child

    def _chosen(self, alternatives: Element) -> Iterator[Element]:
        """Yield the alternative that mammoth can show; a text box is stored in every alternative, in two formats."""
        choices = alternatives.findall(f"{COMPATIBILITY}Choice")
        fallbacks = alternatives.findall(f"{COMPATIBILITY}Fallback")
        with_text = [one for one in choices if one.find(f".//{WORD}txbxContent") is not None]
        for chosen in (with_text or fallbacks or choices)[:1]:
            for inner in chosen:
                yield from self._replaced(inner)

    def _is_hidden(self, run: Element, in_hidden_style: bool) -> bool:
        vanish = self.styles.of_run(run, "vanish")
        return in_hidden_style if vanish is None else _is_on(vanish)

    def _mark_scripts(self, paragraph: Element) -> None:
        """Set the property that mammoth reads for the superscripts and subscripts in a line.

        A paragraph in which all text is raised or lowered, such as a large initial, is not a superscript or subscript.
        """
        runs = [run for run in paragraph.iter(f"{WORD}r") if _text(run).strip()]
        scripts = [self._script(run) for run in runs]
        for run, script in zip(runs, scripts, strict=True) if "" in scripts else ():
            properties = run.find(f"{WORD}rPr")
            if script and properties is not None:
                for old in properties.findall(f"{WORD}vertAlign"):
                    properties.remove(old)
                SubElement(properties, f"{WORD}vertAlign", {f"{WORD}val": script})

    def _script(self, run: Element) -> str:
        """Return `superscript`, `subscript`, or "" for text on the line."""
        align, position = self.styles.of_run(run, "vertAlign"), self.styles.of_run(run, "position")
        if align is not None and align.get(f"{WORD}val") in ("superscript", "subscript"):
            return align.get(f"{WORD}val", "")
        shift = POSITION.fullmatch("" if position is None else position.get(f"{WORD}val", ""))
        distance = float(shift[1]) * (2 if shift[2] else 1) if shift else 0.0
        return "superscript" if distance >= SHIFTED else "subscript" if distance <= -SHIFTED else ""

    def _hide(self, run: Element) -> None:
        """Remove the text of a run; the marks of fields remain, because other runs may contain their counterparts."""
        if _text(run).strip():
            self.left_out["hidden text"] += 1
        run[:] = [child for child in run if child.tag in FIELD_PARTS]

    def _count(self, element: Element) -> None:
        """Count charts, diagrams and equations that are stored as pictures."""
        if element.tag == OLE_OBJECT and element.get("ProgID", "").startswith(("Equation", "MathType")):
            self.left_out["equations stored as pictures"] += 1
        elif element.tag in DIAGRAMS:
            self.left_out["charts or diagrams"] += 1


def _text(element: Element) -> str:
    """Return the text inside an element without its layout."""
    return "".join(text.text or "" for text in element.iter(f"{WORD}t"))


def _run(text: str) -> Element:
    run = Element(f"{WORD}r")
    SubElement(run, f"{WORD}t").text = text
    return run


def _text_boxes(drawing: Element) -> Element:
    """Return the outermost text boxes of a drawing in the only format that mammoth reads."""
    boxes = Element(f"{WORD}pict")
    boxes.extend(_outermost(drawing, f"{WORD}txbxContent"))
    return boxes


def _outermost(element: Element, tag: str) -> Iterator[Element]:
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag == f"{COMPATIBILITY}AlternateContent":
            yield from _outermost(next(iter(child), child), tag)
        else:
            yield from _outermost(child, tag)


def _ruby(ruby: Element) -> Iterator[Element]:
    """Yield the runs of a text, followed by its reading in parentheses."""
    for part, before, after in (("rubyBase", "", ""), ("rt", "(", ")")):
        runs = ruby.find(f"{WORD}{part}")
        if runs is not None and len(runs):
            yield from ([_run(before)] if before else [])
            yield from runs
            yield from ([_run(after)] if after else [])


def _insert_headers(document: Element, archive: ZipFile, parse: Parse) -> None:
    """Insert the text of each header before the body and of each footer after the body, once per different text."""
    body = document.find(f"{WORD}body")
    if body is None:
        return
    headers, footers = _header_parts(document, archive, parse)
    for position, parts in ((0, headers), (len(body), footers)):
        seen: set[str] = set()
        paragraphs: list[Element] = []
        for root in parts:
            text = _text(root).strip()
            if text and text not in seen:
                seen.add(text)
                paragraphs += [_without_links(child) for child in root]
        body[position:position] = paragraphs


def _header_parts(document: Element, archive: ZipFile, parse: Parse) -> tuple[list[Element], list[Element]]:
    """Return the roots of the headers and of the footers that Word shows on at least one page."""
    relations = _read(archive, "word/_rels/document.xml.rels", parse)
    targets = {relation.get("Id", ""): normpath(join("word", relation.get("Target", ""))) for relation in relations}
    even = _is_on(_read(archive, "word/settings.xml", parse).find(f"{WORD}evenAndOddHeaders"))
    found: tuple[list[Element], list[Element]] = ([], [])
    for section in document.iter(f"{WORD}sectPr"):
        shown = {"default": True, "even": even, "first": _is_on(section.find(f"{WORD}titlePg"))}
        for parts, name in zip(found, ("headerReference", "footerReference"), strict=True):
            for reference in section.findall(f"{WORD}{name}"):
                if shown.get(reference.get(f"{WORD}type", "default"), False):
                    target = targets.get(reference.get(RELATION, ""), "").lstrip("/")
                    parts.append(_read(archive, target, parse))
    return found


def _without_links(element: Element) -> Element:
    """Return an element in which links are replaced by their text, because their targets belong to another part."""
    children: list[Element] = []
    for child in element:
        inner = _without_links(child)
        children += list(inner) if inner.tag == f"{WORD}hyperlink" else [inner]
    element[:] = children
    return element
