import bz2
import gzip
import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from kib.commands.show import corpus_remarks
from kib.errors import InputError
from kib.records import Document
from kib.testing import make_plugin
from kib_wikipedia.corpus import Wikipedia, _Pass

DATA = Path(os.environ.get("KIB_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
<siteinfo><sitename>Testwiki</sitename><base>https://test.example/wiki/Hauptseite</base>
<namespaces><namespace key="0" /><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace>
</namespaces></siteinfo>
"""


def page(title: str, text: str = "Some text.", ns: int = 0, redirect: str = "", model: str = "wikitext") -> str:
    """Return a page of a dump as XML."""
    target = f'<redirect title="{redirect}" />' if redirect else ""
    revision = f"<id>7</id><timestamp>2024-05-01T12:00:00Z</timestamp><model>{model}</model><text>{text}</text>"
    return f"<page><title>{title}</title><ns>{ns}</ns><id>1</id>{target}<revision>{revision}</revision></page>\n"


def write_dump(folder: Path, *pages: str, compress: Callable[[bytes], bytes] = bytes) -> Path:
    """Write a dump that contains the given pages, and return its path."""
    path = folder / "dump.xml"
    path.write_bytes(compress((HEAD + "".join(pages) + "</mediawiki>\n").encode()))
    return path


def create(path: Path, **options: Any) -> Wikipedia:
    """Create the plugin for a dump."""
    plugin: Wikipedia = make_plugin(Wikipedia, {"dump": path, **options})
    return plugin


def read_ids(plugin: Wikipedia) -> list[str]:
    """Return the ids of a plugin's documents."""
    return [document.id for document in plugin.documents()]


@pytest.mark.parametrize(
    "compress", [bytes, bz2.compress, gzip.compress, lambda d: bz2.compress(d[:99]) + bz2.compress(d[99:])]
)
def test_compression(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """A dump may be plain XML, gzip, or one or more bzip2 streams, regardless of the file name."""
    text = "[[Datei:A.jpg]]The pump.[[Kategorie:P]]"
    path = write_dump(tmp_path, page("Pump &amp; Co", text), compress=compress)
    source = "https://test.example/wiki/Pump_%26_Co?oldid=7"
    expected = Document("Pump & Co", "Pump & Co", "The pump.", source, "CC BY-SA")
    assert list(create(path).documents()) == [expected]


def test_namespaces(tmp_path: Path) -> None:
    """Pages in the selected namespaces become documents, in dump order; by default, only articles are selected."""
    path = write_dump(tmp_path, page("B"), page("Talk:A", ns=1), page("A"), page("User:A", ns=2))
    assert read_ids(create(path)) == ["B", "A"]
    assert read_ids(create(path, namespaces=[1, 2])) == ["Talk:A", "User:A"]


def test_redirects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A redirect becomes an alias of its target document, and unresolved redirects are counted and logged."""
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
    corpus = create(write_dump(tmp_path, *pages))
    with caplog.at_level(logging.WARNING):
        assert read_ids(corpus) == ["A", "A b"]
    assert corpus.aliases() == {"Two": "A", "One": "A", "Low": "A b"}
    assert corpus.notes() == {
        "source": "Testwiki, https://test.example/wiki/",
        "date": "2024-05-01",
        "redirects": 6,
        "redirects_resolved": 3,
        "redirects_elsewhere": 3,
        "empty": 0,
        "other_models": 0,
        "over_limit": 0,
    }
    assert "3 of 6 redirects do not lead to a document in this corpus: Lost → Nowhere, Round → Round" in caplog.text


def test_pages_without_text_are_omitted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A page without wikitext is omitted with a warning, and a page without text is rejected with `empty = "error"`."""
    path = write_dump(tmp_path, page("A"), page("Empty", "{{box}}"), page("Data", "x", model="json"))
    with caplog.at_level(logging.WARNING):
        assert read_ids(create(path)) == ["A"]
    assert "left out 1 page without text: Empty" in caplog.text
    assert "left out 1 page in formats other than wikitext: Data" in caplog.text
    with pytest.raises(
        InputError, match=r"dump\.xml: 'Empty': the page has no text; to leave out such pages, set `empty = "
    ):
        list(create(path, empty="error").documents())


def test_templates_left_out(tmp_path: Path) -> None:
    """The notes count the templates without their own text by name, and `kib check` prints the most frequent names."""
    names = [f"a{number:03}" for number in range(250)]
    pages = [
        page("A", "At {{x}} of {{x}} and {{year|7}}."),
        page("B", "{{y}} " + " ".join(f"{{{{{name}}}}}" for name in names) + " B"),
    ]
    corpus = create(write_dump(tmp_path, *pages))
    assert read_ids(corpus) == ["A", "B"]
    notes = corpus.notes()
    assert list(notes["templates_left_out"].items())[:2] == [("x", 2), ("y", 1)]
    assert notes["templates_left_out"]["(other names)"] == 52
    assert notes["templates_left_out_inside_sentences"] == {"x": 2}
    listed = ", ".join(f"{name} (1)" for name in names[:8])
    most = f"left out 253 templates without text (252 names), most often x (2), y (1), {listed}, …"
    assert list(corpus_remarks({"corpus": "w", "notes": notes})) == [
        f"corpus w: {most}; 2 of them inside sentences: x (2)",
        "corpus w: replaced 1 unknown template with its parameters (1 name), most often year (1)",
    ]


def truncate(data: bytes) -> bytes:
    """Return the first half of `data`."""
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1, column 1: invalid XML \(no element found"),
        (HEAD.encode(), r"invalid XML \(no element found\); the file may be truncated"),
        (HEAD.encode() + b"<page><title>A</titel>", r"line 5, column 17: invalid XML \(mismatched tag"),
        (HEAD.encode() + b"<page><title>\xff</title>", r"invalid XML \(not well-formed"),
        (b"<html></html>", r"this is not a MediaWiki dump: the root element is <html>; expected"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><mediawiki/>', r"this is not a MediaWiki dump, because"),
        (b"<mediawiki></mediawiki>", r"contains no article in the selected namespaces; check the option `namespaces`"),
        (HEAD.encode() + b"<page><ns>0</ns></page></mediawiki>", r"the dump contains a page without a title"),
        (HEAD.encode() + b"<page><title>A</title><ns>x</ns></page></mediawiki>", r"'A' has the invalid namespace 'x'"),
        (truncate(bz2.compress(HEAD.encode() * 9)), r"the compressed file is truncated or damaged"),
        (truncate(gzip.compress(HEAD.encode() * 9)), r"the compressed file is truncated or damaged"),
        (b"7z\xbc\xaf\x27\x1c", r"7z archives are not supported; expected plain XML, \.bz2 or \.gz"),
    ],
)
def test_invalid_dump(tmp_path: Path, content: bytes, message: str) -> None:
    """A truncated dump, or a file that is not a dump, raises an error that states the reason."""
    (tmp_path / "dump.xml").write_bytes(content)
    with pytest.raises(InputError, match=r"dump\.xml: .*" + message):
        list(create(tmp_path / "dump.xml").documents())


def test_duplicate_title(tmp_path: Path) -> None:
    """A dump that contains two pages with the same title raises an error."""
    with pytest.raises(InputError, match="'A': duplicate title"):
        list(create(write_dump(tmp_path, page("A"), page("A"))).documents())


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "no such file"), (".", "cannot be read: |this is a folder"), ("n" * 300, "cannot be read: ")],
)
def test_unreadable_file(tmp_path: Path, name: str, message: str) -> None:
    """A path to a missing file, to a folder or to a file that cannot be opened raises an error."""
    plugin = create(tmp_path / name)
    for method in (plugin.fingerprint, lambda: read_ids(plugin)):
        with pytest.raises(InputError, match=message):
            method()


