"""Documents from a Parquet file, read a batch at a time; anything wrong is told with file and row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib_tables.fields import TableOptions
from kib_tables.table import Table

__all__ = ["Parquet", "ParquetOptions"]

BATCH = 256
"""Rows in memory at once; a document may be large."""


class ParquetOptions(TableOptions):
    """Which file, and what its columns are called."""

    path: InputPath = Field(description="The Parquet file; only the columns of documents are read.")


class Parquet(Table):
    """The corpus `parquet`."""

    Options: ClassVar[type[Options]] = ParquetOptions
    kind = "a Parquet file"
    unit = "row"

    def records(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number of a row from 1, and its fields by column."""
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile

        if path.is_dir():
            raise IsADirectoryError
        number = 0
        try:
            with ParquetFile(path) as file:
                names = file.schema_arrow.names
                wanted = [name for name in dict(self.options.fields).values() if name in names]
                absent = {name: None for name in names if name not in wanted}
                for batch in file.iter_batches(BATCH, columns=wanted):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row if number > 1 else row | absent  # one row tells all columns' names
        except ArrowInvalid as error:
            raise InputError(f"{path}: not Parquet that can be read: {error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: after row {number}: text that is not UTF-8: {error.reason}") from error
