"""Results and work folders: atomic write, read, has. Nothing else in kib knows a file's name in them.

A results folder is `results/<benchmark>/`: `plan.json`, `failures.json`, `statistics.json` and one folder a cell, named
by the cell's id, with `questions.jsonl` and `cell.json`. A folder appears at once and complete: it is written beside
its place and renamed. A work folder holds one folder a step, `work/<kind>/<identity>/`, built the same way.
"""

import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kib.errors import BusyError, InputError
from kib.identity import canonical, digest_file
from kib.records import Cell, Environment, Score
from kib.support.peak_memory import peak

__all__ = [
    "BenchmarkPlan",
    "CellResult",
    "Failure",
    "MethodEntry",
    "Results",
    "TaskEntry",
    "Times",
    "Work",
    "write_text",
]

SCHEMA = 1

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}")
"""Files and folders beside their place, which a killed process never renamed."""


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside its place, flushed to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def pretty(value: Any) -> str:
    """JSON that people read and diffs show line by line: sorted keys, two spaces, a final newline."""
    return json.dumps(json.loads(canonical(value)), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """A JSON file's value; InputError names the file where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); delete it and run the benchmark again") from error


def read_lines(path: Path) -> Iterator[Any]:
    """The values of a JSON-lines file."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: not readable as JSON ({error.msg})") from error


