import bz2
import gzip
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Document
from kib.testing import make_plugin
from kib_wikipedia.corpus import Wikipedia

DATA = Path(os.environ.get("KIB_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
<siteinfo><sitename>Testwiki</sitename><base>https://test.example/wiki/Hauptseite</base>
<namespaces><namespace key="0" /><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace>
</namespaces></siteinfo>
"""


def page(title: str, text: str = "Some text.", ns: int = 0, redirect: str = "", model: str = "wikitext") -> str:
    sent = f'<redirect title="{redirect}" />' if redirect else ""
    revision = f"<id>7</id><timestamp>2024-05-01T12:00:00Z</timestamp><model>{model}</model><text>{text}</text>"
    return f"<page><title>{title}</title><ns>{ns}</ns><id>1</id>{sent}<revision>{revision}</revision></page>\n"


def write(place: Path, *pages: str, pack: Callable[[bytes], bytes] = bytes) -> Path:
    path = place / "dump.xml"
    path.write_bytes(pack((HEAD + "".join(pages) + "</mediawiki>\n").encode()))
    return path


def plugin(path: Path, **options: Any) -> Wikipedia:
    made: Wikipedia = make_plugin(Wikipedia, {"dump": path, **options})
    return made


@pytest.mark.parametrize(
    "pack", [bytes, bz2.compress, gzip.compress, lambda d: bz2.compress(d[:99]) + bz2.compress(d[99:])]
)
def test_packed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A dump is read plain, as gzip, and as bzip2 of one stream or many; its name does not matter."""
    [document] = plugin(
        write(tmp_path, page("Pump &amp; Co", "[[Datei:A.jpg]]The pump.[[Kategorie:P]]"), pack=pack)
    ).documents()
    source = "https://test.example/wiki/Pump_%26_Co?oldid=7"
    assert document == Document("Pump & Co", "Pump & Co", "The pump.", source, "CC BY-SA")


def test_namespaces(tmp_path: Path) -> None:
    """Pages of the namespaces asked for are documents, in the order of the dump; articles where nothing is asked."""
    path = write(tmp_path, page("B"), page("Talk:A", ns=1), page("A"), page("User:A", ns=2))
    assert [document.id for document in plugin(path).documents()] == ["B", "A"]
    assert [document.id for document in plugin(path, namespaces=[1, 2]).documents()] == ["Talk:A", "User:A"]


def test_redirects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A redirect is another name of what it leads to at last; one that leads nowhere is counted and named."""
    pages = [
        page("Two", redirect="One"),
        page("One", redirect="A#History"),
        page("Low", redirect="a_b"),
        page("A"),
        page("A b"),
        page("Lost", redirect="Nowhere"),
        page("Round", redirect="About"),
        page("About", redirect="Round"),
    ]
    corpus = plugin(write(tmp_path, *pages))
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in corpus.documents()] == ["A", "A b"]
    assert corpus.aliases() == {"Two": "A", "One": "A", "Low": "A b"}
    assert corpus.notes() == {
        "source": "Testwiki, https://test.example/wiki/",
        "date": "2024-05-01",
        "redirects": 6,
        "redirects_resolved": 3,
        "redirects_elsewhere": 3,
        "empty": 0,
        "other_models": 0,
    }
    assert "3 of 6 redirects lead to no document of this corpus: Lost → Nowhere, Round → Round" in caplog.text


def test_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pages without text and pages that are no wikitext are left out, counted and named; or the first is an error."""
    path = write(tmp_path, page("A"), page("Empty", "{{box}}"), page("Data", "x", model="json"))
    corpus = plugin(path)
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in corpus.documents()] == ["A"]
    assert "1 pages without text left out: Empty" in caplog.text
    assert "1 pages that are no wikitext left out: Data" in caplog.text
    with pytest.raises(InputError, match=r"dump\.xml: 'Empty' has no text; `empty = \"skip\"` leaves it out"):
        list(plugin(path, empty="error").documents())


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1, column 1: not XML: no element found"),
        (HEAD.encode(), r"not XML: no element found; is the file cut off"),
        (HEAD.encode() + b"<page><title>A</titel>", r"line 5, column 17: not XML: mismatched tag"),
        (HEAD.encode() + b"<page><title>\xff</title>", r"not XML: not well-formed"),
        (b"<html></html>", r"a <html>, expected the <mediawiki> of a dump"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><mediawiki/>', r"defines entities of its own"),
        (b"<mediawiki></mediawiki>", r"no article in it; `namespaces` says"),
        (HEAD.encode() + b"<page><ns>0</ns></page></mediawiki>", r"a page without title"),
        (cut(bz2.compress(HEAD.encode() * 9)), r"the compressed file is cut off or damaged"),
        (cut(gzip.compress(HEAD.encode() * 9)), r"the compressed file is cut off or damaged"),
        (b"7z\xbc\xaf\x27\x1c", r"packed as 7z; expected plain XML, \.bz2 or \.gz"),
    ],
)
def test_no_dump(tmp_path: Path, content: bytes, message: str) -> None:
    """What is no dump, or half of one, is an error that says where and why."""
    (tmp_path / "dump.xml").write_bytes(content)
    with pytest.raises(InputError, match=r"dump\.xml: .*" + message):
        list(plugin(tmp_path / "dump.xml").documents())


