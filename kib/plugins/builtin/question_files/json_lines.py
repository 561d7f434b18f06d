"""Reads questions from JSON Lines: one object per line."""

from collections.abc import Iterator
from pathlib import Path

from kib.errors import InputError
from kib.plugins.builtin.question_files.column_mapping import ColumnMapping
from kib.plugins.builtin.question_files.fields import LocatedRow, Row, columns_to_options, trimmed_fields
from kib.support.json_parsing import parse_json

__all__ = ["json_rows"]


def json_rows(path: Path, mapping: ColumnMapping) -> Iterator[LocatedRow]:
    """Yield the fields of the question on each line; blank lines are skipped."""
    objects = _objects(path)
    if mapping.columns:  # a key may be missing from some objects, so all objects are needed to find a misspelled key
        read = list(objects)
        mapping.check_keys(str(path), (key for _, written in read for key in written))
        objects = iter(read)
    for where, written in objects:
        row = mapping.fields(written)
        trimmed = trimmed_fields(row)
        fields = columns_to_options(trimmed) if mapping.columns else trimmed
        yield LocatedRow(where, fields, trimmed != row, mapping.columns)


def _objects(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the position and the object of each line."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            written = parse_json(line, f"{path}:{number}")
            if not isinstance(written, dict):
                raise InputError(f"{path}:{number}: expected an object with the keys question and answer")
            yield f"{path}:{number}", written
