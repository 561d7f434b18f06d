"""Converts the cells of a table, which are texts, to the fields of a question."""

from collections.abc import Mapping
from typing import Any

from kib.errors import InputError
from kib.plugins.builtin.question_files.column_mapping import ColumnMapping
from kib.plugins.builtin.question_files.fields import LocatedRow, columns_to_options, trim
from kib.support.json_parsing import parse_json

__all__ = ["table_row"]

JSON_LISTS = {
    "options": "expected a JSON list of strings, or the columns A, B, C, …",
    "answers": "expected a JSON list of strings, or one answer in the column `answer`",
}
"""What an invalid JSON list in a cell should have been."""


def table_row(where: str, cells: Mapping[str, str], mapping: ColumnMapping) -> LocatedRow:
    """Return the fields in a row of a table; an empty cell means that the question does not have the field.

    Options are in the columns A, B, C, … or, as a JSON list, in the column `options`; a JSON list may also be in the
    column `answers`.
    """
    row: dict[str, Any] = mapping.fields(cells)
    for key, expected in JSON_LISTS.items():
        if (row.get(key) or "").strip():
            row[key] = parse_json(row[key], f"{where}: {key}: {expected}")
    trimmed = {key: trim(value) for key, value in row.items()}
    fields = columns_to_options({key: None if value == "" else value for key, value in trimmed.items()})
    given = {key: value for key, value in fields.items() if value is not None}
    return LocatedRow(where, _with_numbers(where, given), trimmed != row, mapping.columns)


def _with_numbers(where: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the range of the gold text, and the index of an option, as whole numbers."""
    for key in ("start", "end"):
        if str(fields.get(key)).isdecimal():
            fields[key] = int(fields[key])
    answer = str(fields.get("answer", ""))
    if answer.isdecimal() and "options" in fields:
        texts = fields["options"]
        if answer in texts and texts.index(answer) != int(answer):
            raise InputError(
                f"{where}: answer: {answer} is the text of one option and the index of a different option; use the "
                "option's letter instead"
            )
        fields["answer"] = int(answer)
    return fields
