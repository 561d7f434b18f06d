"""What the corpora of tables share: a file, its rows, its digest."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from kib.identity import digest_file
from kib.interfaces import Options
from kib.records import Document
from kib_tables.fields import Rows, TableOptions, unreadable

__all__ = ["Table"]


class Table(ABC):
    """A corpus of one file, a document a row; what a kind of file adds is how its rows are read."""

    Options: ClassVar[type[Options]] = TableOptions
    revision: ClassVar[int] = 1
    kind: ClassVar[str]
    """What stands in a message about a path: "a CSV file"."""
    unit: ClassVar[Any] = "line"

    def __init__(self, options: Any) -> None:
        self.options = options
        self.rows = Rows(options.path, options.fields, options, options.empty, self.unit)

    def fingerprint(self) -> str:
        """Digest of the file's bytes; InputError if it cannot be read."""
        try:
            return digest_file(self.options.path)
        except OSError as error:
            raise unreadable(self.options.path, error, self.kind) from error

    def documents(self) -> Iterator[Document]:
        """The documents in the order of their rows; InputError at the first that is not one."""
        try:
            yield from self.rows.documents(self.records(self.options.path))
        except OSError as error:
            raise unreadable(self.options.path, error, self.kind) from error

    def notes(self) -> dict[str, Any]:
        """What is recorded with the corpus: its date, and how many were left out when it was read last."""
        return {"date": self.options.date, "left_out": len(self.rows.left_out)}

    @abstractmethod
    def records(self, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Number of a row from 1, and its fields by name."""
