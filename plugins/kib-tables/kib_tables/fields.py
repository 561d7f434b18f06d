"""Rows become documents: which field is which part, and what is wrong with a row, told with its place."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib.records import Document

__all__ = ["Empty", "Fields", "Origin", "Rows", "TableOptions", "listed", "unreadable"]

LOGGER = logging.getLogger("kib_tables")

NAMED = 5
"""Documents that a warning names."""

Empty = Literal["error", "skip"]


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


class Origin(Options):
    """Where documents come from; recorded with the corpus."""

    source: str = Field(default="", description="Where the documents come from, for those that do not say.")
    licence: str = Field(default="", description="Licence of the documents, for those that do not say.")
    date: str = Field(default="", description="As of when the documents are: a day, a version; it is only recorded.")


class TableOptions(Origin):
    """Which file, and what it calls things."""

    path: InputPath = Field(description="The file.")
    fields: Fields = Field(default=Fields(), description="The file's names for id, title, text, source, licence.")
    empty: Empty = Field(
        default="error", description="What a document without text is: an `error`, or left out (`skip`) and counted."
    )


@dataclass
class Rows:
    """Rows of one table as documents; `place` is its name in messages, `unit` what it calls a row."""

    place: Path | str
    fields: Fields
    origin: Origin
    empty: Empty = "error"
    unit: Literal["line", "row"] = "line"
    left_out: list[str] = field(default_factory=list)  # ids of documents without text, after a pass

    def documents(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[Document]:
        """The documents of numbered rows in their order; InputError at the first row that is not one."""
        seen: dict[str, int] = {}
        names: set[str] = set()
        self.left_out = []
        for number, row in rows:
            names.update(row)
            document = self.document(number, row)
            if document.id in seen:
                already = f"stands in {self.unit} {seen[document.id]} already"
                raise self.wrong(number, f'the id "{document.id}" {already}')
            seen[document.id] = number
            if document.text.strip():
                yield document
            else:
                self.left_out.append(document.id)
        if len(seen) == len(self.left_out):
            raise InputError(f"{self.place}: no document in it{self._none()}")
        self._check_names(names)
        self._warn()

    def document(self, number: int, row: Mapping[str, Any]) -> Document:
        """A row's document; its text is empty only where such documents are left out."""
        names = self.fields
        text = self._text(number, row, names.text, needed=self.empty == "error")
        if not text.strip() and self.empty == "error":
            raise self.wrong(number, f'"{names.text}" is empty; a document has text')
        return Document(
            id=self._id(number, row),
            title=self._text(number, row, names.title),
            text=text,
            source=self._text(number, row, names.source) or self.origin.source,
            licence=self._text(number, row, names.licence) or self.origin.licence,
        )

    def wrong(self, number: int, what: str) -> InputError:
        """What is wrong with a row, as an error that names its place."""
        return InputError(
            f"{self.place}:{number}: {what}" if self.unit == "line" else f"{self.place}: row {number}: {what}"
        )

    def _id(self, number: int, row: Mapping[str, Any]) -> str:
        name = self.fields.id
        value = row.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        value = self._text(number, row, name, needed=True)
        if not value.strip():
            raise self.wrong(number, f'"{name}" is empty; a document has an id')
        if not value.isprintable():
            raise self.wrong(number, f'"{name}" holds characters that cannot be printed: {value!r}')
        return value

    def _text(self, number: int, row: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
        """A field's text, "" where it may be missing (or null) and is."""
        if name not in row and needed:
            has = f"the {self.unit} has {listed(row)}"
            raise self.wrong(number, f'no "{name}"; {has}. Name another field in `fields`')
        value = row.get(name)
        if value is None and not needed:
            return ""
        if not isinstance(value, str):
            raise self.wrong(number, f'"{name}" is {_kind(value)}, expected text')
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.wrong(number, f'"{name}" holds half a surrogate pair, which is no character') from error
        return value

    def _check_names(self, found: set[str]) -> None:
        """A field that the user named and no row has is a slip."""
        for part in sorted({*self.fields.model_fields_set, "text"}):
            name = getattr(self.fields, part)
            if name not in found:
                what = f'fields.{part}: no {self.unit} has "{name}"; there is {listed(found)}'
                raise InputError(f"{self.place}: {what}")

    def _none(self) -> str:
        if self.left_out:
            return f" that has text ({len(self.left_out)} without)"
        return f"; a document is a {self.unit}"

    def _warn(self) -> None:
        if self.left_out:
            shown = ", ".join(self.left_out[:NAMED]) + (", …" if self.left_out[NAMED:] else "")
            LOGGER.warning("%s: %d without text left out: %s", self.place, len(self.left_out), shown)


def unreadable(path: Path, error: OSError, kind: str) -> InputError:
    """Why a file cannot be read; `kind` is what was expected there, such as "a JSONL file"."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: a folder, expected {kind}")
    return InputError(f"{path}: cannot be read: {error.strerror or error}")


def listed(names: Iterable[str]) -> str:
    """Names in quotes, in order."""
    return ", ".join(f'"{name}"' for name in sorted(names)) or "no field"


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "text",
        bytes: "bytes",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")
