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


def read(cls: type[Any], path: Path, **options: Any) -> list[Document]:
    return list(make_plugin(cls, {"path": path, **options}).documents())


def read_csv(folder: Path, content: bytes, **options: Any) -> list[Document]:
    (folder / "d.csv").write_bytes(content)
    return read(Csv, folder / "d.csv", **options)


def read_parquet(folder: Path, columns: dict[str, Any], **options: Any) -> list[Document]:
    parquet.write_table(pa.table(columns), folder / "d.parquet")
    return read(Parquet, folder / "d.parquet", **options)


def test_csv_parts(tmp_path: Path) -> None:
    """CSV columns may have any name and order, and columns that the options do not mention are ignored."""
    content = b'x,body,nr,head\n1,"one, two",7,T\n\n2,three,8,\n'
    found = read_csv(tmp_path, content, fields={"id": "nr", "text": "body", "title": "head"}, source="S")
    assert found == [Document("7", "T", "one, two", "S"), Document("8", "", "three", "S")]


def test_csv_delimiter(tmp_path: Path) -> None:
    """A CSV file may have a byte order mark, Windows line endings, and tabs as delimiters."""
    content = b"\xef\xbb\xbfid\ttext\r\na\tone\r\n"
    assert read_csv(tmp_path, content, delimiter="\t") == [Document("a", "", "one")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'id,text\na,"one\nmore"\nb\n', "d.csv:4: expected as many fields as in the header (2), got 1"),
        (b"id,text\na,one\nb,two,three\n", "d.csv:3: expected as many fields as in the header (2), got 3"),
        (b'id,text\na,one\nb,"two\n', "d.csv:3: invalid CSV: unexpected end of data"),
        (b'id,text\na,"one"x\n', "d.csv:2: invalid CSV: ',' expected after '\"'"),
        (
            b"id,text\na,one\nb,tw\xff\n",
            "d.csv:3: the line is not valid UTF-8 (invalid start byte at byte 4); save the file as UTF-8",
        ),
        (b"id,text,id\na,one,b\n", 'd.csv:1: duplicate column names in the header: "id"'),
        (b"id,text\na,one\na,two\n", 'd.csv:3: duplicate id "a"; the id is already used in line 2'),
        (b"id,text\na, \n", 'd.csv:2: the field "text" is empty; to leave out'),
        (b"id,body\na,one\n", 'd.csv:2: the field "text" is missing; the line contains "body", "id"; set'),
        (b"id,text\n", "d.csv: found no documents; expected one document per line"),
        (b"", "d.csv: found no documents"),
    ],
)
def test_invalid_csv(tmp_path: Path, content: bytes, message: str) -> None:
    """Invalid content in a CSV file raises an error that states the file and line."""
    with pytest.raises(InputError, match=re.escape(message)):
        read_csv(tmp_path, content)


def test_parquet_parts(tmp_path: Path) -> None:
    """Parquet columns may have any name, ids may be numbers, and a null title is read as an empty title."""
    columns = {"nr": [7, 8], "body": ["one", "two"], "title": ["T", None], "vector": [[1.0], [2.0]]}
    found = read_parquet(tmp_path, columns, fields={"id": "nr", "text": "body"}, licence="CC0-1.0")
    assert found == [Document("7", "T", "one", "", "CC0-1.0"), Document("8", "", "two", "", "CC0-1.0")]


