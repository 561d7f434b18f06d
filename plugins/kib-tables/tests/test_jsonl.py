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


def read(place: Path, content: bytes, **options: Any) -> list[Document]:
    (place / "d.jsonl").write_bytes(content)
    return list(make_plugin(Jsonl, {"path": "d.jsonl", **options}, place).documents())


def test_parts(tmp_path: Path) -> None:
    """Each part of a document comes from its field."""
    line = {"id": "a", "title": "T", "text": "one", "source": "S", "licence": "L", "more": [1]}
    assert read(tmp_path, json.dumps(line).encode()) == [Document("a", "T", "one", "S", "L")]


def test_other_names(tmp_path: Path) -> None:
    """The file may call the parts otherwise."""
    content = b'{"_id": 7, "head": "T", "body": "one", "title": "no"}\n{"_id": "8", "body": "two"}\n'
    found = read(tmp_path, content, fields={"id": "_id", "title": "head", "text": "body"})
    assert found == [Document("7", "T", "one"), Document("8", "", "two")]


def test_for_all(tmp_path: Path) -> None:
    """Source and licence of the options hold for lines that do not say."""
    content = GOOD + b'{"id": "b", "text": "two", "source": "own", "licence": null}\n'
    found = read(tmp_path, content, source="all", licence="CC0-1.0")
    assert [(d.source, d.licence) for d in found] == [("all", "CC0-1.0"), ("own", "CC0-1.0")]


def test_ends_of_lines(tmp_path: Path) -> None:
    """A byte order mark, Windows line ends, blank lines and a missing last line end are no content."""
    content = b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b"\r\n  \n" + b'{"id": "b", "text": "a\xe2\x80\xa8b"}'
    assert [d.text for d in read(tmp_path, content)] == ["one", "a\u2028b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "b", "text": "two"', "not JSON: Expecting ',' delimiter at column 26"),
        (b"two", "not JSON: Expecting value at column 1"),
        (b'["b", "two"]', "expected a JSON object, got a list"),
        (b"null", "expected a JSON object, got null"),
        (b"[" * 100_000, "not JSON that can be read: nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b', "text": "two"}', "not JSON that can be read: Exceeds the limit"),
        (b'{"id": "b", "text": "tw\xff"}', "not UTF-8: invalid start byte at byte 23; save it as UTF-8"),
        (b'{"id": "b", "text": "\\ud800"}', '"text" holds half a surrogate pair, which is no character'),
        (b'{"id": "b", "body": "two"}', 'no "text"; the line has "body", "id". Name another field in `fields`'),
        (b"{}", 'no "text"; the line has no field. Name another field in `fields`'),
        (b'{"text": "two"}', 'no "id"; the line has "text". Name another field in `fields`'),
        (b'{"id": "b", "text": ["two"]}', '"text" is a list, expected text'),
        (b'{"id": "b", "text": null}', '"text" is null, expected text'),
        (b'{"id": "b", "text": " \\n"}', '"text" is empty; a document has text'),
        (b'{"id": "b", "text": "two", "title": 2}', '"title" is a number, expected text'),
        (b'{"id": " ", "text": "two"}', '"id" is empty; a document has an id'),
        (b'{"id": true, "text": "two"}', '"id" is true or false, expected text'),
        (b'{"id": 1.5, "text": "two"}', '"id" is a number, expected text'),
        (b'{"id": {}, "text": "two"}', '"id" is an object, expected text'),
        (b'{"id": "b\\n", "text": "two"}', "\"id\" holds characters that cannot be printed: 'b\\n'"),
        (b'{"id": "a", "text": "two"}', 'the id "a" stands in line 1 already'),
    ],
)
def test_wrong_line(tmp_path: Path, line: bytes, message: str) -> None:
    """A line that is no document is an error that names file, line and what is wrong with it."""
    with pytest.raises(InputError, match=re.escape(f"d.jsonl:2: {message}")):
        read(tmp_path, GOOD + line + b"\n")


def test_number_twice(tmp_path: Path) -> None:
    """The number 1 and the text "1" are the same id."""
    with pytest.raises(InputError, match=r'd\.jsonl:2: the id "1" stands in line 1 already'):
        read(tmp_path, b'{"id": 1, "text": "one"}\n{"id": "1", "text": "two"}\n')


def test_named_in_vain(tmp_path: Path) -> None:
    """A field that the options name and no line has is an error that lists what there is."""
    with pytest.raises(InputError, match=r'fields\.title: no line has "head"; there is "id", "text"$'):
        read(tmp_path, GOOD, fields={"title": "head"})


def test_no_document(tmp_path: Path) -> None:
    """A file without a document is an error."""
    with pytest.raises(InputError, match=r"d\.jsonl: no document in it"):
        read(tmp_path, b"\n\n")


@pytest.mark.parametrize("method", ["fingerprint", "documents"])
def test_unreadable(tmp_path: Path, method: str) -> None:
    """A missing file and a folder in its place are errors that say so."""
    for path, message in (("none.jsonl", r"none\.jsonl: no such file"), (".", "a folder, expected a JSONL file")):
        corpus = make_plugin(Jsonl, {"path": path}, tmp_path)
        with pytest.raises(InputError, match=message):
            list(getattr(corpus, method)())


def test_nothing_before_it_is_asked(tmp_path: Path) -> None:
    """Building the plugin reads nothing."""
    assert make_plugin(Jsonl, {"path": "none.jsonl"}, tmp_path).options.path == tmp_path / "none.jsonl"
