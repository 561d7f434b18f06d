"""What counts as an answer: JSON of the form that was asked for, with as many distinct texts as were wanted."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from kib.commands.questions import normalised

__all__ = ["Broken", "Drafted", "Reply", "order", "pairs", "paraphrases", "questions"]

WRONG = 3
"""Wrong options of a question."""


class Broken(Exception):  # noqa: N818 - it is no error before the last attempt has failed
    """An answer that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server gave: the text (None: a chat completion without), why it ended, and the tokens that it counted."""

    content: str | None
    finish: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def tokens(self) -> int | None:
        """Prompt and answer together; None where the server does not say."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Drafted:
    """A question as it was written: its right option, three wrong ones, and the quote that proves it."""

    question: str
    right: str
    wrong: tuple[str, ...]
    quote: str


def paraphrases(reply: Reply, count: int, taken: Collection[str]) -> list[str]:
    """The first `count` texts; `taken` are those that stand already, normalised."""
    return _distinct([_text(value, "a paraphrase") for value in _list(reply, "paraphrases", count)], count, taken)


def pairs(reply: Reply, count: int, taken: Collection[str]) -> list[tuple[str, str]]:
    """The first `count` questions with answers, no question twice or among those `taken`."""
    made: dict[str, str] = {}
    for value in _list(reply, "pairs", count):
        entry = _object(value, "a pair")
        made.setdefault(_text(entry.get("question"), "a question"), _text(entry.get("answer"), "an answer"))
    return [(question, made[question]) for question in _distinct(list(made), count, taken)]


def questions(reply: Reply, count: int) -> list[Drafted]:
    """The first `count` questions with a right option, three wrong ones and a quote."""
    found = []
    for value in _list(reply, "questions", count):
        entry = _object(value, "a question")
        wrong = entry.get("wrong")
        if not isinstance(wrong, list) or len(wrong) != WRONG:
            raise Broken(f'expected {WRONG} options under "wrong"')
        found.append(
            Drafted(
                _text(entry.get("question"), "a question"),
                _text(entry.get("right"), "a right option"),
                tuple(_text(option, "a wrong option") for option in wrong),
                _text(entry.get("quote"), "a quote"),
            )
        )
    return found[:count]


def order(reply: Reply, count: int) -> list[int]:
    """Places from 0, a permutation of all `count`."""
    numbers = _list(reply, "order", count)
    if not all(type(number) is int for number in numbers) or sorted(numbers) != list(range(1, count + 1)):
        raise Broken(f"expected each number from 1 to {count} once")
    return [number - 1 for number in numbers]


def _list(reply: Reply, key: str, count: int) -> list[Any]:
    """The list under a key, with at least `count` entries."""
    value = _json(reply).get(key)
    if not isinstance(value, list):
        raise Broken(f'expected a list under "{key}"')
    if len(value) < count:
        raise Broken(f'expected {count} entries under "{key}", got {len(value)}')
    return value


def _json(reply: Reply) -> dict[str, Any]:
    """The object in an answer; a code fence round it, or a model's thoughts before it, do no harm."""
    if reply.finish == "length":
        raise Broken("it was cut: raise `max_tokens` or lower `per_call`")
    if reply.finish == "content_filter":
        raise Broken("the server's content filter withheld it")
    if reply.content is None:
        raise Broken("it is a chat completion without a text")
    text = re.sub(r"\A\s*<think>.*?</think>", "", reply.content, flags=re.DOTALL).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, flags=re.DOTALL)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        raise Broken("it is not JSON") from None
    return _object(value, "the answer")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Broken(f"expected an object for {what}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Broken(f"{what} is empty or no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Broken(f"{what} holds half a surrogate pair, which is no character") from None
    return value.strip()


def _distinct(texts: Sequence[str], count: int, taken: Collection[str]) -> list[str]:
    """The first `count` texts that are new."""
    found: dict[str, str] = {}
    for text in texts:
        if normalised(text) not in taken:
            found.setdefault(normalised(text), text)
    if len(found) < count:
        raise Broken(f"only {len(found)} of {count} texts are new")
    return list(found.values())[:count]
