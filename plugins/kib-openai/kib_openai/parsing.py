"""Parsing of completions, which must be JSON in the requested form with the requested number of distinct texts."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kib.commands.questions import normalised
from kib.identity import digest
from kib.safe_text import escaped_json
from kib.support.json_parsing import RepeatedKeyError, unique_keys
from kib.support.phrases import counted
from kib.support.question_text import comparable
from kib_openai.completion import Completion

__all__ = [
    "InvalidAnswerError",
    "ParsedPair",
    "ParsedQuestion",
    "parse_fields",
    "parse_order",
    "parse_pairs",
    "parse_paraphrases",
    "parse_questions",
    "quoted",
]

REASONING = re.compile(r"\A(?!\s*```).*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
"""The reasoning that some models put before an answer; the opening tag is often part of the prompt.

A fenced answer has no reasoning before it, although a text in the answer may contain the tag.
"""

UNFINISHED_REASONING = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)

FENCED = re.compile(r"^[ \t]*```\w*[ \t]*\n?(.*?)```[ \t]*$", re.DOTALL | re.MULTILINE)
"""A fenced block. In JSON, a fence inside a string is never at the end of a line."""

TRUNCATED = ("length", "max_tokens")
"""The finish reasons of an answer that reached the maximum number of tokens."""

QUOTED_CHARACTERS = 100
"""The number of characters of an invalid answer that an error message quotes."""

WRONG_OPTIONS = 3
"""The number of wrong options per question."""


class InvalidAnswerError(Exception):
    """Raised for an unusable answer; the message states the reason."""


@dataclass(frozen=True, slots=True)
class ParsedPair:
    """A question and its answer; `options` contains the answer and the wrong options, or is empty."""

    question: str
    answer: str
    options: tuple[str, ...] = ()


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


def parse_pairs(completion: Completion, count: int, existing: Collection[str], wrong: int = 0) -> list[ParsedPair]:
    """Return the first `count` question-answer pairs; reject a pair whose normalised question is in `existing`.

    If `wrong` is not 0, each pair has `wrong` wrong options. Pairs with unusable options are dropped; an error about
    missing pairs states their number, and quotes the first of them.
    """
    pairs: dict[str, ParsedPair] = {}
    faults: list[str] = []
    for value in _list(completion, "pairs", count):
        fields = _object(value, "a pair")
        question, answer = _text(fields.get("question"), "a question"), _text(fields.get("answer"), "an answer")
        try:
            options = _pair_options(question, answer, fields.get("wrong"), wrong) if wrong else ()
        except InvalidAnswerError as error:
            faults.append(f"{_quoted_text(question)}: {error}")
        else:
            pairs.setdefault(question, ParsedPair(question, answer, options))
    try:
        return [pairs[question] for question in _distinct(list(pairs), count, existing)]
    except InvalidAnswerError as error:
        if not faults:
            raise
        number = counted(len(faults), "pair")
        raise InvalidAnswerError(f"{error}, and {number} with unusable options; the first is {faults[0]}") from None


def _pair_options(question: str, answer: str, wrong: Any, count: int) -> tuple[str, ...]:
    """Return the answer and the wrong options in an order that does not depend on which option is right."""
    if not isinstance(wrong, list) or len(wrong) != count:
        raise InvalidAnswerError(f'expected {counted(count, "wrong option")} under the key "wrong"')
    options = [answer, *(_text(option, "a wrong option") for option in wrong)]
    if len({comparable(option).casefold() for option in options}) < len(options):  # -5 is not 5
        raise InvalidAnswerError("two options are equal")
    return tuple(sorted(options, key=lambda option: digest([question, option])))


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
    value = parse_fields(completion).get(key)
    if not isinstance(value, list):
        raise InvalidAnswerError(f'expected a list under the key "{key}"')
    if len(value) < count:
        raise InvalidAnswerError(f'expected {count} entries under the key "{key}", got {len(value)}')
    return value


def parse_fields(completion: Completion) -> dict[str, Any]:
    """Return the JSON object in an answer, ignoring reasoning, code fences and text around the object."""
    if reason := _missing(completion):
        raise InvalidAnswerError(reason)
    for part in _parts(completion.content or ""):
        try:
            value = json.loads(part, object_pairs_hook=unique_keys)
        except RepeatedKeyError as error:
            raise InvalidAnswerError(str(error)) from None
        except (ValueError, RecursionError):
            continue
        return _object(value, "the answer")
    raise InvalidAnswerError("the answer is not valid JSON")


def _missing(completion: Completion) -> str:
    """Return the reason why an answer is incomplete or has no text, or "" if the answer can be parsed."""
    text = (completion.content or "").strip()
    if completion.finish in TRUNCATED and text:
        return "the answer was truncated; raise `max_tokens`, or lower `per_call` of a writer"
    reasons = {
        "the answer was truncated before its first word, for example because the model used all tokens for its "
        "reasoning; raise `max_tokens`, or turn off the reasoning with `extra`": completion.finish in TRUNCATED,
        "the server's content filter withheld the answer": completion.finish == "content_filter",
        "the model refused to answer": completion.refusal and not text,
        "the answer contains only the model's reasoning; turn off the reasoning with `extra`": completion.reasoning
        and not text,
        "the chat completion contains no text": not text,
        "the answer ends within the model's reasoning; raise `max_tokens`, or turn off the reasoning with `extra`": (
            UNFINISHED_REASONING.match(text) and not REASONING.match(text)
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _parts(content: str) -> Iterator[str]:
    """Yield the parts of an answer that may be the requested JSON object, in order of preference."""
    yield content
    answer = REASONING.sub("", content)
    yield from reversed(FENCED.findall(answer))
    yield answer[answer.find("{") : answer.rfind("}") + 1]


def quoted(completion: Completion) -> str:
    """Return the start of an answer in quotation marks for an error message, or "" if the answer is empty."""
    content = completion.content or completion.refusal or completion.reasoning
    text = REASONING.sub("", content).strip() or content
    return _quoted_text(text) if text.strip() else ""


def _quoted_text(text: str) -> str:
    """Return the start of a text on one line and in quotation marks."""
    line = " ".join(text.split())
    shown = line if len(line) <= QUOTED_CHARACTERS else f"{line[:QUOTED_CHARACTERS]}…"
    return escaped_json(json.dumps(shown, ensure_ascii=False))


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
