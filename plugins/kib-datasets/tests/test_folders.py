import bz2
import gzip
import json
import logging
import lzma
import re
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from kib.errors import InputError
from kib.records import Document
from kib.testing import make_plugin
from kib_datasets.corpus import HuggingFace

ROWS = [{"id": "a", "title": "T", "text": "one", "more": 1}, {"id": "b", "title": None, "text": "two", "more": 2}]


def read(folder: Path, **options: Any) -> list[Document]:
    """Return the documents that the corpus reads from a folder."""
    return list(make_plugin(HuggingFace, {"path": folder, **options}).documents())


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a JSON Lines file and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files(tmp_path: Path) -> None:
    """A split is read from the files whose names contain the name of the split."""
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "train-00000.parquet")
    parquet.write_table(pa.Table.from_pylist([{**ROWS[0], "id": "c"}]), tmp_path / "test-00000.parquet")
    assert read(tmp_path) == [Document("a", "T", "one"), Document("b", "", "two")]
    assert [document.id for document in read(tmp_path, split="test", licence="CC0-1.0")] == ["c"]


def test_fields(tmp_path: Path) -> None:
    """The option `fields` selects the columns that form a document, and all other columns are ignored."""
    write_lines(tmp_path / "train.jsonl", [{"nr": 7, "body": "one", "title": "no", "head": "T", "vector": [1.0]}])
    assert read(tmp_path, fields={"id": "nr", "text": "body", "title": "head"}) == [Document("7", "T", "one")]


def test_numbered(tmp_path: Path) -> None:
    """With the option `numbered`, the row number is the document id."""
    write_lines(tmp_path / "train.jsonl", [{"text": "one"}, {"text": "two"}])
    assert [document.id for document in read(tmp_path, numbered=True)] == ["1", "2"]


def test_chosen_files(tmp_path: Path) -> None:
    """The option `files` selects the files of a split."""
    write_lines(tmp_path / "old" / "train.jsonl", [{"id": "old", "text": "no"}])
    write_lines(tmp_path / "new" / "train.jsonl", [{"id": "new", "text": "yes"}])
    assert [document.id for document in read(tmp_path, files=["new/*.jsonl"])] == ["new"]


OUTSIDE = {
    "http://127.0.0.1:9/x.jsonl": "not an address",
    "hf://datasets/a/b/x.jsonl": "not an address",
    "zip://x.jsonl::http://127.0.0.1:9/x.zip": "not an address",
    "x.jsonl::y": "not an address",
    "file:/etc/hostname": "not an address",
    "http://[x/y": "not an address",
    "/etc/hostname": "not an absolute path",
    "~/x.jsonl": "not an absolute path",
    "new/../../x.jsonl": "without `..`",
    "..": "without `..`",
    ".hidden/x.jsonl": "not a hidden file or folder",
}


@pytest.mark.parametrize(("pattern", "fault"), OUTSIDE.items())
def test_files_outside_the_folder(tmp_path: Path, pattern: str, fault: str) -> None:
    """A pattern in the option `files` that is an address or leaves the folder raises an error that names the item."""
    for origin in ({"path": tmp_path}, {"hub": "org/facts"}):
        with pytest.raises(ValidationError, match=r"files\.1\n.*" + re.escape(f", {fault} ")):
            make_plugin(HuggingFace, {**origin, "files": ["./*.jsonl", pattern]})


@pytest.mark.parametrize("listing", ["data_files: {}", "data_files: [{{split: train, path: [{}]}}]", "data_dir: {}"])
@pytest.mark.parametrize(("name", "fence"), [("README.md", "---\n"), (".huggingface.yaml", "")])
def test_data_card_lists_files_outside_the_folder(tmp_path: Path, name: str, fence: str, listing: str) -> None:
    """A data set's own file list that leaves the folder raises an error that names the file and the key."""
    write_lines(tmp_path / "set" / "train.jsonl", ROWS)
    outside = write_lines(tmp_path / "other" / "train.jsonl", ROWS)
    for pattern in ("http://127.0.0.1:9/x.jsonl", str(outside), "../other"):
        configs = f"configs:\n- config_name: default\n  {listing.format(json.dumps(pattern))}\n"
        (tmp_path / "set" / name).write_text(fence + configs + fence, encoding="utf-8")
        key = listing.partition(":")[0]
        with pytest.raises(
            InputError, match=rf"{name}: `configs`: `{key}`: expected .*; got {re.escape(repr(pattern))}$"
        ):
            read(tmp_path / "set")


@pytest.mark.parametrize("name", ["train.jsonl.gz", "train.jsonl.bz2", "train.jsonl.xz", "train.zip"])
def test_compression_bomb(tmp_path: Path, name: str) -> None:
    """A small compressed file that unpacks to more than `max_unpacked_mb` raises an error that names the file."""
    content = json.dumps({"id": "a", "text": "x" * (3 << 20)}).encode()
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    if name.endswith(".zip"):
        with ZipFile(tmp_path / name, "w", ZIP_DEFLATED) as archive:
            archive.writestr("train.jsonl", content)
    else:
        (tmp_path / name).write_bytes(compress[Path(name).suffix](content))
    with pytest.raises(InputError, match=rf"{name}: the file unpacks to more than `max_unpacked_mb = 2`; to read"):
        read(tmp_path, max_unpacked_mb=2)
    assert [len(document.text) for document in read(tmp_path)] == [3 << 20]


