"""The corpus `wikipedia`: each article is a document, and each title that redirects to an article is an alias.

Articles are read from a dump or, if `pins` is set, fetched through the wiki's API.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Document
from kib.support.limited_process import LimitedProcess, LimitError, batches
from kib_wikipedia.page_selection import select_pages
from kib_wikipedia.page_store import read_pages
from kib_wikipedia.pin_file import Pins, Selection, read_pins, write_pins
from kib_wikipedia.wikitext_to_text import DROPPED_SECTIONS, HIDDEN_NAMESPACES, PageText, convert_page
from kib_wikipedia.xml_dump import Page, Site, read_dump

if TYPE_CHECKING:
    from kib_wikipedia.mediawiki_api import MediaWikiApi

__all__ = ["Wikipedia", "WikipediaOptions"]

LOGGER = logging.getLogger("kib_wikipedia")

LISTED_TITLES = 5
"""Maximum number of titles in one warning."""

RECORDED_TEMPLATES, LISTED_TEMPLATES = 200, 10
"""Maximum number of names of templates in the corpus record, which every cell repeats, and in a line of `kib check`."""

BATCH_PAGES, BATCH_CHARACTERS = 32, 1 << 20
"""The maximum number of pages in a group that is converted at once, and the number of characters that ends a group."""


LIMIT_OPTIONS = {"seconds": "max_seconds", "memory": "max_memory_mb"}
"""The option for each limit on the conversion of a page; the limit on nesting is fixed."""


class WikipediaOptions(Options):
    """Options of `wikipedia`: either a dump, or a selection of pages pinned to revisions in a pin file."""

    dump: InputPath | None = Field(
        default=None,
        description="Path of a dump (pages-articles.xml), uncompressed or as .bz2 or .gz. Set either `dump` or `pins`.",
    )
    pins: InputPath | None = Field(
        default=None,
        description=(
            "Path of the pin file, which lists the pinned page revisions; `kib-wikipedia pin SPEC` writes this file."
        ),
    )
    pages: list[str] = Field(default=[], description="Titles of the pages to pin. Applies only if `pins` is set.")
    link_depth: int = Field(
        default=0,
        ge=0,
        le=5,
        description=(
            "Maximum number of consecutive links to follow, starting from `pages`. Applies only if `pins` is set."
        ),
    )
    categories: list[str] = Field(
        default=[],
        description="Categories whose pages are pinned, such as `Category:Anatomy`. Applies only if `pins` is set.",
    )
    category_depth: int = Field(
        default=0, ge=0, le=20, description="Number of subcategory levels to include. Applies only if `pins` is set."
    )
    as_of: str = Field(
        default="",
        pattern=r"^(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))?$",
        description=(
            "Date, such as 2023-11-30; each page is pinned to its last revision up to this date (default: its newest "
            "revision). Applies only if `pins` is set."
        ),
    )
    limit: Annotated[int, NotInIdentity] = Field(
        default=1000,
        ge=1,
        description="Maximum number of pages; a larger selection raises an error. Applies only if `pins` is set.",
    )
    api: str = Field(
        default="https://en.wikipedia.org/w/api.php",
        pattern=r"^https?://\S+$",
        description="Address of the wiki's api.php. Applies only if `pins` is set.",
    )
    contact: Annotated[str, NotInIdentity] = Field(
        default="",
        description=(
            "Your e-mail or web address, which Wikimedia requires in every request. Applies only if `pins` is set."
        ),
    )
    pause: Annotated[float, NotInIdentity] = Field(
        default=1.0, ge=0, description="Minimum number of seconds between two requests. Applies only if `pins` is set."
    )
    store: InputPath | None = Field(
        default=None,
        description=(
            "Folder for fetched pages (default: `PINS.pages` next to the pin file `PINS`). Applies only if `pins` is "
            "set."
        ),
    )
    namespaces: list[int] = Field(
        default=[0], min_length=1, description="Numbers of the namespaces to read; articles are in namespace 0."
    )
    drop_sections: list[str] = Field(
        default=list(DROPPED_SECTIONS),
        description="Titles of the sections to leave out; their subsections are also left out.",
    )
    empty: Literal["skip", "error"] = Field(
        default="skip", description="How to treat pages without text: `skip` and count them, or report an `error`."
    )
    over_limit: Annotated[Literal["error", "skip"], NotInIdentity] = Field(
        default="error",
        description="How to treat pages that exceed a limit: report an `error`, or `skip`, count and record the pages.",
    )
    max_seconds: Annotated[float, NotInIdentity] = Field(
        default=120.0, gt=0, le=86_400, description="Maximum number of seconds for converting one page."
    )
    max_memory_mb: Annotated[int, NotInIdentity] = Field(
        default=2048,
        ge=256,
        description="Maximum memory, in MB, of the process that converts pages; enforced on Linux only.",
    )
    max_unpacked_mb: Annotated[int, NotInIdentity] = Field(
        default=16,
        ge=1,
        description="Maximum size in MB of one revision in the unpacked dump; a larger revision raises an error.",
    )
    licence: str = Field(default="CC BY-SA", description="Licence of the documents.")
    date: str = Field(
        default="",
        description="Date of the documents (default: the day of the newest revision); recorded but not used otherwise.",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if (self.dump is None) == (self.pins is None):
            raise ValueError("expected either `dump` or `pins`, but not both")
        only_with_pins = ("pages", "categories", "link_depth", "category_depth", "as_of", "contact", "store")
        given = [name for name in only_with_pins if getattr(self, name)]
        if self.dump is not None and given:
            raise ValueError(f"`{given[0]}` applies only to `pins`; a dump is always read completely")
        if self.pins is not None and not (self.pages or self.categories):
            raise ValueError("`pins` requires `pages` or `categories`, which select the pages to pin")
        if self.pins is not None and not self.contact.strip():
            raise ValueError("`pins` requires `contact`, an e-mail or web address to send with each request")
        if (self.link_depth and not self.pages) or (self.category_depth and not self.categories):
            raise ValueError("`link_depth` requires `pages`, and `category_depth` requires `categories`")
        return self


@dataclass
class _Pass:
    """The titles collected during one pass over all pages."""

    redirects: dict[str, str] = field(default_factory=dict)
    document_ids: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    other_models: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    inside_sentences: Counter[str] = field(default_factory=Counter)
    shown_by_parameters: Counter[str] = field(default_factory=Counter)
    newest_day: str = ""

    def _is_unresolved(self, title: str) -> bool:
        return title in self.redirects and title not in self.document_ids

    def resolve_redirects(self) -> tuple[dict[str, str], list[str]]:
        """Follow chains of redirects; return each redirect's document id, and a list of the unresolved redirects."""
        ends: dict[str, str] = {}
        for title in self.redirects:
            chain, target = {title: None}, _page_title(self.redirects[title])
            while self._is_unresolved(target) and target not in chain and target not in ends:
                chain[target] = None
                target = _page_title(self.redirects[target])
            ends |= dict.fromkeys(chain, ends.get(target, target))
        aliases = {title: ends[title] for title in self.redirects if ends[title] in self.document_ids}
        return aliases, [f"{title} → {ends[title]}" for title in self.redirects if title not in aliases]


