"""Which revision of which page belongs to a corpus: chosen once through the API, written down, fetched at need.

A pin file is JSON lines: what was asked for and of whom, then a line a page or redirect, by title. The wikitext of each
revision lies in a store beside it, as fetched, and is held against the wiki's own SHA-1.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha1
from itertools import islice
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical
from kib.store.folders import write_text
from kib_wikipedia.api import Api

__all__ = ["Pin", "Pins", "Selection", "choose", "fetched", "read_pins", "write_pins"]

SCHEMA = 1
AT_ONCE = 50
"""Titles or revisions in one request; what a wiki allows everybody."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for."""

    api: str
    pages: tuple[str, ...] = ()
    link_depth: int = 0
    categories: tuple[str, ...] = ()
    category_depth: int = 0
    namespaces: tuple[int, ...] = (0,)
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """One revision of a page, with the SHA-1 of its wikitext in hexadecimal."""

    title: str
    page: int
    revision: int
    timestamp: str
    sha1: str


@dataclass(frozen=True, slots=True)
class Pins:
    """A pin file: pages by title, redirects from title to title, and linked pages that there are not."""

    selection: Selection
    site: str
    address: str
    licence: str
    made: str
    hidden: tuple[str, ...]
    pages: tuple[Pin, ...] = ()
    redirects: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0


def write_pins(path: Path, pins: Pins) -> None:
    """Write a pin file, whole or not at all."""
    head = {key: value for key, value in asdict(pins).items() if key not in ("pages", "redirects")}
    lines = [{"schema": SCHEMA, **head}, *map(asdict, pins.pages)]
    lines += [{"title": title, "redirect": target} for title, target in sorted(pins.redirects.items())]
    write_text(path, "".join(canonical(line) + "\n" for line in lines))


