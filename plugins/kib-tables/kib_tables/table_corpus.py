"""The base class of the table corpora, which read one file with one document per row."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from kib.identity import digest_file
from kib.interfaces import Options
from kib.records import Document
from kib_tables.options import TableOptions
from kib_tables.row_documents import RowDocuments, unreadable

__all__ = ["TableCorpus"]


class TableCorpus(ABC):
    """A corpus of one file with one document per row; a subclass reads the rows of its file format."""

    Options: ClassVar[type[Options]] = TableOptions
    revision: ClassVar[int] = 1
    file_format: ClassVar[str]
    """The description of the file format in messages, such as "a CSV file"."""
    unit: ClassVar[Any] = "line"

    def __init__(self, options: Any) -> None:
        self.options = options
        self.converter = RowDocuments(options.path, options.fields, options, options.empty, self.unit)

    def fingerprint(self) -> str:
        """Return a digest of the file; raise InputError if the file cannot be read."""
        try:
            return digest_file(self.options.path)
        except OSError as error:
            raise unreadable(self.options.path, error, self.file_format) from error

    def documents(self) -> Iterator[Document]:
        """Yield the documents in row order; raise InputError at the first invalid row."""
        try:
            yield from self.converter.documents(self.rows(self.options.path))
        except OSError as error:
            raise unreadable(self.options.path, error, self.file_format) from error

    def notes(self) -> dict[str, Any]:
        """Return the corpus date and the number of documents that the last pass omitted, for the corpus record."""
        return {"date": self.options.date, "left_out": len(self.converter.left_out)}

    @abstractmethod
    def rows(self, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield each row's one-based number and its values by field name."""
