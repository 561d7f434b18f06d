"""Reads questions from CSV."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.plugins.builtin.question_files.column_mapping import ColumnMapping
from kib.plugins.builtin.question_files.fields import LocatedRow
from kib.plugins.builtin.question_files.table_rows import table_row

__all__ = ["csv_rows"]


def csv_rows(path: Path, mapping: ColumnMapping) -> Iterator[LocatedRow]:
    """Yield the fields of the question in each row below the header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            names = reader.fieldnames or ()
            _check_separator(path, names)
            mapping.check(f"{path}:1", names)
            for row in reader:
                where = f"{path}:{reader.line_num}"
                _check_cells(where, row)
                yield table_row(where, row, mapping)
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _check_separator(path: Path, names: Sequence[str]) -> None:
    if len(names) == 1 and (found := next((sign for sign in ";\t|" if sign in names[0]), None)):
        raise InputError(f"{path}:1: the columns are separated by {found!r}; expected commas")


def _check_cells(where: str, row: Mapping[str | None, Any]) -> None:
    """Raise InputError for a quotation mark after a space, which CSV treats as text, or a wrong number of cells."""
    for key, text in row.items():
        if key is not None and text and text[0].isspace() and text.lstrip().startswith('"'):
            raise InputError(f"{where}: {key}: remove the space before the quotation mark, or CSV treats both as text")
    if None in row or None in row.values():
        raise InputError(f"{where}: the row and the header have different numbers of fields")
