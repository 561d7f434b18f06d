"""`file`: questions of the user's own, from JSON lines or CSV."""

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath
from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.input_files import check_files
from kib.plugins.builtin.json_parsing import parse_json
from kib.prompts import LETTERS
from kib.records import Gold, Question

__all__ = ["FileTask"]

FIELDS = ("id", "question", "options", "answer", "document", "start", "end", "group")
MOST_OPTIONS = len(LETTERS)


class FileTask:
    """Questions with options and the right one, optional gold document and range, and optional group."""

    class Options(BaseOptions):
        """Keys of `[tasks.NAME]` with `plugin = "file"`."""

        path: InputPath = Field(description="the questions: a .jsonl or .csv file")
        examples: InputPath | None = Field(None, description="few-shot examples in the same form, used in their order")
        validation: InputPath | None = Field(None, description="questions to choose settings on, in the same form")
        reworded: InputPath | None = Field(None, description="the questions in other words, with the same ids")

    revision: ClassVar[int] = 1

    def __init__(self, options: "FileTask.Options") -> None:
        self.options = options

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
        """Those that a file is given for."""
        return list(self._files())

    def fingerprint(self) -> str:
        """Digest of the files' bytes; InputError with all that are not there."""
        check_files(self._files().values())
        return digest({split: digest_file(path) for split, path in self._files().items()})

    def questions(self, split: str) -> Iterator[Question]:
        """The questions of a split's file in its order; one without an id is named by its row, from 1."""
        path = self._files().get(split)
        if path is None:
            return
        seen: set[str] = set()
        for line, row in _rows(path):
            question = _Row(f"{path}:{line}", row).question(str(len(seen) + 1))
            if not question.id.isprintable():
                raise InputError(f"{path}:{line}: id {question.id!r} holds signs that cannot be printed")
            if question.id in seen:
                raise InputError(f"{path}:{line}: id {question.id!r} stands twice; ids must be unique")
            seen.add(question.id)
            yield question
        if not seen:
            raise InputError(f"{path}: holds no question")


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and fields of each question."""
    readers = {".jsonl": _json_rows, ".csv": _csv_rows}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: questions come as .jsonl or .csv, not {path.suffix or 'a file without an ending'}")
    try:
        yield from readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = parse_json(line, f"{path}:{number}")
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: expected an object with the keys question, options, answer")
            yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Options stand in the columns A, B, C, … or, as a JSON list, in the column options."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        _check_header(path, reader.fieldnames or ())
        try:
            for row in reader:
                yield reader.line_num, _from_columns(f"{path}:{reader.line_num}", row)
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _check_header(path: Path, names: Sequence[str]) -> None:
    """InputError for a header that cannot be meant: another separator, blanks round names, names that nobody knows."""
    known = [*FIELDS, *LETTERS]
    if len(names) == 1 and (found := next((sign for sign in ";\t|" if sign in names[0]), None)):
        raise InputError(f"{path}:1: the columns are separated by {found!r}; expected commas")
    for name in names:
        if name in known:
            continue
        near = [field for field in known if field.lower() == name.strip().lower()] or get_close_matches(name, FIELDS)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{path}:1: unknown column {name!r}{hint} Known: {', '.join(FIELDS)}, and A, B, C, …")


def _from_columns(where: str, row: Mapping[str | None, Any]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise InputError(f"{where}: the row has not as many fields as the header")
    fields: dict[str, Any] = {str(key): value for key, value in row.items() if value != ""}
    letters = [letter for letter in LETTERS if letter in row]
    if "options" in fields:
        wanted = "expected a JSON list of texts, or columns A, B, C, …"
        fields["options"] = parse_json(fields["options"], f"{where}: options: {wanted}")
    elif letters:
        given = [fields.pop(letter, None) for letter in letters]
        while given and given[-1] is None:
            given.pop()
        fields["options"] = given
    for key in ("start", "end"):
        if key in fields and str(fields[key]).isdecimal():
            fields[key] = int(fields[key])
    answer = str(fields.get("answer", ""))
    if answer.isdecimal():
        texts = fields.get("options", [])
        if answer in texts and texts.index(answer) != int(answer):
            raise InputError(f"{where}: answer: {answer} is an option's text and another's number; write its letter")
        fields["answer"] = int(answer)
    return fields


class _Row:
    """One question as written, checked field by field."""

    def __init__(self, where: str, row: Mapping[str, Any]) -> None:
        self.where = where
        self.row = row

    def question(self, number: str) -> Question:
        unknown = sorted(set(self.row) - set(FIELDS))
        if unknown:
            raise self._wrong(unknown[0], f"unknown field; known are {', '.join(FIELDS)}")
        options = self._options()
        return Question(
            id=str(self.row["id"]) if type(self.row.get("id")) is int else self._text("id", number),
            text=self._text("question"),
            options=options,
            answer=self._answer(options),
            gold=self._gold(),
            group=self._text("group") if self.row.get("group") is not None else None,
        )

    def _wrong(self, field: str, message: str) -> InputError:
        return InputError(f"{self.where}: {field}: {message}")

    def _text(self, field: str, default: str | None = None) -> str:
        value = self.row.get(field, default)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(field, "missing" if field not in self.row else f"expected a text, got {value!r}")
        self._check_signs(field, value)
        return value

    def _check_signs(self, field: str, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self._wrong(field, "holds half a surrogate pair, which is no character") from error

    def _options(self) -> tuple[str, ...]:
        value = self.row.get("options")
        if not isinstance(value, list) or not all(isinstance(option, str) and option.strip() for option in value):
            raise self._wrong("options", "expected a list of texts")
        if not 2 <= len(value) <= MOST_OPTIONS:
            raise self._wrong("options", f"expected 2 to {MOST_OPTIONS} options, got {len(value)}")
        if len(set(value)) < len(value):
            raise self._wrong("options", "the same option stands twice")
        for option in value:
            self._check_signs("options", option)
        return tuple(value)

    def _answer(self, options: tuple[str, ...]) -> int:
        """The right option as a letter, as its own text, or as a number from 0."""
        value = self.row.get("answer")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(options):
            return value
        letters = LETTERS[: len(options)]
        meant = {list(some).index(value) for some in (options, letters) if value in list(some)}
        if len(meant) > 1:
            raise self._wrong("answer", f"{value} is an option's text and another's letter; write its number, from 0")
        if meant:
            return meant.pop()
        allowed = f"a letter {letters[0]} to {letters[-1]}, an option's text or a number from 0"
        raise self._wrong("answer", f"expected {allowed}, got {value!r}")

    def _gold(self) -> tuple[Gold, ...]:
        """One gold document, or a list of objects {document, start, end} for several."""
        value = self.row.get("document")
        if all(self.row.get(field) is None for field in ("document", "start", "end")):
            return ()
        if isinstance(value, list):
            return tuple(_Row(self.where, entry if isinstance(entry, dict) else {}).one_gold() for entry in value)
        return (self.one_gold(),)

    def one_gold(self) -> Gold:
        """The document and range of this row."""
        start, end = self.row.get("start"), self.row.get("end")
        if start is None and end is None:
            return Gold(self._text("document"))
        if type(start) is int and type(end) is int and 0 <= start < end:
            return Gold(self._text("document"), start, end)
        raise self._wrong("start, end", f"expected whole numbers, 0 <= start < end, got {start!r} and {end!r}")
