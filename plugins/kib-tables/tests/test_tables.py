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
from kib_tables.csv import Csv
from kib_tables.jsonl import Jsonl
from kib_tables.parquet import Parquet

LARGE = "The ferry leaves the harbour at dawn. " * 1_380_000
"""52 MB of text."""


def read(cls: type[Any], path: Path, **options: Any) -> list[Document]:
    return list(make_plugin(cls, {"path": path, **options}).documents())


def read_csv(place: Path, content: bytes, **options: Any) -> list[Document]:
    (place / "d.csv").write_bytes(content)
    return read(Csv, place / "d.csv", **options)


def read_parquet(place: Path, columns: dict[str, Any], **options: Any) -> list[Document]:
    parquet.write_table(pa.table(columns), place / "d.parquet")
    return read(Parquet, place / "d.parquet", **options)


def test_csv_parts(tmp_path: Path) -> None:
    """A CSV file's columns are mapped like the fields of JSON lines, in any order, further ones left alone."""
    content = b'x,body,nr,head\n1,"one, two",7,T\n\n2,three,8,\n'
    found = read_csv(tmp_path, content, fields={"id": "nr", "text": "body", "title": "head"}, source="S")
    assert found == [Document("7", "T", "one, two", "S"), Document("8", "", "three", "S")]


def test_csv_delimiter(tmp_path: Path) -> None:
    """A byte order mark, Windows line ends and tabs are read as they are meant."""
    content = b"\xef\xbb\xbfid\ttext\r\na\tone\r\n"
    assert read_csv(tmp_path, content, delimiter="\t") == [Document("a", "", "one")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'id,text\na,"one\nmore"\nb\n', "d.csv:4: expected 2 fields as in the header, got 1"),
        (b"id,text\na,one\nb,two,three\n", "d.csv:3: expected 2 fields as in the header, got 3"),
        (b'id,text\na,one\nb,"two\n', "d.csv:3: not CSV: unexpected end of data"),
        (b'id,text\na,"one"x\n', "d.csv:2: not CSV: ',' expected after '\"'"),
        (b"id,text\na,one\nb,tw\xff\n", "d.csv:3: not UTF-8: invalid start byte at byte 4; save it as UTF-8"),
        (b"id,text,id\na,one,b\n", 'd.csv:1: the header names a column twice: "id"'),
        (b"id,text\na,one\na,two\n", 'd.csv:3: the id "a" stands in line 2 already'),
        (b"id,text\na, \n", 'd.csv:2: "text" is empty; a document has text'),
        (b"id,body\na,one\n", 'd.csv:2: no "text"; the line has "body", "id". Name another field in `fields`'),
        (b"id,text\n", "d.csv: no document in it; a document is a line"),
        (b"", "d.csv: no document in it"),
    ],
)
def test_wrong_csv(tmp_path: Path, content: bytes, message: str) -> None:
    """What is wrong in a CSV file is told with file and line."""
    with pytest.raises(InputError, match=re.escape(message)):
        read_csv(tmp_path, content)


def test_parquet_parts(tmp_path: Path) -> None:
    """A Parquet file's columns are mapped in the same way; numbers may be ids, nulls are no title."""
    columns = {"nr": [7, 8], "body": ["one", "two"], "title": ["T", None], "vector": [[1.0], [2.0]]}
    found = read_parquet(tmp_path, columns, fields={"id": "nr", "text": "body"}, licence="CC0-1.0")
    assert found == [Document("7", "T", "one", "", "CC0-1.0"), Document("8", "", "two", "", "CC0-1.0")]


