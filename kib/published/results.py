"""Presents a published file like a results folder, so that the published numbers can be shown as table rows."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from kib.identity import digest
from kib.records import Cell
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, MethodEntry, TaskEntry
from kib.support.phrases import counted

if TYPE_CHECKING:
    from kib.published.file_format import PublishedRow
    from kib.published.load import Published

__all__ = ["UNSTATED", "PublishedResults"]

UNSTATED = "not stated"
"""The metric name used if a paper does not state how answers were scored."""


class PublishedResults:
    """A published file as a source of cell results, with one cell per printed number."""

    def __init__(self, published: "Published") -> None:
        self.published = published
        self._accuracies: dict[str, float] = {}
        self._errors: dict[str, float] = {}
        self._cells: dict[str, Cell] = {}
        for row in published.data.table.rows:
            for arm, (method, settings) in published.arms().items():
                if arm in row.accuracy:
                    cell = self._cell(row, method, settings)
                    self._cells[cell.place] = cell
                    self._accuracies[cell.id] = row.accuracy[arm]
                    if arm in row.error:
                        self._errors[cell.id] = row.error[arm]

    @property
    def folder(self) -> Path:
        """The path of the published file."""
        return self.published.file

    def plan(self) -> BenchmarkPlan:
        """Return the content of the file as the plan of a completely measured benchmark."""
        data = self.published.data
        return BenchmarkPlan(
            name=data.name,
            title=data.title,
            tasks={name: TaskEntry(task.role, None, task.n) for name, task in data.tasks.items()},
            methods={name: MethodEntry(one.train, one.retrieve) for name, one in data.methods.items()},
            cells=tuple(self._cells.values()),
        )

    def cell(self, cell: Cell) -> CellResult:
        """Return the result of a cell; `correct` is the closest possible number of correct answers.

        If the scores are graded, `correct` is the total score.
        """
        task = self.published.data.tasks[cell.task]
        total = self.accuracy(cell) * task.n
        correct = total if task.graded else round(total)
        return CellResult(cell, n=task.n, correct=correct, metric=task.metric or UNSTATED, environments=())

    def accuracy(self, cell: Cell) -> float:
        """Return the accuracy as printed in the paper."""
        return self._accuracies[cell.id]

    def standard_error(self, cell: Cell) -> float | None:
        """Return the standard error of an accuracy, or None for graded scores without a stated error."""
        task, accuracy = self.published.data.tasks[cell.task], self.accuracy(cell)
        return self._errors.get(cell.id) if task.graded else sqrt(accuracy * (1 - accuracy) / task.n)

    def is_graded(self, cell: Cell) -> bool:
        """Return whether the questions of a cell may have scores between 0 and 1."""
        return self.published.data.tasks[cell.task].graded

    def failures(self) -> dict[str, Failure]:
        """Return no failures, because numbers that the paper does not state have no cells."""
        return {}

    def check_questions(self, result: CellResult) -> None:
        """Do nothing, because published results have no questions."""

    def verify(self) -> None:
        """Do nothing, because the file was read directly and there is no digest to verify."""

    def chance(self, cell: Cell) -> float | None:
        """Return the accuracy of random guessing, or None if the number of options is unknown."""
        options = self.published.data.tasks[cell.task].options
        return None if options is None else 1 / options

    def best_of_sweep(self, cell: Cell) -> str:
        """Return the best values of K, such as `k=2 or 5`, if the cell has the highest accuracy of its sweep."""
        best = self._best(cell)
        return "k=" + " or ".join(str(k) for k in best) if best else ""

    def findings(self) -> list[str]:
        """Return one sentence per method with a sweep, which states how often its accuracy is the highest of the sweep.

        If no single K explains all of these accuracies, K was chosen for each row on the test questions. If a single K
        explains all of these accuracies, the paper may have fixed K in advance.
        """
        found = []
        for method, other in self.published.sweeps.items():
            cells = [cell for cell in self._cells.values() if cell.method == method and self._sweep(cell)]
            best = [set(self._best(cell)) for cell in cells]
            if not cells:
                continue
            sweep = f"{other.data.name} ({other.data.paper.table})"
            count = f"{sum(map(bool, best))} of {counted(len(cells), 'row')}"
            start = f"In {count}, the published accuracy of {method} is the highest accuracy over all K in {sweep}"
            found.append(f"{start}{_conclusion(best)}")
        return found

    def _best(self, cell: Cell) -> list[int]:
        """Return the values of K that yield a cell's accuracy, if this accuracy is the highest of its sweep."""
        numbers = self._sweep(cell)
        highest = max(numbers.values(), default=None)
        return [k for k, value in numbers.items() if value == highest] if highest == self.accuracy(cell) else []

    def _sweep(self, cell: Cell) -> dict[int, float]:
        """Return the sweep's accuracies by K for a cell's model, task and shots, if the sweep covers several K."""
        other = self.published.sweeps.get(cell.method)
        if other is None:
            return {}
        place = (cell.task, cell.model, cell.shots)
        row = next((row for row in other.data.table.rows if (row.task, row.model, row.shots) == place), None)
        arms = other.data.methods[cell.method].top_k
        names = {k: f"{cell.method},k={k}" for k in arms}
        numbers = {k: row.accuracy[name] for k, name in names.items() if name in row.accuracy} if row else {}
        return numbers if len(numbers) > 1 else {}

    def _cell(self, row: "PublishedRow", method: str, settings: tuple[tuple[str, int], ...]) -> Cell:
        data = self.published.data
        identity = digest([data.paper.ids, data.paper.table, row.model, row.task, row.shots, method, settings])
        return Cell(row.model, method, settings, row.task, None, row.shots, 0, identity)


def _conclusion(best: Sequence[set[int]]) -> str:
    """Return the conclusion to draw from the best values of K in each row."""
    if not all(best):
        return ""
    same = set.intersection(*best)
    if same:
        return (
            f", and K = {' or '.join(map(str, sorted(same)))} yields all of these accuracies, so K may have been "
            "fixed in advance"
        )
    return ", so K was chosen on the test questions"
