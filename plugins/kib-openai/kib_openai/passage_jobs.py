"""The sequential requests for one passage, which ask for paraphrases, for pairs, or for questions and their ranking.

A job is a generator that yields requests, receives a completion per request, and returns the parsed texts.
"""

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from kib.commands.questions import normalised
from kib.identity import digest
from kib.records import Passage
from kib_openai.completion import Completion
from kib_openai.endpoint import RequestFailedError
from kib_openai.options import ObjectRequestOptions, WriterOptions
from kib_openai.parsing import (
    InvalidAnswerError,
    ParsedPair,
    ParsedQuestion,
    parse_order,
    parse_pairs,
    parse_paraphrases,
    parse_questions,
    quoted,
)
from kib_openai.prompts import render

__all__ = [
    "AttemptsExhaustedError",
    "ChatRequest",
    "FailedPassageError",
    "Job",
    "write_pairs",
    "write_paraphrases",
    "write_questions",
]

Parsed = TypeVar("Parsed")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request to the chat model: the message, the seed, and the zero-based indices of the attempt and the step."""

    message: str
    seed: int
    attempt: int
    step: int

    def body(self, options: ObjectRequestOptions) -> dict[str, Any]:
        """Return the JSON body of the request; every attempt has its own seed, so that the answers differ."""
        body: dict[str, Any] = {
            "model": options.model,
            "messages": [{"role": "user", "content": self.message}],
            "temperature": options.temperature,
            options.max_tokens_field: options.max_tokens,
            **options.extra,
        }
        if options.send_seed:
            body["seed"] = self.seed + self.attempt
        if options.answer_format != "text":
            body.setdefault("response_format", {"type": options.answer_format})
        return body

    def key(self, options: ObjectRequestOptions) -> str:
        """Return a digest of everything that affects the answer, which excludes the URL and the API key."""
        body = {**self.body(options), "max_tokens": options.max_tokens}
        body.pop("max_completion_tokens", None)
        return digest({"body": body, "seed": self.seed, "attempt": self.attempt})


Job = Generator[ChatRequest, Completion, Result]


class FailedPassageError(Exception):
    """Raised if a request about a passage cannot be answered; the message names the passage and the reason."""


class AttemptsExhaustedError(FailedPassageError):
    """Raised if every attempt at a request returned an invalid answer."""


def write_paraphrases(options: WriterOptions, passage: Passage, count: int, seed: int) -> Job[list[str]]:
    """Request `count` paraphrases, at most `per_call` per request; later requests list the earlier paraphrases."""
    written: list[str] = []
    existing = {normalised(passage.text)}
    while len(written) < count:
        wanted = min(options.per_call, count - len(written))
        message = render("paraphrases", options.prompts.paraphrases, passage, wanted, written)
        parse = partial(parse_paraphrases, count=wanted, existing=existing)
        new = yield from _request(options, passage, message, seed, len(written) // options.per_call, parse)
        written += new
        existing |= set(map(normalised, new))
    return written


def write_pairs(
    options: WriterOptions, held_out: Collection[str], passage: Passage, count: int, seed: int
) -> Job[list[ParsedPair]]:
    """Request `count` question-answer pairs, at most `per_call` per request; reject the questions in `held_out`."""
    written: list[ParsedPair] = []
    wrong = options.wrong_per_pair
    existing = set(held_out)
    while len(written) < count:
        wanted = min(options.per_call, count - len(written))
        questions = [pair.question for pair in written]
        message = render("pairs", options.prompts.pairs, passage, wanted, questions, wrong)
        parse = partial(parse_pairs, count=wanted, existing=existing, wrong=wrong)
        new = yield from _request(options, passage, message, seed, len(written) // options.per_call, parse)
        written += new
        existing |= {normalised(pair.question) for pair in new}
    return written


def write_questions(options: WriterOptions, passage: Passage, count: int, seed: int) -> Job[list[ParsedQuestion]]:
    """Request `count` questions, then ask the model to rank the questions from most to least specific."""
    message = render("questions", options.prompts.questions, passage, count)
    written = yield from _request(options, passage, message, seed, 0, partial(parse_questions, count=count))
    if count == 1:
        return written
    message = render("specific", options.prompts.specific, passage, count, [one.question for one in written])
    order = yield from _request(options, passage, message, seed, 1, partial(parse_order, count=count))
    return [written[index] for index in order]


def _request(
    options: WriterOptions, passage: Passage, message: str, seed: int, step: int, parse: Callable[[Completion], Parsed]
) -> Job[Parsed]:
    """Return the first valid answer in parsed form.

    Raise AttemptsExhaustedError if all answers are invalid, and FailedPassageError if the request fails.
    """
    reason = shown = ""
    for attempt in range(options.attempts):
        try:
            completion = yield ChatRequest(message, seed, attempt, step)
        except RequestFailedError as error:
            raise FailedPassageError(f"passage {passage.id}: {error}") from error
        try:
            return parse(completion)
        except InvalidAnswerError as error:
            reason, quote = str(error), quoted(completion)
            shown = f" ({quote})" if quote else ""
    count = options.attempts
    answers = (
        f"the answer{shown} is invalid"
        if count == 1
        else f"all {count} answers are invalid; the last answer{shown} is invalid for this reason"
    )
    raise AttemptsExhaustedError(f"passage {passage.id}: {answers}: {reason}")