def test_parquet_batches(tmp_path: Path) -> None:
    """Rows keep their order and number over the batches that are read."""
    ids = [f"d{number}" for number in range(1000)]
    assert [d.id for d in read_parquet(tmp_path, {"id": ids, "text": ids})] == ids
    with pytest.raises(InputError, match=r'd\.parquet: row 1001: the id "d7" stands in row 8 already'):
        read_parquet(tmp_path, {"id": [*ids, "d7"], "text": [*ids, "d7"]})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "body": ["one"]}, 'd.parquet: row 1: no "text"; the row has "body", "id"'),
        ({"id": ["a"], "text": [["one"]]}, 'd.parquet: row 1: "text" is a list, expected text'),
        ({"id": ["a"], "text": [b"one"]}, 'd.parquet: row 1: "text" is bytes, expected text'),
        ({"id": ["a", "b"], "text": ["one", None]}, 'd.parquet: row 2: "text" is null, expected text'),
        ({"id": [1.5], "text": ["one"]}, 'd.parquet: row 1: "id" is a number, expected text'),
        ({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}, "d.parquet: no document in it"),
    ],
)
def test_wrong_parquet(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """What is wrong in a Parquet file is told with file and row."""
    with pytest.raises(InputError, match=re.escape(message)):
        read_parquet(tmp_path, columns)


def test_parquet_not_utf8(tmp_path: Path) -> None:
    """Text in a Parquet file that is not UTF-8 is an error that says after which row."""
    bad = pa.array([b"one", b"tw\xff"]).view(pa.string())
    with pytest.raises(InputError, match=r"d\.parquet: after row 0: text that is not UTF-8: invalid start byte"):
        read_parquet(tmp_path, {"id": ["a", "b"], "text": bad})


def test_not_parquet(tmp_path: Path) -> None:
    """A file that is no Parquet is an error that names it."""
    (tmp_path / "d.parquet").write_bytes(b"id,text\n")
    with pytest.raises(InputError, match=r"d\.parquet: not Parquet that can be read"):
        read(Parquet, tmp_path / "d.parquet")


@pytest.mark.parametrize(("cls", "kind"), [(Csv, "a CSV file"), (Parquet, "a Parquet file")])
@pytest.mark.parametrize("method", ["fingerprint", "documents"])
def test_unreadable(tmp_path: Path, cls: type[Any], kind: str, method: str) -> None:
    """A missing file and a folder in its place are errors that say so."""
    for path, message in ((tmp_path / "none", "none: no such file"), (tmp_path, f"a folder, expected {kind}")):
        with pytest.raises(InputError, match=re.escape(message)):
            list(getattr(make_plugin(cls, {"path": path}), method)())


@pytest.mark.parametrize("cls", [Jsonl, Csv])
def test_cannot_be_read(tmp_path: Path, cls: type[Any]) -> None:
    """A file whose bytes the system does not give is an error that says why."""
    file = tmp_path / "d"
    file.symlink_to("/proc/self/mem")  # it opens for everybody, root too, and cannot be read
    if not file.exists():
        pytest.skip("no /proc on this system")
    for method in ("fingerprint", "documents"):
        with pytest.raises(InputError, match="d: cannot be read: Input/output error"):
            list(getattr(make_plugin(cls, {"path": file}), method)())


def test_without_text_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With `empty = "skip"` documents without text are left out, counted and named in a warning."""
    lines = [{"id": f"e{number}", "text": " "} for number in range(7)] + [{"id": "a", "text": "one"}, {"id": "n"}]
    file = tmp_path / "d.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    corpus = make_plugin(Jsonl, {"path": file, "empty": "skip", "date": "2024-05-01"})
    with caplog.at_level(logging.WARNING):
        assert [d.id for d in corpus.documents()] == ["a"]
    assert caplog.messages == [f"{file}: 8 without text left out: e0, e1, e2, e3, e4, …"]
    assert corpus.notes() == {"date": "2024-05-01", "left_out": 8}


def test_none_with_text(tmp_path: Path) -> None:
    """A file whose documents are all without text is an error that counts them."""
    (tmp_path / "d.csv").write_text("id,text\na,\nb,\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"d\.csv: no document in it that has text \(2 without\)"):
        read(Csv, tmp_path / "d.csv", empty="skip")


@pytest.mark.slow
def test_large(tmp_path: Path) -> None:
    """A document of 50 MB is read like any other, from each kind of file."""
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "a", "text": LARGE}), encoding="utf-8")
    (tmp_path / "d.csv").write_text(f'id,text\na,"{LARGE}"\n', encoding="utf-8")
    parquet.write_table(pa.table({"id": ["a"], "text": [LARGE]}), tmp_path / "d.parquet")
    for cls in (Jsonl, Csv, Parquet):
        [document] = read(cls, tmp_path / f"d.{cls.__name__.lower()}")
        assert document.text == LARGE
