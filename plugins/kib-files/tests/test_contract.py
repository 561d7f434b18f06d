import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_files.corpus import Files


@pytest.fixture
def folder(tmp_path: Path, files: SimpleNamespace) -> Path:
    """Create a folder with one file of each type."""
    root = tmp_path / "documents"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / "pump.txt").write_text("Pump 7 is switched off by the red lever.", encoding="utf-8")
    (root / "deep" / "bridge.md").write_text("# Brücke\n\nÜber die Brücke 桥 🚧", encoding="utf-8")
    (root / "deep" / "page.html").write_text("<title>Ferry</title><p>At dawn.", encoding="utf-8")
    files.write_docx(root / "deep" / "deeper" / "word.docx", ["The canteen."])
    files.write_pdf(root / "deep" / "deeper" / "print.pdf", ["The relief valve."])
    return root


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("corpora", "files") is Files


def test_contract(folder: Path) -> None:
    """The corpus plugin `files` satisfies the contract for corpus plugins."""
    check_corpus(lambda: make_plugin(Files, {"path": folder}))


def test_options() -> None:
    """Every option has a description, and invalid values are rejected."""
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
    """The fingerprint depends on the bytes of the files, but not on timestamps or hidden files."""

    def change_nothing() -> None:
        os.utime(folder / "pump.txt", (0, 0))
        (folder / ".DS_Store").write_bytes(b"\0")

    check_fingerprint(
        lambda: make_plugin(Files, {"path": folder}),
        same=change_nothing,
        change=lambda: (folder / "pump.txt").write_text("The green lever.", encoding="utf-8"),
    )


def test_fingerprint_of_names(folder: Path, tmp_path: Path) -> None:
    """Moving the folder does not change the fingerprint, but renaming a file in the folder does."""
    before = make_plugin(Files, {"path": folder}).fingerprint()
    moved = folder.rename(tmp_path / "elsewhere")
    assert make_plugin(Files, {"path": moved}).fingerprint() == before
    (moved / "pump.txt").rename(moved / "pump-7.txt")
    assert make_plugin(Files, {"path": moved}).fingerprint() != before
