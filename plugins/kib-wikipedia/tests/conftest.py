"""A small MediaWiki on this machine: a real HTTP server that answers as api.php does, and fails as it does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from kib.testing import make_plugin
from kib_wikipedia.corpus import Wikipedia

AT_ONCE = 2
"""Links and members in one answer, so that every list has to be continued."""


@dataclass
class Article:
    """A page: its wikitext, what it links to, and where it redirects."""

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
    """What the server knows, what it was asked, and how it fails next: one entry of `faults` a request."""

    pages: dict[str, Article] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    old: dict[int, tuple[str, str]] = field(default_factory=dict)  # revisions that are no longer the newest
    times: dict[int, str] = field(default_factory=dict)  # of these
    address: str = ""

    def add(self, title: str, text: str = "", **more: Any) -> None:
        """A page with its first revision."""
        self.pages[title] = Article(text, revision=1000 + len(self.pages), **more)

    def edit(self, title: str, text: str, since: str = "2024-06-01T12:00:00Z") -> None:
        """A newer revision of a page; the older one stays."""
        page = self.pages[title]
        self.old[page.revision], self.times[page.revision] = (title, page.text), page.since
        page.text, page.revision, page.since = text, page.revision + 500, since

    def answer(self, asked: dict[str, str]) -> dict[str, Any]:
        """What api.php would say, format version 2."""
        query: dict[str, Any] = {}
        if asked.get("meta") == "siteinfo":
            return {"query": self._site()}
        if asked.get("list") == "categorymembers":
            return self._members(asked)
        if "revids" in asked:
            return {"query": self._revisions([int(number) for number in asked["revids"].split("|")])}
        titles = [self._normal(title, query) for title in asked["titles"].split("|")]
        if asked.get("redirects"):
            titles = [self._redirected(title, query) for title in titles]
        if asked["prop"] == "links":
            return self._links(dict.fromkeys(titles), int(asked.get("plcontinue", "0")), query)
        if "rvstart" in asked:
            return self._history(titles[0], asked["rvstart"])
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

    def _members(self, asked: dict[str, str]) -> dict[str, Any]:
        name, start = asked["cmtitle"], int(asked.get("cmcontinue", "0"))
        found = [(title, page.ns) for title, page in self.pages.items() if name in page.categories]
        part = [{"ns": ns, "title": title} for title, ns in found[start : start + AT_ONCE]]
        answer: dict[str, Any] = {"query": {"categorymembers": part}}
        if found[start + AT_ONCE :]:
            answer["continue"] = {"cmcontinue": str(start + AT_ONCE), "continue": "-||"}
        return answer

    def _links(self, titles: Any, start: int, query: dict[str, Any]) -> dict[str, Any]:
        every = [(title, link) for title in titles if title in self.pages for link in self.pages[title].links]
        part = every[start : start + AT_ONCE]
        pages = [
            {"title": title, "links": [{"ns": 0, "title": link} for of, link in part if of == title]}
            for title in dict.fromkeys(title for title, _ in part)
        ]
        answer: dict[str, Any] = {"query": {**query, "pages": pages}}
        if every[start + AT_ONCE :]:
            answer["continue"] = {"plcontinue": str(start + AT_ONCE), "continue": "||"}
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
        """The last revision before a time, and that there are older ones."""
        page = self.pages[title]
        every = [(page.revision, page.since, page.text)]
        every += [(number, self.times[number], text) for number, (of, text) in self.old.items() if of == title]
        found = sorted((one for one in every if one[1] <= before), key=lambda one: one[1], reverse=True)
        said = {"ns": page.ns, "title": title, "pageid": page.revision - 900}
        if found:
            said["revisions"] = [self._revision(*found[0])]
        more = {"continue": {"rvcontinue": "older", "continue": "||"}} if found[1:] else {}
        return {"query": {"pages": [said]}, **more}

    def _revisions(self, numbers: list[int]) -> dict[str, Any]:
        texts = {page.revision: (title, page.text) for title, page in self.pages.items()} | self.old
        pages = [
            {"title": texts[n][0], "revisions": [{"revid": n, "slots": {"main": {"content": texts[n][1]}}}]}
            for n in numbers
            if n in texts
        ]
        return {"pages": pages, "badrevids": {str(n): {"revid": n} for n in numbers if n not in texts}}


class Handler(BaseHTTPRequestHandler):
    """One request: a fault where one is due, else the wiki's answer."""

    wiki: Wiki

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        asked = {key: values[0] for key, values in parse_qs(self.rfile.read(length).decode()).items()}
        self.wiki.asked.append(asked)
        self.wiki.agents.append(self.headers["User-Agent"])
        fault = self.wiki.faults.pop(0) if self.wiki.faults else None
        if fault is None:
            self.say(200, json.dumps(self.wiki.answer(asked)))
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"query": {')
            self.close_connection = True
        elif isinstance(fault, dict):
            self.say(200, json.dumps(fault), **{"Retry-After": "5"})
        elif isinstance(fault, str):
            self.say(200, fault)
        else:
            status, wait = fault
            self.say(status, "no", **({"Retry-After": wait} if wait else {}))

    def say(self, status: int, text: str, **headers: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def wiki() -> Iterator[Wiki]:
    """A wiki that answers on this machine."""
    known = Wiki()
    handler = type("Handler", (Handler,), {"wiki": known})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    known.address = f"http://127.0.0.1:{server.server_port}/w/api.php"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pinned(wiki: Wiki, tmp_path: Path) -> Any:
    """Make the plugin for this wiki."""

    def make(**options: Any) -> Wikipedia:
        more = {"pins": "w.pins", "api": wiki.address, "contact": "me@example.org", "pause": 0, **options}
        plugin: Wikipedia = make_plugin(Wikipedia, more, tmp_path)
        return plugin

    return make
