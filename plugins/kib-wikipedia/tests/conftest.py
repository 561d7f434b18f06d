"""A local mock of a MediaWiki server, which responds and fails like api.php."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest

from kib.testing import make_plugin
from kib_wikipedia.corpus import Wikipedia

PART_SIZE = 2
"""Maximum number of links or category members in one answer; longer lists need a continuation."""


@dataclass
class Article:
    """A page's newest revision, its links and categories and, if the page is a redirect, the target."""

    text: str = ""
    links: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    redirect: str | None = None
    ns: int = 0
    revision: int = 0
    model: str = "wikitext"
    since: str = "2024-05-01T12:00:00Z"


@dataclass
class Wiki:
    """A mock wiki with its pages, the received requests, and the failures to return, one per request."""

    pages: dict[str, Article] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    failures: list[Any] = field(default_factory=list)
    old: dict[int, tuple[str, str]] = field(default_factory=dict)  # title and text of each older revision
    times: dict[int, str] = field(default_factory=dict)  # time of each older revision
    address: str = ""

    def add(self, title: str, text: str = "", **more: Any) -> None:
        """Add a page with one revision."""
        self.pages[title] = Article(text, revision=1000 + len(self.pages), **more)

    def edit(self, title: str, text: str, since: str = "2024-06-01T12:00:00Z") -> None:
        """Add a newer revision of a page, and keep the older revisions."""
        page = self.pages[title]
        self.old[page.revision], self.times[page.revision] = (title, page.text), page.since
        page.text, page.revision, page.since = text, page.revision + 500, since

    def answer(self, form: dict[str, str]) -> dict[str, Any]:
        """Answer a request as api.php does in format version 2."""
        query: dict[str, Any] = {}
        if form.get("meta") == "siteinfo":
            return {"query": self._site()}
        if form.get("list") == "categorymembers":
            return self._members(form)
        if "revids" in form:
            return {"query": self._revisions([int(number) for number in form["revids"].split("|")])}
        titles = [self._normal(title, query) for title in form["titles"].split("|")]
        if form.get("redirects"):
            titles = [self._redirected(title, query) for title in titles]
        if form["prop"] == "links":
            return self._links(dict.fromkeys(titles), int(form.get("plcontinue", "0")), query)
        if "rvstart" in form:
            return self._history(titles[0], form["rvstart"])
        query["pages"] = [self._page(title) for title in dict.fromkeys(titles)]
        return {"batchcomplete": True, "query": query}

    def _site(self) -> dict[str, Any]:
        spaces = {"6": {"id": 6, "name": "Datei", "canonical": "File"}, "14": {"id": 14, "name": "Kategorie"}}
        return {
            "general": {"sitename": "Testwiki", "server": "//test.example", "articlepath": "/wiki/$1"},
            "namespaces": spaces,
            "namespacealiases": [{"id": 6, "alias": "Bild"}],
            "rightsinfo": {"text": "CC BY-SA 4.0"},
        }

    def _members(self, form: dict[str, str]) -> dict[str, Any]:
        name, start = form["cmtitle"], int(form.get("cmcontinue", "0"))
        found = [(title, page.ns) for title, page in self.pages.items() if name in page.categories]
        part = [{"ns": ns, "title": title} for title, ns in found[start : start + PART_SIZE]]
        answer: dict[str, Any] = {"query": {"categorymembers": part}}
        if found[start + PART_SIZE :]:
            answer["continue"] = {"cmcontinue": str(start + PART_SIZE), "continue": "-||"}
        return answer

    def _links(self, titles: Any, start: int, query: dict[str, Any]) -> dict[str, Any]:
        every = [(title, link) for title in titles if title in self.pages for link in self.pages[title].links]
        part = every[start : start + PART_SIZE]
        pages = [
            {"title": title, "links": [{"ns": 0, "title": link} for of, link in part if of == title]}
            for title in dict.fromkeys(title for title, _ in part)
        ]
        answer: dict[str, Any] = {"query": {**query, "pages": pages}}
        if every[start + PART_SIZE :]:
            answer["continue"] = {"plcontinue": str(start + PART_SIZE), "continue": "||"}
        return answer

    def _normal(self, title: str, query: dict[str, Any]) -> str:
        normal = title.replace("_", " ")
        normal = normal[:1].upper() + normal[1:]
        if normal != title:
            query.setdefault("normalized", []).append({"from": title, "to": normal})
        return normal

    def _redirected(self, title: str, query: dict[str, Any]) -> str:
        page = self.pages.get(title)
        if page is None or page.redirect is None:
            return title
        query.setdefault("redirects", []).append({"from": title, "to": page.redirect})
        return page.redirect

    def _page(self, title: str) -> dict[str, Any]:
        page = self.pages.get(title)
        if page is None:
            return {"ns": 0, "title": title, "missing": True}
        revision = self._revision(page.revision, page.since, page.text, page.model)
        return {"ns": page.ns, "title": title, "pageid": page.revision - 900, "revisions": [revision]}

    def _revision(self, number: int, since: str, text: str, model: str = "wikitext") -> dict[str, Any]:
        digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
        slots = {"main": {"contentmodel": model}}
        return {"revid": number, "timestamp": since, "sha1": digest, "slots": slots}

    def _history(self, title: str, before: str) -> dict[str, Any]:
        """Return a page's last revision before a time, and a continuation if older revisions exist."""
        page = self.pages[title]
        every = [(page.revision, page.since, page.text)]
        every += [(number, self.times[number], text) for number, (of, text) in self.old.items() if of == title]
        found = sorted((one for one in every if one[1] <= before), key=lambda one: one[1], reverse=True)
        answer = {"ns": page.ns, "title": title, "pageid": page.revision - 900}
        if found:
            answer["revisions"] = [self._revision(*found[0])]
        more = {"continue": {"rvcontinue": "older", "continue": "||"}} if found[1:] else {}
        return {"query": {"pages": [answer]}, **more}

    def _revisions(self, numbers: list[int]) -> dict[str, Any]:
        texts = {page.revision: (title, page.text) for title, page in self.pages.items()} | self.old
        pages = [
            {"title": texts[n][0], "revisions": [{"revid": n, "slots": {"main": {"content": texts[n][1]}}}]}
            for n in numbers
            if n in texts
        ]
        return {"pages": pages, "badrevids": {str(n): {"revid": n} for n in numbers if n not in texts}}


