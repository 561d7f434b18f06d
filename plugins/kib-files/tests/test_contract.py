import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_files.corpus import Files


@pytest.fixture
def folder(tmp_path: Path, make: SimpleNamespace) -> Path:
    place = tmp_path / "documents"
    (place / "deep" / "deeper").mkdir(parents=True)
    (place / "pump.txt").write_text("Pump 7 is switched off by the red lever.", encoding="utf-8")
    (place / "deep" / "bridge.md").write_text("# Brücke\n\nÜber die Brücke 桥 🚧", encoding="utf-8")
    (place / "deep" / "page.html").write_text("<title>Ferry</title><p>At dawn.", encoding="utf-8")
    make.docx(place / "deep" / "deeper" / "word.docx", ["The canteen."])
    make.pdf(place / "deep" / "deeper" / "print.pdf", ["The relief valve."])
    return place


def test_installed() -> None:
    """The plugin is found by its name, well formed and light to import."""
    assert check_plugin("corpora", "files") is Files


def test_contract(folder: Path) -> None:
    """It keeps what a corpus promises."""
    check_corpus(lambda: make_plugin(Files, {"path": folder}))


def test_options() -> None:
    """Options are described, and values that could not work are refused."""
    check_options(
        Files,
        accepts=[
            {"path": "/x"},
            {"path": "/x", "include": ["*.md"], "exclude": ["drafts/*"], "others": "skip", "empty": "skip"},
            {"path": "/x", "broken": "skip", "title": "name", "encoding": "cp1252", "licence": "CC0-1.0"},
        ],
        refuses=[
            {},
            {"path": 1},
            {"path": "x", "include": "*.md"},
            {"path": "x", "others": "ignore"},
            {"path": "x", "encoding": "utf-9"},
        ],
    )


def test_fingerprint(folder: Path) -> None:
    """The fingerprint follows the files' bytes, not their time stamps nor what is hidden."""

    def same() -> None:
        os.utime(folder / "pump.txt", (0, 0))
        (folder / ".DS_Store").write_bytes(b"\0")

    check_fingerprint(
        lambda: make_plugin(Files, {"path": folder}),
        same=same,
        change=lambda: (folder / "pump.txt").write_text("The green lever.", encoding="utf-8"),
    )


def test_fingerprint_of_names(folder: Path, tmp_path: Path) -> None:
    """A folder keeps its fingerprint when it is moved, and gets another when a file in it is renamed."""
    before = make_plugin(Files, {"path": folder}).fingerprint()
    moved = folder.rename(tmp_path / "elsewhere")
    assert make_plugin(Files, {"path": moved}).fingerprint() == before
    (moved / "pump.txt").rename(moved / "pump-7.txt")
    assert make_plugin(Files, {"path": moved}).fingerprint() != before
