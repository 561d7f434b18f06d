import os
from pathlib import Path
from typing import Any

import pytest

from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_wikipedia.corpus import Wikipedia

PINS: dict[str, Any] = {"pins": "/x", "pages": ["Anatomy"], "contact": "me@example.org"}

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="en">
<siteinfo><sitename>Testwiki</sitename><base>https://test.example/wiki/Main_Page</base></siteinfo>
<page><title>Pump</title><ns>0</ns><id>1</id><revision><id>11</id><timestamp>2024-05-01T12:00:00Z</timestamp>
<text>'''Pump 7''' has a [[lever|red lever]].</text></revision></page>
<page><title>Brücke 桥</title><ns>0</ns><id>2</id><revision><id>12</id><timestamp>2023-05-01T12:00:00Z</timestamp>
<text>Über die Brücke 🚧</text></revision></page>
</mediawiki>
"""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Write a dump of two pages."""
    path = tmp_path / "dump.xml"
    path.write_text(DUMP, encoding="utf-8")
    return path


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("corpora", "wikipedia") is Wikipedia


def test_contract(dump: Path) -> None:
    """A corpus that is read from a dump satisfies the contract for corpus plugins."""
    check_corpus(lambda: make_plugin(Wikipedia, {"dump": dump}))


def test_contract_of_pins(wiki: Any, pinned: Any) -> None:
    """A corpus of pinned pages satisfies the contract for corpus plugins."""
    wiki.add("Pump", "'''Pump 7''' has a [[lever|red lever]].")
    wiki.add("Brücke 桥", "Über die Brücke 🚧")
    pinned(pages=["Pump", "Brücke 桥"]).pin()
    check_corpus(lambda: pinned(pages=["Pump", "Brücke 桥"]))


def test_options() -> None:
    """Every option has a description, and invalid values are rejected."""
    check_options(
        Wikipedia,
        accepts=[
            {"dump": "/x"},
            {"dump": "/x", "namespaces": [0, 4], "drop_sections": [], "empty": "error", "date": "2016-05-01"},
            PINS,
            {**PINS, "link_depth": 1, "limit": 10, "api": "http://localhost/api.php", "pause": 0.5, "store": "/y"},
            {"pins": "/x", "categories": ["Category:Anatomy"], "category_depth": 2, "contact": "https://example.org"},
        ],
        refuses=[
            {},
            {"dump": "/x", "pins": "/y"},
            {"dump": "/x", "pages": ["Anatomy"]},
            {"pins": "/x", "contact": "me@example.org"},
            {"pins": "/x", "pages": ["Anatomy"]},
            {**PINS, "category_depth": 1},
            {**PINS, "api": "en.wikipedia.org"},
            {**PINS, "pause": -1},
            {"dump": "/x", "namespaces": []},
        ],
    )


def test_fingerprint(dump: Path) -> None:
    """A dump's fingerprint depends on the content of the file, but not on the file's timestamp."""
    check_fingerprint(
        lambda: make_plugin(Wikipedia, {"dump": dump}),
        same=lambda: os.utime(dump, (0, 0)),
        change=lambda: dump.write_text(DUMP.replace("red", "tan"), encoding="utf-8"),
    )


def test_fingerprint_of_pins(wiki: Any, pinned: Any) -> None:
    """The fingerprint of a pinned corpus depends on the pinned revisions, but not on later edits to the pages."""
    wiki.add("Pump", "The red lever.")
    plugin = pinned(pages=["Pump"])
    plugin.pin()
    check_fingerprint(
        lambda: pinned(pages=["Pump"]),
        same=lambda: wiki.edit("Pump", "The tan lever."),
        change=lambda: plugin.pin(again=True),
    )


def test_online(dump: Path, wiki: Any, pinned: Any) -> None:
    """A corpus of pinned pages needs network access, but a corpus from a dump does not."""
    assert make_plugin(Wikipedia, {"dump": dump}).online() == []
    assert pinned(pages=["Pump"]).online() == [f"the pages pinned in w.pins, from {wiki.address}"]