class Wikipedia:
    """The corpus `wikipedia`, which reads a wiki's articles as documents."""

    Options: ClassVar[type[Options]] = WikipediaOptions
    revision: ClassVar[int] = 3

    def __init__(self, options: WikipediaOptions) -> None:
        self.options = options
        self._aliases: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._skipped: list[str] = []
        self._templates: dict[str, Any] = {}
        self._date = self._site = ""

    def fingerprint(self) -> str:
        """Return a digest of the dump or pin file; raise InputError if it is missing or pins a different selection."""
        path = self.options.dump or self._read_pins()[0]
        try:
            if self.options.over_limit == "error":  # with this value, limits do not affect the documents
                return digest_file(path)
            limits = [self.options.max_seconds, self.options.max_memory_mb, self.options.max_unpacked_mb]
            return digest([digest_file(path), *limits])
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error

    def online(self) -> list[str]:
        """Return the names of the pin file and the wiki, or an empty list for a dump, which needs no network access."""
        return [f"the pages pinned in {self.options.pins.name}, from {self.options.api}"] if self.options.pins else []

    def documents(self) -> Iterator[Document]:
        """Yield articles in dump order, or pinned pages in title order; pages missing from the store are fetched."""
        return self._dumped_documents(self.options.dump) if self.options.dump else self._pinned_documents()

    def aliases(self) -> Mapping[str, str]:
        """Return a mapping from redirecting titles to document ids, which is empty until `documents` is exhausted."""
        return dict(self._aliases)

    def notes(self) -> dict[str, Any]:
        """Return the site, the date and the counts from the last pass over all pages, for the corpus record."""
        notes: dict[str, Any] = {"source": self._site, "date": self.options.date or self._date, **self._counts}
        notes |= self._templates
        return notes | ({"skipped": self._skipped} if self._skipped else {})

    def pin(self, again: bool = False) -> Pins:
        """Query the wiki for the selected pages and their revisions, and write the pin file."""
        path = self.options.pins
        if path is None:
            raise InputError("this corpus is read from a dump, which needs no pin file")
        if path.exists() and not again:
            raise InputError(f"{path}: the pin file already exists; use `--again` to pin the newest revisions instead")
        api = self._connect()
        try:
            pins = select_pages(api, self._selection(), self.options.limit, datetime.now(UTC).date().isoformat())
        finally:
            api.close()
        write_pins(path, pins)
        return pins

    def _dumped_documents(self, path: Path) -> Iterator[Document]:
        collected = _Pass()
        yield from self._convert(self._dumped_pages(path, collected), collected)
        self._finish(collected, path)

    def _dumped_pages(self, path: Path, collected: _Pass) -> Iterator[tuple[Page, Site]]:
        """Yield the pages in the selected namespaces, each with its site, and collect the redirects."""
        site = Site("", "", HIDDEN_NAMESPACES)
        for entry in read_dump(path, self.options.max_unpacked_mb):
            if isinstance(entry, Site):
                site = entry
                self._site = f"{site.name}, {site.address}"
            elif entry.redirect is not None:
                collected.redirects[entry.title] = entry.redirect
            elif entry.namespace in self.options.namespaces:
                yield entry, site

    def _pinned_documents(self) -> Iterator[Document]:
        path, pins = self._read_pins()
        store = self.options.store or path.with_name(f"{path.name}.pages")
        collected = _Pass(redirects=dict(pins.redirects))
        self._site = f"{pins.site}, {pins.address}"
        site = Site(pins.site, pins.address, frozenset(pins.hidden))
        pages = (
            (Page(pin.title, 0, str(pin.page), str(pin.revision), pin.timestamp, "wikitext", None, text), site)
            for pin, text in read_pages(pins.pages, store, self._connect)
        )
        yield from self._convert(pages, collected)
        self._finish(collected, path)

    def _convert(self, pages: Iterable[tuple[Page, Site]], collected: _Pass) -> Iterator[Document]:
        """Yield the pages' documents, which are converted in a separate process with time and memory limits."""
        process = LimitedProcess(_text_of, self.options.max_memory_mb, _import_parser)
        for batch in batches(pages, lambda one: len(one[0].text), BATCH_PAGES, BATCH_CHARACTERS):
            requests = [
                (page.text if page.model == "wikitext" else "", site.hidden, self.options.drop_sections)
                for page, site in batch
            ]
            texts = process.call_each(requests, self.options.max_seconds)
            for (page, site), fields in zip(batch, texts, strict=True):
                document = self._document(page, site.address, _page_text(fields), collected)
                if document:
                    yield document

    def _document(self, page: Page, address: str, text: PageText | LimitError, collected: _Pass) -> Document | None:
        """Return a page's document, or None if the page's text is empty, exceeds a limit or is not wikitext."""
        position = f"{self.options.dump or self.options.pins}: {page.title!r}"
        if page.title in collected.document_ids:
            raise InputError(f"{position}: duplicate title")
        if page.model != "wikitext":
            collected.other_models.append(page.title)
            return None
        if isinstance(text, LimitError):
            if self.options.over_limit == "error":
                advice = text.advice("to convert the page", LIMIT_OPTIONS)
                fix = 'to leave out such pages, set `over_limit = "skip"`'
                raise InputError(f"{position}: the page {text}{advice}; {fix}")
            collected.skipped.append(f"{page.title} (the page {text})")
            return None
        if not text.text:
            if self.options.empty == "error":
                raise InputError(f'{position}: the page has no text; to leave out such pages, set `empty = "skip"`')
            collected.empty.append(page.title)
            return None
        collected.document_ids.add(page.title)
        collected.left_out.update(text.left_out)
        collected.inside_sentences.update(text.inside_sentences)
        collected.shown_by_parameters.update(text.shown_by_parameters)
        collected.newest_day = max(collected.newest_day, page.timestamp[:10])
        source = f"{address}{quote(page.title.replace(' ', '_'), safe='/:,()')}" if address else ""
        if source and page.revision:
            source += f"?oldid={page.revision}"
        return Document(page.title, page.title, text.text, source, self.options.licence)

    def _finish(self, collected: _Pass, path: Path) -> None:
        """Resolve the redirects; count the omitted pages and redirects, and log warnings about them."""
        if not collected.document_ids:
            raise InputError(
                f"{path}: the file contains no article in the selected namespaces; check the option `namespaces`"
            )
        self._aliases, unresolved = collected.resolve_redirects()
        self._date = collected.newest_day
        redirects = len(collected.redirects)
        self._counts = {
            "redirects": redirects,
            "redirects_resolved": len(self._aliases),
            "redirects_elsewhere": len(unresolved),
            "empty": len(collected.empty),
            "other_models": len(collected.other_models),
            "over_limit": len(collected.skipped),
        }
        self._skipped = collected.skipped
        self._templates = _template_notes(collected)
        for problem, titles in (
            (f"{len(unresolved)} of {redirects} redirects do not lead to a document in this corpus", unresolved),
            (f"left out {_count_pages(collected.empty)} without text", collected.empty),
            (f"left out {_count_pages(collected.other_models)} in formats other than wikitext", collected.other_models),
            (f"left out {_count_pages(collected.skipped)} beyond a limit", collected.skipped),
        ):
            if titles:
                listed = ", ".join(titles[:LISTED_TITLES]) + (", …" if titles[LISTED_TITLES:] else "")
                LOGGER.warning("%s: %s: %s", path, problem, listed)

    def _read_pins(self) -> tuple[Path, Pins]:
        path = self.options.pins
        assert path is not None  # noqa: S101 - the options require `dump` or `pins`
        pins = read_pins(path)
        if pins.selection != self._selection():
            problem = "the page selection in the pin file differs from the selection in the spec"
            raise InputError(f"{path}: {problem}; pin the pages again with `kib-wikipedia pin --again SPEC`")
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

    def _connect(self) -> "MediaWikiApi":
        from kib_wikipedia.mediawiki_api import MediaWikiApi

        return MediaWikiApi(self.options.api, self.options.contact, self.options.pause)


