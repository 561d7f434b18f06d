"""A pool of concurrent requests, which runs many jobs at once and stores every answer before using it.

Only the thread that reads the results accesses the stored answers; all other threads only wait for the server.

Python raises KeyboardInterrupt between any two steps of the main thread. The locks of `concurrent.futures` are taken in
several steps, so an interruption can leave such a lock taken, and the process never ends. The threads here share only a
dictionary and a `SimpleQueue` with the main thread. Every operation on these objects is a single step.
"""

import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar

from kib.errors import InputError, KibError, ServerUnavailableError
from kib_openai.completion import Completion, stored_completion
from kib_openai.endpoint import RESUME, Endpoint, RejectedRequestError, RequestFailedError, UnansweredRequestError
from kib_openai.options import EndpointOptions
from kib_openai.passage_jobs import AttemptsExhaustedError, FailedPassageError

__all__ = ["RequestPool", "estimated_tokens", "replay", "sum_counts"]

Result = TypeVar("Result")
Request = TypeVar("Request", bound="PooledRequest")

BYTES_PER_TOKEN = 4
"""The number of UTF-8 bytes per token assumed in forecasts, which is roughly correct for English and Chinese."""

MAX_UNREAD = 256
"""The maximum number of finished jobs whose results wait until an earlier job finishes."""

MAX_UNANSWERED = 3
"""The number of different requests in a row without an answer after which kib considers the server to be down."""

INTERRUPTED_WAIT = 5.0
"""The maximum time to wait for the answers in flight after an interruption, in seconds."""

CANCELLED_WAIT = 1.0
"""The maximum time to wait until the threads notice that their requests are cancelled, in seconds."""


class PooledRequest(Protocol):
    """A hashable request; `options` are the options of the endpoint."""

    def body(self, options: Any) -> dict[str, Any]:
        """Return the JSON body of the request."""
        ...

    def key(self, options: Any) -> str:
        """Return a digest of everything that affects the answer."""
        ...


PooledJob = Generator[PooledRequest, Completion, Result]
"""A job, which yields requests, receives a completion per request, and returns a result."""


@dataclass(slots=True)
class _WaitingJob(Generic[Result]):
    """A job that is waiting for the answer to a request; `responses` counts all responses before the request."""

    number: int
    job: PooledJob[Result]
    request: PooledRequest
    responses: int


