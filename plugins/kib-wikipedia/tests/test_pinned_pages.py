import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib_wikipedia.corpus import Wikipedia

Pinned = Callable[..., Wikipedia]


def read_ids(plugin: Wikipedia) -> list[str]:
    """Return the ids of a plugin's documents."""
    return [document.id for document in plugin.documents()]


def test_pages(anatomy: Any, pinned: Pinned, tmp_path: Path) -> None:
    """Pinned pages become documents sorted by title, with the revision URL as source and redirects as aliases."""
    plugin = pinned(pages=["Muscles", "anatomy"])
    plugin.pin()
    documents = list(plugin.documents())
    assert [document.id for document in documents] == ["Anatomy", "Muscle"]
    assert documents[0].text == "Anatomy is a science."
    assert documents[0].source == "https://test.example/wiki/Anatomy?oldid=1000"
    assert plugin.aliases() == {"Muscles": "Muscle"}
    assert plugin.notes()["date"] == "2024-05-01"
    assert sorted(path.name for path in (tmp_path / "w.pins.pages").iterdir()) == ["1000.wikitext", "1002.wikitext"]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"pages": ["Anatomy"], "link_depth": 1}, ["Anatomy", "Bone", "Muscle", "Nerve"]),
        ({"pages": ["Anatomy"], "link_depth": 2}, ["Anatomy", "Bone", "Marrow", "Muscle", "Nerve"]),
        ({"categories": ["Category:Body"]}, ["Bone", "Marrow", "Muscle"]),
        ({"categories": ["Category:Body"], "category_depth": 3}, ["Bone", "Marrow", "Muscle", "Nerve"]),
    ],
)
def test_selection(anatomy: Any, pinned: Pinned, options: dict[str, Any], ids: list[str]) -> None:
    """Links and categories are followed to the selected depth and across partial responses, and no page is repeated."""
    plugin = pinned(**options)
    pins = plugin.pin()
    assert [pin.title for pin in pins.pages] == ids
    assert pins.missing == ("pages" in options)


def test_as_of(anatomy: Any, pinned: Pinned) -> None:
    """The option `as_of` pins the latest revision up to a date, and a selected page created later raises an error."""
    anatomy.edit("Bone", "A bone is old.")
    anatomy.edit("Bone", "A bone is new.", since="2024-07-01T00:00:00Z")
    plugin = pinned(categories=["Category:Body"], as_of="2024-06-30")
    assert plugin.pin().missing == 0
    assert next(plugin.documents()).text == "A bone is old."
    with pytest.raises(InputError, match="pages are missing from the wiki as of 2024-04-30: 'Bone'"):
        pinned(pages=["Bone"], as_of="2024-04-30").pin(again=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pages": ["Bone", "No such", "Neither"]}, "pages are missing from the wiki: 'No such', 'Neither' (total: 2)"),
        ({"pages": ["Talk:Bone"]}, "pages are missing from the wiki: 'Talk:Bone'"),
        ({"categories": ["Body"]}, "the category 'Body' has no members; check its name"),
        ({"pages": ["Anatomy"], "link_depth": 1, "limit": 3}, "the selection contains more than 3 pages"),
        ({"categories": ["Category:Body"], "limit": 2}, "the selection contains more than 2 pages; select fewer pages"),
        ({"categories": ["Category:Body"], "namespaces": [2]}, "the selection contains no page"),
    ],
)
def test_invalid_selection(anatomy: Any, pinned: Pinned, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A missing page or category and an empty or too large selection raise errors, and no pin file is written."""
    with pytest.raises(InputError, match=re.escape(message)):
        pinned(**options).pin()
    assert not (tmp_path / "w.pins").exists()


def test_not_a_mediawiki(anatomy: Any, pinned: Pinned) -> None:
    """A server response that lacks the wiki's namespaces raises an error."""
    anatomy.failures[:] = [{"query": {"general": {}}}]
    with pytest.raises(InputError, match="the wiki's answer lacks the field 'namespaces'; expected the address"):
        pinned(pages=["Bone"]).pin()


def test_other_content(anatomy: Any, pinned: Pinned, caplog: pytest.LogCaptureFixture) -> None:
    """Only pages in wikitext are pinned, and a pinned page without text is omitted with a warning."""
    anatomy.add("Data", "{}", model="json", categories=("Category:Body",))
    anatomy.add("Empty", "{{box}}", categories=("Category:Body",))
    plugin = pinned(categories=["Category:Body"])
    assert [pin.title for pin in plugin.pin().pages] == ["Bone", "Empty", "Marrow", "Muscle"]
    with caplog.at_level(logging.WARNING):
        assert read_ids(plugin) == ["Bone", "Marrow", "Muscle"]
    assert "left out 1 page without text: Empty" in caplog.text
    assert plugin.notes()["empty"] == 1


def test_existing_pins(anatomy: Any, pinned: Pinned) -> None:
    """The method `pin` rejects an existing pin file unless the caller asks for its replacement."""
    pinned(pages=["Bone"]).pin()
    with pytest.raises(
        InputError, match=r"w\.pins: the pin file already exists; use `--again` to pin the newest revisions instead"
    ):
        pinned(pages=["Bone"]).pin()


def test_missing_pin_file(anatomy: Any, pinned: Pinned) -> None:
    """A missing pin file raises an error that states the command to run, and no request is sent to the wiki."""
    plugin = pinned(pages=["Bone"])
    for method in (plugin.fingerprint, lambda: read_ids(plugin)):
        with pytest.raises(InputError, match=r"w\.pins: no such pin file; create the file with `kib-wikipedia pin"):
            method()
    assert anatomy.requests == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", 1),
        ("no\n", 1),
        ('{"schema": 2}\n', 1),
        ('{"schema": 1, "selection": {"api": "x"}}\n', 1),
        ('{"schema": 1, "selection": {"api": "x"}}\nno\n', 2),
        ('{"schema": 1, "selection": {"api": "x"}}\n{"title": "A", "title": "B"}\n', 2),
    ],
)
def test_malformed_pin_file(pinned: Pinned, tmp_path: Path, content: str, line: int) -> None:
    """A malformed pin file raises an error that states the line number."""
    (tmp_path / "w.pins").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=rf"w\.pins:{line}: this is not a valid pin file"):
        pinned(pages=["Bone"]).fingerprint()


