"""Select the pages of a corpus through a wiki's API, and pin each page to one revision."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kib.errors import InputError
from kib_wikipedia.mediawiki_api import MediaWikiApi, batches
from kib_wikipedia.pin_file import Pin, Pins, Selection
from kib_wikipedia.wikitext_to_text import HIDDEN_NAMESPACES
from kib_wikipedia.xml_dump import CATEGORY_NAMESPACE, FILE_NAMESPACE

__all__ = ["select_pages"]

LISTED_TITLES = 5
"""Maximum number of titles in one message."""


def select_pages(api: MediaWikiApi, selection: Selection, limit: int, today: str) -> Pins:
    """Query a wiki for the selected pages; pin each page to its newest revision or to the last revision on a given day.

    Raise InputError if a page or category does not exist or did not exist on the given day, or if more than `limit`
    pages are selected.
    """
    site = _site(api)
    titles = [*selection.pages, *_category_members(api, selection, limit)]
    titles += _linked_titles(api, selection, titles if selection.link_depth else (), limit)
    lookup = _Lookup(api, selection, limit)
    lookup.find_newest(list(dict.fromkeys(titles)))
    if selection.as_of:
        lookup.go_back(selection.as_of)
    missing = [title for title in selection.pages if lookup.resolve(title) not in lookup.pages]
    if missing:
        day = f" as of {selection.as_of}" if selection.as_of else ""
        listed = ", ".join(map(repr, missing[:LISTED_TITLES]))
        raise InputError(
            f"{selection.api}: these pages are missing from the wiki{day}: {listed} (total: {len(missing)})"
        )
    pages = tuple(lookup.pages[title] for title in sorted(lookup.pages))
    if not pages:
        raise InputError(f"{selection.api}: the selection contains no pages")
    redirects = {title: target for title, target in lookup.redirects.items() if target in lookup.pages}
    return Pins(selection, **site, made=today, pages=pages, redirects=redirects, missing=lookup.missing)


def _site(api: MediaWikiApi) -> dict[str, Any]:
    """Return the wiki's name, address and licence, and its names for the file and category namespaces."""
    parameters = {"meta": "siteinfo", "siprop": "general|namespaces|namespacealiases|rightsinfo"}
    answer = next(api.query(parameters))
    try:
        general, rights = answer["general"], answer.get("rightsinfo", {})
        keys = (FILE_NAMESPACE, CATEGORY_NAMESPACE)
        namespaces = [answer["namespaces"][key] for key in keys]
        names = {namespace[key] for namespace in namespaces for key in ("name", "canonical") if key in namespace}
        names |= {alias["alias"] for alias in answer.get("namespacealiases", ()) if str(alias["id"]) in keys}
        server = general["server"]
        address = ("https:" if server.startswith("//") else "") + server + general["articlepath"].replace("$1", "")
        site = str(general["sitename"])
    except (KeyError, TypeError) as error:
        problem = f"the wiki's answer lacks the field {error}"
        raise InputError(f"{api.url}: {problem}; expected the address of a MediaWiki's api.php") from error
    hidden = tuple(sorted(HIDDEN_NAMESPACES | {name.casefold() for name in names}))
    return {"site": site, "address": address, "licence": str(rights.get("text", "")), "hidden": hidden}


def _category_members(api: MediaWikiApi, selection: Selection, limit: int) -> list[str]:
    """Return the titles in the categories and their subcategories, down to the selected depth."""
    titles: dict[str, None] = {}
    level, seen = list(selection.categories), set(selection.categories)
    for depth in range(selection.category_depth + 1):
        next_level: list[str] = []
        for category in level:
            members = _members(api, category)
            if not members and depth == 0:
                raise InputError(
                    f"{api.url}: the category {category!r} has no members; check its name, which must include "
                    "`Category:`"
                )
            for namespace, title in members:
                if str(namespace) == CATEGORY_NAMESPACE and title not in seen:
                    seen.add(title)
                    next_level.append(title)
                elif namespace in selection.namespaces:
                    titles[title] = None
            _check_limit(api, len(titles), limit)
        level = next_level
    return list(titles)


