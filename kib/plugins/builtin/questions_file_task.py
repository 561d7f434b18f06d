"""The task plugin `file`: reads the user's own questions from JSON lines or CSV."""

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath
from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.input_files import check_columns, check_files
from kib.prompts import LETTERS
from kib.records import Gold, Question
from kib.support.ids import normal_id
from kib.support.json_parsing import parse_json
from kib.support.phrases import counted
from kib.support.question_text import trimmed

__all__ = ["FileTask"]

GOLD_FIELDS = ("document", "start", "end", "quote")
"""The fields of gold, either of the question itself or of each entry in a list of several gold documents."""

FIELDS = ("id", "question", "options", "answer", "answers", "unanswerable", *GOLD_FIELDS, "group")
MOST_OPTIONS = len(LETTERS)

TRIMMED = ("id", "question", "options", "answer", "answers", "group")
"""The fields whose texts are trimmed; a document id must be written exactly as in the corpus."""

JSON_OPTIONS = "expected a JSON list of strings, or the columns A, B, C, …"
JSON_ANSWERS = "expected a JSON list of strings, or one answer in the column `answer`"

Row = Mapping[str, Any]


class FileTask:
    """Questions with options or accepted answers, and optional gold documents, gold ranges and groups."""

    class Options(BaseOptions):
        """The keys of `[tasks.NAME]` with `plugin = "file"`."""

        path: InputPath = Field(description="a .jsonl or .csv file with the questions")
        examples: InputPath | None = Field(
            None, description="a file with few-shot examples in the same format; the examples are used in file order"
        )
        validation: InputPath | None = Field(
            None, description="a file with validation questions in the same format, used to choose settings"
        )
        reworded: InputPath | None = Field(
            None, description="a file with reworded versions of the questions, with the same ids"
        )

    revision: ClassVar[int] = 2

    def __init__(self, options: "FileTask.Options") -> None:
        self.options = options
        self._trimmed: dict[str, int] = {}  # the number of questions from which white space was removed, by split

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
        """Return the digest of the files; raise InputError that lists all missing files."""
        check_files(self._files().values())
        return digest({split: digest_file(path) for split, path in self._files().items()})

    def questions(self, split: str) -> Iterator[Question]:
        """Yield the questions of a split in file order; a question without an id is numbered, starting from 1."""
        path = self._files().get(split)
        if path is None:
            return
        seen: set[str] = set()
        self._trimmed[split] = 0
        for line, row, is_trimmed in _rows(path):
            question = _Row(f"{path}:{line}", row).question(str(len(seen) + 1))
            self._trimmed[split] += is_trimmed
            if not question.id.isprintable():
                raise InputError(f"{path}:{line}: id {question.id!r} contains unprintable characters")
            if question.id in seen:
                raise InputError(f"{path}:{line}: id {question.id!r} appears twice; ids must be unique")
            seen.add(question.id)
            yield question
        if not seen:
            raise InputError(f"{path}: no questions found")

    def remarks(self, split: str) -> list[str]:
        """Return a sentence about removed white space, if white space was removed while the split was read."""
        count = self._trimmed.get(split, 0)
        return (
            [f"removed white space around texts of {counted(count, 'question')} of the split {split}"] if count else []
        )


def _rows(path: Path) -> Iterator[tuple[int, Row, bool]]:
    """Yield the line number and the fields of each question in a file, and whether white space was removed."""
    readers = {".jsonl": _json_rows, ".csv": _csv_rows}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected a .jsonl or .csv file, got {path.suffix or 'a file without an extension'}")
    try:
        yield from readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error


