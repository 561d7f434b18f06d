"""Documents from a folder: each file is one, its id is its place in the folder."""

import codecs
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, Options
from kib.records import Document
from kib_files.convert import KINDS, BrokenFileError, convert
from kib_files.folder import Found, find_files, id_of, named

__all__ = ["Files", "FilesOptions"]

LOGGER = logging.getLogger("kib_files")

Choice = Literal["error", "skip"]


class FilesOptions(Options):
    """Which files of which folder."""

    path: InputPath = Field(description="The folder; its subfolders belong to it.")
    include: list[str] = Field(
        default=[],
        description="Patterns of which a file matches one, such as `*.pdf` or `manuals/*`; empty: all.",
    )
    exclude: list[str] = Field(default=[], description="Patterns of files that are left alone.")
    others: Choice = Field(
        default="error", description="What a file of a kind that is not read is: an `error`, or left out and counted."
    )
    empty: Choice = Field(
        default="error", description="What a file without text is, such as a scan: an `error`, or left out and counted."
    )
    broken: Choice = Field(
        default="error",
        description="What a file that cannot be read, decoded or opened is: an `error`, or left out and counted.",
    )
    title: Literal["document", "name"] = Field(
        default="document",
        description="Titles: the `document`'s own, its file's name where it has none; or the `name` for all.",
    )
    encoding: str = Field(
        default="utf-8", description="Encoding of plain text, Markdown, and HTML that does not say its own."
    )
    source: str = Field(default="", description="Where the documents come from.")
    licence: str = Field(default="", description="Licence of the documents.")
    date: str = Field(default="", description="As of when the documents are: a day, a version; it is only recorded.")

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError as error:
            raise ValueError(f"there is no encoding {value!r}; expected one such as utf-8 or cp1252") from error
        return value


class Files:
    """The corpus `files`."""

    Options: ClassVar[type[Options]] = FilesOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: FilesOptions) -> None:
        self.options = options
        self.counts: dict[str, int] = {}

    def fingerprint(self) -> str:
        """Digest of the documents' names and bytes; InputError where the folder or a file cannot be read."""
        found = self._found()
        return digest({name: self._digest(name) for name in found.documents} | dict.fromkeys(found.broken, ""))

    def documents(self) -> Iterator[Document]:
        """The files in the order of their names; InputError at the first that cannot be a document."""
        found = self._found()
        empty: list[str] = []
        broken = [f"{name} ({why})" for name, why in found.broken.items()]
        blank: list[str] = []
        given = 0
        for name in found.documents:
            document = self._document(name, empty, broken, blank)
            if document:
                given += 1
                yield document
        left = {"files of other kinds": found.others, "without text": empty, "that cannot be read": broken}
        if not given:
            without = ", ".join(f"{len(names)} {what}" for what, names in left.items() if names)
            raise InputError(f"{self.options.path}: no document in it{f' ({without})' if without else ''}")
        for what, names in left.items():
            if names:
                LOGGER.warning("%s: %d %s left out: %s", self.options.path, len(names), what, named(names))
        if blank:
            LOGGER.warning("%s: %d with pages without text: %s", self.options.path, len(blank), named(blank))
        self.counts = {"files": given, "hidden": len(found.hidden), "others": len(found.others)}
        self.counts |= {"empty": len(empty), "broken": len(broken), "with_blank_pages": len(blank)}

    def notes(self) -> dict[str, Any]:
        """What is recorded with the corpus: its date, and how many files were left out when it was read last."""
        return {"date": self.options.date, **self.counts}

    def _found(self) -> Found:
        """The folder's files; InputError where it has some of other kinds, or none that are documents."""
        options = self.options
        found = find_files(options.path, options.include, options.exclude, tuple(KINDS))
        if found.others and options.others == "error":
            what = f"{len(found.others)} of a kind that is not read: {named(found.others)}"
            read = ", ".join(sorted(KINDS))
            raise InputError(f'{options.path}: {what}. Read are {read}; `others = "skip"` or `exclude` leaves them out')
        for name, why in found.broken.items():
            if options.broken == "error":
                raise _wrong(options.path / name, why)
        if not found.documents and not found.broken:
            raise InputError(f"{options.path}: no document in it; expected files such as {', '.join(sorted(KINDS))}")
        return found

    def _digest(self, name: str) -> str:
        try:
            return digest_file(self.options.path / name)
        except OSError as error:
            if self.options.broken == "skip":
                return ""
            raise _wrong(self.options.path / name, f"cannot be read: {error.strerror or error}") from error

    def _document(self, name: str, empty: list[str], broken: list[str], blank: list[str]) -> Document | None:
        options, path = self.options, self.options.path / name
        try:
            made = convert(path, options.encoding)
        except BrokenFileError as error:
            if options.broken == "error":
                raise _wrong(path, str(error)) from error
            broken.append(f"{id_of(name)} ({error})")
            return None
        if not made.text.strip():
            if options.empty == "error":
                raise InputError(f'{path}: {_without(made.pages)}; `empty = "skip"` or `exclude` leaves it out')
            empty.append(name)
            return None
        if made.blank_pages:
            blank.append(f"{name} ({made.blank_pages} of {made.pages})")
        title = made.title if options.title == "document" else ""
        return Document(id_of(name), title or id_of(path.stem), made.text, options.source, options.licence)


def _without(pages: int) -> str:
    return f"no text on its {pages} pages; a scan becomes text by OCR" if pages else "no text in it"


def _wrong(path: Path, what: str) -> InputError:
    return InputError(f'{path}: {what}; `broken = "skip"` or `exclude` leaves it out')
