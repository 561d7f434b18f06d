import json
import logging
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from kib.errors import InputError
from kib.records import Document
from kib.testing import make_plugin
from kib_datasets.corpus import HuggingFace

ROWS = [{"id": "a", "title": "T", "text": "one", "more": 1}, {"id": "b", "title": None, "text": "two", "more": 2}]


def read(place: Path, **options: Any) -> list[Document]:
    return list(make_plugin(HuggingFace, {"path": place, **options}).documents())


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files(tmp_path: Path) -> None:
    """Files are read by the library, each split from the files that its name stands in, others left alone."""
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "train-00000.parquet")
    parquet.write_table(pa.Table.from_pylist([{**ROWS[0], "id": "c"}]), tmp_path / "test-00000.parquet")
    assert read(tmp_path) == [Document("a", "T", "one"), Document("b", "", "two")]
    assert [document.id for document in read(tmp_path, split="test", licence="CC0-1.0")] == ["c"]


def test_fields(tmp_path: Path) -> None:
    """The columns may be called otherwise, and pictures beside them are not looked at."""
    lines(tmp_path / "train.jsonl", [{"nr": 7, "body": "one", "title": "no", "head": "T", "vector": [1.0]}])
    assert read(tmp_path, fields={"id": "nr", "text": "body", "title": "head"}) == [Document("7", "T", "one")]


def test_numbered(tmp_path: Path) -> None:
    """Rows without ids are numbered."""
    lines(tmp_path / "train.jsonl", [{"text": "one"}, {"text": "two"}])
    assert [document.id for document in read(tmp_path, numbered=True)] == ["1", "2"]


def test_chosen_files(tmp_path: Path) -> None:
    """`files` says which files are the split."""
    lines(tmp_path / "old" / "train.jsonl", [{"id": "old", "text": "no"}])
    lines(tmp_path / "new" / "train.jsonl", [{"id": "new", "text": "yes"}])
    assert [document.id for document in read(tmp_path, files=["new/*.jsonl"])] == ["new"]


def test_configurations(tmp_path: Path) -> None:
    """A configuration that the data set's card declares is chosen by its name."""
    lines(tmp_path / "de" / "train.jsonl", [{"id": "de", "text": "eins"}])
    lines(tmp_path / "en" / "train.jsonl", [{"id": "en", "text": "one"}])
    parts = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in ("de", "en"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{parts}---\n", encoding="utf-8")
    assert [document.id for document in read(tmp_path, config="de")] == ["de"]
    with pytest.raises(InputError, match=r"cannot be read as a data set: .*'fr' not found"):
        read(tmp_path, config="fr")


@pytest.mark.parametrize("alone", [True, False])
def test_saved(tmp_path: Path, alone: bool) -> None:
    """What `save_to_disk` wrote is read, a single split or several."""
    from datasets import Dataset, DatasetDict

    train = Dataset.from_list(ROWS)
    (train if alone else DatasetDict({"train": train, "test": train})).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved") == [Document("a", "T", "one"), Document("b", "", "two")]
    if not alone:
        with pytest.raises(InputError, match=r'saved: no split "dev"; there is train, test'):
            read(tmp_path / "saved", split="dev")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "text": "one"}, {"id": "a", "text": "two"}], 'row 2: the id "a" stands in row 1 already'),
        ([{"id": "a", "text": " "}], 'row 1: "text" is empty; a document has text'),
        ([{"id": "a", "text": None}], 'row 1: "text" is null, expected text'),
        ([{"id": "a", "body": "one"}], 'row 1: no "text"; the row has "body", "id"'),
        ([{"text": "one"}], 'row 1: no "id"; the row has "text"'),
    ],
)
def test_wrong_rows(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    """A row that is no document is an error that names the set and the row."""
    lines(tmp_path / "train.jsonl", rows)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: {message}")):
        read(tmp_path)


def test_without_text_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With `empty = "skip"` rows without text are left out, counted and named."""
    lines(tmp_path / "train.jsonl", [*ROWS, {"id": "c", "title": "", "text": "", "more": 3}])
    plugin = make_plugin(HuggingFace, {"path": tmp_path, "empty": "skip", "date": "2024"})
    with caplog.at_level(logging.WARNING, "kib_tables"):
        assert [document.id for document in plugin.documents()] == ["a", "b"]
    assert f"{tmp_path}: 1 without text left out: c" in caplog.messages
    assert plugin.notes() == {"date": "2024", "left_out": 1}


def test_no_split(tmp_path: Path) -> None:
    """A split that there is not is an error that names those there are."""
    lines(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(InputError, match=r"cannot be read as a data set: .*split.*train"):
        read(tmp_path, split="dev")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", b'{"id": "a", "text": "tw\xff"}\n', "text that is not UTF-8: "),
        ("train.jsonl", b"no\n", "JSON parse error"),
        ("train.parquet", b"no", "Parquet file size is 2 bytes"),
        ("data.xyz", b"no", r"No \(supported\) data files found"),
    ],
)
def test_damaged(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """A file that is not UTF-8, or not of its kind, is one sentence and no traceback."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"cannot be read as a data set: {message}"):
        read(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    """A folder that is not there, is a file or is empty is an error that says so."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("none", "no such folder"),
        ("file", "a file, expected a folder"),
        ("empty", "holds no file"),
    ):
        plugin = make_plugin(HuggingFace, {"path": tmp_path / name})
        for method in (plugin.fingerprint, lambda plugin=plugin: list(plugin.documents())):
            with pytest.raises(InputError, match=f"{name}: {message}"):
                method()


@pytest.mark.slow
def test_large(tmp_path: Path) -> None:
    """A document of 50 MB is read like any other."""
    text = "The ferry leaves the harbour at dawn. " * 1_380_000
    lines(tmp_path / "train.jsonl", [{"id": "a", "text": text}])
    [document] = read(tmp_path)
    assert document.text == text
