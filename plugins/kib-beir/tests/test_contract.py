import os
from pathlib import Path

import pytest

from kib.interfaces import JudgedCorpus
from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_beir import Beir

CORPUS = '{"_id": "a", "title": "Pump", "text": "The red lever."}\n{"_id": "b", "text": "Straße 桥 🚧"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a collection of two documents and one query."""
    (tmp_path / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "Which lever?"}\n', encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n", encoding="utf-8")
    return tmp_path


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("corpora", "beir") is Beir


def test_contract(folder: Path) -> None:
    """The plugin `beir` satisfies the contract for corpus plugins."""
    check_corpus(lambda: make_plugin(Beir, {"path": folder}))


def test_judged(folder: Path) -> None:
    """The plugin `beir` is a corpus plugin that also provides judged queries."""
    assert isinstance(make_plugin(Beir, {"path": folder}), JudgedCorpus)


def test_options() -> None:
    """Every option has a description, and invalid values are rejected."""
    check_options(
        Beir,
        accepts=[{"path": "/x"}, {"path": "/x", "split": "dev", "empty": "error", "licence": "CC0-1.0"}],
        refuses=[{}, {"path": 1}, {"path": "x", "split": "../test"}, {"path": "x", "split": ""}],
    )


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_fingerprint(folder: Path, name: str) -> None:
    """The fingerprint depends on the bytes of documents, queries and judgments, but not on timestamps."""
    file = folder / name
    check_fingerprint(
        lambda: make_plugin(Beir, {"path": folder}),
        same=lambda: os.utime(file, (0, 0)),
        change=lambda: file.write_bytes(file.read_bytes() + b"\n"),
    )


def test_fingerprint_of_moved_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Moving a collection to a different folder does not change the collection's fingerprint."""
    before = make_plugin(Beir, {"path": folder}).fingerprint()
    moved = folder.rename(tmp_path_factory.mktemp("elsewhere") / "moved")
    assert make_plugin(Beir, {"path": moved}).fingerprint() == before