def _json_rows(path: Path) -> Iterator[tuple[int, Row, bool]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            written = parse_json(line, f"{path}:{number}")
            if not isinstance(written, dict):
                raise InputError(f"{path}:{number}: expected an object with the keys question and answer")
            row = {key: _trim(value) if key in TRIMMED else value for key, value in written.items()}
            yield number, row, row != written


def _trim(value: Any) -> Any:
    """Return a text, or a list of texts, without surrounding white space; return any other value unchanged."""
    if isinstance(value, list):
        return [_trim(one) for one in value]
    return trimmed(value) if isinstance(value, str) else value


def _csv_rows(path: Path) -> Iterator[tuple[int, Row, bool]]:
    """Read questions from CSV; options are in the columns A, B, C, … or, as a JSON list, in the column `options`."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        _check_header(path, reader.fieldnames or ())
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                _check_cells(where, row)
                for key, expected in (("options", JSON_OPTIONS), ("answers", JSON_ANSWERS)):
                    if (row.get(key) or "").strip():
                        row[key] = parse_json(row[key], f"{where}: {key}: {expected}")
                cells = {key: _trim(value) for key, value in row.items()}
                yield reader.line_num, _from_columns(where, cells), cells != row
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _check_header(path: Path, names: Sequence[str]) -> None:
    """Raise InputError for a header with an invalid separator, an unknown column or a repeated column."""
    known = [*FIELDS, *LETTERS]
    if len(names) == 1 and (found := next((sign for sign in ";\t|" if sign in names[0]), None)):
        raise InputError(f"{path}:1: the columns are separated by {found!r}; expected commas")
    check_columns(path, names)
    for name in names:
        if name in known:
            continue
        near = [field for field in known if field.lower() == name.strip().lower()] or get_close_matches(name, FIELDS)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{path}:1: unknown column {name!r}{hint} Known: {', '.join(FIELDS)}, and A, B, C, …")


def _check_cells(where: str, row: Mapping[str | None, Any]) -> None:
    """Raise InputError for a quotation mark after a space, which CSV treats as text, or a wrong number of cells."""
    for key, text in row.items():
        if key is not None and text and text[0].isspace() and text.lstrip().startswith('"'):
            raise InputError(f"{where}: {key}: remove the space before the quotation mark, or CSV treats both as text")
    if None in row or None in row.values():
        raise InputError(f"{where}: the row and the header have different numbers of fields")


def _from_columns(where: str, row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {key: value for key, value in row.items() if value != ""}
    letters = [letter for letter in LETTERS if letter in row]
    if letters and "options" not in fields:
        given = [fields.pop(letter, None) for letter in letters]
        while given and given[-1] is None:
            given.pop()
        fields["options"] = given
    for key in ("start", "end"):
        if key in fields and str(fields[key]).isdecimal():
            fields[key] = int(fields[key])
    answer = str(fields.get("answer", ""))
    if answer.isdecimal() and "options" in fields:
        texts = fields.get("options", [])
        if answer in texts and texts.index(answer) != int(answer):
            raise InputError(
                f"{where}: answer: {answer} is the text of one option and the index of a different option; use the "
                "option's letter instead"
            )
        fields["answer"] = int(answer)
    return fields


class _Row:
    """A row of a question file, validated field by field."""

    def __init__(self, where: str, row: Mapping[str, Any]) -> None:
        self.where = where
        self.row = row

    def question(self, number: str) -> Question:
        self._check_fields(FIELDS)
        unanswerable = self._unanswerable()
        options = self._options() if self.row.get("options") is not None else ()
        return Question(
            id=self._id("id", number),
            text=self._text("question"),
            options=options,
            answer=self._answer(options) if options else None,
            accepted=() if unanswerable else self._accepted(has_options=bool(options)),
            unanswerable=unanswerable,
            gold=self._gold(),
            group=self._id("group") if self.row.get("group") is not None else None,
        )

    def _check_fields(self, known: Sequence[str], of: str = "") -> None:
        unknown = sorted(set(self.row) - set(known))
        if unknown:
            raise self._wrong(unknown[0], f"unknown field{of}; known: {', '.join(known)}")

    def _wrong(self, field: str, message: str) -> InputError:
        return InputError(f"{self.where}: {field}: {message}")

    def _id(self, field: str, default: str | None = None) -> str:
        """Return the name of a question, document or group; in JSON, a name may also be a whole number."""
        value = self.row.get(field, default)
        return str(normal_id(value if type(value) is int else self._text(field, default, "text or a whole number")))

    def _text(self, field: str, default: str | None = None, expected: str = "text") -> str:
        value = self.row.get(field, default)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(field, "missing" if field not in self.row else f"expected {expected}, got {value!r}")
        self._check_characters(field, value)
        return value

    def _check_characters(self, field: str, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self._wrong(field, "contains an unpaired surrogate, which is not a character") from error

    def _options(self) -> tuple[str, ...]:
        value = self.row.get("options")
        if not isinstance(value, list) or not all(isinstance(option, str) and option.strip() for option in value):
            raise self._wrong("options", "expected a list of non-empty strings")
        if not 2 <= len(value) <= MOST_OPTIONS:
            raise self._wrong("options", f"expected 2 to {MOST_OPTIONS} options, got {len(value)}")
        repeated = [option for option, count in Counter(value).items() if count > 1]
        if repeated:
            raise self._wrong(
                "options", f"the option {repeated[0]!r} appears twice; surrounding white space is ignored"
            )
        for option in value:
            self._check_characters("options", option)
        return tuple(value)

    def _answer(self, options: tuple[str, ...]) -> int:
        """Return the zero-based index of the correct option, which is given as a letter, a text or an index."""
        value = self.row.get("answer")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(options):
            return value
        letters = LETTERS[: len(options)]
        meant = {list(some).index(value) for some in (options, letters) if value in list(some)}
        if len(meant) > 1:
            raise self._wrong(
                "answer",
                (
                    f"{value} is the text of one option and the letter of a different option; use the zero-based "
                    "index instead"
                ),
            )
        if meant:
            return meant.pop()
        allowed = f"a letter from {letters[0]} to {letters[-1]}, the text of an option or a zero-based option index"
        raise self._wrong("answer", f"expected {allowed}, got {value!r}")

    def _accepted(self, *, has_options: bool) -> tuple[str, ...]:
        """Return the accepted answers of a question without options, given as one `answer` or as a list `answers`."""
        several = self.row.get("answers")
        if several is None:
            return () if has_options else (self._one_accepted(),)
        if has_options or self.row.get("answer") is not None:
            other = "options" if has_options else "answer"
            raise self._wrong("answers", f"the question has `{other}` too; remove one of the two fields")
        if not isinstance(several, list) or not several or not all(isinstance(one, str) and one for one in several):
            hint = "; if the documents hold no answer, add `unanswerable`" if several == [] else ""
            raise self._wrong("answers", f"expected a list of non-empty texts, got {several!r}{hint}")
        for text in several:
            self._check_characters("answers", text)
        return tuple(dict.fromkeys(several))

    def _unanswerable(self) -> bool:
        """Return whether the documents hold no answer; in CSV, the field contains `true` or `false`."""
        value = self.row.get("unanswerable", False)
        text = str(value).lower()
        if not isinstance(value, bool | str) or text not in ("true", "false"):
            raise self._wrong("unanswerable", f"expected true or false, got {value!r}")
        given = [field for field in ("options", "answer", "answers") if self.row.get(field)]
        if text == "true" and given:
            raise self._wrong(given[0], "a question that is `unanswerable` must not have an answer or options")
        return text == "true"

    def _one_accepted(self) -> str:
        value = self.row.get("answer")
        if type(value) in (int, float):
            return json.dumps(value)
        return self._text("answer", expected="a text or a number, or a list in `answers`")

    def _gold(self) -> tuple[Gold, ...]:
        """Return the gold documents: one document, or several from a list of objects {document, start, end, quote}."""
        value = self.row.get("document")
        given = [field for field in GOLD_FIELDS if self.row.get(field) is not None]
        if not given:
            return ()
        if not isinstance(value, list):
            return (self.one_gold(),)
        if given[1:]:
            raise self._wrong(given[1], "expected this field in each object of the list `document`")
        return tuple(self._entry(entry) for entry in value)

    def _entry(self, value: Any) -> Gold:
        """Return the gold that one entry of the list `document` specifies."""
        if not isinstance(value, dict):
            expected = 'text, a whole number or a list of objects such as {"document": "pump", "start": 0, "end": 9}'
            raise self._wrong("document", f"expected {expected}, got an entry {value!r}")
        entry = _Row(self.where, value)
        entry._check_fields(GOLD_FIELDS, " of a gold document")
        return entry.one_gold()

    def one_gold(self) -> Gold:
        """Return the gold document, and the character range and the quote that this row specifies."""
        start, end = self.row.get("start"), self.row.get("end")
        document = self._id("document")
        quote = self._text("quote") if self.row.get("quote") is not None else None
        if start is None and end is None:
            return Gold(document, quote=quote)
        if type(start) is int and type(end) is int and 0 <= start < end:
            return Gold(document, start, end, quote)
        raise self._wrong("start, end", f"expected whole numbers with 0 <= start < end, got {start!r} and {end!r}")
