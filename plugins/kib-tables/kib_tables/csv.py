"""Documents from a CSV file with a header; anything wrong is told with file and line."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib_tables.fields import TableOptions, listed
from kib_tables.table import Table

__all__ = ["Csv", "CsvOptions"]

LARGEST = 2**31 - 1
"""Characters of one field; the standard library stops at 131,072, and a document may be longer."""


class CsvOptions(TableOptions):
    """Which file, and what its columns are called."""

    path: InputPath = Field(description="The file: UTF-8, the first line names the columns.")
    delimiter: str = Field(
        default=",", min_length=1, max_length=1, description='What stands between two fields; a tab is "\\t".'
    )


class Csv(Table):
    """The corpus `csv`."""

    Options: ClassVar[type[Options]] = CsvOptions
    kind = "a CSV file"

    def records(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number of the line that a row begins on, and the row by its columns; blank lines hold none."""
        csv.field_size_limit(LARGEST)
        with path.open("rb") as file:
            reader = csv.reader(_lines(path, file), delimiter=self.options.delimiter, strict=True)
            header: list[str] | None = None
            for number, row in _rows(path, reader):
                if header is None:
                    header = _header(path, number, row)
                elif len(row) != len(header):
                    expected = f"expected {len(header)} fields as in the header, got {len(row)}"
                    raise InputError(f"{path}:{number}: {expected}")
                else:
                    yield number, dict(zip(header, row, strict=True))


def _lines(path: Path, file: Any) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            what = f"not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8"
            raise InputError(f"{path}:{number}: {what}") from error


def _rows(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    first = 1
    try:
        for row in reader:
            if row:
                yield first, row
            first = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{first}: not CSV: {error}") from error


def _header(path: Path, number: int, row: list[str]) -> list[str]:
    twice = {name for name in row if row.count(name) > 1}
    if twice:
        raise InputError(f"{path}:{number}: the header names a column twice: {listed(twice)}")
    return row
