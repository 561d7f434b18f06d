import os
from pathlib import Path

import pytest

from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_jsonl import Jsonl

LINES = '{"id": "a", "title": "Pump", "text": "The red lever."}\n{"id": "b", "text": "Straße 桥 🚧 cafe\u0301"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_installed() -> None:
    """The plugin is found by its name, well formed and light to import."""
    assert check_plugin("corpora", "jsonl") is Jsonl


def test_contract(file: Path) -> None:
    """It keeps what a corpus promises."""
    check_corpus(lambda: make_plugin(Jsonl, {"path": file}))


def test_options() -> None:
    """Options are described, and values that could not work are refused."""
    check_options(
        Jsonl,
        accepts=[{"path": "/x"}, {"path": "/x", "fields": {"id": "_id"}, "source": "a book", "licence": "CC0-1.0"}],
        refuses=[{}, {"path": 1}, {"path": "x", "fields": {"ID": "_id"}}, {"path": "x", "fields": {"id": ""}}],
    )


def test_fingerprint(file: Path) -> None:
    """The fingerprint follows the file's bytes, not its time stamp."""
    check_fingerprint(
        lambda: make_plugin(Jsonl, {"path": file}),
        same=lambda: os.utime(file, (0, 0)),
        change=lambda: file.write_text(LINES.replace("red", "tan"), encoding="utf-8"),
    )


def test_fingerprint_without_name(file: Path, tmp_path: Path) -> None:
    """A file keeps its fingerprint when it is moved."""
    before = make_plugin(Jsonl, {"path": file}).fingerprint()
    moved = file.rename(tmp_path / "elsewhere.jsonl")
    assert make_plugin(Jsonl, {"path": moved}).fingerprint() == before