class Handler(BaseHTTPRequestHandler):
    """A request handler that returns the next failure, if any is left, or else the wiki's answer."""

    wiki: ClassVar[Wiki]

    def do_POST(self) -> None:
        """Answer a POST request that contains a form."""
        length = int(self.headers["Content-Length"])
        form = {key: values[0] for key, values in parse_qs(self.rfile.read(length).decode()).items()}
        self.wiki.requests.append(form)
        self.wiki.agents.append(self.headers["User-Agent"])
        failure = self.wiki.failures.pop(0) if self.wiki.failures else None
        if failure is None:
            self.send(200, json.dumps(self.wiki.answer(form)))
        elif failure == "truncated":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"query": {')
            self.close_connection = True
        elif isinstance(failure, dict):
            self.send(200, json.dumps(failure), **{"Retry-After": "5"})
        elif isinstance(failure, str):
            self.send(200, failure)
        else:
            status, wait = failure
            self.send(status, "no", **({"Retry-After": wait} if wait else {}))

    def send(self, status: int, text: str, **headers: str) -> None:
        """Send a response to the client."""
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Suppress the log output of the HTTP server."""


@pytest.fixture
def wiki(server: ThreadingHTTPServer) -> Wiki:
    """Return an empty mock wiki on the shared HTTP server."""
    wiki = Wiki(address=f"http://127.0.0.1:{server.server_port}/w/api.php")
    server.RequestHandlerClass.wiki = wiki
    return wiki


@pytest.fixture(scope="session")
def server() -> Iterator[ThreadingHTTPServer]:
    """Start the HTTP server that all tests share."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def http_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return environment variables that make HTTP clients ignore proxies and load one certificate, to save time."""
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not certificates:
        return {"NO_PROXY": "127.0.0.1"}
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(certificates[0]), encoding="ascii")
    return {"NO_PROXY": "127.0.0.1", "SSL_CERT_FILE": str(path)}


@pytest.fixture(autouse=True)
def set_http_environment(http_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables for HTTP clients during each test."""
    for name, value in http_environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def pinned(wiki: Wiki, tmp_path: Path) -> Callable[..., Wikipedia]:
    """Return a function that creates the plugin for the wiki, with a pin file in the test's folder."""

    def create(**options: Any) -> Wikipedia:
        defaults = {"pins": "w.pins", "api": wiki.address, "contact": "me@example.org", "pause": 0}
        plugin: Wikipedia = make_plugin(Wikipedia, {**defaults, **options}, tmp_path)
        return plugin

    return create


@pytest.fixture
def anatomy(wiki: Wiki) -> Wiki:
    """Fill the wiki with pages that link to each other, redirects, and two levels of categories."""
    wiki.add("Anatomy", "'''Anatomy''' is a science.", links=("Bone", "Muscles", "Nerve", "Nowhere", "Anatomy"))
    wiki.add("Bone", "A [[bone]] is hard. [[Datei:B.jpg|mini]]", links=("Marrow",), categories=("Category:Body",))
    wiki.add("Muscle", "A muscle is soft.", categories=("Category:Body",))
    wiki.add("Muscles", redirect="Muscle")
    wiki.add("Nerve", "A nerve tells.", categories=("Category:Deep",))
    wiki.add("Marrow", "Marrow is in bones.", categories=("Category:Body",))
    wiki.add("Category:Deep", ns=14, categories=("Category:Body", "Category:Deep"))
    wiki.add("Talk:Bone", "No.", ns=1, categories=("Category:Body",))
    return wiki