def _members(api: MediaWikiApi, category: str) -> list[tuple[int, str]]:
    """Return the namespace and title of each member of a category."""
    parameters = {"list": "categorymembers", "cmtitle": category, "cmprop": "title", "cmlimit": "max"}
    return [(page["ns"], page["title"]) for part in api.query(parameters) for page in part.get("categorymembers", ())]


def _linked_titles(api: MediaWikiApi, selection: Selection, start: Iterable[str], limit: int) -> list[str]:
    """Return the titles that can be reached from the titles in `start` within the selected number of links."""
    seen = dict.fromkeys(start)
    level = list(seen)
    for _ in range(selection.link_depth):
        next_level: dict[str, None] = {}
        for titles in batches(level):
            parameters = {
                "prop": "links",
                "titles": "|".join(titles),
                "redirects": "1",
                "pllimit": "max",
                "plnamespace": "|".join(map(str, selection.namespaces)),
            }
            for part in api.query(parameters):
                for page in part.get("pages", ()):
                    next_level |= {link["title"]: None for link in page.get("links", ()) if link["title"] not in seen}
            _check_limit(api, len(seen) + len(next_level), 10 * limit)  # because many linked titles have no page
        seen |= next_level
        level = list(next_level)
    return list(seen)


def _check_limit(api: MediaWikiApi, count: int, limit: int) -> None:
    if count > limit:
        problem = f"the selection contains more than {limit:,} pages"
        raise InputError(f"{api.url}: {problem}; select fewer pages, or increase `limit`")


class _Lookup:
    """Pages looked up by title, with their revisions, the redirects between titles, and the number of missing pages."""

    def __init__(self, api: MediaWikiApi, selection: Selection, limit: int) -> None:
        self.api = api
        self.selection = selection
        self.limit = limit
        self.pages: dict[str, Pin] = {}
        self.redirects: dict[str, str] = {}
        self.normalized: dict[str, str] = {}
        self.missing = 0

    def resolve(self, title: str) -> str:
        """Follow redirects from a title and return the title of the target page."""
        title = self.normalized.get(title, title)
        return self.redirects.get(title, title)

    def find_newest(self, titles: Sequence[str]) -> None:
        """Look up the newest revision of each page."""
        for batch in batches(titles):
            parameters = {
                "prop": "revisions",
                "titles": "|".join(batch),
                "redirects": "1",
                "rvprop": "ids|timestamp|sha1|contentmodel",
                "rvslots": "main",
            }
            missing: set[str] = set()
            for part in self.api.query(parameters):
                self.normalized |= {pair["from"]: pair["to"] for pair in part.get("normalized", ())}
                self.redirects |= {pair["from"]: pair["to"] for pair in part.get("redirects", ())}
                for page in part.get("pages", ()):
                    self._add(page, missing)
            self.missing += len(missing)
            _check_limit(self.api, len(self.pages), self.limit)

    def go_back(self, day: str) -> None:
        """Replace each revision with the page's last revision on a given day; pages created later count as missing.

        The MediaWiki API returns the history of only one page per request.
        """
        for title in list(self.pages):
            del self.pages[title]
            parameters = {
                "prop": "revisions",
                "titles": title,
                "rvprop": "ids|timestamp|sha1|contentmodel",
                "rvslots": "main",
                "rvlimit": "1",
                "rvstart": f"{day}T23:59:59Z",
            }
            for page in next(self.api.query(parameters)).get("pages", ()):
                self._add(page, set())
            self.missing += title not in self.pages

    def _add(self, page: Mapping[str, Any], missing: set[str]) -> None:
        """Add a wikitext page in one of the selected namespaces; add the title of a missing page to `missing`."""
        if page.get("missing") or page.get("invalid"):
            missing.add(page["title"])
            return
        revision = next(iter(page.get("revisions", ())), None)
        if revision is None or page["ns"] not in self.selection.namespaces:
            return
        if revision.get("slots", {}).get("main", {}).get("contentmodel", "wikitext") == "wikitext":
            title, timestamp = page["title"], revision["timestamp"]
            self.pages[title] = Pin(title, page["pageid"], revision["revid"], timestamp, revision["sha1"])