@contextmanager
def _intact(path: Path, made_of: Path) -> Iterator[None]:
    """Errors that a damaged or lost file makes where it is read, as one that says what to delete: `made_of`."""
    try:
        yield
    except (OSError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: damaged or lost ({what}); delete {made_of} and run the benchmark again") from error


def sweep(folder: Path) -> None:
    """Delete what killed processes left half-written in a folder that no process writes to now."""
    for path in sorted(folder.rglob(".*")):
        if LEFTOVER.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def write_lines(path: Path, values: Iterable[Any]) -> int:
    """Write values as JSON lines and say how many they were; the caller renames the folder it stands in."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for value in values:
            file.write(canonical(value) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, renamed to `place` when the block ends well; nothing is left where it does not."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    beside.mkdir()
    try:
        yield beside
        if place.exists():
            shutil.rmtree(place)
        beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A task in a plan; `n` is known once its questions were read."""

    role: str
    corpus: str | None
    n: int | None = None
    no_probe: str = ""  # why the base is not measured a second time to tell what it knew before
    limit: int | None = None  # the most questions asked, 0 for all; None: an earlier kib did not record it


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A method in a plan; `retriever_role` is "ceiling" (the gold passage), "control" (random passages) or ""."""

    train: str | None
    retrieve: str | None
    retriever_role: str = ""
    chosen: tuple[str, ...] = ()  # settings that are picked, on validation questions where not by loss
    by_loss: tuple[str, ...] = ()  # those of them that are picked by the loss on validation text

    @property
    def is_base(self) -> bool:
        """The model as it is, without passages: what gains are measured against."""
        return self.train is None and self.retrieve is None


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """What `plan.json` holds: every cell there should be, so that a missing one is counted."""

    name: str
    title: str
    tasks: Mapping[str, TaskEntry]
    methods: Mapping[str, MethodEntry]
    cells: tuple[Cell, ...]
    sources: Mapping[str, Any] = field(default_factory=dict)  # plugin, version and fingerprint of every table
    prompt: Mapping[str, Any] = field(default_factory=dict)  # template, order and token budget of passages
    prices: Mapping[str, float] = field(default_factory=dict)  # of the spec's [prices], those that were given
    chats: tuple[str, ...] | None = None  # models asked in their chat template; None: an earlier kib did not record it


@dataclass(frozen=True, slots=True)
class CellResult:
    """What `cell.json` holds: the number and its circumstances, without the questions."""

    cell: Cell
    n: int
    correct: int
    metric: str
    environments: tuple[Environment, ...]
    questions: str = ""  # sha256 of questions.jsonl
    prompt_tokens: int | None = None  # of all prompts together, where a tokenizer is known
    flops: float | None = None  # of reading all prompts: 2 x parameters x tokens, where both are known
    dropped_passages: int = 0
    dropped_questions: int = 0  # questions of which at least one passage was dropped
    steps: Mapping[str, str] = field(default_factory=dict)  # identities of what it was made of, in the work folder
    notes: tuple[str, ...] = ()  # what the scorer said of how it computed: another way than usual, memory that ran out
    corpus: Mapping[str, Any] = field(default_factory=dict)  # counts, digest, source, licence, date of its documents
    text: Mapping[str, Any] = field(default_factory=dict)  # what was trained on: number, kinds, digest of the texts
    training: Mapping[str, Any] = field(
        default_factory=dict
    )  # of trained weights: tokens, steps, losses, change, flops, and what was paid to write their text


@dataclass(frozen=True, slots=True)
class Times:
    """What a cell cost on this machine, in `times.json` beside it: never part of a table that is not asked for it.

    Seconds of wall time. Answers and steps that cells share are counted at each of them.
    """

    asking: float
    searching: float = 0.0
    indexing: float = 0.0
    training: float = 0.0
    peak_bytes: int = 0
    index_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell has no number: the step that failed and what it said."""

    step: str
    error: str


RENAMED_DISTRIBUTIONS = {"kib": "kib-bench", "kib-huggingface": "kib-datasets"}
"""Distributions that earlier results name by a former name."""


def _environment(value: Mapping[str, Any]) -> Environment:
    packages = {RENAMED_DISTRIBUTIONS.get(name, name): version for name, version in value["packages"].items()}
    return Environment(**{**value, "packages": packages})


def _sources(value: Any) -> Any:
    """Return the recorded plugins, with today's names of their distributions."""
    if not isinstance(value, Mapping):
        return value
    former = value.get("distribution")
    renamed = (
        {"distribution": RENAMED_DISTRIBUTIONS[former]}
        if isinstance(former, str) and former in RENAMED_DISTRIBUTIONS
        else {}
    )
    return {key: _sources(inner) for key, inner in value.items()} | renamed


def _cell(value: Mapping[str, Any]) -> Cell:
    return Cell(**{**value, "settings": tuple((key, setting) for key, setting in value["settings"])})


def _score(value: Mapping[str, Any]) -> Score:
    gold = value["gold"]
    return Score(
        **{
            **{key: one for key, one in value.items() if key != "question"},
            "question_id": value["question"],
            "logprobs": tuple(value["logprobs"]),
            "passages": tuple(value["passages"]),
            "gold": None if gold is None else tuple(gold),
        }
    )


def _stored_score(score: Score) -> dict[str, Any]:
    """Return a line of `questions.jsonl`."""
    value = asdict(score)
    return {"question": value.pop("question_id"), **value}


def _method(value: Mapping[str, Any]) -> MethodEntry:
    lists = {key: tuple(value.get(key, ())) for key in ("chosen", "by_loss")}
    return MethodEntry(**{**value, **lists})


def _plan(value: Mapping[str, Any]) -> BenchmarkPlan:
    methods = value["methods"].items()
    chats = value.get("chats")
    return BenchmarkPlan(
        name=value["name"],
        title=value["title"],
        tasks={name: TaskEntry(**entry) for name, entry in value["tasks"].items()},
        methods={name: _method(entry) for name, entry in methods},
        cells=tuple(_cell(cell) for cell in value["cells"]),
        sources=_sources(value["sources"]),
        prompt=value["prompt"],
        prices=value.get("prices", {}),
        chats=None if chats is None else tuple(chats),
    )


class Results:
    """The results folder of one benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has_plan(self) -> bool:
        """Whether a run ever began here."""
        return (self.folder / "plan.json").is_file()

    def plan(self) -> BenchmarkPlan:
        """The plan of the last run; InputError where the folder holds none."""
        path = self.folder / "plan.json"
        if not path.is_file():
            raise InputError(f"{self.folder}: no results here (no plan.json); `kib run SPEC` makes them")
        with _intact(path, path):
            value = read_json(path)
            if value.get("schema") != SCHEMA:
                raise InputError(f"{path}: schema {value.get('schema')!r}, but this kib reads schema {SCHEMA}")
            return _plan(value)

    def save_plan(self, plan: BenchmarkPlan) -> None:
        """Replace the plan; unchanged bytes are not written again."""
        text = pretty({"schema": SCHEMA, **asdict(plan)})
        path = self.folder / "plan.json"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def place(self, cell: Cell) -> Path:
        """The folder of a cell."""
        return self.folder / cell.id

    def cell(self, cell: Cell) -> CellResult | None:
        """A cell's result without its questions; None where it is missing."""
        path = self.place(cell) / "cell.json"
        if not path.is_file():
            return None
        with _intact(path, path.parent):
            value = read_json(path)
            environments = tuple(_environment(entry) for entry in value["environments"])
            notes = tuple(value.get("notes", ()))
            return CellResult(**{**value, "cell": _cell(value["cell"]), "environments": environments, "notes": notes})

    def has(self, cell: Cell) -> bool:
        """Whether a cell was measured; a damaged one counts as missing, so that a run measures it again."""
        try:
            return self.cell(cell) is not None
        except InputError:
            return False

    def verify(self) -> None:
        """Hold every cell's questions against the digest in its result; InputError names the first that was changed."""
        for cell in self.plan().cells:
            result = self.cell(cell)
            if result is None:
                continue
            path = self.questions(cell, "a check, which trusts no stored statistics,")
            with _intact(path, path.parent):
                if digest_file(path) != result.questions:
                    raise InputError(f"{path}: not the file that was measured; delete {path.parent} and run again")

    def questions(self, cell: Cell, user: str) -> Path:
        """The file of a cell's questions; where it is not there InputError, which says that `user` needs it.

        Results are passed on without their questions too: then the views whose statistics are stored can be had.
        """
        path = self.place(cell) / "questions.jsonl"
        if path.is_file():
            return path
        views = self.statistics().get("views")
        known = [f"gains over {view or 'base'}" for view in views] if isinstance(views, dict) else []
        shown = f"; what is stored can be shown without them: {', '.join(known)}" if known else ""
        raise InputError(
            f"{path}: no such file, and {user} needs the questions in it; they may have been left out on purpose"
            f"{shown}. Bring them back, or measure them again: delete {path.parent} and run the benchmark"
        )

    def scores(self, cell: Cell, user: str = "what was asked for") -> list[Score]:
        """A cell's questions, in the task's order; `user` is named where they are not there."""
        path = self.questions(cell, user)
        with _intact(path, path.parent):
            return [_score(value) for value in read_lines(path)]

    def times(self, cell: Cell) -> Times | None:
        """What a cell cost on the machine that measured it; None where nobody noted it."""
        path = self.place(cell) / "times.json"
        with _intact(path, path.parent):
            return Times(**read_json(path)) if path.is_file() else None

    def save_cell(self, result: CellResult, scores: Iterable[Score], times: Times | None = None) -> None:
        """Write a cell's folder, complete or not at all; the digest of its questions is filled in."""
        with new_folder(self.place(result.cell)) as folder:
            questions = folder / "questions.jsonl"
            write_lines(questions, map(_stored_score, scores))
            if times:
                write_text(folder / "times.json", pretty(times))
            write_text(folder / "cell.json", pretty(replace(result, questions=digest_file(questions))))

    def failures(self) -> dict[str, Failure]:
        """Cells of the last run that failed, by id."""
        path = self.folder / "failures.json"
        with _intact(path, path):
            return {key: Failure(**value) for key, value in read_json(path).items()} if path.is_file() else {}

    def save_failures(self, failures: Mapping[str, Failure]) -> None:
        """Replace the list of failed cells; no file where there are none."""
        path = self.folder / "failures.json"
        if failures:
            write_text(path, pretty(failures))
        else:
            path.unlink(missing_ok=True)

    def statistics(self) -> dict[str, Any]:
        """Stored statistics by key; a damaged or missing file is an empty one: they can be computed again."""
        try:
            value = json.loads((self.folder / "statistics.json").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError):
            return {}
        return value if isinstance(value, dict) else {}

    def save_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Replace the stored statistics; a folder that cannot be written to is no error."""
        try:
            write_text(self.folder / "statistics.json", canonical(statistics) + "\n")
        except OSError:
            return

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one run; BusyError names the process and host that holds it."""
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        owner = self.folder / ".owner.json"
        guard = FileLock(self.folder / ".lock", timeout=0)
        try:
            guard.acquire()
        except Timeout as error:
            raise BusyError(f"{self.folder}: {_who(owner)} is running on this folder; wait for it to end") from error
        try:
            sweep(self.folder)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            write_text(owner, canonical({"pid": os.getpid(), "host": socket.gethostname(), "started": started}))
            yield
        finally:
            owner.unlink(missing_ok=True)
            guard.release()


def _who(owner: Path) -> str:
    try:
        value = json.loads(owner.read_text(encoding="utf-8"))
        return f"process {value['pid']} on host {value['host']} (since {value['started']})"
    except (OSError, KeyError, json.JSONDecodeError):
        return "another process"


class Work:
    """The work folder: heavy things by identity, made once, deletable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, kind: str, identity: str) -> Path:
        """The folder of a step."""
        return self.folder / kind / identity[:32]

    def has(self, kind: str, identity: str) -> bool:
        """Whether a step was finished and all its files are there; one that lost a file is made again."""
        place = self.place(kind, identity)
        try:
            files: dict[str, int] = read_json(place / "done.json")["files"]
            return all((place / name).stat().st_size == size for name, size in files.items())
        except (OSError, KeyError, InputError, AttributeError, TypeError):
            return False

    def make(self, kind: str, identity: str, build: Callable[[Path], Mapping[str, Any]]) -> Path:
        """The step's folder, built by `build(folder)` where it is not there yet.

        An interrupted build stays in the folder and `build` finds it; the marker `done.json`, written last, holds what
        `build` returned. Two processes never build one step at once.
        """
        from filelock import FileLock

        place = self.place(kind, identity)
        marker = place / "done.json"
        if self.has(kind, identity):
            return place
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if not self.has(kind, identity):
                marker.unlink(missing_ok=True)
                begun = time.perf_counter()
                with peak() as most:
                    note = dict(build(place))
                spent = {"seconds": time.perf_counter() - begun, "peak_bytes": most.bytes}
                write_text(marker, pretty({"note": note, **spent, "files": _sizes(place)}))
        return place

    def forget(self, kind: str, identity: str) -> None:
        """Let a step count as not made; what lies in its folder stays, as if its making had been interrupted."""
        (self.place(kind, identity) / "done.json").unlink(missing_ok=True)

    def note(self, kind: str, identity: str) -> dict[str, Any]:
        """What a finished step said of itself; empty where it is not there."""
        note: dict[str, Any] = self._marker(kind, identity).get("note", {})
        return note

    def notes(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each finished step of a kind whose files are all there: identity (as far as its folder names it) and note."""
        for path in sorted((self.folder / kind).glob("*/done.json")):
            if self.has(kind, path.parent.name):
                yield path.parent.name, self.note(kind, path.parent.name)

    def seconds(self, kind: str, identity: str) -> float:
        """How long a step took on this machine; 0 where it is not there."""
        return float(self._marker(kind, identity).get("seconds", 0.0))

    def peak_bytes(self, kind: str, identity: str) -> int:
        """The most memory that was held while a step was made on this machine; 0 where it is not there."""
        return int(self._marker(kind, identity).get("peak_bytes", 0))

    def _marker(self, kind: str, identity: str) -> dict[str, Any]:
        path = self.place(kind, identity) / "done.json"
        value: dict[str, Any] = read_json(path) if path.is_file() else {}
        return value


def _sizes(folder: Path) -> dict[str, int]:
    """The size in bytes of each file of a step's folder, by its place in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
