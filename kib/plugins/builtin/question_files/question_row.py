"""Checks a row of a question file field by field, and converts the row to a question."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kib.errors import InputError
from kib.plugins.builtin.question_files.fields import FIELDS, GOLD_FIELDS, LocatedRow
from kib.prompts import LETTERS
from kib.records import Gold, Question
from kib.support.characters import remove_invisible
from kib.support.ids import normal_id
from kib.support.phrases import shortened

__all__ = ["to_question"]

MOST_OPTIONS = len(LETTERS)
MOST_PROBE_CHARACTERS = 60


def to_question(row: LocatedRow, number: str) -> Question:
    """Return the question in a row, with `number` as its id if the row has no id; raise InputError if it is invalid."""
    return _Row(row.where, row.fields, row.columns).question(number)


class _Row:
    """A row of a question file, validated field by field."""

    def __init__(self, where: str, row: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> None:
        self.where = where
        self.row = row
        self.columns = columns or {}

    def question(self, number: str) -> Question:
        self._check_fields(FIELDS)
        unanswerable = self._unanswerable()
        options = self._options() if self.row.get("options") is not None else ()
        return Question(
            id=self._id("id", number),
            text=self._visible_text("question"),
            options=options,
            answer=self._answer(options) if options else None,
            accepted=() if unanswerable else self._accepted(has_options=bool(options)),
            unanswerable=unanswerable,
            gold=self._gold(),
            group=self._id("group") if self.row.get("group") is not None else None,
            probe=self._probe() if self.row.get("probe") is not None else None,
        )

    def _check_fields(self, known: Sequence[str], of: str = "") -> None:
        unknown = sorted(set(self.row) - set(known))
        if unknown:
            raise self._wrong(unknown[0], f"unknown field{of}; known: {', '.join(known)}")

    def _wrong(self, field: str, message: str) -> InputError:
        column = self.columns.get(field, field)
        of = "" if column == field else f' (column "{column}")'
        return InputError(f"{self.where}: {field}{of}: {message}")

    def _id(self, field: str, default: str | None = None) -> str:
        """Return the name of a question, document or group; in JSON, a name may also be a whole number."""
        value = self.row.get(field, default)
        return str(normal_id(value if type(value) is int else self._text(field, default, "text or a whole number")))

    def _probe(self) -> str:
        name = self._id("probe")
        if not name.isprintable() or len(name) > MOST_PROBE_CHARACTERS or name.startswith("("):
            expected = f"at most {MOST_PROBE_CHARACTERS} printable characters, not beginning with a parenthesis"
            raise self._wrong("probe", f"expected {expected}, got {shortened(repr(name))}")
        return name

    def _text(self, field: str, default: str | None = None, expected: str = "text") -> str:
        value = self.row.get(field, default)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(field, "missing" if field not in self.row else f"expected {expected}, got {value!r}")
        self._check_characters(field, value)
        return value

    def _visible_text(self, field: str, expected: str = "text") -> str:
        """Return a text that a model reads or writes, unlike a name."""
        text = self._text(field, expected=expected)
        self._check_visible(field, text)
        return text

    def _check_visible(self, field: str, text: str) -> None:
        if not remove_invisible(text).strip():
            raise self._wrong(field, "expected text, got only invisible characters")

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
            self._check_visible("options", option)
        return tuple(value)

    def _answer(self, options: tuple[str, ...]) -> int:
        """Return the zero-based index of the correct option, which is given as a letter, a text or an index."""
        if self.row.get("answers") is not None:
            raise self._wrong("answers", "the question has `options` too; remove one of the two fields")
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
            self._check_visible("answers", text)
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
        return self._visible_text("answer", expected="a text or a number, or a list in `answers`")

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
