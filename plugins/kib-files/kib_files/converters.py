"""Converters from a file's bytes to plain text, one per file type.

The text of plain text and Markdown files is not changed. HTML is converted with inscriptis, Word with mammoth and PDF
with pypdf.
"""

import logging
import re
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from kib.errors import InputError
from kib.support.limited_process import LimitedProcess, LimitError, batches

__all__ = ["CONVERTERS", "BrokenFileError", "ConvertedFile", "Converter", "FileLimits", "convert_file"]

MARKDOWN_HEADING = re.compile(r"^#[ \t]([ \t]*)(.*)$", re.MULTILINE)
"""The whitespace and text of a level-1 heading; number signs at the end do not belong to the heading's title."""

META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
XML_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]+)""")
BYTE_ORDER_MARKS = {BOM_UTF8: "utf-8", BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
"""Byte order marks at the start of an HTML file; such a mark overrides any encoding declared in the file."""

WINDOWS_1252_LABELS = {"ascii", "us-ascii", "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1"}
"""Declared encodings that browsers read as windows-1252 (WHATWG Encoding Standard, section 4.2)."""

DECLARATION_BYTES = 4096
"""Number of bytes searched for an HTML file's encoding, which must be declared in the first 1,024 bytes."""

OLE_SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")
"""First bytes of files from old Office versions and of password-protected files from new Office versions."""

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


MB = 1 << 20

PLAIN = (".markdown", ".md", ".txt")
"""Extensions of files that are converted in linear time and in the main process."""

BATCH_FILES, BATCH_BYTES = 16, 4 * MB
"""The maximum number of files in a group that is converted at once, and the total size that ends a group."""

FRAMES_PER_LEVEL = 40
"""Maximum number of nested function calls that mammoth and inscriptis need per level of nested elements."""


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The limits for a conversion: time, process memory, unpacked file size, and levels of nested elements."""

    seconds: float = 120.0
    memory_mb: int = 2048
    unpacked_mb: int = 256
    nesting: int = 512


DEFAULT_LIMITS = FileLimits()


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A file's text and title ("" if missing), its number of pages, and its number of pages without text."""

    text: str
    title: str = ""
    blank_pages: int = 0
    pages: int = 0


class Converter:
    """Converts files; all files except plain text are converted in a separate process with time and memory limits."""

    def __init__(self, encoding: str, limits: FileLimits = DEFAULT_LIMITS) -> None:
        self.encoding = encoding
        self.limits = limits
        self._process = LimitedProcess(_convert_in_process, limits.memory_mb)

    def convert_each(self, paths: Iterable[Path]) -> Iterator[ConvertedFile | BrokenFileError | LimitError]:
        """Yield the result of `convert_file` for each path, or the error that `convert_file` raises."""
        for batch in batches(paths, _size, BATCH_FILES, BATCH_BYTES):
            complex_files = [path for path in batch if path.suffix.lower() not in PLAIN]
            requests = [(path, self.encoding, self.limits) for path in complex_files]
            replies = self._process.call_each(requests, self.limits.seconds)
            results = dict(zip(complex_files, replies, strict=True))
            for path in batch:
                reply = results[path] if path in results else _convert_here((path, self.encoding, self.limits))
                yield reply if isinstance(reply, LimitError) else _unpacked(reply)


