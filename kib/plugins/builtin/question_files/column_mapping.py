"""Maps the columns of a question file to the fields of a question."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from kib.errors import InputError
from kib.plugins.builtin.input_files import check_columns
from kib.plugins.builtin.question_files.fields import FIELDS
from kib.prompts import LETTERS
from kib.support.phrases import offer

__all__ = ["ColumnMapping", "check_field", "check_header"]

KNOWN = (*FIELDS, *LETTERS)


def check_field(name: str) -> str:
    """Return the name of a field unchanged; raise ValueError for an unknown field."""
    if name not in KNOWN:
        raise ValueError(f"unknown field {name!r}; {offer(name, FIELDS)}, and A, B, C, …")
    return name


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The column of each field; without columns, each column has the name of its field.

    `ignored` collects the columns of the file that the mapping does not contain.
    """

    columns: Mapping[str, str]
    ignored: list[str] = field(default_factory=list)

    def check(self, where: str, names: Sequence[str | None]) -> None:
        """Raise InputError if the header of a table at the position `where` does not fit; store ignored columns."""
        if not self.columns:
            check_header(where, names)
            return
        check_columns(where, [name for name in names if name in self.columns.values()])
        self.check_keys(where, [name for name in names if name])

    def check_keys(self, where: str, names: Iterable[str]) -> None:
        """Raise InputError if a mapped column is not among the names; store the names of ignored columns."""
        known = dict.fromkeys(names)
        for wanted, column in self.columns.items():
            if column not in known:
                raise InputError(f'{where}: `columns.{wanted}`: no column "{column}"; {offer(column, list(known))}')
        self.ignored[:] = [name for name in known if name not in self.columns.values()]

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a question from a row of the file; a field without a value may be missing."""
        if not self.columns:
            return dict(row)
        return {wanted: row[column] for wanted, column in self.columns.items() if column in row}


def check_header(where: str, names: Sequence[str | None]) -> None:
    """Raise InputError for an unknown or repeated column of a table at the position `where`."""
    check_columns(where, names)
    for name in names:
        if name is None or name in KNOWN:
            continue
        near = [known for known in KNOWN if known.lower() == name.strip().lower()] or get_close_matches(name, FIELDS)
        hint = f"did you mean {near[0]}? Known" if near else "known"
        raise InputError(
            f"{where}: unknown column {name!r}; {hint}: {', '.join(FIELDS)}, and A, B, C, …; to read other columns, "
            "set the option `columns`"
        )