def test_configurations(tmp_path: Path) -> None:
    """The option `config` selects a configuration declared in the data set's README."""
    write_lines(tmp_path / "de" / "train.jsonl", [{"id": "de", "text": "eins"}])
    write_lines(tmp_path / "en" / "train.jsonl", [{"id": "en", "text": "one"}])
    parts = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in ("de", "en"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{parts}---\n", encoding="utf-8")
    assert [document.id for document in read(tmp_path, config="de")] == ["de"]
    with pytest.raises(InputError, match=r"the data set cannot be read: .*'fr' not found"):
        read(tmp_path, config="fr")


@pytest.mark.parametrize("single", [True, False])
def test_saved(tmp_path: Path, single: bool) -> None:
    """A folder written by `save_to_disk` is read, whether it contains one split or several splits."""
    from datasets import Dataset, DatasetDict

    train = Dataset.from_list(ROWS)
    (train if single else DatasetDict({"train": train, "test": train})).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved") == [Document("a", "T", "one"), Document("b", "", "two")]
    if not single:
        with pytest.raises(InputError, match=r'saved: no split is named "dev"; available splits: train, test'):
            read(tmp_path / "saved", split="dev")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "text": "one"}, {"id": "a", "text": "two"}], 'row 2: .*"a"'),
        ([{"id": "a", "text": None}], 'row 1: expected text in the field "text", got null'),
        ([{"id": "a", "body": "one"}], 'row 1: the field "text" is missing; .*"body"'),
    ],
)
def test_invalid_row(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    """An invalid row raises an error that states the data set and the row number."""
    write_lines(tmp_path / "train.jsonl", rows)
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path))}: {message}"):
        read(tmp_path)


def test_rows_without_text_are_omitted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With `empty = "skip"`, rows without text are omitted with a warning, and counted."""
    write_lines(tmp_path / "train.jsonl", [*ROWS, {"id": "c", "title": "", "text": "", "more": 3}])
    plugin = make_plugin(HuggingFace, {"path": tmp_path, "empty": "skip", "date": "2024"})
    with caplog.at_level(logging.WARNING, "kib_tables"):
        assert [document.id for document in plugin.documents()] == ["a", "b"]
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path}: ")
    assert "c" in message.removeprefix(f"{tmp_path}: ").split()
    assert plugin.notes() == {"date": "2024", "left_out": 1}


def test_no_split(tmp_path: Path) -> None:
    """An unknown split raises an error that lists the available splits."""
    write_lines(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(InputError, match=r"the data set cannot be read: .*split.*train"):
        read(tmp_path, split="dev")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", b'{"id": "a", "text": "old", "text": "new"}\n', r".*\(/text\) was specified twice in row 0"),
        ("train.jsonl", b'{"id": "a", "text": "tw\xff"}\n', "not UTF-8: "),
        ("train.json", b'[{"id": "a", "text": "tw\xff"}]', "not UTF-8: "),
        ("train.jsonl", b"no\n", "JSON parse error"),
        ("train.parquet", b"no", "Parquet file size is 2 bytes"),
        ("data.xyz", b"no", r"No \(supported\) data files found"),
    ],
)
def test_damaged(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """A damaged file, or a file that is not UTF-8, raises an error that states the reason."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"the data set cannot be read: {message}"):
        read(tmp_path)


def test_repeated_key(tmp_path: Path) -> None:
    """A JSON list of rows in which a row contains a key twice raises an error with the line."""
    (tmp_path / "train.json").write_bytes(
        b'\xef\xbb\xbf\n[{"id": "a", "text": "x"},\n{"id": "b", "text": "x", "id": "c"}]'
    )
    with pytest.raises(InputError, match=r'train\.json:3: the key "id" appears twice in one object'):
        read(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    """A path to a missing folder, to a file or to an empty folder raises an error."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("none", "no such folder"),
        ("file", "this is a file; expected a folder"),
        ("empty", "the folder contains no files"),
    ):
        plugin = make_plugin(HuggingFace, {"path": tmp_path / name})
        for method in (plugin.fingerprint, lambda plugin=plugin: list(plugin.documents())):
            with pytest.raises(InputError, match=f"{name}: {message}"):
                method()


def test_long_row(tmp_path: Path) -> None:
    """A row longer than the 10 MiB blocks in which `datasets` reads files is read completely."""
    text = "The ferry leaves the harbour at dawn. " * 280_000
    assert len(text) > 10 * 2**20
    write_lines(tmp_path / "train.jsonl", [{"id": "a", "text": text}])
    [document] = read(tmp_path)
    assert document.text == text