def _size(path: Path) -> int:
    """Return the size of a file in bytes; a file that has been deleted is reported when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _convert_here(request: tuple[Path, str, FileLimits]) -> dict[str, Any] | LimitError:
    """Convert a plain text or Markdown file in the main process."""
    try:
        return _converted(request)
    except LimitError as error:
        return error


def _convert_in_process(request: tuple[Path, str, FileLimits]) -> dict[str, Any]:
    """Convert a file in a separate process, in which nested elements may need many nested function calls."""
    limits = request[-1]
    sys.setrecursionlimit(max(sys.getrecursionlimit(), FRAMES_PER_LEVEL * limits.nesting))
    return _converted(request)


def _converted(request: tuple[Path, str, FileLimits]) -> dict[str, Any]:
    """Return the fields of a ConvertedFile, or the reason why the file is broken."""
    try:
        return asdict(convert_file(*request))
    except BrokenFileError as error:
        return {"broken": str(error)}


def _unpacked(reply: dict[str, Any]) -> ConvertedFile | BrokenFileError:
    return BrokenFileError(reply["broken"]) if "broken" in reply else ConvertedFile(**reply)


def convert_file(path: Path, encoding: str, limits: FileLimits = DEFAULT_LIMITS) -> ConvertedFile:
    """Convert a file with the converter for its extension.

    `encoding` applies to plain text, Markdown, and HTML without a declared encoding. Raise BrokenFileError if the file
    cannot be read, decoded or parsed, and LimitError if the file is too large or nested too deeply.
    """
    try:
        _check_size(path.stat().st_size, limits)
        data = path.read_bytes()
    except OSError as error:
        raise BrokenFileError(f"cannot be read: {error.strerror or error}") from error
    try:
        return CONVERTERS[path.suffix.lower()](data, encoding, limits)
    except (BrokenFileError, LimitError, MemoryError, RecursionError):
        raise
    except Exception as error:  # a damaged file can make a parser raise any exception
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BrokenFileError(f"the file is damaged, or its type differs from its extension ({reason})") from error


def _check_size(size: int, limits: FileLimits, verb: str = "has") -> None:
    if size > limits.unpacked_mb * MB:
        raise LimitError(f"{verb} {size / MB:,.0f} MB, more than `max_unpacked_mb = {limits.unpacked_mb}`", "unpacked")


def _decode(data: bytes, encoding: str) -> str:
    """Decode text, remove a UTF-8 byte order mark, and convert all line endings to line feeds."""
    try:
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        problem = f"the file is not valid {encoding.upper()} ({error.reason} at byte {error.start:,})"
        raise BrokenFileError(f"{problem}; convert the file, or set `encoding` to the file's encoding") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _convert_text(data: bytes, encoding: str, _: FileLimits) -> ConvertedFile:
    return ConvertedFile(_decode(data, encoding))


def _convert_markdown(data: bytes, encoding: str, _: FileLimits) -> ConvertedFile:
    text = _decode(data, encoding)
    return ConvertedFile(text, _markdown_title(text))


def _markdown_title(text: str) -> str:
    """Return the text of the first heading of level 1, without trailing whitespace and number signs."""
    for heading in MARKDOWN_HEADING.finditer(text):
        blanks, content = heading.groups()
        title: str = content.rstrip(" \t").rstrip("#").rstrip(" \t") or content[:1] or blanks[-1:]
        if title:
            return title
    return ""


def _convert_html(data: bytes, encoding: str, limits: FileLimits) -> ConvertedFile:
    name = _html_encoding(data) or encoding
    try:
        return _render_html(_decode(data, name), limits)
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


def _render_html(html: str, limits: FileLimits = DEFAULT_LIMITS) -> ConvertedFile:
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
    _check_nesting(tree, limits.nesting)
    title = tree.findtext(".//title") or tree.findtext(".//h1") or ""
    text = Inscriptis(tree, ParserConfig(css=CSS_PROFILES["strict"])).get_text()
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return ConvertedFile(lines.strip("\n"), " ".join(title.split()))


def _check_nesting(tree: Any, most: int) -> None:
    from lxml.etree import iterwalk

    depth = 0
    for event, _ in iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > most:
            raise LimitError(f"nests more elements than `max_nesting = {most}`", "depth")


def _convert_docx(data: bytes, _: str, limits: FileLimits) -> ConvertedFile:
    from xml.dom import minidom
    from zipfile import BadZipFile, ZipFile

    import mammoth
    from defusedxml import DefusedXmlException
    from defusedxml import minidom as defused

    if data.startswith(OLE_SIGNATURE):
        raise BrokenFileError(
            "the file has a password or was saved by an old version of Word; save the document as .docx without a "
            "password"
        )
    minidom.parse = defused.parse  # the function that mammoth calls; it refuses XML entities
    try:
        with ZipFile(BytesIO(data)) as archive:
            _check_size(sum(part.file_size for part in archive.infolist()), limits, "unpacks to")
        converted = mammoth.convert_to_html(BytesIO(data), convert_image=lambda _: [])
    except DefusedXmlException as error:
        raise BrokenFileError("the file defines XML entities, which Word never writes") from error
    except (BadZipFile, KeyError, OSError) as error:  # mammoth raises OSError if the main part is missing
        raise BrokenFileError("the file is damaged or is not a Word document") from error
    rendered = _render_html(converted.value, limits)
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


def _convert_pdf(data: bytes, _: str, __: FileLimits) -> ConvertedFile:
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import LimitReachedError, PdfReadError

    monitor = _PdfMonitor()
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise BrokenFileError("the file has a password; save the file without a password")
        pages = [_clean_pdf_text(page.extract_text()).strip() for page in reader.pages]
        title: Any = reader.metadata.title if reader.metadata else ""
        monitor.check()
    except LimitReachedError as error:
        raise LimitError(f"exceeds a limit of pypdf ({str(error).rstrip('.')})") from error
    except PdfReadError as error:
        raise BrokenFileError(f"the file is damaged or is not a PDF ({error})") from error
    texts = [page for page in pages if page]
    return ConvertedFile("\n\n".join(texts), " ".join(str(title or "").split()), len(pages) - len(texts), len(pages))


class _PdfMonitor(logging.Handler):
    """Handles pypdf warnings: ignores minor defects, but records that pypdf has omitted text because of a limit."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reached = ""
        logger = logging.getLogger("pypdf")
        logger.handlers, logger.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """Record a log message if it mentions a limit or an exception that was raised because of a limit."""
        from pypdf.errors import LimitReachedError

        values = record.args if isinstance(record.args, Mapping) else {}
        if "limit" in values or isinstance(values.get("exception"), LimitReachedError):
            self.reached = record.getMessage()

    def check(self) -> None:
        """Raise LimitError if pypdf has omitted text because of a limit."""
        if self.reached:
            raise LimitError(f"exceeds a limit of pypdf ({self.reached.rstrip('.')})")


def _clean_pdf_text(text: str) -> str:
    """Join surrogate pairs, replace unpaired surrogates with U+FFFD, expand ligatures, and remove null characters."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.translate(PDF_REPLACEMENTS)


CONVERTERS: Mapping[str, Callable[[bytes, str, FileLimits], ConvertedFile]] = {
    ".docx": _convert_docx,
    ".htm": _convert_html,
    ".html": _convert_html,
    ".markdown": _convert_markdown,
    ".md": _convert_markdown,
    ".pdf": _convert_pdf,
    ".txt": _convert_text,
}
"""The converter for each supported file extension, in lowercase."""
