"""Answers of one set of weights, stored as they come by the text of the request; and the asking of what is missing."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kib.errors import InputError
from kib.harness.backends import notes
from kib.harness.requests import answer, batches
from kib.identity import canonical, digest
from kib.progress import Progress
from kib.records import Answer, Environment, Request
from kib.store.folders import Work

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["Answers", "ask"]

MANY = 500
"""Keys in one SQL statement; SQLite's own limit on old builds is 999."""


class Answers:
    """The answers of one set of weights: request -> what the model gave, and the environment it was computed in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @classmethod
    @contextmanager
    def open(cls, work: Work, weights: str) -> Iterator["Answers"]:
        """The store of a set of weights; a batch is in it whole or not at all, also after a power cut."""
        folder = work.place("answers", weights)
        folder.mkdir(parents=True, exist_ok=True)
        with closing(_connect(folder / "answers.sqlite")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS answers"
                " (key TEXT PRIMARY KEY, value TEXT, environment TEXT, seconds REAL) WITHOUT ROWID"
            )
            connection.execute("CREATE TABLE IF NOT EXISTS environments (key TEXT PRIMARY KEY, value TEXT)")
            connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT PRIMARY KEY)")
            try:
                yield cls(connection)
            except sqlite3.DatabaseError as error:
                raise InputError(f"{folder}: the stored answers are damaged ({error}); delete it, run again") from error

    def missing(self, requests: Sequence[Request]) -> int:
        """How many of the requests have no answer yet."""
        keys = {key(request) for request in requests}
        return len(keys) - sum(1 for _ in self._rows(sorted(keys)))

    def get(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers in the order of the requests; KeyError where one is missing."""
        found = {
            row[0]: Answer(json.loads(row[1]), row[2], row[3]) for row in self._rows(sorted({key(r) for r in requests}))
        }
        return [found[key(request)] for request in requests]

    def _rows(self, keys: Sequence[str]) -> Iterator[tuple[str, str, str, float]]:
        for first in range(0, len(keys), MANY):
            some = keys[first : first + MANY]
            marks = ",".join("?" * len(some))
            yield from self.connection.execute(
                f"SELECT key, value, environment, seconds FROM answers WHERE key IN ({marks})",  # noqa: S608 - only marks
                some,
            )

    def put(
        self, requests: Sequence[Request], values: Sequence[object], environment: Environment, seconds: float = 0.0
    ) -> None:
        """Store a batch that took `seconds`, shared by length of text; an answer that is there already stays."""
        name, sizes = digest(environment), [_size(request) for request in requests]
        given = zip(requests, values, sizes, strict=True)
        rows = [(key(request), canonical(value), name, seconds * size / sum(sizes)) for request, value, size in given]
        with self.connection:
            self.connection.execute(
                "INSERT OR IGNORE INTO environments VALUES (?, ?)", (name, canonical(asdict(environment)))
            )
            self.connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows)

    def note(self, text: str) -> None:
        """Record what an LM said about how it computes, once."""
        with self.connection:
            self.connection.execute("INSERT OR IGNORE INTO notes VALUES (?)", (text,))

    def notes(self) -> tuple[str, ...]:
        """All that was recorded so, sorted."""
        return tuple(text for (text,) in self.connection.execute("SELECT text FROM notes ORDER BY text"))

    def environments(self, names: Sequence[str]) -> tuple[Environment, ...]:
        """Environments by the names that answers carry, each once, sorted by name."""
        rows = dict(self.connection.execute("SELECT key, value FROM environments"))
        return tuple(Environment(**json.loads(rows[name])) for name in sorted(set(names)))


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=60)
        connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: not a readable store of answers ({error}); delete it and run again") from error
    return connection


def _size(request: Request) -> int:
    """Characters of a request: in a batch of short and long prompts, a long one takes more of the time."""
    return 1 + sum(len(part) for part in request.arguments if isinstance(part, str))


def key(request: Request) -> str:
    """What an answer is stored by: the text of the request."""
    return digest([request.kind, list(request.arguments)])


def ask(
    requests: Sequence[Request],
    answers: Answers,
    scorer: Callable[[], tuple["LM", Environment]],
    progress: Progress,
    title: str,
) -> None:
    """Ask what is not answered yet, batch by batch; `scorer` loads the model and is called only where needed.

    Batches are made of the full list, and one that misses an answer is asked again as a whole, so that an interrupted
    run computes what an uninterrupted one would have. An LM may make them, so they are made once it is loaded.
    """
    if not answers.missing(requests):
        return
    lm, environment = scorer()
    open_batches = [batch for batch in batches(requests, lm) if answers.missing(batch)]
    told = 0
    with progress.step(title, sum(map(len, open_batches))) as advance:
        for batch in open_batches:
            begun = time.perf_counter()
            values = answer(lm, batch)
            answers.put(batch, values, environment, time.perf_counter() - begun)
            for note in notes(lm)[told:]:
                answers.note(note)
                progress.say(f"{title}: {note}")
                told += 1
            advance(len(batch))