def test_unreadable_pin_file(pinned: Pinned, tmp_path: Path) -> None:
    """A pin file that is not UTF-8 raises an error."""
    (tmp_path / "w.pins").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"w\.pins: cannot be read: "):
        pinned(pages=["Bone"]).fingerprint()


def test_other_selection(anatomy: Any, pinned: Pinned) -> None:
    """A pin file for a different page selection raises an error."""
    pinned(pages=["Bone"]).pin()
    for options in (
        {"pages": ["Muscle"]},
        {"pages": ["Bone"], "link_depth": 1},
        {"pages": ["Bone"], "namespaces": [1]},
    ):
        with pytest.raises(InputError, match=r"w\.pins: the page selection in the pin file differs from"):
            pinned(**options).fingerprint()


def test_later_edits(anatomy: Any, pinned: Pinned, tmp_path: Path) -> None:
    """Later edits to the wiki do not change a pinned page, whether or not the page's text is in the local store."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    before = list(plugin.documents())
    anatomy.edit("Bone", "Something else.")
    anatomy.requests.clear()
    assert list(pinned(pages=["Bone"]).documents()) == before
    assert anatomy.requests == []
    (tmp_path / "w.pins.pages" / "1001.wikitext").unlink()
    assert list(pinned(pages=["Bone"]).documents()) == before
    assert len(anatomy.requests) == 1


def test_modified_store(anatomy: Any, pinned: Pinned, tmp_path: Path) -> None:
    """A page is fetched again if the page's text in the store was modified."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    before = list(plugin.documents())
    (tmp_path / "w.pins.pages" / "1001.wikitext").write_text("Changed.", encoding="utf-8")
    assert list(plugin.documents()) == before


def test_deleted_revision(anatomy: Any, pinned: Pinned) -> None:
    """A pinned revision that no longer exists in the wiki raises an error that names the page and the revision."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    del anatomy.pages["Bone"]
    with pytest.raises(InputError, match="1 of the pinned revisions, for example revision 1001 of 'Bone'"):
        read_ids(plugin)


def test_different_text(anatomy: Any, pinned: Pinned) -> None:
    """If the wiki returns a text that differs from the pinned text, an error is raised."""
    plugin = pinned(pages=["Bone"])
    plugin.pin()
    anatomy.pages["Bone"].text = "Vandalized."
    with pytest.raises(InputError, match="the text of revision 1001 of 'Bone' differs from the pinned text"):
        read_ids(plugin)


def test_resumed_fetch(anatomy: Any, pinned: Pinned, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages fetched before an error remain in the store, and the next attempt fetches only the missing pages."""
    monkeypatch.setattr("kib_wikipedia.mediawiki_api.BATCH_SIZE", 2)
    monkeypatch.setattr("kib_wikipedia.mediawiki_api.ATTEMPTS", 1)
    plugin = pinned(categories=["Category:Body"])
    plugin.pin()
    anatomy.failures[:] = [None, (503, "")]
    with pytest.raises(InputError, match="the wiki answered with status 503"):
        read_ids(plugin)
    anatomy.requests.clear()
    assert read_ids(plugin) == ["Bone", "Marrow", "Muscle"]
    assert [form["revids"].split("|") for form in anatomy.requests] == [["1002"]]
