"""The corpus `parquet`, which reads documents from a Parquet file in batches; errors name the file and row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib_tables.options import TableOptions
from kib_tables.table_corpus import TableCorpus

__all__ = ["Parquet", "ParquetOptions"]

BATCH_ROWS = 256
"""The number of rows in memory at once; a single document may be large."""


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
        try:
            with ParquetFile(path) as file:
                columns = file.schema_arrow.names
                read = [column for column in dict(self.options.fields).values() if column in columns]
                unread = {column: None for column in columns if column not in read}
                for batch in file.iter_batches(BATCH_ROWS, columns=read):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row if number > 1 else row | unread
        except ArrowInvalid as error:
            raise InputError(f"{path}: invalid Parquet: {error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: the text after row {number} is not valid UTF-8: {error.reason}") from error
