"""A dump of a MediaWiki (XML, export 0.10 and 0.11) read page by page, compressed or not."""

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

__all__ = ["Page", "Site", "read_dump"]

FILE, CATEGORY = "6", "14"
"""Keys of the namespaces that every wiki has."""

UNREADABLE = {b"7z\xbc\xaf": "7z", b"PK\x03\x04": "zip", b"\xfd7zX": "xz", b"(\xb5/\xfd": "zstd"}


@dataclass(frozen=True, slots=True)
class Site:
    """Which wiki it is, the address that a title is put behind, and what it calls files and categories."""

    name: str
    address: str
    hidden: frozenset[str]


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it is in the dump; `redirect` is the title that it sends to, `text` its wikitext."""

    title: str
    namespace: int
    id: str
    revision: str
    timestamp: str
    model: str
    redirect: str | None
    text: str


def read_dump(path: Path) -> Iterator[Site | Page]:
    """The site, then each page in the order of the file, one in memory at a time.

    Of a page with several revisions the last one counts. InputError where the file cannot be read, is cut off or is no
    dump.
    """
    with _plainly(path), _opened(path) as file:
        yield from _read(path, file)


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    from defusedxml import DefusedXmlException

    try:
        yield
    except ParseError as error:
        line, column = error.position
        said = str(error).partition(":")[0]
        raise InputError(
            f"{path}: line {line:,}, column {column + 1}: not XML: {said}; is the file cut off?"
        ) from error
    except DefusedXmlException as error:
        raise InputError(f"{path}: defines entities of its own, which no dump does") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: the compressed file is cut off or damaged ({error}); download it again") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        what = "a folder, expected a dump" if isinstance(error, IsADirectoryError) else error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {what}") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        head = raw.read(4)
        raw.seek(0)
        if head in UNREADABLE:
            raise InputError(f"{path}: packed as {UNREADABLE[head]}; expected plain XML, .bz2 or .gz")
        if head.startswith(b"BZh"):
            with bz2.open(raw) as file:
                yield cast("IO[bytes]", file)
        elif head.startswith(b"\x1f\x8b"):
            with gzip.open(raw) as file:
                yield cast("IO[bytes]", file)
        else:
            yield raw


def _read(path: Path, file: IO[bytes]) -> Iterator[Site | Page]:
    from defusedxml.ElementTree import iterparse

    root: Element | None = None
    events: Iterator[tuple[Literal["start", "end"], Element]] = iterparse(file, ("start", "end"))
    for event, element in events:
        if root is None:
            root = element
            if _name(root) != "mediawiki":
                raise InputError(f"{path}: a <{_name(root)}>, expected the <mediawiki> of a dump")
        elif event == "end" and _name(element) == "siteinfo":
            yield _site(element)
        elif event == "end" and _name(element) == "page":
            yield _page(path, element)
            root.clear()  # or all pages would stay


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: Element, name: str) -> Element | None:
    found = [child for child in element if _name(child) == name]
    return found[-1] if found else None


def _text(element: Element | None, name: str) -> str:
    child = _child(element, name) if element is not None else None
    return (child.text or "").strip() if child is not None else ""


def _site(element: Element) -> Site:
    hidden = {"file", "image", "media", "category"}  # the English names hold in every wiki
    spaces = _child(element, "namespaces")
    for space in spaces if spaces is not None else ():
        if space.get("key") in (FILE, CATEGORY):
            hidden.add((space.text or "").casefold())
    base = _text(element, "base")
    return Site(_text(element, "sitename"), base.rpartition("/")[0] + "/" if base else "", frozenset(hidden))


def _page(path: Path, element: Element) -> Page:
    title, namespace = _text(element, "title"), _text(element, "ns") or "0"
    if not title or not namespace.lstrip("-").isdigit():
        raise InputError(f"{path}: a page without title or with the namespace {namespace!r}: {title!r}")
    redirect: Any = _child(element, "redirect")
    revision = _child(element, "revision")
    text = _child(revision, "text") if revision is not None else None
    return Page(
        title=title,
        namespace=int(namespace),
        id=_text(element, "id"),
        revision=_text(revision, "id"),
        timestamp=_text(revision, "timestamp"),
        model=_text(revision, "model") or "wikitext",
        redirect=redirect.get("title", "") if redirect is not None else None,
        text=(text.text or "") if text is not None else "",
    )