def test_parquet_batches(tmp_path: Path) -> None:
    """Documents from a Parquet file keep the order of the rows, and row numbers continue across batches."""
    ids = [f"d{number}" for number in range(1000)]
    assert [d.id for d in read_parquet(tmp_path, {"id": ids, "text": ids})] == ids
    with pytest.raises(InputError, match=r'd\.parquet: row 1001: duplicate id "d7"; the id is already used in row 8'):
        read_parquet(tmp_path, {"id": [*ids, "d7"], "text": [*ids, "d7"]})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"id": ["a"], "body": ["one"]},
            'd.parquet: row 1: the field "text" is missing; the row contains "body", "id"',
        ),
        ({"id": ["a"], "text": [["one"]]}, 'd.parquet: row 1: expected text in the field "text", got a list'),
        ({"id": ["a"], "text": [b"one"]}, 'd.parquet: row 1: expected text in the field "text", got bytes'),
        ({"id": ["a", "b"], "text": ["one", None]}, 'd.parquet: row 2: expected text in the field "text", got null'),
        ({"id": [1.5], "text": ["one"]}, 'd.parquet: row 1: expected text in the field "id", got a number'),
        (
            {"id": pa.array([], pa.string()), "text": pa.array([], pa.string())},
            "d.parquet: found no documents; expected one document per row",
        ),
    ],
)
def test_invalid_parquet(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """Invalid content in a Parquet file raises an error that states the file and row."""
    with pytest.raises(InputError, match=re.escape(message)):
        read_parquet(tmp_path, columns)


def test_parquet_not_utf8(tmp_path: Path) -> None:
    """Invalid UTF-8 in a Parquet file raises an error that states the number of the preceding row."""
    bad = pa.array([b"one", b"tw\xff"]).view(pa.string())
    with pytest.raises(InputError, match=r"d\.parquet: the text after row 1 is not valid UTF-8: invalid start byte"):
        read_parquet(tmp_path, {"id": ["a", "b"], "text": bad})


def test_not_parquet(tmp_path: Path) -> None:
    """A file that is not in the Parquet format raises an error that states the path."""
    (tmp_path / "d.parquet").write_bytes(b"id,text\n")
    with pytest.raises(InputError, match=r"d\.parquet: invalid Parquet"):
        read(Parquet, tmp_path / "d.parquet")


@pytest.mark.parametrize(("cls", "kind"), [(Csv, "a CSV file"), (Parquet, "a Parquet file")])
@pytest.mark.parametrize("method", ["fingerprint", "documents"])
def test_unreadable(tmp_path: Path, cls: type[Any], kind: str, method: str) -> None:
    """A path to a missing file or to a folder raises an error."""
    for path, message in ((tmp_path / "none", "none: no such file"), (tmp_path, f"a folder; expected {kind}")):
        with pytest.raises(InputError, match=re.escape(message)):
            list(getattr(make_plugin(cls, {"path": path}), method)())


@pytest.mark.parametrize("cls", [Jsonl, Csv])
def test_cannot_be_read(tmp_path: Path, cls: type[Any]) -> None:
    """A file that the operating system cannot read raises an error that states the reason."""
    file = tmp_path / "d"
    file.symlink_to("/proc/self/mem")  # every user can open it, even root, but nobody can read it
    if not file.exists():
        pytest.skip("no /proc on this system")
    for method in ("fingerprint", "documents"):
        with pytest.raises(InputError, match="d: cannot be read: Input/output error"):
            list(getattr(make_plugin(cls, {"path": file}), method)())


def test_documents_without_text_are_omitted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With `empty = "skip"`, documents without text are omitted, and a warning states their number and first ids."""
    lines = [{"id": f"e{number}", "text": " "} for number in range(7)] + [{"id": "a", "text": "one"}, {"id": "n"}]
    file = tmp_path / "d.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    corpus = make_plugin(Jsonl, {"path": file, "empty": "skip", "date": "2024-05-01"})
    with caplog.at_level(logging.WARNING):
        assert [d.id for d in corpus.documents()] == ["a"]
    assert caplog.messages == [f"{file}: left out 8 documents without text: e0, e1, e2, e3, e4, …"]
    assert corpus.notes() == {"date": "2024-05-01", "left_out": 8}


def test_all_without_text(tmp_path: Path) -> None:
    """If no document in a file has text, the error states the number of documents without text."""
    (tmp_path / "d.csv").write_text("id,text\na,\nb,\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"d\.csv: none of the documents contains text \(documents without text: 2\)"):
        read(Csv, tmp_path / "d.csv", empty="skip")


@pytest.mark.parametrize("megabytes", [2, pytest.param(52, marks=pytest.mark.slow)])
def test_large(tmp_path: Path, megabytes: int) -> None:
    """A CSV field may be much longer than the csv module's default limit of 131,072 characters."""
    text = "The ferry leaves the harbour at dawn. " * (megabytes * 26_500)
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "a", "text": text}), encoding="utf-8")
    (tmp_path / "d.csv").write_text(f'id,text\na,"{text}"\n', encoding="utf-8")
    parquet.write_table(pa.table({"id": ["a"], "text": [text]}), tmp_path / "d.parquet")
    for cls in (Jsonl, Csv, Parquet):
        [document] = read(cls, tmp_path / f"d.{cls.__name__.lower()}")
        assert document.text == text


@pytest.mark.parametrize(
    ("cls", "name", "content", "message"),
    [
        (Jsonl, "d.jsonl", b'{"id": 1, "text": "a"}\n' + b" " * (2 << 20), "d.jsonl:2: the line has more than"),
        (Csv, "d.csv", b"id,text\na,one\nb," + b"x" * (2 << 20), "d.csv:3: the line has more than"),
        (Csv, "d.csv", b'id,text\nb,"' + b"x\n" * (1 << 20), "d.csv:2: a field has more than"),
    ],
)
def test_large_row(tmp_path: Path, cls: type[Any], name: str, content: bytes, message: str) -> None:
    """A line or field larger than `max_unpacked_mb` raises an error that states the line number and the option."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{message} `max_unpacked_mb = 1`; to read it, increase this limit"):
        read(cls, tmp_path / name, max_unpacked_mb=1)


@pytest.mark.parametrize("dictionary", [True, False])
def test_large_parquet_row(tmp_path: Path, dictionary: bool) -> None:
    """In a small Parquet file, a text larger than `max_unpacked_mb` raises an error that states the row and option."""
    table = pa.table({"id": ["a", "b"], "text": ["one", "x" * (2 << 20)]})
    parquet.write_table(table, tmp_path / "d.parquet", use_dictionary=dictionary, compression="zstd")
    assert (tmp_path / "d.parquet").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"parquet: a row after row [01] has more than `max_unpacked_mb = 1`; to read"):
        read(Parquet, tmp_path / "d.parquet", max_unpacked_mb=1)


def test_repeated_parquet_text(tmp_path: Path) -> None:
    """A text that a Parquet file stores once for many rows is held in memory once, not once per row."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array(["x" * (1 << 20)]))
    table = pa.table({"id": [str(number) for number in range(200)], "text": text})
    parquet.write_table(table, tmp_path / "d.parquet", store_schema=False)
    documents = make_plugin(Parquet, {"path": tmp_path / "d.parquet"}).documents()
    before = pa.total_allocated_bytes()
    peaks = [pa.total_allocated_bytes() - before for _ in documents]
    assert len(peaks) == 200
    assert max(peaks) < 20 << 20


def test_wide_header(tmp_path: Path) -> None:
    """The time needed to check the column names of a CSV file is proportional to the number of columns."""
    count = 100_000
    names = b",".join(b"c%d" % number for number in range(count))
    assert len(read_csv(tmp_path, b"id,text,%b\na,one%b\n" % (names, b"," * count))) == 1
