"""The results folder of a benchmark; no other module knows the names of its files.

A results folder is `results/<benchmark>/`. The folder contains `plan.json`, `failures.json`, `statistics.json` and one
folder per cell, named after the cell's id, with `cell.json`, `questions.jsonl` and possibly `times.json`. A cell's
folder is written atomically, so this folder is either missing or complete. If people judge outputs, the folder also
contains `label-designs.json` and `labels.json`.
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from os.path import lexists
from pathlib import Path
from typing import Any

import msgspec

from kib.errors import BusyError, DamagedError, InputError
from kib.identity import canonical, digest_file
from kib.records import Cell, Score
from kib.store.files import (
    file_status,
    indented_json,
    make_folder,
    name_damage,
    new_folder,
    read_lines,
    remove,
    remove_leftovers,
    write_lines,
    write_output,
    write_text,
)
from kib.store.label_records import DESIGNS, LABELS, LabelDesign, Labels
from kib.store.result_records import (
    FAILURES,
    SCORES,
    TIMES,
    BenchmarkPlan,
    CellResult,
    Failure,
    Times,
    cell_from_json,
    cell_to_json,
    failures_to_json,
    plan_from_json,
    plan_to_json,
    score_to_json,
)
from kib.store.sealed_json import read_and_tell_sealed, read_sealed, sealed
from kib.store.verified_files import VerifiedFiles

__all__ = ["Results"]

MEASURE_AGAIN = "`kib run` measures the cell again"
WRITE_AGAIN = "`kib run` writes the file again"
DRAW_AGAIN = "delete the file; `kib label` writes the file again"

ROOT_FILES = (
    "plan.json",
    "failures.json",
    "statistics.json",
    "label-designs.json",
    "labels.json",
    ".owner.json",
    ".lock",
)
"""The files beside the folders of the cells."""


class Results:
    """The results folder of one benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._verified = VerifiedFiles()

    def has_plan(self) -> bool:
        """Return whether a run has ever been started in this folder."""
        return (self.folder / "plan.json").is_file()

    def plan(self) -> BenchmarkPlan:
        """Return the plan of the last run. Raises InputError if the folder contains no plan."""
        path = self.folder / "plan.json"
        if not lexists(path):
            raise InputError(
                f"{self.folder}: this folder contains no results (no plan.json); create results with `kib run SPEC`"
            )
        with name_damage(path, WRITE_AGAIN):
            value = read_sealed(path)
            try:
                return plan_from_json(value)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error

    def save_plan(self, plan: BenchmarkPlan) -> None:
        """Replace the plan, without rewriting the file if the plan has not changed."""
        data = plan_to_json(plan)
        path = self.folder / "plan.json"
        with suppress(FileNotFoundError, ValueError):
            if read_sealed(path) == json.loads(canonical(data)):
                return
        write_text(path, indented_json(sealed(data)))

    def cell_folder(self, cell: Cell) -> Path:
        """Return the path of a cell's folder."""
        return self.folder / cell.id

    def _file(self, cell: Cell, name: str) -> Path:
        return self.folder.joinpath(cell.id, name)

    def cell(self, cell: Cell) -> CellResult | None:
        """Return the result of a cell without its questions, or None if the cell has not been measured."""
        path = self._file(cell, "cell.json")
        with name_damage(path, MEASURE_AGAIN):
            try:
                value = read_sealed(path)
            except FileNotFoundError:
                if lexists(path):  # a link to a missing file
                    raise
                return None
            result = cell_from_json(value)
            if result.cell != cell and result.cell.id != cell.id:  # computing the ids takes longer
                raise ValueError(f"the file describes the cell {result.cell.id}")
            return result

    def has(self, cell: Cell) -> bool:
        """Return whether a cell has been measured; a damaged result counts as missing and is measured again."""
        try:
            return self.cell(cell) is not None
        except InputError:
            return False

    def damage(self, cell: Cell, *, complete: bool = False) -> str:
        """Return a sentence about damaged files of a cell, or "" if the cell is intact or missing.

        If `complete` is set, a missing file also counts as damage.
        """
        try:
            if result := self.cell(cell):
                self.times(cell)
                self.check_questions(result)
                if complete:
                    self._check_complete(result)
        except DamagedError as error:
            return str(error)
        return ""

    def _check_complete(self, result: CellResult) -> None:
        """Raise DamagedError if a file of a measured cell is missing."""
        for name in ("questions.jsonl", "times.json"):
            path = self._file(result.cell, name)
            if not path.is_file():
                raise DamagedError(f"{path}: the file is missing; {MEASURE_AGAIN}")

    def is_stored(self, cell: Cell) -> bool:
        """Return whether a result of a cell is stored, without reading the result."""
        return lexists(self._file(cell, "cell.json"))

    def lacks_questions(self, cell: Cell) -> bool:
        """Return whether a cell has been measured but its file of questions is missing."""
        return self.is_stored(cell) and not self._file(cell, "questions.jsonl").exists()

    def discard(self, cell: Cell) -> None:
        """Remove the result of a cell, so that the cell counts as missing."""
        remove(self._file(cell, "cell.json"))

    def check_questions(self, result: CellResult) -> None:
        """Raise DamagedError if the questions of a cell differ from the measured questions; a missing file is accepted.

        Each file is read once per instance; after that, only the size and timestamps of the file are compared.
        """
        path = self._file(result.cell, "questions.jsonl")
        try:
            intact = self._verified.matches(path, result.questions)
        except FileNotFoundError:
            return
        except ValueError as error:
            raise DamagedError(f"{path}: {error}; {MEASURE_AGAIN}") from error
        if not intact:
            problem = "the file differs from the measured file (the digest does not match cell.json)"
            raise DamagedError(f"{path}: {problem}; {MEASURE_AGAIN}")

    def verify(self) -> None:
        """Verify the digest of each measured cell's questions; raise an error if any file is missing or damaged."""
        for cell in self.plan().cells:
            if result := self.cell(cell):
                self.check_questions(result)
                self.questions(cell, "the verification of the stored questions")

    def questions(self, cell: Cell, user: str) -> Path:
        """Return the path of a cell's questions; if the file is missing, raise InputError that names `user`.

        Results may be published without their questions; tables with stored statistics can still be shown.
        """
        path = self._file(cell, "questions.jsonl")
        if path.is_file():
            return path
        views = self.statistics().get("views")
        known = [f"gains over {view or 'base'}" for view in views] if isinstance(views, dict) else []
        shown = f"; the stored statistics are sufficient to show {', '.join(known)}" if known else ""
        raise InputError(
            f"{path}: no such file, but {user} needs the questions in this file. The file may have been omitted on "
            f"purpose{shown}. Restore the file, or measure the cell again with `kib run SPEC --verify`"
        )

    def scores(self, cell: Cell, user: str = "this view") -> list[Score]:
        """Return the scores of a cell's questions in task order.

        Raises InputError that names `user` if the file is missing, and DamagedError if the file has changed.
        """
        path = self._file(cell, "questions.jsonl")
        if path not in self._verified:
            path = self.questions(cell, user)
            if result := self.cell(cell):
                self.check_questions(result)
        with name_damage(path, MEASURE_AGAIN):
            try:
                return SCORES.decode_lines(path.read_bytes())
            except msgspec.DecodeError as error:
                list(read_lines(path))  # raises an error with the line number if a line is not JSON
                raise ValueError(str(error)) from error

    def times(self, cell: Cell) -> Times | None:
        """Return the time and memory needed to measure a cell, or None if time and memory were not recorded."""
        path = self._file(cell, "times.json")
        with name_damage(path, MEASURE_AGAIN):
            value = read_sealed(path) if lexists(path) else None
            if value is None:
                return None
            if value.pop("cell", cell.id) != cell.id:  # files written by earlier versions do not name their cell
                raise ValueError("these are the times of a different cell")
            return TIMES.validate_python(value)

    def save_cell(self, result: CellResult, scores: Iterable[Score], times: Times | None = None) -> None:
        """Write the folder of a cell atomically, including the digest of the cell's questions."""
        with new_folder(self.cell_folder(result.cell)) as folder:
            questions = folder / "questions.jsonl"
            write_lines(questions, map(score_to_json, scores))
            if times:
                write_text(folder / "times.json", indented_json(sealed({"cell": result.cell.id, **asdict(times)})))
            result = replace(result, questions=digest_file(questions))
            write_text(folder / "cell.json", indented_json(sealed(cell_to_json(result))))

    def failures(self) -> dict[str, Failure]:
        """Return the failed cells of the last run by id."""
        path = self.folder / "failures.json"
        with name_damage(path, WRITE_AGAIN):
            return FAILURES.validate_python(read_sealed(path)) if lexists(path) else {}

    def save_failures(self, failures: Mapping[str, Failure]) -> None:
        """Replace the list of failed cells; if the list is empty, delete the file."""
        path = self.folder / "failures.json"
        if failures:
            write_text(path, indented_json(sealed(failures_to_json(failures))))
        else:
            path.unlink(missing_ok=True)

    def statistics(self) -> dict[str, Any]:
        """Return the stored statistics by key; if the file is missing or damaged, return an empty mapping.

        Statistics without a digest, which earlier versions wrote, are returned only if they cannot be computed again
        because the questions of a cell are missing.
        """
        path = self.folder / "statistics.json"
        try:
            value, has_digest = read_and_tell_sealed(path)
            return value if has_digest or not self.has_all_questions() else {}
        except (OSError, ValueError, InputError):
            return {}

    def has_all_questions(self) -> bool:
        """Return whether every measured cell of the plan still has its questions."""
        folders = (self.cell_folder(cell) for cell in self.plan().cells)
        return all((path / "questions.jsonl").is_file() for path in folders if (path / "cell.json").is_file())

    def save_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Replace the stored statistics; do nothing if the file or the folder is not writable."""
        try:
            write_output(self.folder / "statistics.json", canonical(sealed(statistics)) + "\n")
        except (OSError, InputError):
            return

    def label_designs(self) -> dict[str, LabelDesign]:
        """Return the sample of questions whose outputs people judge, by task."""
        path = self.folder / "label-designs.json"
        with name_damage(path, DRAW_AGAIN):
            return DESIGNS.validate_python(read_sealed(path)) if lexists(path) else {}

    def save_label_design(self, task: str, design: LabelDesign) -> None:
        """Store the design of a task, and keep the designs of other tasks."""
        write_text(self.folder / "label-designs.json", indented_json(sealed({**self.label_designs(), task: design})))

    def labels(self) -> dict[str, Labels]:
        """Return the verdicts of people by task."""
        path = self.folder / "labels.json"
        with name_damage(path, WRITE_AGAIN):
            return LABELS.validate_python(read_sealed(path)) if lexists(path) else {}

    def save_labels(self, labels: Mapping[str, Labels]) -> None:
        """Replace the verdicts of all tasks, without rewriting equal verdicts; if there are none, delete the file."""
        path = self.folder / "labels.json"
        if not labels:
            path.unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError, ValueError):
            if read_sealed(path) == json.loads(canonical(labels)):
                return
        write_text(path, indented_json(sealed(labels)))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for one run.

        Raises BusyError that states the process and host of the run that holds the lock.
        """
        from filelock import FileLock, Timeout

        make_folder(self.folder)
        self._remove_pipes()
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

    def _remove_pipes(self) -> None:
        """Delete each pipe or device that has the name of a file, because no file could be written under this name.

        Raises InputError for a folder, because its content is unknown.
        """
        for name in ROOT_FILES:
            path = self.folder / name
            try:
                with suppress(FileNotFoundError):
                    file_status(path)
            except ValueError as error:
                if path.is_dir():
                    raise InputError(f"{path}: {error}; delete this folder and run the command again") from error
                path.unlink()


def _owner(path: Path) -> str:
    """Return a description of the process recorded in `.owner.json`."""
    try:
        value = read_sealed(path)
        return f"process {value['pid']} on host {value['host']} (since {value['started']})"
    except (OSError, KeyError, ValueError):
        return "another process"