class RequestPool(Generic[Result]):
    """Runs jobs; each pool may be used only once and by only one thread.

    At most `may_miss` jobs may fail. After `token_budget` tokens, no further requests are sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        paid_answers: MutableMapping[str, str],
        token_budget: int | None = None,
        may_miss: int = 0,
    ) -> None:
        self.endpoint = endpoint
        self.options = endpoint.options
        self.token_budget = token_budget
        self.may_miss = may_miss
        self.paid_answers = paid_answers
        self.tokens_spent = self._stored_tokens() if self._has_budget() else 0
        self.failed_jobs = 0
        self.accepted_requests = 0
        self.responses = 0
        self.unanswered: set[PooledRequest] = set()
        self.all_started = False
        self.last_wait: float | None = INTERRUPTED_WAIT
        self.finished: dict[int, list[Result]] = {}
        self.in_flight: dict[str, list[_WaitingJob[Result]]] = {}
        self.outcomes: dict[str, Completion | BaseException] = {}
        self.arrivals: SimpleQueue[None] = SimpleQueue()

    def run(self, jobs: Iterable[PooledJob[Result]]) -> Generator[Result, None, None]:
        """Yield the jobs' results in job order; a failed job yields no result.

        Raise InputError if the server rejects the first request, the token budget is exhausted, or too many jobs fail,
        and ServerUnavailableError if the server is down. Before such an error is raised, the answers to all requests in
        flight are awaited and stored. After Ctrl-C, SIGTERM or any other error, and if the caller stops early, the
        answers are awaited for at most INTERRUPTED_WAIT seconds; a second Ctrl-C ends this wait. If Ctrl-C arrives
        while the caller processes a result, this generator is only closed, so it cannot tell an interruption from a
        caller that stops early for a different reason.
        """
        numbered, next_number = enumerate(jobs), 0
        try:
            while True:
                self._start_jobs(numbered)
                while next_number in self.finished:
                    yield from self.finished.pop(next_number)
                    next_number += 1
                if self.in_flight:
                    self._collect_answers()
                elif self.all_started:
                    return
        except KibError:
            self.last_wait = None
            raise
        finally:
            self._shut_down()

    def _has_budget(self) -> bool:
        return self.token_budget is not None

    def _stored_tokens(self) -> int:
        return sum(Completion.from_json(text).tokens or 0 for text in self.paid_answers.values())

    def _start_jobs(self, numbered: Iterator[tuple[int, PooledJob[Result]]]) -> None:
        """Start jobs until `concurrency` requests are in flight."""
        concurrency = self.options.concurrency
        while not self.all_started and len(self.in_flight) < concurrency and len(self.finished) < MAX_UNREAD:
            started = next(numbered, None)
            if started is None:
                self.all_started = True
            else:
                self._advance(*started)

    def _advance(
        self,
        number: int,
        job: PooledJob[Result],
        outcome: Completion | RequestFailedError | None = None,
    ) -> None:
        """Run a job until a request has no stored answer, and send that request."""
        try:
            if isinstance(outcome, RequestFailedError):
                request = job.throw(outcome)
            else:
                request = next(job) if outcome is None else job.send(outcome)
            while (stored := stored_completion(self.paid_answers, request.key(self.options))) is not None:
                self.accepted_requests += 1
                request = job.send(stored)
        except StopIteration as end:
            self.finished[number] = [end.value]
        except FailedPassageError as error:
            self._count_failure(number, error)
        else:
            self._send(_WaitingJob(number, job, request, self.responses))

    def _count_failure(self, number: int, error: FailedPassageError) -> None:
        self.failed_jobs += 1
        self.finished[number] = []
        if self.failed_jobs > self.may_miss:
            kind = ServerUnavailableError if isinstance(error.__cause__, UnansweredRequestError) else InputError
            raise kind(
                f"{self.endpoint.without_key(str(error))}; all answers are stored; {_remedy(error)}raise `may_miss` "
                f"(currently {self.may_miss}) to let more passages remain without text"
            )

    def _send(self, waiting: _WaitingJob[Result]) -> None:
        """Send a request in a new thread, unless an identical request from a different job is already in flight."""
        key = waiting.request.key(self.options)
        if key not in self.in_flight:
            self._check_budget()
            self.in_flight[key] = []
            body = waiting.request.body(self.options)
            Thread(target=self._await_answer, args=(key, body), name="kib-openai", daemon=True).start()
        self.in_flight[key].append(waiting)

    def _await_answer(self, key: str, body: dict[str, Any]) -> None:
        """Send a request and record its answer or its error; this method runs in the request's own thread."""
        try:
            self.outcomes[key] = self.endpoint.send(body)
        except BaseException as error:  # noqa: BLE001 - the main thread raises the error
            self.outcomes[key] = error
        self.arrivals.put(None)

    def _check_budget(self) -> None:
        budget = self.token_budget
        if budget is not None and self.tokens_spent >= budget:
            raise InputError(
                f"the token budget of {budget:,} is exhausted: the {len(self.paid_answers):,} stored answers used "
                f"{self.tokens_spent:,} tokens; raise `token_budget` and run the same command again to resume"
            )

    def _collect_answers(self) -> None:
        """Wait for answers, store all answers received so far, then resume the waiting jobs."""
        self.arrivals.get()
        for key, outcome in self._stored_outcomes().items():
            usable = self._usable(self.in_flight[key][0], outcome)
            jobs = self.in_flight.pop(key)
            del self.outcomes[key]
            for waiting in jobs:
                self._advance(waiting.number, waiting.job, usable)

    def _stored_outcomes(self) -> dict[str, Completion | BaseException]:
        """Return the outcomes received so far, after their answers have been stored."""
        outcomes = self.outcomes.copy()  # other threads add outcomes at any time
        for key, outcome in outcomes.items():
            if isinstance(outcome, Completion):
                self._store(key, outcome)
        return outcomes

    def _usable(
        self, waiting: _WaitingJob[Result], outcome: Completion | BaseException
    ) -> Completion | RequestFailedError:
        """Return the answer to a request, or its failure if the server accepted or answers other requests."""
        if isinstance(outcome, UnansweredRequestError):
            self._check_server(waiting, outcome)
            return outcome
        self.responses += 1
        self.unanswered.clear()
        if isinstance(outcome, RejectedRequestError) and self.accepted_requests:
            return outcome
        if isinstance(outcome, BaseException):
            raise outcome
        if self._has_budget() and outcome.tokens is None and outcome.content is not None:
            raise InputError(
                f"{self.endpoint.url}: the server does not report token counts, which `token_budget` requires; "
                "remove `token_budget`"
            )
        return outcome

    def _check_server(self, waiting: _WaitingJob[Result], error: UnansweredRequestError) -> None:
        """Raise ServerUnavailableError if the last MAX_UNANSWERED requests and all others have no answer.

        Requests that fail while the server answers other requests are not counted, even if they fail together.
        """
        if self.responses > waiting.responses:
            self.unanswered.clear()
        self.unanswered.add(waiting.request)
        if len(self.unanswered) == MAX_UNANSWERED:
            raise ServerUnavailableError(
                f"{error}; the server left {MAX_UNANSWERED} requests in a row unanswered; {RESUME}"
            )

    def _store(self, key: str, completion: Completion) -> None:
        self.paid_answers[key] = completion.to_json()
        self.accepted_requests += 1
        self.tokens_spent += completion.tokens or 0

    def _shut_down(self) -> None:
        """Stop sending requests; await and store the answers to requests in flight, which are billed in any case."""
        try:
            self.endpoint.stopped.set()
            self._await_all(self.last_wait)
        finally:
            self.endpoint.cancel()
            self._await_all(CANCELLED_WAIT)
            with suppress(sqlite3.ProgrammingError):  # the caller closed the paid answers before this generator
                self._stored_outcomes()
            self.endpoint.close()

    def _await_all(self, seconds: float | None) -> None:
        """Wait until all requests in flight have an outcome, or until the time is over."""
        end = None if seconds is None else time.monotonic() + seconds
        with suppress(Empty):
            while not self.in_flight.keys() <= self.outcomes.keys():
                self.arrivals.get(timeout=None if end is None else max(0.0, end - time.monotonic()))


def _remedy(error: FailedPassageError) -> str:
    """Return the advice that may help to obtain a valid answer, followed by " or ", or "" if there is none."""
    if isinstance(error, AttemptsExhaustedError):
        return "raise `attempts` to send the request again, or "
    return "run the same command again to resume, or " if isinstance(error.__cause__, UnansweredRequestError) else ""


def replay(
    job: Generator[Request, Completion, Any], options: EndpointOptions, paid_answers: Mapping[str, str]
) -> tuple[dict[str, Completion], Request | None]:
    """Return a job's stored answers and its first unanswered request, or None if all requests are answered."""
    used: dict[str, Completion] = {}
    try:
        request = next(job)
        while (completion := stored_completion(paid_answers, key := request.key(options))) is not None:
            used[key] = completion
            request = job.send(completion)
    except (StopIteration, FailedPassageError):
        return used, None
    return used, request


def estimated_tokens(text: str) -> int:
    """Return the number of tokens in a text that a forecast assumes."""
    return ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)


def sum_counts(counts: Iterable[int | None]) -> int | None:
    """Return the sum of token counts, or None if a count is unknown."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
