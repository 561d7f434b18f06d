"""Asks a system several questions at the same time; each answer is stored as soon as it arrives."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from kib.errors import (
    InputError,
    MissingAnswersError,
    NoAnswerError,
    ServerUnavailableError,
    UnansweredRequestsError,
)
from kib.interfaces import LoadedSystem
from kib.plugins.resolve import Locked
from kib.records import UNKNOWN_DEVICE, Environment, Request, ServedAnswer
from kib.run.plugin_calls import check_type
from kib.support.phrases import counted, shortened

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["SystemBackend", "system_environment", "system_request"]

FIRST_QUESTIONS = 3
"""If none of this number of questions at the start has an answer, no further questions are asked."""

MAX_UNAVAILABLE = 3
"""The number of questions in a row without an answer after which kib considers an unavailable system to be down."""

LAST_WAIT = 5.0
"""The maximum time to wait for the answers in flight after an interruption or an error, in seconds."""

RESUME = "all answers received so far are stored; run the same command again to resume"

QUESTION_ID = "question_id"
"""The setting of a request that contains the id of the question, if answers may depend on the id."""


def system_request(text: str, question_id: str | None) -> Request:
    """Return the request for a question; the id is part of the request only if answers may depend on the id."""
    ids = {} if question_id is None else {QUESTION_ID: question_id}
    return Request("generate_until", (text, {"until": [], **ids}))


def system_environment(locked: Locked) -> Environment:
    """Return the environment of a system's answers, of which kib knows only the package that asks the questions."""
    with suppress(PackageNotFoundError):
        return Environment(UNKNOWN_DEVICE, {locked.distribution: version(locked.distribution)})
    return Environment(UNKNOWN_DEVICE)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The answer to a question or the reason why there is none; `number` is the index of the question."""

    number: int
    result: ServedAnswer | BaseException


class SystemBackend:
    """A loaded system, which answers like a server on which no answer depends on the other requests (SeparateBackend).

    `answered_before` states whether an earlier run received answers from the system.

    The system is called in threads that share only two queues with the main thread, because an interruption can leave
    other kinds of locks taken.
    """

    def __init__(self, locked: Locked, *, answered_before: bool) -> None:
        self.notes: list[str] = []
        self._locked = locked
        self._system: LoadedSystem = locked.plugin.load()
        self._answered = answered_before
        self._failures: list[str] = []
        self._unavailable = 0  # the number of questions in a row for which the system was unavailable
        self._rejected = False  # whether the system was available for a question, but has no answer
        self._in_flight = 0

    def release(self) -> None:
        """Release the resources of the system, such as open connections."""
        if release := getattr(self._system, "release", None):
            release()

    def answer_each(self, requests: "Sequence[Instance]", store: Callable[[int, ServedAnswer], None]) -> None:
        """Store the answer to each question as soon as the answer arrives.

        A question without an answer does not stop the others. Raises MissingAnswersError if such questions remain,
        InputError if the system answers none of the first questions or cannot be used at all, and
        ServerUnavailableError if the system is unavailable for several questions in a row.
        """
        asked = [(str(one.args[0]), str(one.args[1].get(QUESTION_ID, ""))) for one in requests]
        waiting: SimpleQueue[int | None] = SimpleQueue()
        outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        self._failures, self._unavailable, self._rejected, self._in_flight = [], 0, False, 0
        numbers = iter(range(len(asked)))
        for _ in range(min(self._system.concurrency, len(asked))):
            waiting.put(next(numbers))
            self._in_flight += 1
            Thread(target=self._answer_all, args=(asked, waiting, outcomes), name="kib-system", daemon=True).start()
        try:
            while self._in_flight:
                outcome = outcomes.get()
                self._in_flight -= 1
                self._receive(outcome, asked, store)
                if (number := next(numbers, None)) is not None:
                    waiting.put(number)
                    self._in_flight += 1
        except BaseException:
            self._store_last(outcomes, store)
            raise
        finally:
            for _ in range(self._system.concurrency):
                waiting.put(None)
        if self._failures:
            count = counted(len(self._failures), "question")
            verb = "has" if len(self._failures) == 1 else "have"
            error = MissingAnswersError if self._rejected else UnansweredRequestsError
            raise error(f"{self._failures[0]}; {count} of {len(asked):,} {verb} no answer; {RESUME}")

    def _answer_all(
        self,
        asked: Sequence[tuple[str, str]],
        waiting: "SimpleQueue[int | None]",
        outcomes: "SimpleQueue[_Outcome]",
    ) -> None:
        """Answer questions until the queue `waiting` contains None; this method runs in a thread of its own."""
        while (number := waiting.get()) is not None:
            begun = time.perf_counter()
            try:
                result = check_type(self._locked, "answer", self._system.answer(*asked[number]), ServedAnswer)
                seconds = time.perf_counter() - begun if result.seconds is None else result.seconds
                outcomes.put(_Outcome(number, replace(result, seconds=seconds)))
            except BaseException as error:  # noqa: BLE001 - the main thread raises the error
                outcomes.put(_Outcome(number, error))

    def _receive(
        self, outcome: _Outcome, asked: Sequence[tuple[str, str]], store: Callable[[int, ServedAnswer], None]
    ) -> None:
        """Store an answer, or count a question without an answer; raise any other error."""
        result = outcome.result
        if isinstance(result, ServedAnswer):
            self._answered, self._unavailable = True, 0
            if not result.value.strip() and not self.notes:
                self.notes.append("some answers of the system are empty")
            store(outcome.number, result)
            return
        if not isinstance(result, NoAnswerError):
            raise result
        self._failures.append(f"{result} (question: {shortened(asked[outcome.number][0])!r})")
        self._unavailable = self._unavailable + 1 if result.unavailable else 0
        self._rejected |= not result.unavailable
        if self._unavailable == MAX_UNAVAILABLE:
            raise ServerUnavailableError(
                f"{result}; the system was unavailable for {MAX_UNAVAILABLE} questions in a row; {RESUME}"
            )
        if not self._answered and len(self._failures) == FIRST_QUESTIONS:
            raise InputError(f"{self._failures[0]}; the first {FIRST_QUESTIONS} questions have no answer; {RESUME}")

    def _store_last(self, outcomes: "SimpleQueue[_Outcome]", store: Callable[[int, ServedAnswer], None]) -> None:
        """Wait for the answers in flight, which may have been paid for, and store them."""
        end = time.monotonic() + LAST_WAIT
        with suppress(Empty):
            while self._in_flight:
                outcome = outcomes.get(timeout=max(0.0, end - time.monotonic()))
                self._in_flight -= 1
                if isinstance(outcome.result, ServedAnswer):
                    store(outcome.number, outcome.result)
