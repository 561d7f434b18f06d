"""The arms of a results folder on each task, with their cells, results and reasons for missing results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kib.leaderboard.table_records import Missing, Status
from kib.records import Cell
from kib.safe_text import one_line
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, MethodEntry, TaskEntry

__all__ = ["Arm", "BlockKey", "ResultSource", "collect_arms"]

BlockKey = tuple[str, str, int]
"""Model, task and number of shots; arms are compared only within one block."""


@dataclass(frozen=True, eq=False, slots=True)
class Arm:
    """Cells that differ only in their seed; `results` contains the measured results in the order of `cells`."""

    benchmark: str
    name: str  # the method with its settings
    place: str
    cells: tuple[Cell, ...]
    results: tuple[CellResult, ...]
    missing: tuple[Missing, ...]
    method: MethodEntry
    task: TaskEntry
    stamp: str  # the identity and the question digest of every measured cell, which identify the arm's numbers

    @property
    def cell(self) -> Cell:
        """The first cell of the arm, for properties that all of its cells share."""
        return self.cells[0]

    @property
    def key(self) -> BlockKey:
        """The block that the arm belongs to."""
        return (self.cell.model, self.cell.task, self.cell.shots)

    @property
    def kind(self) -> str:
        """The purpose of the method: "base", the role of its retriever ("ceiling" or "control"), or "" otherwise."""
        return "base" if self.method.is_base else self.method.retriever_role

    @property
    def status(self) -> Status:
        """The status of the arm: whether all cells, some cells or no cells have a result."""
        if not self.missing:
            return "measured"
        if self.results:
            return "incomplete"
        return "missing" if all(one.state == "missing" for one in self.missing) else "failed"

    @property
    def reason(self) -> str:
        """The reason why cells have no result, or "" if every cell has a result."""
        if len(self.cells) == 1:
            return "".join(one.reason for one in self.missing)
        seeds = {cell.id: cell.seed for cell in self.cells}
        by_reason: dict[str, list[str]] = {}
        for one in self.missing:
            by_reason.setdefault(one.reason, []).append(str(seeds[one.cell]))
        return "; ".join(
            f"{'seed' if len(which) == 1 else 'seeds'} {', '.join(which)} {reason}"
            for reason, which in by_reason.items()
        )


class ResultSource(Protocol):
    """A source of cell results: a results folder or a published table."""

    def cell(self, cell: Cell) -> CellResult | None:
        """Return the result of a cell, or None if the result is missing."""

    def check_questions(self, result: CellResult) -> None:
        """Raise DamagedError if the stored questions of a cell differ from the questions that were measured."""

    def failures(self) -> dict[str, Failure]:
        """Return the failures by cell id."""


def collect_arms(results: ResultSource, plan: BenchmarkPlan) -> list[Arm]:
    """Return the arms of a plan in plan order; question files are checked against their digests, but not parsed."""
    failures = results.failures()
    by_place: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        by_place.setdefault(cell.place, []).append(cell)
    return [_arm(results, plan, place, failures, cells) for place, cells in by_place.items()]


def _arm(
    results: ResultSource, plan: BenchmarkPlan, place: str, failures: Mapping[str, Failure], planned: Iterable[Cell]
) -> Arm:
    cells = tuple(sorted(planned, key=lambda cell: cell.seed))
    found: list[CellResult] = []
    missing: list[Missing] = []
    for cell in cells:
        result = results.cell(cell)
        if result is not None and result.cell.identity == cell.identity:
            results.check_questions(result)
            found.append(result)
        elif cell.id in failures:
            failure = failures[cell.id]
            reason = one_line(f"failed at {failure.step}: {failure.error}")
            missing.append(Missing(plan.name, cell.id, "unavailable" if failure.unavailable else "failed", reason))
        else:
            missing.append(Missing(plan.name, cell.id, "missing", "not measured"))
    method, task = plan.methods[cells[0].method], plan.tasks[cells[0].task]
    stamp = "+".join(f"{result.cell.identity[:16]}.{result.questions[:16]}" for result in found)
    return Arm(plan.name, cells[0].arm, place, cells, tuple(found), tuple(missing), method, task, stamp)
