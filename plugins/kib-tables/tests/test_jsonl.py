import json
import re
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Document
from kib.testing import make_plugin
from kib_tables.jsonl import Jsonl

GOOD = b'{"id": "a", "text": "one"}\n'


def read(folder: Path, content: bytes, **options: Any) -> list[Document]:
    (folder / "d.jsonl").write_bytes(content)
    return list(make_plugin(Jsonl, {"path": "d.jsonl", **options}, folder).documents())


def test_parts(tmp_path: Path) -> None:
    """Each part of a document is read from the corresponding JSON field."""
    line = {"id": "a", "title": "T", "text": "one", "source": "S", "licence": "L", "more": [1]}
    assert read(tmp_path, json.dumps(line).encode()) == [Document("a", "T", "one", "S", "L")]


def test_field_names(tmp_path: Path) -> None:
    """A JSONL file may use any field names, provided that the options specify these names."""
    content = b'{"_id": 7, "head": "T", "body": "one", "title": "no"}\n{"_id": "8", "body": "two"}\n'
    found = read(tmp_path, content, fields={"id": "_id", "title": "head", "text": "body"})
    assert found == [Document("7", "T", "one"), Document("8", "", "two")]


def test_default_origin(tmp_path: Path) -> None:
    """The source and licence in the options apply to lines without a source or licence."""
    content = GOOD + b'{"id": "b", "text": "two", "source": "own", "licence": null}\n'
    found = read(tmp_path, content, source="all", licence="CC0-1.0")
    assert [(d.source, d.licence) for d in found] == [("all", "CC0-1.0"), ("own", "CC0-1.0")]


def test_line_ends(tmp_path: Path) -> None:
    """A JSONL file may have a byte order mark, Windows line endings, blank lines and an unterminated last line."""
    content = b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b"\r\n  \n" + b'{"id": "b", "text": "a\xe2\x80\xa8b"}'
    assert [d.text for d in read(tmp_path, content)] == ["one", "a\u2028b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "b", "text": "two"', "invalid JSON: Expecting ',' delimiter at column 26"),
        (b"two", "invalid JSON: Expecting value at column 1"),
        (b'{"id": "b", "text": "old", "text": "new"}', 'the key "text" appears twice in one object'),
        (b'["b", "two"]', "expected a JSON object, got a list"),
        (b"null", "expected a JSON object, got null"),
        (b"[" * 100_000, "lists and objects are nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b', "text": "two"}', "expected integers with at most 4,300 digits, got a longer"),
        (
            b'{"id": "b", "text": "tw\xff"}',
            "the line is not valid UTF-8 (invalid start byte at byte 23); save the file as UTF-8",
        ),
        (
            b'{"id": "b", "text": "\\ud800"}',
            'the field "text" contains an unpaired surrogate, which is not a valid character',
        ),
        (
            b'{"id": "b", "body": "two"}',
            'the field "text" is missing; the line contains "body", "id"; set the correct field name in `fields`',
        ),
        (b"{}", 'the field "text" is missing; the line contains no fields; set the correct field name in `fields`'),
        (
            b'{"text": "two"}',
            'the field "id" is missing; the line contains "text"; set the correct field name in `fields`',
        ),
        (b'{"id": "b", "text": ["two"]}', 'expected text in the field "text", got a list'),
        (b'{"id": "b", "text": null}', 'expected text in the field "text", got null'),
        (
            b'{"id": "b", "text": " \\n"}',
            'the field "text" is empty; to leave out documents without text, set `empty = "skip"`',
        ),
        (b'{"id": "b", "text": "two", "title": 2}', 'expected text in the field "title", got a number'),
        (b'{"id": " ", "text": "two"}', 'the field "id" is empty, but every document needs an id'),
        (b'{"id": true, "text": "two"}', 'expected text in the field "id", got a boolean'),
        (b'{"id": 1.5, "text": "two"}', 'expected text in the field "id", got a number'),
        (b'{"id": {}, "text": "two"}', 'expected text in the field "id", got an object'),
        (b'{"id": "b\\n", "text": "two"}', "the field \"id\" contains unprintable characters: 'b\\n'"),
        (b'{"id": "a", "text": "two"}', 'duplicate id "a"; the id is already used in line 1'),
    ],
)
def test_invalid_line(tmp_path: Path, line: bytes, message: str) -> None:
    """An invalid line raises an error that states the file, the line and the problem."""
    with pytest.raises(InputError, match=re.escape(f"d.jsonl:2: {message}")):
        read(tmp_path, GOOD + line + b"\n")


def test_duplicate_number(tmp_path: Path) -> None:
    """The integer 1 and the string "1" are the same document id."""
    with pytest.raises(InputError, match=r'd\.jsonl:2: duplicate id "1"; the id is already used in line 1'):
        read(tmp_path, b'{"id": 1, "text": "one"}\n{"id": "1", "text": "two"}\n')


def test_unknown_field(tmp_path: Path) -> None:
    """If a field in the options occurs in no line, the error lists the existing field names."""
    with pytest.raises(
        InputError, match=r'fields\.title: no line contains the field "head"; available fields: "id", "text"$'
    ):
        read(tmp_path, GOOD, fields={"title": "head"})


def test_no_document(tmp_path: Path) -> None:
    """A JSONL file without documents raises an error."""
    with pytest.raises(InputError, match=r"d\.jsonl: found no documents; expected one document per line"):
        read(tmp_path, b"\n\n")


@pytest.mark.parametrize("method", ["fingerprint", "documents"])
def test_unreadable(tmp_path: Path, method: str) -> None:
    """A path to a missing file or to a folder raises an error."""
    for path, message in (("none.jsonl", r"none\.jsonl: no such file"), (".", "a folder; expected a JSONL file")):
        corpus = make_plugin(Jsonl, {"path": path}, tmp_path)
        with pytest.raises(InputError, match=message):
            list(getattr(corpus, method)())


def test_lazy_reading(tmp_path: Path) -> None:
    """Creating the plugin does not read the corpus file."""
    assert make_plugin(Jsonl, {"path": "none.jsonl"}, tmp_path).options.path == tmp_path / "none.jsonl"
