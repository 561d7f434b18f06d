"""The stored answers of a model, one file per set of weights; a run requests only missing answers."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from kib.errors import DamagedError
from kib.identity import canonical, digest
from kib.records import Answer, Environment, Request
from kib.store.sqlite_file import OUT_OF_ORDER, SqliteFile, Table, set_aside
from kib.store.work import Work

__all__ = ["ModelAnswers", "request_key"]

ANSWERS = Table("answers", {"key": "TEXT", "value": "TEXT", "environment": "TEXT", "seconds": "REAL"})
ENVIRONMENTS = Table("environments", {"key": "TEXT", "value": "TEXT"})
NOTES = Table("notes", {"text": "TEXT"})
TOKENS = Table("tokens", {"key": "TEXT", "input": "INTEGER", "output": "INTEGER"})
REPAIR = "run the benchmark again; kib then renames the file and requests the answers again"


class ModelAnswers:
    """The answers of one set of weights by request, each with the environment in which the answer was computed."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file

    @classmethod
    @contextmanager
    def open(cls, work: Work, weights: str) -> Iterator["ModelAnswers"]:
        """Open the stored answers for the weights with this identity, after removing damaged answers.

        If the whole file is damaged, the file is renamed and a new file is created. Raises InputError if the file
        cannot be used for a different reason.
        """
        path = work.step_folder("answers", weights) / "answers.sqlite"
        try:
            file = _open_intact(path, work.say)
        except DamagedError as error:
            reason = str(error).removesuffix(f"; {REPAIR}")
            work.say(f"{reason}; kib renames the file to {set_aside(path).name} and requests the answers again")
            file = _open_intact(path, work.say)
        with closing(file):
            yield cls(file)

    def is_empty(self) -> bool:
        """Return whether the file contains no answer at all."""
        return not self.file.rows("SELECT 1 FROM answers LIMIT 1")

    def missing(self, requests: Sequence[Request]) -> int:
        """Return the number of distinct requests without an answer."""
        return len(self.missing_keys(requests))

    def missing_keys(self, requests: Sequence[Request]) -> set[str]:
        """Return the keys of the requests without an answer."""
        keys = {request_key(request) for request in requests}
        found = self.file.rows_by_key("SELECT key FROM answers WHERE key IN ({keys})", sorted(keys))
        return keys - {key for (key,) in found}

    def get(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers in the order of `requests`. Raises KeyError if an answer is missing."""
        keys = [request_key(request) for request in requests]
        rows = self.file.rows_by_key(
            "SELECT key, value, environment, seconds FROM answers WHERE key IN ({keys})", sorted(set(keys))
        )
        found = {key: Answer(json.loads(value), environment, seconds) for key, value, environment, seconds in rows}
        return [found[key] for key in keys]

    def put(
        self,
        requests: Sequence[Request],
        values: Sequence[object],
        environment: Environment,
        seconds: float = 0.0,
        tokens: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Store the answers of a batch in one transaction, without replacing existing answers.

        `tokens` are the numbers of input and output tokens of each answer, if a server counted them.

        The duration of the batch, `seconds`, is divided among its requests in proportion to the length of each request.
        """
        name, sizes = digest(environment), [_size(request) for request in requests]
        batch = zip(requests, values, sizes, strict=True)
        rows = [
            (request_key(request), canonical(value), name, seconds * size / sum(sizes))
            for request, value, size in batch
        ]
        self.file.write(
            self.file.insertion(ENVIRONMENTS, [(name, canonical(asdict(environment)))]),
            self.file.insertion(ANSWERS, rows),
            self.file.insertion(TOKENS, [(row[0], *counts) for row, counts in zip(rows, tokens, strict=False)]),
        )

    def tokens(self, requests: Sequence[Request]) -> tuple[int, int] | None:
        """Return the numbers of input and output tokens of all requests, or None if a server did not count them all."""
        if not self.file.rows("SELECT 1 FROM tokens LIMIT 1"):
            return None  # a local model counts no tokens, and the keys of many requests take time
        keys = [request_key(request) for request in requests]
        rows = self.file.rows_by_key("SELECT key, input, output FROM tokens WHERE key IN ({keys})", sorted(set(keys)))
        found = {key: (read, written) for key, read, written in rows}
        if not keys or not found.keys() >= set(keys):
            return None
        return sum(found[key][0] for key in keys), sum(found[key][1] for key in keys)

    def add_note(self, text: str) -> None:
        """Store a backend's remark about its computation; a repeated remark is stored only once."""
        self.file.write(self.file.insertion(NOTES, [(text,)]))

    def notes(self) -> tuple[str, ...]:
        """Return all stored remarks in alphabetical order."""
        return tuple(text for (text,) in self.file.rows("SELECT text FROM notes ORDER BY text"))

    def environments(self, names: Sequence[str]) -> tuple[Environment, ...]:
        """Return the distinct environments with the given names (`Answer.environment`), in order of name."""
        stored: dict[str, str] = dict(self.file.rows("SELECT key, value FROM environments"))
        return tuple(Environment(**json.loads(stored[name])) for name in sorted(set(names)))


def _open_intact(path: Path, say: Callable[[str], None]) -> SqliteFile:
    """Open a file of model answers, and remove damaged answers. Raises DamagedError if the whole file is damaged."""
    file = SqliteFile.open(path, (ANSWERS, ENVIRONMENTS, NOTES, TOKENS), REPAIR, owner=path.parent.name)
    try:
        _remove_damaged(file, say)
    except BaseException:
        file.close()
        raise
    return file


def _remove_damaged(file: SqliteFile, say: Callable[[str], None]) -> None:
    """Remove damaged answers and the answers of damaged environments, and print the number of removed answers.

    Raises DamagedError if a remark is damaged, because remarks cannot be recomputed without all answers.
    """
    if file.remove_damaged(NOTES).removed:
        raise DamagedError(f"{file.path}: the file is damaged (the content of a remark has changed); {REPAIR}")
    stored = file.rows("SELECT COUNT(*) FROM answers")[0][0]
    repairs = [file.remove_damaged(table) for table in (ANSWERS, ENVIRONMENTS, TOKENS)]
    without = "FROM answers WHERE environment NOT IN (SELECT key FROM environments)"
    if file.rows(f"SELECT 1 {without} LIMIT 1"):
        file.write((f"DELETE {without}", [()]))
    if removed := stored - file.rows("SELECT COUNT(*) FROM answers")[0][0]:
        say(f"{file.path}: {removed:,} of {stored:,} answers are damaged; kib requests these answers again")
    if any(repair.unordered for repair in repairs):
        say(f"{file.path}: the file is damaged ({OUT_OF_ORDER}); kib puts all intact answers in order again")


def request_key(request: Request) -> str:
    """Return the key of a request's answer: a digest of the request's kind and arguments."""
    return digest([request.kind, list(request.arguments)])


def _size(request: Request) -> int:
    """Return the length of a request in characters plus one, which determines the request's share of a batch's time."""
    return 1 + sum(len(part) for part in request.arguments if isinstance(part, str))
