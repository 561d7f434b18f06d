"""Asks a system several questions at the same time; each answer is stored as soon as it arrives."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
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


Outcome = ServedAnswer | BaseException
"""The answer to a question, or the reason why there is none."""


class _Callers:
    """Threads that ask questions, each with a number; `answer` returns the answer to the question with a number.

    Python raises KeyboardInterrupt between any two steps of the main thread, even between a received answer and the
    next call. So an outcome stays here until the main thread has used it, and all shared objects change in single
    steps, because an interruption can leave other kinds of locks taken.
    """

    def __init__(self, answer: Callable[[int], ServedAnswer], count: int) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._answer = answer
        self._count = count
        self._begun: set[int] = set()
        self._stopped = False
        self._waiting: SimpleQueue[int | None] = SimpleQueue()
        self._arrivals: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            Thread(target=self._answer_all, name="kib-system", daemon=True).start()

    def ask(self, number: int) -> None:
        """Let a thread ask a question as soon as a thread is free."""
        self._waiting.put(number)

    def wait(self) -> None:
        """Wait for the next outcome."""
        self._arrivals.get()

    def stop(self, seconds: float) -> None:
        """Ask no further question, and wait for the answers in flight until the time is over."""
        self._stopped = True
        end = time.monotonic() + seconds
        with suppress(Empty):
            while self._begun:
                self._arrivals.get(timeout=max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """Let each thread end after its current question."""
        for _ in range(self._count):
            self._waiting.put(None)

    def _answer_all(self) -> None:
        """Answer questions until the callers are closed; this method runs in a thread of its own."""
        while (number := self._waiting.get()) is not None:
            # In this order, because `stop` first forbids further questions and then waits for all that have begun.
            self._begun.add(number)
            if not self._stopped:
                try:
                    self.outcomes[number] = self._answer(number)
                except BaseException as error:  # noqa: BLE001 - the main thread raises the error
                    self.outcomes[number] = error
            self._begun.discard(number)
            self._arrivals.put(None)


class SystemBackend:
    """A loaded system, which answers like a server on which no answer depends on the other requests (SeparateBackend).

    `answered_before` states whether an earlier run received answers from the system.
    """

    def __init__(self, locked: Locked, *, answered_before: bool) -> None:
        self.notes: list[str] = []
        self._locked = locked
        self._system: LoadedSystem = locked.plugin.load()
        self._answered = answered_before
        self._failures: list[str] = []
        self._unavailable = 0  # the number of questions in a row for which the system was unavailable
        self._rejected = False  # whether the system was available for a question, but has no answer

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
        self._failures, self._unavailable, self._rejected = [], 0, False
        callers = _Callers(lambda number: self._answer(*asked[number]), min(self._system.concurrency, len(asked)))
        try:
            self._receive_all(callers, asked, store)
        except BaseException:
            _store_last(callers, store)
            raise
        finally:
            callers.close()
        if self._failures:
            count = counted(len(self._failures), "question")
            verb = "has" if len(self._failures) == 1 else "have"
            error = MissingAnswersError if self._rejected else UnansweredRequestsError
            raise error(f"{self._failures[0]}; {count} of {len(asked):,} {verb} no answer; {RESUME}")

    def _answer(self, question: str, question_id: str) -> ServedAnswer:
        """Return the system's answer with its duration; this method runs in several threads."""
        begun = time.perf_counter()
        answer = check_type(self._locked, "answer", self._system.answer(question, question_id), ServedAnswer)
        return answer if answer.seconds is not None else replace(answer, seconds=time.perf_counter() - begun)

    def _receive_all(
        self, callers: _Callers, asked: Sequence[tuple[str, str]], store: Callable[[int, ServedAnswer], None]
    ) -> None:
        """Ask all questions, at most `concurrency` at the same time, and receive each outcome as soon as it arrives."""
        numbers = iter(range(len(asked)))
        for number in islice(numbers, self._system.concurrency):
            callers.ask(number)
        received = 0
        while received < len(asked):
            callers.wait()
            for number, outcome in callers.outcomes.copy().items():
                self._receive(number, outcome, asked, store)
                del callers.outcomes[number]
                received += 1
                if (following := next(numbers, None)) is not None:
                    callers.ask(following)

    def _receive(
        self,
        number: int,
        outcome: Outcome,
        asked: Sequence[tuple[str, str]],
        store: Callable[[int, ServedAnswer], None],
    ) -> None:
        """Store an answer, or count a question without an answer; raise any other error."""
        if isinstance(outcome, ServedAnswer):
            self._answered, self._unavailable = True, 0
            if not outcome.value.strip() and not self.notes:
                self.notes.append("some answers of the system are empty")
            store(number, outcome)
            return
        if not isinstance(outcome, NoAnswerError):
            raise outcome
        self._failures.append(f"{outcome} (question: {shortened(asked[number][0])!r})")
        self._unavailable = self._unavailable + 1 if outcome.unavailable else 0
        self._rejected |= not outcome.unavailable
        if self._unavailable == MAX_UNAVAILABLE:
            raise ServerUnavailableError(
                f"{outcome}; the system was unavailable for {MAX_UNAVAILABLE} questions in a row; {RESUME}"
            )
        if not self._answered and len(self._failures) == FIRST_QUESTIONS:
            raise InputError(f"{self._failures[0]}; the first {FIRST_QUESTIONS} questions have no answer; {RESUME}")


def _store_last(callers: _Callers, store: Callable[[int, ServedAnswer], None]) -> None:
    """Wait for the answers in flight, which may have been paid for, and store them; a second Ctrl-C ends the wait."""
    try:
        callers.stop(LAST_WAIT)
    finally:
        for number, outcome in callers.outcomes.copy().items():
            if isinstance(outcome, ServedAnswer):
                store(number, outcome)
