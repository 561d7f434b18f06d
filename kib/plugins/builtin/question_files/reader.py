"""Reads the rows of a question file in any format."""

from collections.abc import Iterator
from pathlib import Path

from kib.errors import InputError
from kib.plugins.builtin.question_files.column_mapping import ColumnMapping
from kib.plugins.builtin.question_files.csv_table import csv_rows
from kib.plugins.builtin.question_files.fields import LocatedRow
from kib.plugins.builtin.question_files.json_lines import json_rows
from kib.plugins.builtin.question_files.spreadsheet import spreadsheet_rows

__all__ = ["SPREADSHEET", "read_rows"]

SPREADSHEET = ".xlsx"


def read_rows(path: Path, sheet: str | None, mapping: ColumnMapping) -> Iterator[LocatedRow]:
    """Yield the fields of each question in a file, whose extension determines the format."""
    extension = path.suffix.lower()
    try:
        if extension == ".jsonl":
            yield from json_rows(path, mapping)
        elif extension == ".csv":
            yield from csv_rows(path, mapping)
        elif extension == SPREADSHEET:
            yield from spreadsheet_rows(path, sheet, mapping)
        else:
            got = path.suffix or "a file without an extension"
            raise InputError(f"{path}: expected a .jsonl, .csv or {SPREADSHEET} file, got {got}")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error
