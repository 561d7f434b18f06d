import os
from pathlib import Path

import pytest

from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_datasets.corpus import HuggingFace

LINES = '{"id": "a", "title": "Pump", "text": "The red lever."}\n{"id": "b", "text": "Straße 桥 🚧"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a local data set with two rows."""
    root = tmp_path / "set"
    root.mkdir()
    (root / "train.jsonl").write_text(LINES, encoding="utf-8")
    return root


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("corpora", "huggingface") is HuggingFace


def test_contract(folder: Path) -> None:
    """The corpus plugin `huggingface` satisfies the contract for corpus plugins."""
    check_corpus(lambda: make_plugin(HuggingFace, {"path": folder}))


def test_options() -> None:
    """Every option has a description, and invalid values, such as permission to run remote code, are rejected."""
    check_options(
        HuggingFace,
        accepts=[
            {"path": "/x"},
            {"hub": "org/name", "config": "en", "split": "test", "revision": "v1", "streaming": True},
            {"hub": "wikitext", "numbered": True, "fields": {"text": "body"}, "files": ["data/*.parquet"]},
        ],
        refuses=[
            {},
            {"path": "/x", "hub": "org/name"},
            {"path": "/x", "revision": "main"},
            {"path": "/x", "streaming": True},
            {"hub": "a/b/c"},
            {"hub": "org/name", "trust_remote_code": True},
            {"path": "/x", "numbered": True, "fields": {"id": "key"}},
            {"path": "/x", "fields": {"ID": "key"}},
            {"path": "/x", "fields": {"id": ""}},
        ],
    )


def test_fingerprint(folder: Path) -> None:
    """The fingerprint depends on the content of the data set's files, but not on their timestamps."""
    file = folder / "train.jsonl"
    check_fingerprint(
        lambda: make_plugin(HuggingFace, {"path": folder}),
        same=lambda: os.utime(file, (0, 0)),
        change=lambda: file.write_text(LINES.replace("red", "tan"), encoding="utf-8"),
    )


def test_online(folder: Path) -> None:
    """A data set on the hub needs network access, but a data set in a local folder does not."""
    assert make_plugin(HuggingFace, {"path": folder}).online() == []
    [name] = make_plugin(HuggingFace, {"hub": "org/facts", "revision": "v1"}).online()
    assert name == "data set org/facts on the hub at revision `v1`"
