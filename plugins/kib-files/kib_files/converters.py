"""Converters from a file's bytes to plain text, one per file type.

Plain text and Markdown files are unchanged. HTML is converted with inscriptis, Word with mammoth and PDF with pypdf.
"""

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

__all__ = ["CONVERTERS", "BrokenFileError", "ConvertedFile", "convert_file"]

MARKDOWN_TITLE = re.compile(r"^#[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)

META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
XML_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]+)""")
BYTE_ORDER_MARKS = {BOM_UTF8: "utf-8", BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
"""Byte order marks at the start of an HTML file. A mark overrides every encoding declared in the file."""

WINDOWS_1252_LABELS = {"ascii", "us-ascii", "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1"}
"""Declared encodings that browsers read as windows-1252 (WHATWG Encoding Standard, section 4.2)."""

DECLARATION_BYTES = 4096
"""Bytes searched for the encoding of an HTML file. The HTML standard requires it in the first 1,024 bytes."""

OLE_SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")
"""First bytes of files from old Office programs and of password-protected files from new Office programs."""

PDF_REPLACEMENTS = {
    0: "",
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}
"""Replacements for the null characters and typographic ligatures found in text extracted from PDF files."""

CORE_TITLE = "{http://purl.org/dc/elements/1.1/}title"
"""XML name of the title in the properties of a Word document."""


class BrokenFileError(InputError):
    """Raised if a file of a supported type cannot be converted; the caller adds the file's path to the message."""


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A file's text and title ("" if missing), its number of pages, and its number of pages without text."""

    text: str
    title: str = ""
    blank_pages: int = 0
    pages: int = 0


def convert_file(path: Path, encoding: str) -> ConvertedFile:
    """Convert a file with the converter for its extension.

    `encoding` applies to plain text, Markdown, and HTML without a declared encoding. Raise BrokenFileError if the file
    cannot be read, decoded or parsed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenFileError(f"cannot be read: {error.strerror or error}") from error
    try:
        return CONVERTERS[path.suffix.lower()](data, encoding)
    except BrokenFileError:
        raise
    except Exception as error:  # a damaged file can make a parser raise any exception
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BrokenFileError(f"the file is damaged, or its type differs from its extension ({reason})") from error


def _decode(data: bytes, encoding: str) -> str:
    """Decode text, remove a UTF-8 byte order mark, and convert all line endings to line feeds."""
    try:
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        problem = f"the file is not valid {encoding.upper()} ({error.reason} at byte {error.start:,})"
        raise BrokenFileError(f"{problem}; convert the file, or set `encoding` to the file's encoding") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _convert_text(data: bytes, encoding: str) -> ConvertedFile:
    return ConvertedFile(_decode(data, encoding))


def _convert_markdown(data: bytes, encoding: str) -> ConvertedFile:
    text = _decode(data, encoding)
    title = MARKDOWN_TITLE.search(text)
    return ConvertedFile(text, title.group(1) if title else "")


def _convert_html(data: bytes, encoding: str) -> ConvertedFile:
    name = _html_encoding(data) or encoding
    try:
        return _render_html(_decode(data, name))
    except LookupError as error:
        raise BrokenFileError(f"the file declares an unknown encoding, {name!r}; convert the file to UTF-8") from error


def _html_encoding(data: bytes) -> str:
    """Return the encoding that a browser would use for an HTML file, or "" if the file declares no encoding."""
    for mark, name in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return name
    start = data[:DECLARATION_BYTES]
    declared = META_CHARSET.search(start) or XML_ENCODING.search(start)
    label = declared.group(1).decode("ascii") if declared else ""
    return "cp1252" if label.lower() in WINDOWS_1252_LABELS else label


def _render_html(html: str) -> ConvertedFile:
    """Render HTML as text the way a browser displays it, with blocks and table rows on separate lines."""
    from inscriptis.css_profiles import CSS_PROFILES
    from inscriptis.html_engine import Inscriptis
    from inscriptis.model.config import ParserConfig
    from lxml.etree import ParserError
    from lxml.html import HTMLParser, document_fromstring

    html = XML_DECLARATION.sub("", html)
    try:
        tree = document_fromstring(html, parser=HTMLParser(huge_tree=True))
    except ParserError:  # the file is empty
        return ConvertedFile("")
    title = tree.findtext(".//title") or tree.findtext(".//h1") or ""
    text = Inscriptis(tree, ParserConfig(css=CSS_PROFILES["strict"])).get_text()
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return ConvertedFile(lines.strip("\n"), " ".join(title.split()))


def _convert_docx(data: bytes, _: str) -> ConvertedFile:
    from zipfile import BadZipFile

    import mammoth

    if data.startswith(OLE_SIGNATURE):
        raise BrokenFileError(
            "the file has a password or was saved by an old version of Word; save the document as .docx without a "
            "password"
        )
    try:
        converted = mammoth.convert_to_html(BytesIO(data), convert_image=lambda _: [])
    except (BadZipFile, KeyError, OSError) as error:  # mammoth raises OSError if the main part is missing
        raise BrokenFileError("the file is damaged or is not a Word document") from error
    rendered = _render_html(converted.value)
    return ConvertedFile(rendered.text, _docx_title(data) or rendered.title)


def _docx_title(data: bytes) -> str:
    """Return the title from a Word document's properties, or "" if the document has no title."""
    from zipfile import ZipFile

    from defusedxml.ElementTree import fromstring

    with ZipFile(BytesIO(data)) as archive:
        if "docProps/core.xml" not in archive.namelist():
            return ""
        properties: Element = fromstring(archive.read("docProps/core.xml"))
    return " ".join((properties.findtext(CORE_TITLE) or "").split())


def _convert_pdf(data: bytes, _: str) -> ConvertedFile:
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import PdfReadError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # pypdf logs a warning for every minor defect it repairs
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise BrokenFileError("the file has a password; save the file without a password")
        pages = [_clean_pdf_text(page.extract_text()).strip() for page in reader.pages]
        title: Any = reader.metadata.title if reader.metadata else ""
    except PdfReadError as error:
        raise BrokenFileError(f"the file is damaged or is not a PDF ({error})") from error
    texts = [page for page in pages if page]
    return ConvertedFile("\n\n".join(texts), " ".join(str(title or "").split()), len(pages) - len(texts), len(pages))


def _clean_pdf_text(text: str) -> str:
    """Join surrogate pairs, replace unpaired surrogates with U+FFFD, expand ligatures, and remove null characters."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.translate(PDF_REPLACEMENTS)


CONVERTERS: Mapping[str, Callable[[bytes, str], ConvertedFile]] = {
    ".docx": _convert_docx,
    ".htm": _convert_html,
    ".html": _convert_html,
    ".markdown": _convert_markdown,
    ".md": _convert_markdown,
    ".pdf": _convert_pdf,
    ".txt": _convert_text,
}
"""The converter for each supported file extension, in lowercase."""
