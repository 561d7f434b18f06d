"""Conversion of table rows to documents; an invalid row raises an error that states its line or row number."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kib.errors import InputError
from kib.records import Document
from kib.support.ids import normal_id
from kib_tables.options import Empty, Fields, Origin

__all__ = ["RowDocuments", "quoted", "unreadable"]

LOGGER = logging.getLogger("kib_tables")

LISTED_IDS = 5
"""The maximum number of ids that a warning lists."""


@dataclass
class RowDocuments:
    """Converts the rows of one table to documents; messages refer to the table as `name` and to its rows as `unit`."""

    name: Path | str
    fields: Fields
    origin: Origin
    empty: Empty = "error"
    unit: Literal["line", "row"] = "line"
    left_out: list[str] = field(default_factory=list)  # the ids of documents without text in the last pass

    def documents(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[Document]:
        """Convert numbered rows to documents, in row order; raise InputError at the first invalid row."""
        numbers: dict[str, int] = {}
        names: set[str] = set()
        self.left_out = []
        for number, row in rows:
            names.update(row)
            document = self._document(number, row)
            if document.id in numbers:
                first = f"the id is already used in {self.unit} {numbers[document.id]}"
                raise self._error(number, f'duplicate id "{document.id}"; {first}')
            numbers[document.id] = number
            if document.text.strip():
                yield document
            else:
                self.left_out.append(document.id)
        self._check_not_empty(numbers)
        self._check_names(names)
        self._warn_of_left_out()

    def _document(self, number: int, row: Mapping[str, Any]) -> Document:
        """Convert a row to a document; an empty text is allowed only if the options omit documents without text."""
        names = self.fields
        text = self._text(number, row, names.text, required=self.empty == "error")
        if not text.strip() and self.empty == "error":
            raise self._error(
                number, f'the field "{names.text}" is empty; to leave out documents without text, set `empty = "skip"`'
            )
        return Document(
            id=self._id(number, row),
            title=self._text(number, row, names.title),
            text=text,
            source=self._text(number, row, names.source) or self.origin.source,
            licence=self._text(number, row, names.licence) or self.origin.licence,
        )

    def _error(self, number: int, problem: str) -> InputError:
        """Return an InputError that describes a problem in a row."""
        position = f"{number}" if self.unit == "line" else f" row {number}"
        return InputError(f"{self.name}:{position}: {problem}")

    def _id(self, number: int, row: Mapping[str, Any]) -> str:
        name = self.fields.id
        value = row.get(name)
        if type(value) is int:
            return str(normal_id(value))
        value = str(normal_id(self._text(number, row, name, required=True)))
        if not value.strip():
            raise self._error(number, f'the field "{name}" is empty, but every document needs an id')
        if not value.isprintable():
            raise self._error(number, f'the field "{name}" contains unprintable characters: {value!r}')
        return value

    def _text(self, number: int, row: Mapping[str, Any], name: str, *, required: bool = False) -> str:
        """Return a field's text, or "" if an optional field is missing or null."""
        if name not in row and required:
            problem = f'the field "{name}" is missing; the {self.unit} contains {quoted(row)}'
            raise self._error(number, f"{problem}; set the correct field name in `fields`")
        value = row.get(name)
        if value is None and not required:
            return ""
        if not isinstance(value, str):
            raise self._error(number, f'expected text in the field "{name}", got {_json_type(value)}')
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f'the field "{name}" contains an unpaired surrogate, which is not a valid character'
            raise self._error(number, problem) from error
        return value

    def _check_not_empty(self, ids: Mapping[str, int]) -> None:
        """Raise InputError if no document has text."""
        if not ids:
            raise InputError(f"{self.name}: found no documents; expected one document per {self.unit}")
        if len(ids) == len(self.left_out):
            raise InputError(f"{self.name}: none of the documents contains text (documents without text: {len(ids)})")

    def _check_names(self, found: set[str]) -> None:
        """Raise InputError if a field named in the options does not occur in any row."""
        for part in sorted({*self.fields.model_fields_set, "text"}):
            name = getattr(self.fields, part)
            if name not in found:
                problem = f'no {self.unit} contains the field "{name}"; available fields: {quoted(found)}'
                raise InputError(f"{self.name}: fields.{part}: {problem}")

    def _warn_of_left_out(self) -> None:
        if self.left_out:
            ids = ", ".join(self.left_out[:LISTED_IDS]) + (", …" if self.left_out[LISTED_IDS:] else "")
            count, noun = len(self.left_out), "document" if len(self.left_out) == 1 else "documents"
            LOGGER.warning("%s: left out %d %s without text: %s", self.name, count, noun, ids)


def unreadable(path: Path, error: OSError, expected: str) -> InputError:
    """Return the InputError for an unreadable file; `expected` is the kind of file, such as "a JSONL file"."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file; expected {expected}")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: this is a folder; expected {expected}")
    return InputError(f"{path}: cannot be read: {error.strerror or error}")


def quoted(names: Iterable[str]) -> str:
    """Return the sorted names, each in quotes, as one string."""
    return ", ".join(f'"{name}"' for name in sorted(names)) or "no fields"


def _json_type(value: Any) -> str:
    types = {
        dict: "an object",
        list: "a list",
        str: "text",
        bytes: "bytes",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return types.get(type(value), f"a {type(value).__name__}")
