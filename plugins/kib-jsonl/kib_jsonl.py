"""Documents from a JSONL file: one JSON object a line, UTF-8; anything wrong is told with file and line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest_file
from kib.interfaces import InputPath, Options
from kib.records import Document

__all__ = ["Fields", "Jsonl", "JsonlOptions"]


class Fields(Options):
    """What the file calls the parts of a document."""

    id: str = Field(
        default="id", min_length=1, description="Field of the id: text or a whole number, unique in the file."
    )
    title: str = Field(default="title", min_length=1, description="Field of the title; a line may lack it.")
    text: str = Field(default="text", min_length=1, description="Field of the text.")
    source: str = Field(
        default="source", min_length=1, description="Field that says where it comes from; a line may lack it."
    )
    licence: str = Field(default="licence", min_length=1, description="Field of the licence; a line may lack it.")


class JsonlOptions(Options):
    """Which file, and what it calls things."""

    path: InputPath = Field(description="The file: one JSON object a line, UTF-8.")
    fields: Fields = Field(default=Fields(), description="The file's names for id, title, text, source, licence.")
    source: str = Field(default="", description="Where the documents come from, for lines that do not say.")
    licence: str = Field(default="", description="Licence of the documents, for lines that do not say.")


class Jsonl:
    """The corpus `jsonl`."""

    Options: ClassVar[type[Options]] = JsonlOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: JsonlOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Digest of the file's bytes; InputError if it cannot be read."""
        try:
            return digest_file(self.options.path)
        except OSError as error:
            raise _unreadable(self.options.path, error) from error

    def documents(self) -> Iterator[Document]:
        """The documents in the order of their lines; InputError at the first line that is not one."""
        seen: dict[str, int] = {}
        named: set[str] = set()
        for number, record in self._records():
            named.update(record)
            document = self._document(number, record)
            if document.id in seen:
                raise self._wrong(number, f'the id "{document.id}" stands in line {seen[document.id]} already')
            seen[document.id] = number
            yield document
        if not seen:
            raise InputError(f"{self.options.path}: no document in it; a document is a JSON object on a line")
        self._check_names(named)

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number from 1, and the object in it; blank lines hold none."""
        try:
            with self.options.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, self._record(number, line)
        except OSError as error:
            raise _unreadable(self.options.path, error) from error

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            text = line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise self._wrong(number, f"not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8") from error
        try:
            record = json.loads(text)
        except RecursionError as error:
            raise self._wrong(number, "not JSON that can be read: nested too deeply") from error
        except json.JSONDecodeError as error:
            raise self._wrong(number, f"not JSON: {error.msg} at column {error.colno}") from error
        except ValueError as error:
            raise self._wrong(number, f"not JSON that can be read: {error}") from error
        if not isinstance(record, dict):
            raise self._wrong(number, f"expected a JSON object, got {_kind(record)}")
        return record

    def _document(self, number: int, record: dict[str, Any]) -> Document:
        options, names = self.options, self.options.fields
        text = self._text(number, record, names.text, needed=True)
        if not text.strip():
            raise self._wrong(number, f'"{names.text}" is empty; a document has text')
        return Document(
            id=self._id(number, record),
            title=self._text(number, record, names.title),
            text=text,
            source=self._text(number, record, names.source) or options.source,
            licence=self._text(number, record, names.licence) or options.licence,
        )

    def _id(self, number: int, record: dict[str, Any]) -> str:
        name = self.options.fields.id
        value = record.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        value = self._text(number, record, name, needed=True)
        if not value.strip():
            raise self._wrong(number, f'"{name}" is empty; a document has an id')
        if not value.isprintable():
            raise self._wrong(number, f'"{name}" holds characters that cannot be printed: {value!r}')
        return value

    def _text(self, number: int, record: dict[str, Any], name: str, *, needed: bool = False) -> str:
        """A field's text, "" where it may be missing (or null) and is."""
        if name not in record and needed:
            raise self._wrong(number, f'no "{name}"; the line has {_listed(record)}. Name another field in `fields`')
        value = record.get(name)
        if value is None and not needed:
            return ""
        if not isinstance(value, str):
            raise self._wrong(number, f'"{name}" is {_kind(value)}, expected text')
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self._wrong(number, f'"{name}" holds half a surrogate pair, which is no character') from error
        return value

    def _check_names(self, found: set[str]) -> None:
        """A field that the user named and no line has is a slip."""
        names = self.options.fields
        for part in sorted(names.model_fields_set):
            name = getattr(names, part)
            if name not in found:
                raise InputError(f'{self.options.path}: fields.{part}: no line has "{name}"; there is {_listed(found)}')

    def _wrong(self, number: int, what: str) -> InputError:
        return InputError(f"{self.options.path}:{number}: {what}")


def _unreadable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: a folder, expected a JSONL file")
    return InputError(f"{path}: cannot be read: {error.strerror or error}")


def _listed(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names)) or "no field"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
