"""Articles of a wiki as documents: their titles are the ids, and what redirects to them are further names."""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.identity import digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Document
from kib_wikipedia.dump import Page, Site, read_dump
from kib_wikipedia.pins import Pins, Selection, choose, fetched, read_pins, write_pins
from kib_wikipedia.wikitext import DROPPED, Names, clean

__all__ = ["Wikipedia", "WikipediaOptions"]

LOGGER = logging.getLogger("kib_wikipedia")

NAMED = 5
"""Titles that a warning names."""


class WikipediaOptions(Options):
    """A dump, or pages of a wiki that are pinned in a file."""

    dump: InputPath | None = Field(
        default=None, description="A dump: pages-articles.xml, plain, .bz2 or .gz; or else give `pins`."
    )
    pins: InputPath | None = Field(
        default=None, description="The file that pins revisions of pages; `kib-wikipedia pin SPEC` writes it."
    )
    pages: list[str] = Field(default=[], description="With `pins`: titles of pages.")
    link_depth: int = Field(
        default=0, ge=0, le=5, description="With `pins`: how many links away from those pages still belong to them."
    )
    categories: list[str] = Field(default=[], description="With `pins`: categories, such as `Category:Anatomy`.")
    category_depth: int = Field(default=0, ge=0, le=20, description="With `pins`: levels of subcategories.")
    as_of: str = Field(
        default="",
        pattern=r"^(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))?$",
        description="With `pins`: the day, as 2023-11-30, whose last revisions are pinned; left out: the newest.",
    )
    limit: Annotated[int, NotInIdentity] = Field(
        default=1000, ge=1, description="With `pins`: the most pages that may be chosen; more are an error."
    )
    api: str = Field(
        default="https://en.wikipedia.org/w/api.php",
        pattern=r"^https?://\S+$",
        description="With `pins`: the api.php of the wiki.",
    )
    contact: Annotated[str, NotInIdentity] = Field(
        default="",
        description="With `pins`: your e-mail or web address, told to the wiki: Wikimedia asks for it.",
    )
    pause: Annotated[float, NotInIdentity] = Field(
        default=1.0, ge=0, description="With `pins`: seconds between two requests."
    )
    store: InputPath | None = Field(
        default=None,
        description="With `pins`: the folder of fetched pages; left out: beside the pins, `NAME.pages`.",
    )
    namespaces: list[int] = Field(default=[0], min_length=1, description="Which pages are documents; 0 are articles.")
    drop_sections: list[str] = Field(
        default=list(DROPPED), description="Titles of sections that are left out, with all below them."
    )
    empty: Literal["skip", "error"] = Field(
        default="skip", description="What a page without text is: left out and counted, or an `error`."
    )
    licence: str = Field(default="CC BY-SA", description="Licence of the documents.")
    date: str = Field(default="", description="As of when they are; left out: the day of the newest revision.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.dump is None) == (self.pins is None):
            raise ValueError("expected `dump` or `pins`, one of the two")
        chosen = bool(self.pages or self.categories)
        of_pins = ("pages", "categories", "link_depth", "category_depth", "as_of", "contact", "store")
        given = [name for name in of_pins if getattr(self, name)]
        if self.dump is not None and given:
            raise ValueError(f"`{given[0]}` belongs to `pins`; a dump is read whole")
        if self.pins is not None and not chosen:
            raise ValueError("expected `pages` or `categories`: what the pins are made of")
        if self.pins is not None and not self.contact.strip():
            raise ValueError("expected `contact`: an e-mail or web address that the wiki is told with each request")
        if (self.link_depth and not self.pages) or (self.category_depth and not self.categories):
            raise ValueError("`link_depth` goes with `pages`, `category_depth` with `categories`")
        return self


class Wikipedia:
    """The corpus `wikipedia`."""

    Options: ClassVar[type[Options]] = WikipediaOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: WikipediaOptions) -> None:
        self.options = options
        self._aliases: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._date = self._site = ""

    def fingerprint(self) -> str:
        """Digest of the dump or of the pins; InputError where they are not there, or pin another selection."""
        path = self.options.dump or self._pins()[0]
        try:
            return digest_file(path)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            what = "no such file" if missing else f"cannot be read: {error.strerror or error}"
            raise InputError(f"{path}: {what}") from error

    def online(self) -> list[str]:
        """The wiki, where pages are not those of a dump."""
        return [f"pages pinned in {self.options.pins.name}, by {self.options.api}"] if self.options.pins else []

    def documents(self) -> Iterator[Document]:
        """The articles: of a dump in its order, of pins by title, those not yet in the store fetched."""
        return self._of_dump() if self.options.dump else self._of_pins()

    def aliases(self) -> Mapping[str, str]:
        """Titles that redirect to a document, with its id; known once `documents` came to its end."""
        return dict(self._aliases)

    def notes(self) -> dict[str, Any]:
        """What is recorded with the corpus: site, date, redirects, and what was left out when it was read last."""
        return {"source": self._site, "date": self.options.date or self._date, **self._counts}

    def pin(self, again: bool = False) -> Pins:
        """Ask the wiki for the pages and their newest revisions, and write the pins; nothing else does."""
        path = self.options.pins
        if path is None:
            raise InputError("a corpus from a dump needs no pins")
        if path.exists() and not again:
            raise InputError(f"{path}: is there already; `--again` replaces it by the newest revisions")
        api = self._connect()
        try:
            pins = choose(api, self._selection(), self.options.limit, datetime.now(UTC).date().isoformat())
        finally:
            api.close()
        write_pins(path, pins)
        return pins

    def _of_dump(self) -> Iterator[Document]:
        site, gathered = Site("", "", frozenset(Names().hidden)), _Gathered()
        assert self.options.dump is not None  # noqa: S101 - what documents() just looked at
        for entry in read_dump(self.options.dump):
            if isinstance(entry, Site):
                site = entry
                self._site = f"{site.name}, {site.address}"
            elif entry.redirect is not None:
                gathered.redirects[entry.title] = entry.redirect
            elif entry.namespace in self.options.namespaces:
                document = self._document(entry, site.address, Names(site.hidden), gathered)
                if document:
                    yield document
        self._finish(gathered, str(self.options.dump))

    def _of_pins(self) -> Iterator[Document]:
        path, pins = self._pins()
        store = self.options.store or path.with_name(f"{path.name}.pages")
        gathered = _Gathered(redirects=dict(pins.redirects))
        self._site = f"{pins.site}, {pins.address}"
        for pin, text in fetched(pins.pages, store, self._connect):
            page = Page(pin.title, 0, str(pin.page), str(pin.revision), pin.timestamp, "wikitext", None, text)
            document = self._document(page, pins.address, Names(frozenset(pins.hidden)), gathered)
            if document:
                yield document
        self._finish(gathered, str(path))

    def _document(self, page: Page, address: str, names: Names, gathered: "_Gathered") -> Document | None:
        where = f"{self.options.dump or self.options.pins}: {page.title!r}"
        if page.title in gathered.ids:
            raise InputError(f"{where} stands in it twice")
        if page.model != "wikitext":
            gathered.others.append(page.title)
            return None
        text = clean(page.text, names, self.options.drop_sections)
        if not text:
            if self.options.empty == "error":
                raise InputError(f'{where} has no text; `empty = "skip"` leaves it out')
            gathered.empty.append(page.title)
            return None
        gathered.ids.add(page.title)
        gathered.newest = max(gathered.newest, page.timestamp[:10])
        source = f"{address}{quote(page.title.replace(' ', '_'), safe='/:,()')}" if address else ""
        if source and page.revision:
            source += f"?oldid={page.revision}"
        return Document(page.title, page.title, text, source, self.options.licence)

    def _finish(self, gathered: "_Gathered", place: str) -> None:
        if not gathered.ids:
            raise InputError(f"{place}: no article in it; `namespaces` says which pages are documents")
        self._aliases, nowhere = gathered.resolved()
        self._date = gathered.newest
        self._counts = {
            "redirects": len(gathered.redirects),
            "redirects_resolved": len(self._aliases),
            "redirects_elsewhere": len(nowhere),
            "empty": len(gathered.empty),
            "other_models": len(gathered.others),
        }
        for names, what in (
            (nowhere, f"of {len(gathered.redirects)} redirects lead to no document of this corpus"),
            (gathered.empty, "pages without text left out"),
            (gathered.others, "pages that are no wikitext left out"),
        ):
            if names:
                shown = ", ".join(names[:NAMED]) + (", …" if names[NAMED:] else "")
                LOGGER.warning("%s: %d %s: %s", place, len(names), what, shown)

    def _pins(self) -> tuple[Any, Pins]:
        path = self.options.pins
        assert path is not None  # noqa: S101 - the options hold a dump or pins
        pins = read_pins(path)
        if pins.selection != self._selection():
            again = "`kib-wikipedia pin --again SPEC` pins what the file now asks for"
            raise InputError(f"{path}: pins another selection than the one asked for; {again}")
        return path, pins

    def _selection(self) -> Selection:
        options = self.options
        return Selection(
            api=options.api,
            pages=tuple(options.pages),
            link_depth=options.link_depth,
            categories=tuple(options.categories),
            category_depth=options.category_depth,
            namespaces=tuple(options.namespaces),
            as_of=options.as_of,
        )

    def _connect(self) -> Any:
        from kib_wikipedia.api import Api

        return Api(self.options.api, self.options.contact, self.options.pause)


class _Gathered:
    """What is known of a wiki at the end of a pass."""

    def __init__(self, redirects: Mapping[str, str] | None = None) -> None:
        self.ids: set[str] = set()
        self.redirects: dict[str, str] = dict(redirects or {})
        self.empty: list[str] = []
        self.others: list[str] = []
        self.newest = ""

    def resolved(self) -> tuple[dict[str, str], list[str]]:
        """Redirects that end at a document, over others where they must; and those that do not."""
        aliases: dict[str, str] = {}
        nowhere: list[str] = []
        for title in self.redirects:
            seen, target = {title}, _target(self.redirects[title])
            while target in self.redirects and target not in self.ids and target not in seen:
                seen.add(target)
                target = _target(self.redirects[target])
            if target in self.ids:
                aliases[title] = target
            else:
                nowhere.append(f"{title} → {target}")
        return aliases, nowhere


def _target(title: str) -> str:
    """The page a redirect names: without the section, as titles are written."""
    title = " ".join(title.partition("#")[0].replace("_", " ").split())
    return title[:1].upper() + title[1:]
