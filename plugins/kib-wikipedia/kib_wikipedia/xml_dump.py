"""Read a MediaWiki XML dump (export format 0.10 or 0.11) page by page; the dump may be compressed."""

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast
from xml.etree.ElementTree import Element, ParseError

from kib.errors import InputError
from kib_wikipedia.wikitext_to_text import HIDDEN_NAMESPACES

__all__ = ["Page", "Site", "read_dump"]

FILE_NAMESPACE, CATEGORY_NAMESPACE = "6", "14"
"""Keys of the file and category namespaces, which are the same in every wiki."""

MB = 1 << 20

MOST_LEVELS = 16
"""The maximum nesting depth of XML elements; a valid dump has at most six levels."""

UNSUPPORTED_ARCHIVES = {b"7z\xbc\xaf": "7z", b"PK\x03\x04": "zip", b"\xfd7zX": "xz", b"(\xb5/\xfd": "zstd"}
"""Maps the first bytes of archives in unsupported formats to the names of these formats."""


@dataclass(frozen=True, slots=True)
class Site:
    """A wiki's name, the base of its article URLs, and its lowercase names for the file and category namespaces."""

    name: str
    address: str
    hidden: frozenset[str]


@dataclass(frozen=True, slots=True)
class Page:
    """A page in a dump; `text` is the page's wikitext, and `redirect` is the target title of a redirect."""

    title: str
    namespace: int
    id: str
    revision: str
    timestamp: str
    model: str
    redirect: str | None
    text: str


def read_dump(path: Path, max_unpacked_mb: int = 16) -> Iterator[Site | Page]:
    """Yield the site, then each page in file order, holding only one revision in memory at a time.

    If a page has several revisions, the last revision in the file is read. Raise InputError if the file cannot be read,
    is truncated, is not a dump, or contains a revision larger than `max_unpacked_mb` MiB.
    """
    with _input_errors(path), _open(path) as file:
        yield from _parse(path, _LimitedFile(path, file, max_unpacked_mb))


class _LimitedFile:
    """Wraps a dump file and raises InputError if a revision exceeds the size limit."""

    def __init__(self, path: Path, file: IO[bytes], limit_mb: int) -> None:
        self.path = path
        self.file = file
        self.limit_mb = limit_mb
        self.unfinished = 0
        """The number of bytes read since the end of the last revision."""

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes of the dump."""
        data = self.file.read(size)
        self.unfinished += len(data)
        if self.unfinished > self.limit_mb * MB:
            problem = f"a revision is larger than `max_unpacked_mb = {self.limit_mb}`"
            raise InputError(f"{self.path}: {problem}; if the dump is trustworthy, increase `max_unpacked_mb`")
        return data


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """Convert parsing and decompression errors to InputError."""
    from defusedxml import DefusedXmlException

    try:
        yield
    except ParseError as error:
        line, column = error.position
        reason = str(error).partition(":")[0]
        position = f"line {line:,}, column {column + 1}"
        raise InputError(f"{path}: {position}: invalid XML ({reason}); the file may be truncated") from error
    except DefusedXmlException as error:
        raise InputError(f"{path}: this is not a MediaWiki dump, because the file defines XML entities") from error
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: the compressed file is truncated or damaged ({error}); download the dump again"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: this is a folder; expected a dump") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain, bzip2 or gzip file; the format is detected from the first bytes, not from the file name."""
    with path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        if start in UNSUPPORTED_ARCHIVES:
            archive = UNSUPPORTED_ARCHIVES[start]
            raise InputError(f"{path}: {archive} archives are not supported; expected plain XML, .bz2 or .gz")
        if start.startswith(b"BZh"):
            with bz2.open(raw) as file:
                yield cast("IO[bytes]", file)
        elif start.startswith(b"\x1f\x8b"):
            with gzip.open(raw) as file:
                yield cast("IO[bytes]", file)
        else:
            yield raw


def _parse(path: Path, file: _LimitedFile) -> Iterator[Site | Page]:
    from defusedxml.ElementTree import iterparse

    root: Element | None = None
    page: Element | None = None
    depth = 0
    events: Iterator[tuple[Literal["start", "end"], Element]] = iterparse(file, ("start", "end"))
    for event, element in events:
        depth += 1 if event == "start" else -1
        if depth > MOST_LEVELS:
            raise InputError(f"{path}: this is not a MediaWiki dump, because elements are nested too deeply")
        if root is None:
            root = element
            if _tag(root) != "mediawiki":
                raise InputError(
                    f"{path}: this is not a MediaWiki dump: the root element is <{_tag(root)}>; expected <mediawiki>"
                )
        elif event == "start" and _tag(element) == "page":
            page = element
        elif event == "end" and _tag(element) == "revision" and page is not None:
            file.unfinished = 0
            for revision in [child for child in page if _tag(child) == "revision"][:-1]:
                page.remove(revision)  # only the last revision is used
        elif event == "end" and _tag(element) == "siteinfo":
            yield _site(element)
        elif event == "end" and _tag(element) == "page":
            yield _page(path, element)
            file.unfinished = 0
            root.clear()  # otherwise, all pages would remain in memory


def _tag(element: Element) -> str:
    """Return the name of an XML element without its namespace."""
    return element.tag.rpartition("}")[2]


def _child(element: Element, name: str) -> Element | None:
    """Return the last child of an XML element with the given tag name."""
    children = [child for child in element if _tag(child) == name]
    return children[-1] if children else None


def _child_text(element: Element | None, name: str) -> str:
    child = _child(element, name) if element is not None else None
    return (child.text or "").strip() if child is not None else ""


def _site(element: Element) -> Site:
    hidden = set(HIDDEN_NAMESPACES)
    namespaces = _child(element, "namespaces")
    for namespace in namespaces if namespaces is not None else ():
        if namespace.get("key") in (FILE_NAMESPACE, CATEGORY_NAMESPACE):
            hidden.add((namespace.text or "").casefold())
    main_page = _child_text(element, "base")
    address = main_page.rpartition("/")[0] + "/" if main_page else ""
    return Site(_child_text(element, "sitename"), address, frozenset(hidden))


def _page(path: Path, element: Element) -> Page:
    title, namespace = _child_text(element, "title"), _child_text(element, "ns") or "0"
    if not title:
        raise InputError(f"{path}: the dump contains a page without a title")
    if not namespace.lstrip("-").isdigit():
        raise InputError(f"{path}: the page {title!r} has the invalid namespace {namespace!r}; expected a whole number")
    redirect: Any = _child(element, "redirect")
    revision = _child(element, "revision")
    text = _child(revision, "text") if revision is not None else None
    return Page(
        title=title,
        namespace=int(namespace),
        id=_child_text(element, "id"),
        revision=_child_text(revision, "id"),
        timestamp=_child_text(revision, "timestamp"),
        model=_child_text(revision, "model") or "wikitext",
        redirect=redirect.get("title", "") if redirect is not None else None,
        text=(text.text or "") if text is not None else "",
    )
