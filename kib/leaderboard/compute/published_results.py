"""Published numbers in the form of a results folder, so that they become rows like all others."""

from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kib.identity import digest
from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.row_warnings import Traits
from kib.leaderboard.compute.statistics_cache import Measure, Split
from kib.records import Cell
from kib.statistics.gains import Average, Gain
from kib.statistics.unpaired_gains import unpaired_accuracy, unpaired_average, unpaired_gain
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, MethodEntry, TaskEntry

if TYPE_CHECKING:
    from kib.published.load import Published, PublishedRow

__all__ = ["PublishedResults", "UnpairedJudge"]

UNSTATED = "not stated"
"""The metric where a paper does not say how answers were scored."""


class PublishedResults:
    """A published file as a source of cells: one for each number of its table."""

    def __init__(self, published: "Published") -> None:
        self.published = published
        self._accuracies: dict[str, float] = {}
        self._cells: dict[str, Cell] = {}
        for row in published.data.table.rows:
            for arm, (method, settings) in published.arms().items():
                if arm in row.accuracy:
                    cell = self._make(row, method, settings)
                    self._cells[cell.place] = cell
                    self._accuracies[cell.id] = row.accuracy[arm]

    @property
    def folder(self) -> Path:
        """The file."""
        return self.published.file

    def plan(self) -> BenchmarkPlan:
        """What the file holds, as the plan of a benchmark that was measured whole."""
        data = self.published.data
        return BenchmarkPlan(
            name=data.name,
            title=data.title,
            tasks={name: TaskEntry(task.role, None, task.n) for name, task in data.tasks.items()},
            methods={name: MethodEntry(one.train, one.retrieve) for name, one in data.methods.items()},
            cells=tuple(self._cells.values()),
        )

    def cell(self, cell: Cell) -> CellResult:
        """A number with its n; `correct` is the nearest count."""
        task = self.published.data.tasks[cell.task]
        correct = round(self.accuracy(cell) * task.n)
        return CellResult(cell, n=task.n, correct=correct, metric=task.metric or UNSTATED, environments=())

    def accuracy(self, cell: Cell) -> float:
        """The number as printed."""
        return self._accuracies[cell.id]

    def failures(self) -> dict[str, Failure]:
        """None: what a paper does not print has no cell."""
        return {}

    def verify(self) -> None:
        """Nothing to hold against a digest: the file itself is what was read."""

    def chance(self, cell: Cell) -> float | None:
        """The accuracy of guessing, where the number of options is known."""
        options = self.published.data.tasks[cell.task].options
        return None if options is None else 1 / options

    def best_of_sweep(self, cell: Cell) -> str:
        """The number of passages, as `k=2 or 5`, if the cell's number is the highest over all of them; "" if not."""
        best = self._best(cell)
        return "k=" + " or ".join(str(k) for k in best) if best else ""

    def findings(self) -> list[str]:
        """Sentences on methods whose numbers are the highest of a sweep.

        Where no single K gives all of them, K was chosen row by row on the test questions; a single one may have been
        fixed before.
        """
        found = []
        for method, other in self.published.sweeps.items():
            cells = [cell for cell in self._cells.values() if cell.method == method and self._sweep(cell)]
            best = [set(self._best(cell)) for cell in cells]
            if not cells:
                continue
            where = f"{other.data.name} ({other.data.paper.table})"
            count = f"{sum(map(bool, best))} of {len(cells)} row{'s' * (len(cells) != 1)}"
            found.append(f"In {count} the number of {method} is the highest over all K in {where}{_conclusion(best)}")
        return found

    def _best(self, cell: Cell) -> list[int]:
        """The numbers of passages that give a cell's number, if it is the highest of its sweep."""
        numbers = self._sweep(cell)
        highest = max(numbers.values(), default=None)
        return [k for k, value in numbers.items() if value == highest] if highest == self.accuracy(cell) else []

    def _sweep(self, cell: Cell) -> dict[int, float]:
        """The sweep's numbers by K for the model, task and shots of a cell, where it has several."""
        other = self.published.sweeps.get(cell.method)
        if other is None:
            return {}
        place = (cell.task, cell.model, cell.shots)
        row = next((row for row in other.data.table.rows if (row.task, row.model, row.shots) == place), None)
        arms = other.data.methods[cell.method].top_k
        names = {k: f"{cell.method},k={k}" for k in arms}
        numbers = {k: row.accuracy[name] for k, name in names.items() if name in row.accuracy} if row else {}
        return numbers if len(numbers) > 1 else {}

    def _make(self, row: "PublishedRow", method: str, settings: tuple[tuple[str, int], ...]) -> Cell:
        data = self.published.data
        identity = digest([data.paper.ids, data.paper.table, row.model, row.task, row.shots, method, settings])
        return Cell(row.model, method, settings, row.task, None, row.shots, 0, identity)


def _conclusion(best: Sequence[set[int]]) -> str:
    """What follows from the best numbers of passages of each row."""
    if not all(best):
        return ""
    same = set.intersection(*best)
    if same:
        return f", and K = {' or '.join(map(str, sorted(same)))} gives all of them: it may have been fixed before"
    return ": K was chosen on the test questions"


class UnpairedJudge:
    """Compares published numbers by their n alone, as `Judge` does question by question."""

    def __init__(self, results: PublishedResults) -> None:
        self._results = results

    def count_fresh(self, arms: Iterable[Arm]) -> int:
        """Nothing takes long."""
        del arms
        return 0

    def measure(self, arm: Arm) -> Measure:
        """The accuracy with its interval; of the questions nothing is known."""
        mean, n = self._side(arm)
        nothing = Traits(self._results.chance(arm.cell), repeated=0, short=0, prompts="", answers=("",))
        return Measure(unpaired_accuracy(mean, n), None, nothing)

    def compare(self, arm: Arm, reference: Arm) -> Gain | str:
        """The unpaired gain."""
        return unpaired_gain(self._side(reference), self._side(arm))

    def p_value(self, worse: Arm, better: Arm) -> float:
        """The unpaired p."""
        return unpaired_gain(self._side(worse), self._side(better)).p

    def split(self, arm: Arm, reference: Arm, probe: Arm) -> Split:
        """What was known before is not known of published numbers."""
        del arm, reference, probe
        return None, None

    def average(self, pairs: Sequence[tuple[Arm, Arm]]) -> Average:
        """The mean gain of (arm, reference) pairs; those of one task share their questions."""
        by_task: dict[str, list[tuple[float, float, int]]] = {}
        for arm, reference in pairs:
            (start, _), (end, n) = self._side(reference), self._side(arm)
            by_task.setdefault(arm.cell.task, []).append((start, end, n))
        return unpaired_average(list(by_task.values()))

    def forget(self) -> None:
        """Nothing is kept."""

    def save(self, views: Container[str]) -> None:
        """Nothing is stored."""
        del views

    def _side(self, arm: Arm) -> tuple[float, int]:
        return self._results.accuracy(arm.cell), arm.results[0].n