def read_pins(path: Path) -> Pins:
    """A pin file; InputError where it is not there or is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; `kib-wikipedia pin SPEC` asks the wiki and writes it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    number = 0
    try:
        values = []
        for number, line in enumerate(lines, 1):  # noqa: B007 - the number of the line that fails
            values.append(json.loads(line))
        number = 1
        return _pins(values)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"not a pin file of kib-wikipedia ({type(error).__name__}: {error})"
        raise InputError(f"{path}:{max(number, 1)}: {what}; `kib-wikipedia pin --again SPEC` writes it anew") from error


def _pins(values: Sequence[Mapping[str, Any]]) -> Pins:
    head = dict(values[0])
    if head.pop("schema") != SCHEMA:
        raise ValueError(f"expected schema {SCHEMA}")
    asked: Mapping[str, Any] = head.pop("selection")
    chosen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in asked.items()}
    return Pins(
        **{**head, "selection": Selection(**chosen), "hidden": tuple(head["hidden"])},
        pages=tuple(Pin(**value) for value in values[1:] if "redirect" not in value),
        redirects={value["title"]: value["redirect"] for value in values[1:] if "redirect" in value},
    )


def choose(api: Api, selection: Selection, limit: int, made: str) -> Pins:
    """Ask a wiki for the pages of a selection and their newest revisions, or the last ones of a day; `made` is today.

    InputError where a page or category is not there, or was not then, or where there are more than `limit` pages.
    """
    general = _general(api)
    named = list(selection.pages)
    wanted = [*named, *_of_categories(api, selection, limit)]
    wanted = [*wanted, *_linked(api, selection, wanted if selection.link_depth else (), limit)]
    found = _Found(api, selection, limit)
    found.look(list(dict.fromkeys(wanted)))
    if selection.as_of:
        found.go_back(selection.as_of)
    lost = [title for title in named if found.resolve(title) not in found.pages]
    if lost:
        when = f" on {selection.as_of}" if selection.as_of else ""
        raise InputError(f"{selection.api}: no such page{when}: {', '.join(map(repr, lost[:5]))}; {len(lost)} in all")
    pages = tuple(found.pages[title] for title in sorted(found.pages))
    if not pages:
        raise InputError(f"{selection.api}: the selection has no page")
    redirects = {title: target for title, target in found.redirects.items() if target in found.pages}
    return Pins(selection, **general, made=made, pages=pages, redirects=redirects, missing=found.missing)


def _general(api: Api) -> dict[str, Any]:
    """Name, address of articles, licence, and names of the namespaces of files and categories."""
    question = {"meta": "siteinfo", "siprop": "general|namespaces|namespacealiases|rightsinfo"}
    answer = next(api.query(question))
    try:
        general, rights = answer["general"], answer.get("rightsinfo", {})
        spaces = [answer["namespaces"][key] for key in ("6", "14")]
        hidden = {space[key] for space in spaces for key in ("name", "canonical") if key in space}
        hidden |= {alias["alias"] for alias in answer.get("namespacealiases", ()) if alias["id"] in (6, 14)}
        server = general["server"]
        address = ("https:" if server.startswith("//") else "") + server + general["articlepath"].replace("$1", "")
        site = str(general["sitename"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{api.url}: says nothing of its {error}; is this the api.php of a MediaWiki?") from error
    names = tuple(sorted({"file", "image", "media", "category", *(name.casefold() for name in hidden)}))
    return {"site": site, "address": address, "licence": str(rights.get("text", "")), "hidden": names}


def _of_categories(api: Api, selection: Selection, limit: int) -> list[str]:
    """The pages of the categories and of those below them, down to the depth asked for."""
    titles: dict[str, None] = {}
    level, seen = list(selection.categories), set(selection.categories)
    for depth in range(selection.category_depth + 1):
        below: list[str] = []
        for category in level:
            members = _members(api, category)
            if not members and depth == 0:
                raise InputError(f"{api.url}: {category!r} has no members; is its name right, with `Category:`?")
            for space, title in members:
                if space == 14 and title not in seen:
                    seen.add(title)
                    below.append(title)
                elif space in selection.namespaces:
                    titles[title] = None
            _check_limit(api, len(titles), limit)
        level = below
    return list(titles)


def _members(api: Api, category: str) -> list[tuple[int, str]]:
    question = {"list": "categorymembers", "cmtitle": category, "cmprop": "title", "cmlimit": "max"}
    return [(page["ns"], page["title"]) for part in api.query(question) for page in part.get("categorymembers", ())]


def _linked(api: Api, selection: Selection, start: Iterable[str], limit: int) -> list[str]:
    """The titles that pages link to, and so on, down to the depth asked for."""
    seen = dict.fromkeys(start)
    level = list(seen)
    for _ in range(selection.link_depth):
        below: dict[str, None] = {}
        for titles in _batches(level):
            question = {
                "prop": "links",
                "titles": "|".join(titles),
                "redirects": "1",
                "pllimit": "max",
                "plnamespace": "|".join(map(str, selection.namespaces)),
            }
            for part in api.query(question):
                for page in part.get("pages", ()):
                    below |= {link["title"]: None for link in page.get("links", ()) if link["title"] not in seen}
            _check_limit(api, len(seen) + len(below), 10 * limit)  # links may lead to pages that there are not
        seen |= below
        level = list(below)
    return list(seen)


def _check_limit(api: Api, count: int, limit: int) -> None:
    if count > limit:
        raise InputError(f"{api.url}: the selection has more than {limit:,} pages; choose less or raise `limit`")


class _Found:
    """Titles looked up: pages with their newest revision, redirects on the way, and how many are not there."""

    def __init__(self, api: Api, selection: Selection, limit: int) -> None:
        self.api = api
        self.selection = selection
        self.limit = limit
        self.pages: dict[str, Pin] = {}
        self.redirects: dict[str, str] = {}
        self.normalized: dict[str, str] = {}
        self.missing = 0

    def resolve(self, title: str) -> str:
        """The page that a title leads to."""
        title = self.normalized.get(title, title)
        return self.redirects.get(title, title)

    def look(self, titles: Sequence[str]) -> None:
        """Look titles up, a batch at a time."""
        for batch in _batches(titles):
            question = {
                "prop": "revisions",
                "titles": "|".join(batch),
                "redirects": "1",
                "rvprop": "ids|timestamp|sha1|contentmodel",
                "rvslots": "main",
            }
            gone: set[str] = set()
            for part in self.api.query(question):
                self.normalized |= {pair["from"]: pair["to"] for pair in part.get("normalized", ())}
                self.redirects |= {pair["from"]: pair["to"] for pair in part.get("redirects", ())}
                for page in part.get("pages", ()):
                    self._add(page, gone)
            self.missing += len(gone)
            _check_limit(self.api, len(self.pages), self.limit)

    def go_back(self, day: str) -> None:
        """Take of each page its last revision of a day; one that was not there yet counts as missing.

        A wiki gives the history of one page a request.
        """
        for title in list(self.pages):
            del self.pages[title]
            question = {
                "prop": "revisions",
                "titles": title,
                "rvprop": "ids|timestamp|sha1|contentmodel",
                "rvslots": "main",
                "rvlimit": "1",
                "rvstart": f"{day}T23:59:59Z",
            }
            for page in next(self.api.query(question)).get("pages", ()):
                self._add(page, set())
            self.missing += title not in self.pages

    def _add(self, page: Mapping[str, Any], gone: set[str]) -> None:
        if page.get("missing") or page.get("invalid"):
            gone.add(page["title"])
            return
        revision = next(iter(page.get("revisions", ())), None)
        if revision is None or page["ns"] not in self.selection.namespaces:
            return
        if revision.get("slots", {}).get("main", {}).get("contentmodel", "wikitext") == "wikitext":
            title, stamp = page["title"], revision["timestamp"]
            self.pages[title] = Pin(title, page["pageid"], revision["revid"], stamp, revision["sha1"])


def _batches(values: Sequence[Any]) -> Iterator[list[Any]]:
    rest = iter(values)
    while batch := list(islice(rest, AT_ONCE)):
        yield batch


def fetched(pins: Sequence[Pin], store: Path, connect: Any) -> Iterator[tuple[Pin, str]]:
    """Each pinned revision with its wikitext, from the store or else, by `connect()`, from the wiki into the store."""
    api: Api | None = None
    try:
        for batch in _batches(pins):
            missing = [pin for pin in batch if not _is_stored(store, pin)]
            if missing:
                api = api or connect()
                _fetch(api, missing, store)
            for pin in batch:
                yield pin, (store / _file(pin)).read_bytes().decode("utf-8")
    finally:
        if api:
            api.close()


def _file(pin: Pin) -> str:
    return f"{pin.revision}.wikitext"


def _is_stored(store: Path, pin: Pin) -> bool:
    """Whether a revision is there as the wiki has it; one that was changed on the disk is fetched again."""
    try:
        return sha1((store / _file(pin)).read_bytes(), usedforsecurity=False).hexdigest() == pin.sha1
    except OSError:
        return False


def _fetch(api: Api, pins: Sequence[Pin], store: Path) -> None:
    by_revision = {pin.revision: pin for pin in pins}
    question = {"prop": "revisions", "revids": "|".join(map(str, by_revision)), "rvslots": "main"}
    for part in api.query({**question, "rvprop": "ids|content"}):
        for page in part.get("pages", ()):
            for revision in page.get("revisions", ()):
                pin = by_revision.get(revision["revid"])
                text = revision.get("slots", {}).get("main", {}).get("content")
                if pin and isinstance(text, str):
                    _keep(api, pin, text, store)
                    del by_revision[pin.revision]
    if by_revision:
        pin = next(iter(by_revision.values()))
        what = f"{len(by_revision)} pinned revisions are no longer given, such as {pin.revision} of {pin.title!r}"
        raise InputError(f"{api.url}: {what}; `kib-wikipedia pin --again SPEC` takes newer ones")


def _keep(api: Api, pin: Pin, text: str, store: Path) -> None:
    if sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest() != pin.sha1:
        raise InputError(f"{api.url}: revision {pin.revision} of {pin.title!r} is not the text that was pinned")
    write_text(store / _file(pin), text)
