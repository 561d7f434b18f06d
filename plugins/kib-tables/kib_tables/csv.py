"""The corpus `csv`, which reads documents from a CSV file with a header; errors name the file and line."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib_tables.limited_lines import MB, limited_lines, too_large
from kib_tables.options import TableOptions
from kib_tables.row_documents import quoted
from kib_tables.table_corpus import TableCorpus

__all__ = ["Csv", "CsvOptions"]


class CsvOptions(TableOptions):
    """Options of `csv`: the file, its column names, and the delimiter."""

    path: InputPath = Field(
        description="path of the CSV file, which must be encoded in UTF-8 with the column names in the first line"
    )
    delimiter: str = Field(
        default=",", min_length=1, max_length=1, description='character that separates two fields; use "\\t" for a tab'
    )


class Csv(TableCorpus):
    """The corpus `csv`, which reads one document per row of a CSV file."""

    Options: ClassVar[type[Options]] = CsvOptions
    file_format = "a CSV file"

    def rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number of each row's first line and the row's values by column; skip blank lines."""
        most = self.options.max_unpacked_mb
        csv.field_size_limit(most * MB)  # the default of 131,072 characters is too small for some documents
        with path.open("rb") as file:
            reader = csv.reader(_lines(path, file, most), delimiter=self.options.delimiter, strict=True)
            header: list[str] | None = None
            for number, row in _rows(path, reader, most):
                if header is None:
                    header = _header(path, number, row)
                elif len(row) != len(header):
                    problem = f"expected as many fields as in the header ({len(header)}), got {len(row)}"
                    raise InputError(f"{path}:{number}: {problem}")
                else:
                    yield number, dict(zip(header, row, strict=True))


def _lines(path: Path, file: IO[bytes], most: int) -> Iterator[str]:
    for number, line in limited_lines(path, file, most):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"the line is not valid UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8"
            raise InputError(f"{path}:{number}: {problem}") from error


def _rows(path: Path, reader: Any, most: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row's first line and the row's fields."""
    first_line = 1
    try:
        for row in reader:
            if row:
                yield first_line, row
            first_line = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise too_large(f"{path}:{first_line}: a field", most) from error
        raise InputError(f"{path}:{first_line}: invalid CSV: {error}") from error


def _header(path: Path, number: int, row: list[str]) -> list[str]:
    repeated = {name for name, count in Counter(row).items() if count > 1}
    if repeated:
        raise InputError(f"{path}:{number}: duplicate column names in the header: {quoted(repeated)}")
    return row
