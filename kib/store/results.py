"""The results folder of a benchmark; no other module knows the names of its files.

A results folder is `results/<benchmark>/`. The folder contains `plan.json`, `failures.json`, `statistics.json` and one
folder per cell, named after the cell's id, with `cell.json`, `questions.jsonl` and possibly `times.json`. A cell's
folder is written atomically, so the folder is either missing or complete.
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kib.errors import BusyError, InputError
from kib.identity import canonical, digest_file
from kib.records import Cell, Score
from kib.store.files import (
    indented_json,
    make_folder,
    name_damage,
    new_folder,
    read_json,
    read_lines,
    remove_leftovers,
    write_lines,
    write_text,
)
from kib.store.result_records import (
    CELL,
    FAILURES,
    SCORES,
    TIMES,
    BenchmarkPlan,
    CellResult,
    Failure,
    Times,
    cell_to_json,
    plan_from_json,
    plan_to_json,
    score_to_json,
)

__all__ = ["Results"]


class Results:
    """The results folder of one benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has_plan(self) -> bool:
        """Return whether a run has ever been started with this folder."""
        return (self.folder / "plan.json").is_file()

    def plan(self) -> BenchmarkPlan:
        """Return the plan of the last run. Raises InputError if the folder contains no plan."""
        path = self.folder / "plan.json"
        if not path.is_file():
            raise InputError(
                f"{self.folder}: this folder contains no results (no plan.json); create results with `kib run SPEC`"
            )
        with name_damage(path, path):
            value = read_json(path)
            try:
                return plan_from_json(value)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error

    def save_plan(self, plan: BenchmarkPlan) -> None:
        """Replace the plan; an unchanged file is left untouched."""
        text = indented_json(plan_to_json(plan))
        path = self.folder / "plan.json"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def cell_folder(self, cell: Cell) -> Path:
        """Return the path of a cell's folder."""
        return self.folder / cell.id

    def cell(self, cell: Cell) -> CellResult | None:
        """Return the result of a cell without its questions, or None if the cell has not been measured."""
        path = self.cell_folder(cell) / "cell.json"
        if not path.is_file():
            return None
        with name_damage(path, path.parent):
            return CELL.validate_python(read_json(path))

    def has(self, cell: Cell) -> bool:
        """Return whether a cell has been measured; a damaged result counts as missing and is measured again."""
        try:
            return self.cell(cell) is not None
        except InputError:
            return False

    def verify(self) -> None:
        """Compare the questions of each cell with the recorded digest. Raises InputError at the first difference."""
        for cell in self.plan().cells:
            result = self.cell(cell)
            if result is None:
                continue
            path = self.questions(cell, "the verification of the stored questions")
            with name_damage(path, path.parent):
                if digest_file(path) != result.questions:
                    raise InputError(
                        f"{path}: the file differs from the measured file; delete {path.parent} and run the "
                        "benchmark again"
                    )

    def questions(self, cell: Cell, user: str) -> Path:
        """Return the path of a cell's questions; if the file is missing, the error says that `user` needs the file.

        Results may be published without their questions: views with stored statistics can still be shown.
        """
        path = self.cell_folder(cell) / "questions.jsonl"
        if path.is_file():
            return path
        views = self.statistics().get("views")
        known = [f"gains over {view or 'base'}" for view in views] if isinstance(views, dict) else []
        shown = f"; the stored statistics are sufficient to show {', '.join(known)}" if known else ""
        raise InputError(
            f"{path}: no such file, but {user} needs the questions in this file. The file may have been omitted on "
            f"purpose{shown}. Restore the file, or delete {path.parent} and run the benchmark to measure the cell "
            "again"
        )

    def scores(self, cell: Cell, user: str = "this view") -> list[Score]:
        """Return the scores of a cell's questions in task order; the error for a missing file names `user`."""
        path = self.questions(cell, user)
        with name_damage(path, path.parent):
            try:  # one list for pydantic's own parser, which takes less than half the time
                return SCORES.validate_json(b"[" + b",".join(path.read_bytes().splitlines()) + b"]")
            except ValidationError:  # the line-by-line reader names the damaged line
                return SCORES.validate_python(list(read_lines(path)))

    def times(self, cell: Cell) -> Times | None:
        """Return the time and memory needed to measure a cell, or None if time and memory were not recorded."""
        path = self.cell_folder(cell) / "times.json"
        with name_damage(path, path.parent):
            return TIMES.validate_python(read_json(path)) if path.is_file() else None

    def save_cell(self, result: CellResult, scores: Iterable[Score], times: Times | None = None) -> None:
        """Write the folder of a cell atomically, including the digest of its questions."""
        with new_folder(self.cell_folder(result.cell)) as folder:
            questions = folder / "questions.jsonl"
            write_lines(questions, map(score_to_json, scores))
            if times:
                write_text(folder / "times.json", indented_json(times))
            result = replace(result, questions=digest_file(questions))
            write_text(folder / "cell.json", indented_json(cell_to_json(result)))

    def failures(self) -> dict[str, Failure]:
        """Return the failed cells of the last run by id."""
        path = self.folder / "failures.json"
        with name_damage(path, path):
            return FAILURES.validate_python(read_json(path)) if path.is_file() else {}

    def save_failures(self, failures: Mapping[str, Failure]) -> None:
        """Replace the list of failed cells; if the list is empty, delete the file."""
        path = self.folder / "failures.json"
        if failures:
            write_text(path, indented_json(failures))
        else:
            path.unlink(missing_ok=True)

    def statistics(self) -> dict[str, Any]:
        """Return the stored statistics by key; if the file is missing or damaged, return an empty mapping."""
        try:
            value = json.loads((self.folder / "statistics.json").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError):
            return {}
        return value if isinstance(value, dict) else {}

    def save_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Replace the stored statistics; do nothing if the folder is not writable."""
        try:
            write_text(self.folder / "statistics.json", canonical(statistics) + "\n")
        except OSError:
            return

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for one run. Raises BusyError with the process and host of the run that holds the lock."""
        from filelock import FileLock, Timeout

        make_folder(self.folder)
        owner = self.folder / ".owner.json"
        guard = FileLock(self.folder / ".lock", timeout=0)
        try:
            guard.acquire()
        except Timeout as error:
            raise BusyError(
                f"{self.folder}: {_owner(owner)} is using this folder; wait until that process ends"
            ) from error
        try:
            remove_leftovers(self.folder)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            write_text(owner, canonical({"pid": os.getpid(), "host": socket.gethostname(), "started": started}))
            yield
        finally:
            owner.unlink(missing_ok=True)
            guard.release()


def _owner(path: Path) -> str:
    """Return a description of the process recorded in `.owner.json`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return f"process {value['pid']} on host {value['host']} (since {value['started']})"
    except (OSError, KeyError, json.JSONDecodeError):
        return "another process"
