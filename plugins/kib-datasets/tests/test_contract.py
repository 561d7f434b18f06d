import os
from pathlib import Path

import pytest

from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_datasets.corpus import HuggingFace

LINES = '{"id": "a", "title": "Pump", "text": "The red lever."}\n{"id": "b", "text": "Straße 桥 🚧"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "set"
    place.mkdir()
    (place / "train.jsonl").write_text(LINES, encoding="utf-8")
    return place


def test_installed() -> None:
    """The plugin is found by its name, well formed and light to import."""
    assert check_plugin("corpora", "huggingface") is HuggingFace


def test_contract(folder: Path) -> None:
    """It keeps what a corpus promises."""
    check_corpus(lambda: make_plugin(HuggingFace, {"path": folder}))


def test_options() -> None:
    """Options are described, and values that could not work are refused; code of a data set's own is never run."""
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
    """The fingerprint follows the files' bytes, not their time stamps."""
    file = folder / "train.jsonl"
    check_fingerprint(
        lambda: make_plugin(HuggingFace, {"path": folder}),
        same=lambda: os.utime(file, (0, 0)),
        change=lambda: file.write_text(LINES.replace("red", "tan"), encoding="utf-8"),
    )