@pytest.mark.slow
def test_large_article(tmp_path: Path) -> None:
    """An article of 5 MB is converted completely."""
    paragraph = "The [[ferry]] leaves the harbour at dawn{{cn}} and returns at dusk.\n\n"
    path = write_dump(tmp_path, page("A", f"{'x' * 1_000_000}\n\n" * 5 + paragraph * 1000))
    [document] = create(path).documents()
    assert len(document.text) > 5_000_000
    assert document.text.count("The ferry leaves the harbour at dawn and returns at dusk.") == 1000


FRAGMENT = DATA / "wikipedia" / "enwiki-fragment.xml.bz2"

SAMPLE = {"Anatomy", "Alkane", "ASCII", "Analysis of variance", "Albedo"}
"""Titles of the articles that the fast tests read; the slow test reads all 106 articles."""

needs_fragment = pytest.mark.skipif(
    not FRAGMENT.is_file(), reason=f"no {FRAGMENT}; set KIB_TEST_DATA to the folder of test data"
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Wikipedia:
    """Create the plugin for a sample of a real dump, with all redirects and some articles."""
    dump = bz2.decompress(FRAGMENT.read_bytes()).decode()
    head, *pages = dump.removesuffix("</mediawiki>").split("  <page>")
    kept = [one for one in pages if "<redirect" in one or one.partition("<title>")[2].partition("<")[0] in SAMPLE]
    path = tmp_path_factory.mktemp("sample") / "sample.xml"
    path.write_text("  <page>".join([head, *kept]).removesuffix("</mediawiki>") + "</mediawiki>", encoding="utf-8")
    return create(path)


@pytest.fixture(scope="module")
def articles(sample: Wikipedia) -> dict[str, Document]:
    """Return the documents of the sample as a mapping from id to document."""
    return {document.id: document for document in sample.documents()}


MARKUP = {
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
"""Patterns of wikitext markup that must not occur in the text of an article."""

QUOTED_MARKUP = {
    ("ASCII", "braces of templates and tables"),
    ("Algorithm", "hollow brackets"),
    ("Algorithm", "spaces left over"),
}
"""Articles whose text legitimately contains markup characters: two articles contain code."""


FORMULA = re.compile(r"\$[^$\n]*[\\{][^$\n]*\$")
"""Matches a formula in TeX notation, which may contain braces."""


def find_markup(documents: Iterable[Document]) -> list[str]:
    """Return each piece of markup that remains in the documents outside formulas, with the surrounding text."""
    texts = {document.id: FORMULA.sub("x", document.text) for document in documents}
    return [
        f"{title}: {name}: …{text[max(0, match.start() - 40) : match.end() + 40]!r}…"
        for title, text in texts.items()
        for name, pattern in MARKUP.items()
        for match in re.finditer(pattern, text, re.MULTILINE)
        if (title, name) not in QUOTED_MARKUP
    ]


@needs_fragment
def test_sample_redirects(sample: Wikipedia, articles: dict[str, Document]) -> None:
    """In a real dump, each redirect is an alias of a document, or is counted as unresolved."""
    assert set(articles) == SAMPLE
    counts = sample.notes()
    assert counts["redirects"] == 100
    assert counts["redirects_resolved"] == len(sample.aliases()) == 100 - counts["redirects_elsewhere"]
    assert sample.aliases()["ANOVA"] == "Analysis of variance"
    assert set(sample.aliases().values()) <= set(articles)


@needs_fragment
def test_sample_text(articles: dict[str, Document]) -> None:
    """The text of articles from a real dump contains no markup, but contains the words from templates and links."""
    assert not find_markup(articles.values())
    anatomy = articles["Anatomy"]
    assert anatomy.source == "https://en.wikipedia.org/wiki/Anatomy?oldid=717773660"
    assert anatomy.licence == "CC BY-SA"
    assert anatomy.text.startswith(
        "Anatomy is the branch of biology concerned with the study of the structure of organisms and their parts. "
        "Anatomy is inherently tied to embryology, comparative anatomy, evolutionary biology, and phylogeny, as these"
    )
    assert '\n\nDefinition\nDerived from the Greek ἀνατέμνω anatemnō "I cut up, cut open" from' in anatomy.text
    assert "have the general chemical formula C_nH_(2n+2). For example, methane is CH₄" in articles["Alkane"].text


@needs_fragment
@pytest.mark.slow
def test_fragment() -> None:
    """A fragment of a real dump yields 106 articles without markup, and 100 redirects."""
    corpus = create(FRAGMENT)
    documents = list(corpus.documents())
    assert len(documents) == 106
    counts = corpus.notes()
    assert counts["date"] == "2016-05-01"
    assert (counts["redirects"], counts["redirects_resolved"], counts["redirects_elsewhere"]) == (100, 13, 87)
    assert not find_markup(documents)


@pytest.mark.parametrize(
    ("text", "options", "problem", "advice"),
    [
        (
            '&lt;ref name="' * 5000,
            {"max_seconds": 0.5},
            "the page takes longer than 0.5 seconds",
            "to convert the page, increase `max_seconds`",
        ),
        ("{{{" * 5000 + "}}}" * 5000, {}, "the page is nested too deeply", "this limit is fixed"),
    ],
)
def test_over_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, options: dict[str, float], problem: str, advice: str
) -> None:
    """A page that exceeds a limit raises an error or, with `over_limit = "skip"`, is omitted and recorded."""
    path = write_dump(tmp_path, page("A", "One."), page("Bomb", text), page("C", "Three."))
    with pytest.raises(InputError, match=re.escape(f"'Bomb': {problem}; {advice}; to leave out")):
        read_ids(create(path, **options))
    plugin = create(path, over_limit="skip", **options)
    with caplog.at_level(logging.WARNING):
        assert read_ids(plugin) == ["A", "C"]
    assert f"left out 1 page beyond a limit: Bomb ({problem})" in caplog.text
    assert (plugin.notes()["over_limit"], plugin.notes()["skipped"]) == (1, [f"Bomb ({problem})"])
    fingerprints = [create(path, over_limit=value, max_seconds=9.0).fingerprint() for value in ("error", "skip")]
    assert fingerprints[0] == create(path).fingerprint() != fingerprints[1] != plugin.fingerprint()


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress])
def test_large_revision(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """A revision larger than `max_unpacked_mb` is rejected, but many small revisions may exceed this size together."""
    text = "x" * (3 << 20)
    path = write_dump(tmp_path, page("A", text), compress=compress)
    with pytest.raises(InputError, match=r"dump\.xml: a revision is larger than `max_unpacked_mb = 2`; if the dump is"):
        read_ids(create(path, max_unpacked_mb=2))
    last = "<revision><id>8</id><text>Last.</text></revision></page>"
    many = page("A", "x" * (1 << 20)).removesuffix("</page>\n")
    revision = many[many.index("<revision>") :]
    path = write_dump(tmp_path, many + revision * 3 + last, compress=compress)
    assert [document.text for document in create(path, max_unpacked_mb=2).documents()] == ["Last."]


def test_deep_dump(tmp_path: Path) -> None:
    """An XML file that is nested more deeply than any MediaWiki dump is rejected."""
    with pytest.raises(InputError, match=r"not a MediaWiki dump, because elements are nested too deeply"):
        read_ids(create(write_dump(tmp_path, "<a>" * 20 + "</a>" * 20)))


class CountingDict(dict[str, str]):
    """A dictionary that counts its lookups."""

    lookups = 0

    def __getitem__(self, key: str) -> str:
        self.lookups += 1
        return super().__getitem__(key)


def test_redirect_chain() -> None:
    """The number of lookups needed to resolve a chain of redirects is proportional to the length of the chain."""
    count = 1000
    redirects = CountingDict({str(number): str(number + 1) for number in range(count)})
    aliases, unresolved = _Pass(redirects, {str(count)}).resolve_redirects()
    assert (aliases, unresolved) == (dict.fromkeys(redirects, str(count)), [])
    assert redirects.lookups <= 3 * count
