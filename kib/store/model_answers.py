"""The stored answers of a model, one file per set of weights; a run requests only missing answers."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from kib.identity import canonical, digest
from kib.records import Answer, Environment, Request
from kib.store.sqlite_file import SqliteFile
from kib.store.work import Work

__all__ = ["ModelAnswers", "request_key"]

TABLES = (
    "answers (key TEXT PRIMARY KEY, value TEXT, environment TEXT, seconds REAL) WITHOUT ROWID",
    "environments (key TEXT PRIMARY KEY, value TEXT)",
    "notes (text TEXT PRIMARY KEY)",
)
REPAIR = "delete it and run the benchmark again to compute its answers"


class ModelAnswers:
    """The answers of one set of weights by request, each with the environment in which it was computed."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file

    @classmethod
    @contextmanager
    def open(cls, work: Work, weights: str) -> Iterator["ModelAnswers"]:
        """Open the stored answers for the weights with this identity. Raises InputError if the file cannot be used."""
        path = work.step_folder("answers", weights) / "answers.sqlite"
        with SqliteFile.open(path, TABLES, REPAIR) as file:
            yield cls(file)

    def missing(self, requests: Sequence[Request]) -> int:
        """Return the number of distinct requests without an answer."""
        keys = {request_key(request) for request in requests}
        found = self.file.rows_by_key("SELECT key FROM answers WHERE key IN ({keys})", sorted(keys))
        return len(keys) - sum(1 for _ in found)

    def get(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers in the order of `requests`. Raises KeyError if an answer is missing."""
        keys = [request_key(request) for request in requests]
        rows = self.file.rows_by_key(
            "SELECT key, value, environment, seconds FROM answers WHERE key IN ({keys})", sorted(set(keys))
        )
        found = {key: Answer(json.loads(value), environment, seconds) for key, value, environment, seconds in rows}
        return [found[key] for key in keys]

    def put(
        self, requests: Sequence[Request], values: Sequence[object], environment: Environment, seconds: float = 0.0
    ) -> None:
        """Store a batch in one transaction; existing answers are kept.

        The duration of the batch, `seconds`, is divided among its requests in proportion to their length.
        """
        name, sizes = digest(environment), [_size(request) for request in requests]
        batch = zip(requests, values, sizes, strict=True)
        rows = [
            (request_key(request), canonical(value), name, seconds * size / sum(sizes))
            for request, value, size in batch
        ]
        self.file.write(
            ("INSERT OR IGNORE INTO environments VALUES (?, ?)", [(name, canonical(asdict(environment)))]),
            ("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows),
        )

    def add_note(self, text: str) -> None:
        """Store a remark of an LM about its computation; a repeated remark is stored only once."""
        self.file.write(("INSERT OR IGNORE INTO notes VALUES (?)", [(text,)]))

    def notes(self) -> tuple[str, ...]:
        """Return all stored remarks in alphabetical order."""
        return tuple(text for (text,) in self.file.rows("SELECT text FROM notes ORDER BY text"))

    def environments(self, names: Sequence[str]) -> tuple[Environment, ...]:
        """Return the distinct environments with the given names (`Answer.environment`), in order of name."""
        stored = dict(self.file.rows("SELECT key, value FROM environments"))
        return tuple(Environment(**json.loads(stored[name])) for name in sorted(set(names)))


def request_key(request: Request) -> str:
    """Return the key of a request's answer: a digest of the request's kind and arguments."""
    return digest([request.kind, list(request.arguments)])


def _size(request: Request) -> int:
    """Return the length of a request in characters, plus one; longer prompts account for more of a batch's time."""
    return 1 + sum(len(part) for part in request.arguments if isinstance(part, str))
