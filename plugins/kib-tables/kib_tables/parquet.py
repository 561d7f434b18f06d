"""The corpus `parquet`, which reads documents from a Parquet file in batches; errors name the file and row."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib_tables.limited_lines import MB, too_large
from kib_tables.options import TableOptions
from kib_tables.table_corpus import TableCorpus

__all__ = ["Parquet", "ParquetOptions"]

BATCH_ROWS = 256
"""The maximum number of rows in memory at once, which is low because a single document may be large."""


class ParquetOptions(TableOptions):
    """Options of `parquet`: the file and its column names."""

    path: InputPath = Field(description="path of the Parquet file; only the columns named in `fields` are read")


class Parquet(TableCorpus):
    """The corpus `parquet`, which reads one document per row of a Parquet file."""

    Options: ClassVar[type[Options]] = ParquetOptions
    file_format = "a Parquet file"
    unit = "row"

    def rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each row's one-based number and its values by column.

        The first row also contains the unread columns, with the value None, so that errors can list all column names.
        """
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile

        if path.is_dir():
            raise IsADirectoryError
        number = 0
        names = list(dict(self.options.fields).values())
        try:
            with ParquetFile(path) as file:
                texts = [name for name in names if name in _byte_columns(file)]
            with ParquetFile(path, read_dictionary=texts) as file:  # repeated texts are in memory only once
                columns = file.schema_arrow.names
                read = [column for column in names if column in columns]
                unread = {column: None for column in columns if column not in read}
                for batch in self._batches(file, read):
                    self._check_sizes(path, number, batch)
                    for index in range(batch.num_rows):
                        row = {name: batch.column(name)[index].as_py() for name in read}
                        number += 1
                        yield number, row if number > 1 else row | unread
        except ArrowInvalid as error:
            raise InputError(f"{path}: invalid Parquet: {error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: the text after row {number} is not valid UTF-8: {error.reason}") from error

    def _batches(self, file: Any, columns: Sequence[str]) -> Iterator[Any]:
        """Yield batches of rows; a batch contains fewer rows if the rows in its row group are larger."""
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            chunks = [group.column(index) for index in range(group.num_columns)]
            size = sum(
                chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns
            )
            rows = self.options.max_unpacked_mb * MB * group.num_rows // max(1, size)
            yield from file.iter_batches(max(1, min(BATCH_ROWS, rows)), row_groups=[number], columns=columns)

    def _check_sizes(self, path: Path, number: int, batch: Any) -> None:
        """Raise InputError if the batch after row `number` contains a text above the size limit."""
        from pyarrow import compute, types

        most = self.options.max_unpacked_mb
        for column in batch.columns:
            values = column.dictionary if types.is_dictionary(column.type) else column
            if types.is_string(values.type) or types.is_large_string(values.type):
                longest = compute.max(compute.binary_length(values)).as_py() or 0
                if longest > most * MB:
                    raise too_large(f"{path}: a row after row {number}", most)


def _byte_columns(file: Any) -> set[str]:
    """Return the paths of the columns that contain text or bytes."""
    columns = [file.schema.column(index) for index in range(len(file.schema))]
    return {column.path for column in columns if column.physical_type == "BYTE_ARRAY"}
