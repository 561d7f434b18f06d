"""The fields of a question in a file, and the rows in which readers return these fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kib.prompts import LETTERS
from kib.support.question_text import trimmed

__all__ = ["FIELDS", "GOLD_FIELDS", "LocatedRow", "Row", "columns_to_options", "trim", "trimmed_fields"]

GOLD_FIELDS = ("document", "start", "end", "quote")
"""The fields of gold, either of the question itself or of each entry in a list of several gold documents."""

FIELDS = ("id", "question", "options", "answer", "answers", "unanswerable", *GOLD_FIELDS, "group", "probe")

TRIMMED = ("id", "question", "options", "answer", "answers", "group", "probe")
"""The fields whose texts are trimmed; a document id must be written exactly as in the corpus."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LocatedRow:
    """The fields of a question, and its position in a file as error messages state it.

    `is_trimmed` states whether white space was removed. `columns` contains the column of each field, if the columns of
    the file have other names than the fields.
    """

    where: str
    fields: Row
    is_trimmed: bool
    columns: Mapping[str, str] = field(default_factory=dict)


def trim(value: Any) -> Any:
    """Return a text, or a list of texts, without surrounding white space; return any other value unchanged."""
    if isinstance(value, list):
        return [trim(one) for one in value]
    return trimmed(value) if isinstance(value, str) else value


def trimmed_fields(row: Row) -> dict[str, Any]:
    """Return a row of JSON with trimmed texts, except for texts that must be equal to a text of the corpus."""
    return {key: trim(value) if key in TRIMMED else value for key, value in row.items()}


def columns_to_options(row: Row) -> dict[str, Any]:
    """Return a row with the options in the columns A, B, C, … as the list `options`, which ends with the last option.

    An empty column before the last option becomes None. A question marked as unanswerable needs no options.
    """
    fields = dict(row)
    letters = [letter for letter in LETTERS if letter in row]
    if letters and fields.get("options") is None:
        given = [fields.pop(letter) for letter in letters]
        while given and given[-1] is None:
            given.pop()
        if given or fields.get("unanswerable") is None:
            fields["options"] = given
    return fields
