"""One benchmark's section of the table: gains over references, adjusted p values, ranks and averages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kib.leaderboard.compute.arm_statistics import ArmStatistics
from kib.leaderboard.compute.arms import Arm, BlockKey, collect_arms
from kib.leaderboard.compute.averages import averages_at_each_shots, averages_over_all_shots
from kib.leaderboard.compute.block_statistics import (
    Statistics,
    add_best_on_test,
    add_gain,
    add_gold_shares,
    add_knowledge_split,
    add_ranks,
    add_warnings,
    separate_base,
)
from kib.leaderboard.compute.chosen_settings import choose, group_of, validation_accuracies
from kib.leaderboard.compute.costs import costs
from kib.leaderboard.compute.environments import Environments
from kib.leaderboard.compute.label_comparison import compare_with_labels
from kib.leaderboard.compute.measured_remarks import measured_remarks
from kib.leaderboard.compute.measurement_conditions import Conditions, conditions_of_plan
from kib.leaderboard.compute.pairwise_comparisons import compare_pairwise
from kib.leaderboard.compute.probe_gains import adjusted, probe_gains
from kib.leaderboard.compute.question_scores import QuestionScoresReader
from kib.leaderboard.compute.reference_arms import References
from kib.leaderboard.compute.repeated_base import repeated_bases, repetition_remarks
from kib.leaderboard.compute.retrieval_quality import retrieval_quality
from kib.leaderboard.compute.row_builder import RowBuilder
from kib.leaderboard.compute.row_warnings import BEST_K, DRIFTED
from kib.leaderboard.table_records import (
    ArmRow,
    AverageRow,
    BenchmarkLine,
    LabelledBlock,
    Origin,
    PairwiseComparison,
    RepeatedBase,
)
from kib.published.results import PublishedResults
from kib.safe_text import one_line
from kib.statistics.gains import LEVEL, Gain
from kib.statistics.multiple_testing import holm
from kib.store.result_records import BenchmarkPlan
from kib.store.results import Results
from kib.support.phrases import join

__all__ = ["BenchmarkSection"]

OUTDATED = (
    "The questions of some cells are missing, so the intervals and p values are those that an earlier version of kib "
    "computed"
)


class BenchmarkSection:
    """The arms of one results folder or published file and, after `compute`, their statistics."""

    def __init__(self, results: Results | PublishedResults, plan: BenchmarkPlan) -> None:
        self.plan = plan
        self.all_arms = collect_arms(results, plan)
        self.arms = [arm for arm in self.all_arms if arm.cell.split == "test"]
        self.averages: list[AverageRow] = []
        self.repeats: list[RepeatedBase] = []
        self.family = 0
        self._outdated = False
        self.labelled: list[LabelledBlock] = []
        self._unused_labels: dict[str, None] = {}  # reasons why the labels of a task are not used
        self._without_probes: list[str] = []  # target tasks for which gains by probe were requested but do not exist
        self.origin: Origin = "published" if isinstance(results, PublishedResults) else "measured"
        self._results = results
        self._probes = {arm.key: arm for arm in self.all_arms if arm.cell.split == "probe" and arm.status == "measured"}
        self._blocks = self._rows_by_block()

    def _rows_by_block(self) -> dict[BlockKey, list[RowBuilder]]:
        """Return an empty row builder for every arm, grouped by block; the blocks of a model are adjacent."""
        chosen, validation = choose(self.all_arms), validation_accuracies(self.all_arms)
        models = list(dict.fromkeys(arm.cell.model for arm in self.arms))
        blocks: dict[BlockKey, list[RowBuilder]] = {}
        for arm in sorted(self.arms, key=lambda arm: models.index(arm.cell.model)):
            cell = arm.cell
            accuracy = validation.get((cell.model, arm.name, cell.task, cell.shots))
            row = RowBuilder(arm, self.origin, chosen=group_of(arm) in chosen, validation=accuracy)
            blocks.setdefault(arm.key, []).append(row)
        return blocks

    @property
    def targets(self) -> tuple[str, ...]:
        """The target tasks in plan order."""
        return tuple(dict.fromkeys(arm.cell.task for arm in self.arms if arm.task.role == "target"))

    @property
    def line(self) -> BenchmarkLine:
        """The line of the table that describes the benchmark."""
        no_probe = [(task, self.plan.tasks[task].no_probe) for task in self.targets if self.plan.tasks[task].no_probe]
        return BenchmarkLine(self.plan.name, one_line(self.plan.title), self.family, tuple(no_probe), self.origin)

    @property
    def remarks(self) -> list[str]:
        """Remarks on measured questions and training texts, outdated statistics, or the source of published numbers."""
        if isinstance(self._results, PublishedResults):
            return [self._results.published.source(), *self._results.findings()]
        remarks = [*measured_remarks(self.all_arms), *repetition_remarks(self.repeats)]
        remarks += [OUTDATED] if self._outdated else []
        if self._without_probes:
            remarks.append(f"No gains by probe: no question of {join(self._without_probes)} names a probe")
        return [*remarks, *self._unused_labels]

    def conditions(self) -> Iterator[tuple[tuple[str, str, str], Conditions]]:
        """Yield the measurement conditions for each benchmark, model and task."""
        arms: dict[tuple[str, str], list[Arm]] = {}
        for arm in self.arms:
            arms.setdefault((arm.cell.model, arm.cell.task), []).append(arm)
        for (model, task), some in arms.items():
            if isinstance(self._results, PublishedResults):
                stated = self._results.published.data.tasks[task]
                conditions = Conditions(stated.task, stated.metric, stated.n, graded=stated.graded)
            else:
                conditions = conditions_of_plan(self.plan, model, task, some)
            yield (self.plan.name, model, task), conditions

    def compute(
        self,
        statistics: Statistics,
        against: str | None,
        advance: Callable[[int], None],
        computed_elsewhere: Callable[[str], Mapping[str, Any]] = lambda _: {},
    ) -> None:
        """Compute all values of the rows, model by model; question files are read only for uncached statistics.

        `advance` receives the number of newly computed arms. `computed_elsewhere` returns the statistics of a model
        that another process has computed.
        """
        references, bases = References(self.arms, against), References(self.arms, None)
        for model in dict.fromkeys(arm.cell.model for arm in self.arms):
            blocks = [rows for key, rows in self._blocks.items() if key[0] == model]
            if isinstance(statistics, ArmStatistics):
                advance(statistics.add(computed_elsewhere(model)))
            for rows in blocks:
                for row in rows:
                    uncached = statistics.count_uncached([row.arm])
                    row.base = bases.find(row.arm)
                    add_gain(statistics, row, references.find(row.arm))
                    advance(uncached)
                add_ranks(statistics, rows, bases.find(rows[0].arm))
                add_best_on_test(rows)
                if against is None:
                    add_gold_shares(rows)
                    add_knowledge_split(statistics, rows, self._probes.get(rows[0].arm.key))
            self._add_averages(statistics, blocks)
            statistics.forget()
        if isinstance(statistics, ArmStatistics):
            self.repeats = repeated_bases(self.all_arms, statistics)
        self._outdated = statistics.outdated
        self._adjust_p_values()
        for rows in self._blocks.values():
            separate_base(rows)
            self._add_warnings(rows)

    def save(self, statistics: Statistics) -> None:
        """Store the statistics of the rows, and drop stored views whose reference is no longer planned."""
        statistics.save({name for arm in self.arms for name in (arm.cell.method, arm.name)})

    def add_costs(self, *, times: bool) -> None:
        """Add the costs of measured arms; if `times` is set, add measured seconds and memory too."""
        if isinstance(self._results, PublishedResults):
            return
        for rows in self._blocks.values():
            gaining = {row.arm for row in rows if row.beats_base}
            found = costs(self._results, _measured(rows), gaining, self.plan.prices, times=times)
            for row in rows:
                row.cost = found.get(row.arm)

    def add_retrieval(self, *, times: bool) -> None:
        """Add the retrieval quality of measured arms; if `times` is set, add measured seconds too."""
        if isinstance(self._results, PublishedResults):
            return
        for rows in self._blocks.values():
            found = retrieval_quality(self._results, _measured(rows), times=times)
            for row in rows:
                row.retrieval = found.get(row.arm)

    def add_probes(self) -> None:
        """Add the gains of measured arms by probe, with p values adjusted over all arms and probes."""
        if isinstance(self._results, PublishedResults):
            return
        family: list[RowBuilder] = []
        for rows in self._blocks.values():
            reader = QuestionScoresReader(self._results, "the gains by probe")
            for row in (row for row in rows if row.measure):
                reference = None if row.gain is None or isinstance(row.reference, str) else row.reference
                row.probes = probe_gains(reader, row.arm, reference)
                family += [row] if _is_in_family(row, row.reference) else []
        for row, probes in zip(family, adjusted([row.probes for row in family]), strict=True):
            row.probes = probes
        self._without_probes = [
            task
            for task in self.targets
            if not any(row.probes for key, rows in self._blocks.items() for row in rows if key[1] == task)
        ]

    def add_labels(self) -> None:
        """Compare the measured arms of each task with the verdicts of people, if there are any."""
        if isinstance(self._results, PublishedResults):
            return
        labels = self._results.labels()
        for (_, task, _), rows in self._blocks.items():
            measured = [row for row in rows if row.measure]
            if task in labels and measured:
                found = compare_with_labels(self._results, labels[task], measured)
                if isinstance(found, str):
                    self._unused_labels[f"{task}: {found}"] = None
                else:
                    self.labelled.append(found)

    def pairwise_comparisons(self) -> Iterator[PairwiseComparison]:
        """Yield pairwise comparisons of published arms; measured arms are compared by their gains instead."""
        if self.origin == "published":
            blocks = [
                {row.arm.name: row.measure.accuracy.mean for row in rows if row.measure}
                for rows in self._blocks.values()
                if rows[0].arm.task.role == "target"
            ]
            yield from compare_pairwise(self.plan.name, list(dict.fromkeys(arm.name for arm in self.arms)), blocks)

    def rows(self, environments: Environments) -> Iterator[ArmRow]:
        """Yield the finished table rows, block by block."""
        for rows in self._blocks.values():
            for row in sorted(rows, key=lambda row: row.order):
                yield row.build(environments)

    def _add_averages(self, statistics: Statistics, blocks: Sequence[Sequence[RowBuilder]]) -> None:
        self.averages += averages_at_each_shots(statistics, blocks)
        if self.origin == "published":
            self.averages += averages_over_all_shots(statistics, blocks)

    def _adjust_p_values(self) -> None:
        """Adjust the p values of all planned gains on target tasks; a gain without a result counts as p = 1.

        Because every planned gain is counted, measuring further cells never increases a p value.
        """
        rows = [row for some in self._blocks.values() for row in some]
        family = [row for row in rows if _is_in_family(row, row.reference)]
        for row, p in zip(family, holm([_p(row.gain) for row in family]), strict=True):
            row.p_adjusted = p if row.gain else None
        lowest = holm([row.smallest_p or 0.0 if row.gain else 1.0 for row in family])
        lowest_of = dict(zip(family, lowest, strict=True))
        for row in rows:
            row.lowest_p = None if row.smallest_p is None else lowest_of.get(row, row.smallest_p)
        self.family = len(family)
        over_base = [row for row in rows if _is_in_family(row, row.base)]
        ps = holm([_p(row.gain_over_base) for row in over_base])
        by_row = dict(zip(over_base, ps, strict=True))
        for row in rows:
            if row.gain_over_base and row.gain_over_base.absolute > 0:
                row.beats_base = by_row.get(row, _p(row.gain_over_base)) < LEVEL

    def _add_warnings(self, rows: Sequence[RowBuilder]) -> None:
        add_warnings(rows)
        drifted = {(one.model, one.task, one.shots) for one in self.repeats if one.significant}
        for row in rows:
            row.warnings += (DRIFTED,) if row.gain and row.arm.key in drifted else ()
        if isinstance(self._results, PublishedResults):
            for row in rows:
                best = self._results.best_of_sweep(row.arm.cell)
                row.warnings += (f"{BEST_K} ({best})",) if best else ()


def _p(gain: Gain | None) -> float:
    """Return the p value of a gain; a gain without a result counts as p = 1."""
    return 1.0 if gain is None or gain.p is None else gain.p


def _is_in_family(row: RowBuilder, reference: Arm | str) -> bool:
    """Return whether the gain of an arm over a reference belongs to Holm's family.

    Published gains without a test do not belong to the family.
    """
    if isinstance(reference, str) or reference is row.arm or (row.gain and row.gain.p is None):
        return False
    return row.arm.task.role == "target" and row.arm.kind not in ("ceiling", "control")


def _measured(rows: Sequence[RowBuilder]) -> list[Arm]:
    return [row.arm for row in rows if row.measure]
