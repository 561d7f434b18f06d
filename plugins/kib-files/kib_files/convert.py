"""Files become text: plain text and Markdown as they are, HTML, Word and PDF by libraries that know them."""

import logging
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from kib.errors import InputError

__all__ = ["KINDS", "BrokenFileError", "Converted", "convert"]

HEADING = re.compile(r"^#[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
DECLARED = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]+)""")
MARKS = {BOM_UTF8: "utf-8", BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
"""What HTML may begin with to say its encoding, whatever else it says."""
WESTERN = {"ascii", "us-ascii", "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1"}
"""Names by which pages of the web, and so browsers, mean windows-1252 (WHATWG Encoding Standard, 4.2)."""
HEAD = 4096
"""Bytes in which HTML must say its encoding; the standard asks for 1,024."""

OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""How files of old Office programs begin, and documents of new ones that have a password."""

LETTERS = {0: "", 0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
"""What stands for the ligatures that typesetting leaves in a PDF."""

TITLE = "{http://purl.org/dc/elements/1.1/}title"


class BrokenFileError(InputError):
    """A file of a known kind that cannot be turned into text; the message does not name it."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A document's text, "" where it has none, its own title, and how many of its pages have no text."""

    text: str
    title: str = ""
    blank_pages: int = 0
    pages: int = 0


def convert(path: Path, encoding: str) -> Converted:
    """A file's text by its ending; `encoding` is that of plain text, Markdown, and HTML that does not say.

    Raises BrokenFileError where the file cannot be read, decoded or understood.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenFileError(f"cannot be read: {error.strerror or error}") from error
    try:
        return KINDS[path.suffix.lower()](data, encoding)
    except BrokenFileError:
        raise
    except Exception as error:  # a damaged file makes a converter raise anything
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BrokenFileError(f"damaged, or not of the kind that its name says ({what})") from error


def _decode(data: bytes, encoding: str) -> str:
    try:
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        what = f"not {encoding.upper()}: {error.reason} at byte {error.start:,}"
        raise BrokenFileError(f"{what}; save it so, or name its encoding by `encoding`") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _text(data: bytes, encoding: str) -> Converted:
    return Converted(_decode(data, encoding))


def _markdown(data: bytes, encoding: str) -> Converted:
    text = _decode(data, encoding)
    heading = HEADING.search(text)
    return Converted(text, heading.group(1) if heading else "")


def _html(data: bytes, encoding: str) -> Converted:
    declared = CHARSET.search(data[:HEAD]) or DECLARED.search(data[:HEAD])
    name = declared.group(1).decode("ascii") if declared else encoding
    name = "cp1252" if declared and name.lower() in WESTERN else name
    name = next((marked for mark, marked in MARKS.items() if data.startswith(mark)), name)
    try:
        return _layout(_decode(data, name))
    except LookupError as error:
        raise BrokenFileError(f"says that its encoding is {name!r}, which there is not") from error


def _layout(html: str) -> Converted:
    """HTML as text: what a browser shows, blocks and tables on lines of their own."""
    from inscriptis.css_profiles import CSS_PROFILES
    from inscriptis.html_engine import Inscriptis
    from inscriptis.model.config import ParserConfig
    from lxml.etree import ParserError
    from lxml.html import HTMLParser, document_fromstring

    html = DECLARATION.sub("", html)
    try:
        tree = document_fromstring(html, parser=HTMLParser(huge_tree=True))
    except ParserError:  # nothing in it
        return Converted("")
    title = tree.findtext(".//title") or tree.findtext(".//h1") or ""
    text = Inscriptis(tree, ParserConfig(css=CSS_PROFILES["strict"])).get_text()
    return Converted("\n".join(line.rstrip() for line in text.splitlines()).strip("\n"), " ".join(title.split()))


def _docx(data: bytes, _: str) -> Converted:
    from zipfile import BadZipFile

    import mammoth

    if data.startswith(OLE):
        raise BrokenFileError("has a password, or is of an old Word; save it as .docx without one")
    try:
        made = mammoth.convert_to_html(BytesIO(data), convert_image=lambda _: [])
    except (BadZipFile, KeyError, OSError) as error:  # mammoth's word for a document without a main part is OSError
        raise BrokenFileError("damaged, or no Word document") from error
    layout = _layout(made.value)
    return Converted(layout.text, _docx_title(data) or layout.title)


def _docx_title(data: bytes) -> str:
    """The title among the document's properties."""
    from zipfile import ZipFile

    from defusedxml.ElementTree import fromstring

    with ZipFile(BytesIO(data)) as file:
        if "docProps/core.xml" not in file.namelist():
            return ""
        properties: Element = fromstring(file.read("docProps/core.xml"))
    return " ".join((properties.findtext(TITLE) or "").split())


def _pdf(data: bytes, _: str) -> Converted:
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import PdfReadError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it remarks on every small fault that it mends
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise BrokenFileError("has a password; save it without one")
        pages = [_whole(page.extract_text()) for page in reader.pages]
        title: Any = reader.metadata.title if reader.metadata else ""
    except PdfReadError as error:
        raise BrokenFileError(f"damaged, or no PDF ({error})") from error
    written = [page.strip() for page in pages if page.strip()]
    return Converted("\n\n".join(written), " ".join(str(title or "").split()), len(pages) - len(written), len(pages))


def _whole(text: str) -> str:
    """Text with pairs of surrogates joined and ligatures as letters; halves of pairs, and zeros, are no characters."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.translate(LETTERS)


KINDS: Mapping[str, Callable[[bytes, str], Converted]] = {
    ".docx": _docx,
    ".htm": _html,
    ".html": _html,
    ".markdown": _markdown,
    ".md": _markdown,
    ".pdf": _pdf,
    ".txt": _text,
}
"""How each kind of file is read, by the ending of its name in lower case."""
