"""Checks the fields of an answer from outside kib, and converts them to the record of an answer."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from kib.errors import NoAnswerError
from kib.records import ServedAnswer
from kib.support.phrases import shortened

__all__ = ["FIELDS", "answer_of_fields", "describe_value"]

FIELDS = ("answer", "passages", "cost", "seconds", "input_tokens", "output_tokens")
"""The fields of an answer; all fields except `answer` may be missing or None."""


def answer_of_fields(fields: Mapping[str, Any], where: Callable[[str], str]) -> ServedAnswer:
    """Return the answer with these fields; `where(field)` is the place of a field in words.

    Raises NoAnswerError that names the place of an invalid field.
    """
    answer = fields.get("answer")
    if not isinstance(answer, str):
        raise NoAnswerError(f"{where('answer')}: expected text, got {describe_value(answer)}")
    read, written = (_number(fields, name, where, whole=True) for name in ("input_tokens", "output_tokens"))
    return ServedAnswer(
        value=_encodable(answer),
        input_tokens=None if read is None else int(read),
        output_tokens=None if written is None else int(written),
        passages=_passages(fields.get("passages"), where),
        seconds=_number(fields, "seconds", where),
        cost=_number(fields, "cost", where),
    )


def _passages(value: Any, where: Callable[[str], str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise NoAnswerError(f"{where('passages')}: expected a list of texts or ids, got {describe_value(value)}")
    names = []
    for one in value:
        if not isinstance(one, str | int) or isinstance(one, bool):
            raise NoAnswerError(
                f"{where('passages')}: expected a list of texts or ids, got a list with {describe_value(one)}"
            )
        names.append(_encodable(str(one)))
    return tuple(names)


def _number(fields: Mapping[str, Any], name: str, where: Callable[[str], str], *, whole: bool = False) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    kinds, noun = (int, "a whole number") if whole else (int | float, "a number")
    if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise NoAnswerError(f"{where(name)}: expected {noun} from 0, got {describe_value(value)}")
    return value


def describe_value(value: Any) -> str:
    """Return a value in words, quoting numbers and texts."""
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, bool | int | float | str):
        return shortened(repr(value))
    return f"a value of the type {type(value).__name__}"


def _encodable(text: str) -> str:
    """Return a text in which `?` replaces unpaired surrogates, which JSON permits but UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")