def test_twice(tmp_path: Path) -> None:
    """A title that stands twice is an error."""
    with pytest.raises(InputError, match="'A' stands in it twice"):
        list(plugin(write(tmp_path, page("A"), page("A"))).documents())


@pytest.mark.parametrize("method", ["fingerprint", "documents"])
def test_unreadable(tmp_path: Path, method: str) -> None:
    """A missing file, a folder, and a file whose bytes the system does not give are errors that say so."""
    (tmp_path / "mem").symlink_to("/proc/self/mem")  # it opens for everybody, root too, and cannot be read
    for path, message in (("none", "no such file"), (".", "cannot be read|a folder"), ("mem", "cannot be read")):
        with pytest.raises(InputError, match=message):
            list(getattr(plugin(tmp_path / path), method)())


@pytest.mark.slow
def test_large(tmp_path: Path) -> None:
    """An article of 50 MB is read like any other."""
    paragraph = "The [[ferry]] leaves the harbour at dawn{{cn}} and returns at dusk.\n\n" * 10
    path = write(tmp_path, page("A", f"{'x' * 1_000_000}\n\n" * 45 + paragraph * 1000))
    [document] = plugin(path).documents()
    assert len(document.text) > 45_000_000
    assert document.text.count("The ferry leaves the harbour at dawn and returns at dusk.") == 10_000


@pytest.fixture(scope="module")
def fragment() -> tuple[Wikipedia, list[Document]]:
    path = DATA / "wikipedia" / "enwiki-fragment.xml.bz2"
    if not path.is_file():
        pytest.skip(f"no {path}; KIB_TEST_DATA names the folder of test data")
    corpus = plugin(path)
    return corpus, list(corpus.documents())


RULES = {
    "braces of templates and tables": r"\{\{|\}\}|\{\||\|\}|[{}]",
    "brackets of links": r"\[\[|\]\]|\[https?://",
    "cells of tables": r"^\s*[|!]|\|\||\|-",
    "tags": r"</?(?:[a-z]+|h[1-6])(?:\s[^<>]*)?/?>|<!--|-->",
    "quotes for bold and italic": r"'{2,}",
    "heading marks": r"^\s*=+.*=+\s*$",
    "pictures and categories": r"(?i)\b(?:file|image|category|template):\S|thumb\||\d+px\b",
    "magic words": r"__[A-Z]{3,}__",
    "entities": r"&(?:[a-z]+|#\d+);",
    "hollow brackets": r"[(\[][\s,;:–-]*[)\]]|\(\s*[,;:]|[,;:]\s*\)|\(\s|\s\)",
    "spaces left over": r" [,;)]|,,|[ \t]{2}|[ \t]$|\A\s|\s\Z|\n{3}",
    "lists of notes": r"^(?:References|External links|Further reading|See also|Notes)$",
}
"""Markup by what it is, none of which a text for reading has."""

LITERAL = {("ASCII", "braces of templates and tables")}
"""The article on ASCII writes of braces, which its wikitext marks as what they are."""


def test_fragment(fragment: tuple[Wikipedia, list[Document]]) -> None:
    """A real fragment of a dump is 106 articles and 100 redirects, each of which is resolved or named."""
    corpus, documents = fragment
    assert len(documents) == 106
    counts = corpus.notes()
    assert counts["date"] == "2016-05-01"
    assert (counts["redirects"], counts["redirects_resolved"], counts["redirects_elsewhere"]) == (100, 13, 87)
    assert corpus.aliases()["ANOVA"] == "Analysis of variance"
    assert set(corpus.aliases().values()) <= {document.id for document in documents}


@pytest.mark.parametrize("what", RULES)
def test_fragment_is_clean(fragment: tuple[Wikipedia, list[Document]], what: str) -> None:
    """No article of a real fragment holds a piece of markup."""
    rule = re.compile(RULES[what], re.MULTILINE)
    found = [
        f"{document.id}: …{document.text[max(0, match.start() - 40) : match.end() + 40]!r}…"
        for document in fragment[1]
        for match in rule.finditer(document.text)
        if (document.id, what) not in LITERAL
    ]
    assert not found, "\n".join(found)


def test_fragment_reads_well(fragment: tuple[Wikipedia, list[Document]]) -> None:
    """Sentences are whole: what templates and links stand for is in them, with the page's own revision as source."""
    documents = {document.id: document for document in fragment[1]}
    anatomy = documents["Anatomy"]
    assert anatomy.source == "https://en.wikipedia.org/wiki/Anatomy?oldid=717773660"
    assert anatomy.licence == "CC BY-SA"
    assert anatomy.text.startswith(
        "Anatomy is the branch of biology concerned with the study of the structure of organisms and their parts. "
        "Anatomy is inherently tied to embryology, comparative anatomy, evolutionary biology, and phylogeny, as these"
    )
    assert '\n\nDefinition\nDerived from the Greek ἀνατέμνω anatemnō "I cut up, cut open" from' in anatomy.text
    assert "have the general chemical formula CnH2n+2. For example, methane is CH4" in documents["Alkane"].text
