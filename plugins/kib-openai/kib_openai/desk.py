"""Many jobs at once: each asks one thing after the other, every answer is kept before it is used.

A job is a generator: it yields what it asks and is sent the answer. Only the thread that reads the results touches the
memory; the others wait for the server.
"""

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from kib.errors import InputError
from kib.identity import digest
from kib_openai.answers import Reply
from kib_openai.endpoint import Endpoint
from kib_openai.options import WriterOptions

__all__ = ["Ask", "Desk", "Failed", "Job", "remember"]

Result = TypeVar("Result")

AHEAD = 256
"""Finished jobs that may wait for an earlier one."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: its text, the seed, how often it was made before, and its place among the requests of its job."""

    text: str
    seed: int
    attempt: int
    step: int

    def body(self, options: WriterOptions) -> dict[str, Any]:
        """What is sent; an attempt has a seed of its own, or it would get the same answer again."""
        body: dict[str, Any] = {
            "model": options.model,
            "messages": [{"role": "user", "content": self.text}],
            "temperature": options.temperature,
            options.max_tokens_field: options.max_tokens,
            **options.extra,
        }
        if options.send_seed:
            body["seed"] = self.seed + self.attempt
        if options.answer_format != "text":
            body.setdefault("response_format", {"type": options.answer_format})
        return body

    def key(self, options: WriterOptions) -> str:
        """Digest of all that decides the answer; neither where it comes from nor the key to it."""
        counts = {**self.body(options), "max_tokens": options.max_tokens}
        counts.pop("max_completion_tokens", None)
        return digest({"body": counts, "seed": self.seed, "attempt": self.attempt})


Job = Generator[Ask, Reply, Result]


class Failed(Exception):  # noqa: N818 - the reader of the results makes an error of it
    """A job whose every attempt at a request was answered by something broken."""


@dataclass(slots=True)
class _Open(Generic[Result]):
    """A job that waits for an answer."""

    number: int
    job: Job[Result]
    ask: Ask


def remember(kept: Mapping[str, str], key: str) -> Reply | None:
    """An answer from the memory."""
    value = kept.get(key)
    return None if value is None else Reply(**json.loads(value))


class Desk(Generic[Result]):
    """Runs jobs; a desk is used once, by one thread."""

    def __init__(self, endpoint: Endpoint, kept: MutableMapping[str, str]) -> None:
        self.endpoint = endpoint
        self.options = endpoint.options
        self.kept = kept
        self.spent = sum(Reply(**json.loads(value)).tokens or 0 for value in kept.values()) if self._limited() else 0
        self.missed = 0
        self.more = True
        self.ready: dict[int, list[Result]] = {}
        self.flying: dict[str, Future[Reply]] = {}
        self.waiting: dict[Future[Reply], list[_Open[Result]]] = {}

    def run(self, jobs: Iterable[Job[Result]]) -> Iterator[Result]:
        """The result of each job in the order given, as soon as those before it are there; a missed job has none.

        InputError where the server refuses, the budget is used up, or too many jobs have failed; what is on its way
        then is waited for and kept.
        """
        numbered, turn = enumerate(jobs), 0
        pool = ThreadPoolExecutor(self.options.concurrency, thread_name_prefix="kib-openai")
        try:
            while True:
                self._fill(pool, numbered)
                while turn in self.ready:
                    yield from self.ready.pop(turn)
                    turn += 1
                if self.flying:
                    self._collect(pool)
                elif not self.more:
                    return
        finally:
            self._leave(pool)

    def _limited(self) -> bool:
        return self.options.token_budget is not None

    def _fill(self, pool: ThreadPoolExecutor, numbered: Iterator[tuple[int, Job[Result]]]) -> None:
        """Start jobs until as many requests are on their way as may be."""
        while self.more and len(self.flying) < self.options.concurrency and len(self.ready) < AHEAD:
            started = next(numbered, None)
            if started is None:
                self.more = False
            else:
                self._go_on(pool, *started)

    def _go_on(self, pool: ThreadPoolExecutor, number: int, job: Job[Result], reply: Reply | None = None) -> None:
        """Run a job up to the next request that the memory does not answer, and send that."""
        try:
            ask = next(job) if reply is None else job.send(reply)
            while (found := remember(self.kept, ask.key(self.options))) is not None:
                ask = job.send(found)
        except StopIteration as end:
            self.ready[number] = [end.value]
        except Failed as error:
            self._miss(number, error)
        else:
            self._send(pool, _Open(number, job, ask))

    def _miss(self, number: int, error: Failed) -> None:
        self.missed += 1
        self.ready[number] = []
        if self.missed > self.options.may_miss:
            raise InputError(
                f"{error}; what was answered is kept: raise `attempts` to ask again, or `may_miss` to do without the "
                f"text of more than {self.options.may_miss} passages"
            )

    def _send(self, pool: ThreadPoolExecutor, waiter: _Open[Result]) -> None:
        """Send a request, unless the same one is on its way for another job."""
        key = waiter.ask.key(self.options)
        if key not in self.flying:
            self._check_budget()
            self.flying[key] = pool.submit(self.endpoint.ask, waiter.ask.body(self.options))
        self.waiting.setdefault(self.flying[key], []).append(waiter)

    def _check_budget(self) -> None:
        budget = self.options.token_budget
        if budget is not None and self.spent >= budget:
            raise InputError(
                f"the token budget of {budget:,} is used up: {self.spent:,} tokens were paid for in {len(self.kept):,} "
                "answers, all of which are kept; raise `token_budget` and the same command goes on from there"
            )

    def _collect(self, pool: ThreadPoolExecutor) -> None:
        """Wait for answers, keep all that came, then go on with their jobs."""
        wait(self.flying.values(), return_when=FIRST_COMPLETED)
        came = {key: future for key, future in self.flying.items() if future.done()}
        for key, future in came.items():
            if future.exception() is None:
                self._keep(key, future.result())
        for key, future in came.items():
            reply = future.result()
            del self.flying[key]
            if self._limited() and reply.tokens is None and reply.content is not None:
                raise InputError(f"{self.endpoint.url}: the server counts no tokens; leave `token_budget` out")
            for waiter in self.waiting.pop(future):
                self._go_on(pool, waiter.number, waiter.job, reply)

    def _keep(self, key: str, reply: Reply) -> None:
        self.kept[key] = json.dumps(asdict(reply), sort_keys=True)  # ASCII: an answer may hold half a character
        self.spent += reply.tokens or 0

    def _leave(self, pool: ThreadPoolExecutor) -> None:
        """Send nothing more; what is on its way is paid for, so it is waited for and kept."""
        self.endpoint.stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        with suppress(sqlite3.ProgrammingError):  # the reader has closed the memory before this generator
            for key, future in self.flying.items():
                if not future.cancelled() and future.exception() is None:
                    self._keep(key, future.result())
        self.endpoint.close()
