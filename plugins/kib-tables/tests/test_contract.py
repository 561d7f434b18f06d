import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from kib.testing import check_corpus, check_fingerprint, check_options, check_plugin, make_plugin
from kib_tables.csv import Csv
from kib_tables.jsonl import Jsonl
from kib_tables.parquet import Parquet

LINES = '{"id": "a", "title": "Pump", "text": "The red lever."}\n{"id": "b", "text": "Straße 桥 🚧 cafe\u0301"}\n'
ROWS = 'id,title,text\na,Pump,The red lever.\nb,,"Straße 桥 🚧 cafe\u0301, ""quoted""\nand on two lines"\n'
COLUMNS = {"id": ["a", "b"], "title": ["Pump", None], "text": ["The red lever.", "Straße 桥 🚧 cafe\u0301"]}


def write(path: Path, colour: str = "red") -> Path:
    if path.suffix == ".parquet":
        texts = [text.replace("red", colour) for text in COLUMNS["text"] if text]
        parquet.write_table(pa.table({**COLUMNS, "text": texts}), path)
    else:
        text = ROWS if path.suffix == ".csv" else LINES
        path.write_text(text.replace("red", colour), encoding="utf-8")
    return path


@pytest.fixture(params=[Jsonl, Csv, Parquet], ids=lambda cls: cls.__name__.lower())
def table(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[type[Any], Path]:
    return request.param, write(tmp_path / f"documents.{request.param.__name__.lower()}")


@pytest.mark.parametrize("cls", [Jsonl, Csv, Parquet])
def test_installed(cls: type[Any]) -> None:
    """Each entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("corpora", cls.__name__.lower()) is cls


def test_contract(table: tuple[type[Any], Path]) -> None:
    """Each plugin satisfies the contract for corpus plugins."""
    cls, file = table
    check_corpus(lambda: make_plugin(cls, {"path": file}))


@pytest.mark.parametrize("cls", [Jsonl, Csv, Parquet])
def test_options(cls: type[Any]) -> None:
    """Every option has a description, and invalid values are rejected."""
    check_options(
        cls,
        accepts=[
            {"path": "/x"},
            {"path": "/x", "fields": {"id": "_id"}, "source": "a book", "licence": "CC0-1.0", "date": "2024"},
            {"path": "/x", "empty": "skip"},
        ],
        refuses=[
            {},
            {"path": 1},
            {"path": "x", "fields": {"ID": "_id"}},
            {"path": "x", "fields": {"id": ""}},
            {"path": "x", "empty": "drop"},
        ],
    )


def test_csv_delimiter() -> None:
    """A delimiter must be exactly one character."""
    refuses = [{"path": "x", "delimiter": value} for value in ("", "::", 1)]
    check_options(Csv, accepts=[{"path": "/x", "delimiter": "\t"}], refuses=refuses)


def test_fingerprint(table: tuple[type[Any], Path]) -> None:
    """The fingerprint depends on the content of the table file, but not on its modification time."""
    cls, file = table
    check_fingerprint(
        lambda: make_plugin(cls, {"path": file}),
        same=lambda: os.utime(file, (0, 0)),
        change=lambda: write(file, "tan"),
    )


def test_fingerprint_without_name(table: tuple[type[Any], Path], tmp_path: Path) -> None:
    """The fingerprint does not change if the table file is moved."""
    cls, file = table
    before = make_plugin(cls, {"path": file}).fingerprint()
    moved = file.rename(tmp_path / f"elsewhere{file.suffix}")
    assert make_plugin(cls, {"path": moved}).fingerprint() == before
