"""The task plugin `file`: reads the user's own questions from JSON Lines, CSV or a spreadsheet."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, NotInIdentity
from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.input_files import check_files
from kib.plugins.builtin.question_files.column_mapping import ColumnMapping, check_field
from kib.plugins.builtin.question_files.question_row import to_question
from kib.plugins.builtin.question_files.reader import SPREADSHEET, read_rows
from kib.records import Question
from kib.support.phrases import counted, first_names

__all__ = ["FileTask"]

SHOWN_COLUMNS = 5
"""The largest number of column names in a remark."""


class FileTask:
    """Questions with options or accepted answers, and optional gold documents, gold ranges, groups and probes."""

    class Options(BaseOptions):
        """The keys of `[tasks.NAME]` with `plugin = "file"`."""

        path: InputPath = Field(description="a .jsonl, .csv or .xlsx file with the questions")
        examples: InputPath | None = Field(
            default=None,
            description="a file with few-shot examples in the same format; the examples are used in file order",
        )
        validation: InputPath | None = Field(
            default=None, description="a file with validation questions in the same format, used to choose settings"
        )
        reworded: InputPath | None = Field(
            default=None, description="a file with reworded versions of the questions, with the same ids"
        )
        sheet: Annotated[str | None, NotInIdentity] = Field(
            default=None,
            min_length=1,
            description="the name of the sheet in each .xlsx file; default: the only visible sheet",
        )
        columns: Annotated[
            dict[Annotated[str, AfterValidator(check_field)], Annotated[str, Field(min_length=1)]], NotInIdentity
        ] = Field(
            default={},
            description=(
                'the column, or the key in JSON Lines, of each field, such as `{ question = "Question text" }`; other '
                "columns are ignored; default: each column has the name of its field"
            ),
        )

        @model_validator(mode="after")
        def _check_sheet(self) -> Self:
            files = (self.path, self.examples, self.validation, self.reworded)
            if self.sheet is not None and not any(_is_spreadsheet(path) for path in files if path is not None):
                raise ValueError(f"`sheet` applies only to {SPREADSHEET} files")
            if self.columns and "question" not in self.columns:
                raise ValueError(
                    "`columns` must contain the field `question`, because columns without a field are ignored"
                )
            return self

    revision: ClassVar[int] = 2

    def __init__(self, options: "FileTask.Options") -> None:
        self.options = options
        self._trimmed: dict[str, int] = {}  # the number of questions from which white space was removed, by split
        self._ignored: dict[str, list[str]] = {}  # the columns that `columns` does not contain, by split

    def _files(self) -> dict[str, Path]:
        options = self.options
        files = {
            "test": options.path,
            "examples": options.examples,
            "validation": options.validation,
            "reworded": options.reworded,
        }
        return {split: path for split, path in files.items() if path is not None}

    def splits(self) -> Collection[str]:
        """Return the splits for which the options specify a file."""
        return list(self._files())

    def fingerprint(self) -> str:
        """Return the digest of the files, the sheet and the columns; raise InputError that lists all missing files."""
        check_files(self._files().values())
        digests = {split: digest_file(path) for split, path in self._files().items()}
        chosen = {"sheet": self.options.sheet, "columns": dict(self.options.columns)}
        return digest({**digests, **{key: value for key, value in chosen.items() if value}})

    def questions(self, split: str) -> Iterator[Question]:
        """Yield the questions of a split in file order; a question without an id is numbered, starting from 1."""
        path = self._files().get(split)
        if path is None:
            return
        seen: set[str] = set()
        self._trimmed[split] = 0
        mapping = ColumnMapping(self.options.columns)
        for row in read_rows(path, self.options.sheet, mapping):
            question = to_question(row, str(len(seen) + 1))
            self._trimmed[split] += row.is_trimmed
            if not question.id.isprintable():
                raise InputError(f"{row.where}: id {question.id!r} contains unprintable characters")
            if question.id in seen:
                raise InputError(f"{row.where}: id {question.id!r} appears twice; ids must be unique")
            seen.add(question.id)
            yield question
        self._ignored[split] = mapping.ignored
        if not seen:
            raise InputError(f"{path}: no questions found")

    def remarks(self, split: str) -> list[str]:
        """Return sentences about removed white space and ignored columns, after the split was read."""
        count, ignored = self._trimmed.get(split, 0), self._ignored.get(split, [])
        remarks = []
        if count:
            remarks.append(f"removed white space around texts of {counted(count, 'question')} of the split {split}")
        if ignored:
            names = first_names(ignored, SHOWN_COLUMNS)
            remarks.append(f"ignored {counted(len(ignored), 'column')} of the split {split}: {names}")
        return remarks


def _is_spreadsheet(path: Path) -> bool:
    return path.suffix.lower() == SPREADSHEET