def _import_parser() -> None:
    import mwparserfromhell  # noqa: F401 - the time of the import must not count as the time of a page


def _text_of(request: tuple[str, Collection[str], Sequence[str]]) -> list[Any]:
    """Convert wikitext to plain text and return the fields of the PageText; `request` is passed to `convert_page`."""
    page = convert_page(*request)
    return [page.text, page.left_out, page.inside_sentences, page.shown_by_parameters]


def _page_text(fields: list[Any] | LimitError) -> PageText | LimitError:
    if isinstance(fields, LimitError):
        return fields
    text, *counts = fields
    return PageText(text, *map(Counter, counts))


def _template_notes(collected: _Pass) -> dict[str, Any]:
    """Return the numbers of templates without text of their own by name, and sentences about these templates."""
    left_out, inside, shown = collected.left_out, collected.inside_sentences, collected.shown_by_parameters
    notes: dict[str, Any] = {}
    remarks = []
    if left_out:
        notes["templates_left_out"] = _recorded(left_out)
        notes["templates_left_out_inside_sentences"] = _recorded(inside)
        remark = f"left out {left_out.total():,} templates without text ({_names(left_out)}), most often "
        remarks.append(remark + _most_common(left_out))
        if inside:
            remarks[-1] += f"; {inside.total():,} of them inside sentences: {_most_common(inside)}"
    if shown:
        notes["templates_shown_by_parameters"] = _recorded(shown)
        what = "unknown template with its" if shown.total() == 1 else "unknown templates with their"
        remark = f"replaced {shown.total():,} {what} parameters ({_names(shown)}), most often "
        remarks.append(remark + _most_common(shown))
    return notes | ({"remarks": remarks} if remarks else {})


def _names(names: Counter[str]) -> str:
    return f"{len(names):,} name{'' if len(names) == 1 else 's'}"


def _recorded(names: Counter[str]) -> dict[str, int]:
    recorded = dict(names.most_common(RECORDED_TEMPLATES))
    others = names.total() - sum(recorded.values())
    return recorded | ({"(other names)": others} if others else {})


def _most_common(names: Counter[str]) -> str:
    listed = ", ".join(f"{name} ({count:,})" for name, count in names.most_common(LISTED_TEMPLATES))
    return listed + (", …" if len(names) > LISTED_TEMPLATES else "")


def _count_pages(titles: Sequence[str]) -> str:
    return f"{len(titles)} page{'' if len(titles) == 1 else 's'}"


def _page_title(target: str) -> str:
    """Return the normalised title of a redirect's target page, without the section."""
    title = " ".join(target.partition("#")[0].replace("_", " ").split())
    return title[:1].upper() + title[1:]
