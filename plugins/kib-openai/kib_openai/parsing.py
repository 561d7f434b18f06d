"""Parsing of completions, which must be JSON in the requested form with the requested number of distinct texts."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from kib.commands.questions import normalised
from kib_openai.completion import Completion

__all__ = [
    "InvalidAnswerError",
    "ParsedQuestion",
    "parse_order",
    "parse_pairs",
    "parse_paraphrases",
    "parse_questions",
]

WRONG_OPTIONS = 3
"""The number of wrong options per question."""


class InvalidAnswerError(Exception):
    """Raised for an unusable answer; the message states the reason."""


@dataclass(frozen=True, slots=True)
class ParsedQuestion:
    """A question with its correct option, three wrong options, and a quote that supports the correct option."""

    question: str
    right: str
    wrong: tuple[str, ...]
    quote: str


def parse_paraphrases(completion: Completion, count: int, existing: Collection[str]) -> list[str]:
    """Return the first `count` paraphrases; reject a paraphrase whose normalised text is in `existing`."""
    texts = [_text(value, "a paraphrase") for value in _list(completion, "paraphrases", count)]
    return _distinct(texts, count, existing)


def parse_pairs(completion: Completion, count: int, existing: Collection[str]) -> list[tuple[str, str]]:
    """Return the first `count` question-answer pairs; reject a pair whose normalised question is in `existing`."""
    answers: dict[str, str] = {}
    for value in _list(completion, "pairs", count):
        pair = _object(value, "a pair")
        answers.setdefault(_text(pair.get("question"), "a question"), _text(pair.get("answer"), "an answer"))
    return [(question, answers[question]) for question in _distinct(list(answers), count, existing)]


def parse_questions(completion: Completion, count: int) -> list[ParsedQuestion]:
    """Return the first `count` questions, each with the correct option, three wrong options and a quote."""
    return [_question(value) for value in _list(completion, "questions", count)][:count]


def parse_order(completion: Completion, count: int) -> list[int]:
    """Parse a permutation of the indices 0 to `count` - 1."""
    numbers = _list(completion, "order", count)
    if not all(type(number) is int for number in numbers) or sorted(numbers) != list(range(1, count + 1)):
        raise InvalidAnswerError(f"the ranking must contain each number from 1 to {count} exactly once")
    return [number - 1 for number in numbers]


def _question(value: Any) -> ParsedQuestion:
    fields = _object(value, "a question")
    wrong = fields.get("wrong")
    if not isinstance(wrong, list) or len(wrong) != WRONG_OPTIONS:
        raise InvalidAnswerError(f'expected {WRONG_OPTIONS} wrong options under the key "wrong"')
    return ParsedQuestion(
        _text(fields.get("question"), "a question"),
        _text(fields.get("right"), "a right option"),
        tuple(_text(option, "a wrong option") for option in wrong),
        _text(fields.get("quote"), "a quote"),
    )


def _list(completion: Completion, key: str, count: int) -> list[Any]:
    """Return the list stored under a key, which must have at least `count` entries."""
    value = _json(completion).get(key)
    if not isinstance(value, list):
        raise InvalidAnswerError(f'expected a list under the key "{key}"')
    if len(value) < count:
        raise InvalidAnswerError(f'expected {count} entries under the key "{key}", got {len(value)}')
    return value


def _json(completion: Completion) -> dict[str, Any]:
    """Return the JSON object in an answer, ignoring code fences and reasoning that some models add."""
    if completion.finish == "length":
        raise InvalidAnswerError("the answer was truncated; raise `max_tokens` or lower `per_call`")
    if completion.finish == "content_filter":
        raise InvalidAnswerError("the server's content filter withheld the answer")
    if completion.content is None:
        raise InvalidAnswerError("the chat completion contains no text")
    text = re.sub(r"\A\s*<think>.*?</think>", "", completion.content, flags=re.DOTALL).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, flags=re.DOTALL)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        raise InvalidAnswerError("the answer is not valid JSON") from None
    return _object(value, "the answer")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidAnswerError(f"expected a JSON object for {what}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidAnswerError(f"{what} is empty or not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidAnswerError(f"{what} contains an unpaired surrogate, which is not a valid character") from None
    return value.strip()


def _distinct(texts: Sequence[str], count: int, existing: Collection[str]) -> list[str]:
    """Return the first `count` texts that differ from each other and from the texts in `existing`."""
    new: dict[str, str] = {}
    for text in texts:
        if normalised(text) not in existing:
            new.setdefault(normalised(text), text)
    if len(new) < count:
        raise InvalidAnswerError(f"expected {count} distinct new texts, got {len(new)}")
    return list(new.values())[:count]
