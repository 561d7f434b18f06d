"""One benchmark's part of a table: who is measured against whom, which gains hold, who shares a rank."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import exp, fsum, sqrt

from kib.leaderboard.compute.arm_statistics import Judge
from kib.leaderboard.compute.arms import Arm, Key, collect_arms
from kib.leaderboard.compute.chosen_settings import choose, group_of, validation_accuracies
from kib.leaderboard.compute.comparability import difference, own_trouble
from kib.leaderboard.compute.costs import costs
from kib.leaderboard.compute.environments import Environments
from kib.leaderboard.compute.measurement_conditions import Statement, statement_of_plan
from kib.leaderboard.compute.published_results import PublishedResults, UnpairedJudge
from kib.leaderboard.compute.ranks import rank
from kib.leaderboard.compute.reference_arms import References
from kib.leaderboard.compute.retrieval_quality import retrievals
from kib.leaderboard.compute.row_warnings import BEST_K, Doubts
from kib.leaderboard.compute.statistics_cache import Measure, Split
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import AverageRow, Cost, Duel, Origin, Retrieval, Row
from kib.statistics.gains import LEVEL, Gain
from kib.statistics.multiple_testing import holm
from kib.store.result_records import BenchmarkPlan
from kib.store.results import Results

__all__ = ["Section"]

Judges = Judge | UnpairedJudge


class Section:
    """The arms of one results folder or published file and, after `compute`, what is known of them."""

    def __init__(self, results: Results | PublishedResults, plan: BenchmarkPlan) -> None:
        self.plan = plan
        self._results = results
        self.all_arms = collect_arms(results, plan)
        self.arms = [arm for arm in self.all_arms if arm.cell.split == "test"]
        self.averages: list[AverageRow] = []
        self.family = 0
        self._blocks: dict[Key, list[Arm]] = {}
        self._probes = {arm.key: arm for arm in self.all_arms if arm.cell.split == "probe" and arm.status == "measured"}
        self._chosen = choose(self.all_arms)
        self._validation = validation_accuracies(self.all_arms)
        models = list(dict.fromkeys(arm.cell.model for arm in self.arms))
        for arm in sorted(self.arms, key=lambda arm: models.index(arm.cell.model)):
            self._blocks.setdefault(arm.key, []).append(arm)
        self._measures: dict[Arm, Measure] = {}
        self._references: dict[Arm, Arm | str] = {}
        self._gains: dict[Arm, Gain] = {}
        self._reasons: dict[Arm, str] = {}
        self._adjusted: dict[Arm, float] = {}
        self._shares: dict[Arm, float] = {}
        self._splits: dict[Arm, Split] = {}
        self._costs: dict[Arm, Cost] = {}
        self._retrievals: dict[Arm, Retrieval] = {}
        self._alarms: dict[Arm, tuple[str, ...]] = {}
        self._rivals: dict[Arm, tuple[str, float]] = {}
        self._ranks: dict[Arm, tuple[int, int, bool]] = {}  # position, rank, whether it is shared

    @property
    def targets(self) -> tuple[str, ...]:
        """The target tasks in the plan's order."""
        return tuple(dict.fromkeys(arm.cell.task for arm in self.arms if arm.task.role == "target"))

    @property
    def origin(self) -> Origin:
        """Whether kib measured the numbers."""
        return "published" if isinstance(self._results, PublishedResults) else "measured"

    @property
    def remarks(self) -> list[str]:
        """Of published numbers where they come from, and what the tables of their paper tell of each other."""
        if not isinstance(self._results, PublishedResults):
            return []
        return [self._results.published.source(), *self._results.findings()]

    def statements(self) -> Iterator[tuple[tuple[str, str, str], Statement]]:
        """By benchmark, model and task what the paper or the run says of questions and scoring."""
        arms: dict[tuple[str, str], list[Arm]] = {}
        for arm in self.arms:
            arms.setdefault((arm.cell.model, arm.cell.task), []).append(arm)
        for (model, task), some in arms.items():
            if isinstance(self._results, PublishedResults):
                said = self._results.published.data.tasks[task]
                statement = Statement(said.task, said.metric, said.n)
            else:
                statement = statement_of_plan(self.plan, model, task, some)
            yield (self.plan.name, model, task), statement

    @property
    def no_probe(self) -> tuple[tuple[str, str], ...]:
        """Target tasks whose gains are not split into known and unknown before, and why."""
        return tuple((task, self.plan.tasks[task].no_probe) for task in self.targets if self.plan.tasks[task].no_probe)

    def compute(self, judge: Judges, against: str | None, advance: Callable[[int], None]) -> None:
        """Everything that rows need; questions are read model by model, and only where a statistic is not stored.

        `advance` is told of each arm that was not stored.
        """
        references, bases = References(self.arms, against), References(self.arms, None)
        for model in dict.fromkeys(arm.cell.model for arm in self.arms):
            blocks = {key: arms for key, arms in self._blocks.items() if key[0] == model}
            for arms in blocks.values():
                for arm in arms:
                    fresh = judge.count_fresh([arm])
                    self._compare(judge, arm, references.find(arm))
                    advance(fresh)
                self._rank(judge, arms, bases.find(arms[0]))
                self._find_rivals(arms)
                if against is None:
                    self._share(arms)
                    self._split(judge, arms)
            self._average(judge, model, blocks)
            if self.origin == "published":
                self._average_all(judge, list(blocks.values()))
            judge.forget()
        self._adjust()
        for arms in self._blocks.values():
            self._look_for_alarms([arm for arm in arms if arm in self._measures])
        judge.save({name for arm in self.arms for name in (arm.cell.method, arm.name)})

    def count_costs(self, *, times: bool) -> None:
        """What the measured arms cost; `times` asks for what was measured on the machine too."""
        if isinstance(self._results, PublishedResults):
            return
        for arms in self._blocks.values():
            measured = [arm for arm in arms if arm in self._measures]
            self._costs |= costs(self._results, measured, self.plan.prices, times=times)

    def judge_retrieval(self, *, times: bool) -> None:
        """How well the measured arms retrieve; `times` asks for seconds too."""
        if isinstance(self._results, PublishedResults):
            return
        for arms in self._blocks.values():
            measured = [arm for arm in arms if arm in self._measures]
            self._retrievals |= retrievals(self._results, measured, times=times)

    def duels(self) -> Iterator[Duel]:
        """Each two arms of published numbers: in how many target blocks one is better as printed; none of measured."""
        if self.origin == "measured":
            return
        names = list(dict.fromkeys(arm.name for arm in self.arms))
        targets = [arms for arms in self._blocks.values() if arms[0].task.role == "target"]
        found = [{arm.name: self._measures[arm].accuracy.mean for arm in arms} for arms in targets]
        for other, name in combinations(names, 2):
            both = [(some[name], some[other]) for some in found if name in some and other in some]
            wins, losses = sum(ours > theirs for ours, theirs in both), sum(ours < theirs for ours, theirs in both)
            if both:
                yield Duel(self.plan.name, name, other, wins, len(both) - wins - losses, losses)

    def rows(self, environments: Environments) -> Iterator[Row]:
        """Block after block: base, contenders by accuracy, the ceiling, then what has no number."""
        for arms in self._blocks.values():
            for arm in sorted(arms, key=self._place):
                yield self._row(arm, environments)

    def _compare(self, judge: Judges, arm: Arm, reference: Arm | str) -> None:
        self._references[arm] = reference
        if arm.status != "measured":
            self._reasons[arm] = arm.reason
            return
        self._measures[arm] = judge.measure(arm)
        if reference is arm:
            self._reasons[arm] = own_trouble(arm)
            return
        found = reference if isinstance(reference, str) else judge.compare(arm, reference)
        if isinstance(found, Gain):
            self._gains[arm] = found
        else:
            self._reasons[arm] = found

    def _rank(self, judge: Judges, arms: Sequence[Arm], base: Arm | str) -> None:
        """Rank what can be compared with base or, where base has no number, with the first arm that has one."""
        contenders = [arm for arm in arms if arm.kind != "ceiling" and arm in self._measures and not own_trouble(arm)]
        if not contenders:
            return
        anchor = base if not isinstance(base, str) and base in contenders else contenders[0]
        accuracies = [
            (arm, self._measures[arm].accuracy.mean)
            for arm in contenders
            if arm is anchor or isinstance(judge.compare(arm, anchor), Gain)
        ]

        for position, (arm, place, tied) in enumerate(rank(accuracies, judge.p_value)):
            self._ranks[arm] = (position, place, tied)

    def _find_rivals(self, arms: Sequence[Arm]) -> None:
        """Of each chosen arm on a target, what choosing on the test questions would have claimed; itself if equal."""
        if arms[0].task.role != "target":
            return
        for arm in (arm for arm in arms if arm in self._measures and group_of(arm) in self._chosen):
            group, _ = group_of(arm)
            rivals = [one for one in arms if one in self._measures and group_of(one)[0] == group]
            if len(rivals) > 1:
                best = max([arm, *rivals], key=lambda one: self._measures[one].accuracy.mean)
                self._rivals[arm] = (best.name, self._measures[best].accuracy.mean)

    def _share(self, arms: Sequence[Arm]) -> None:
        """Absolute gains as shares of what the gold passage gives the untrained model, where that is anything."""
        ceiling = next((arm for arm in arms if arm.kind == "ceiling" and arm.method.train is None), None)
        whole = self._gains[ceiling].absolute if ceiling in self._gains else 0.0
        if whole > 0:
            self._shares |= {arm: self._gains[arm].absolute / whole for arm in arms if arm in self._gains}

    def _split(self, judge: Judges, arms: Sequence[Arm]) -> None:
        """Gains on what the base knew before and what not, where it was measured a second time in the same way."""
        probe = self._probes.get(arms[0].key)
        for arm in arms:
            reference = self._references[arm]
            if probe is None or arm not in self._gains or isinstance(reference, str) or difference(probe, reference):
                continue
            self._splits[arm] = judge.split(arm, reference, probe)

    def _average(self, judge: Judges, model: str, blocks: Mapping[Key, Sequence[Arm]]) -> None:
        """Averages of one model over its target tasks, for the arms that the plan has on all of them."""
        for shots in dict.fromkeys(key[2] for key in blocks):
            tasks = [key[1] for key, arms in blocks.items() if key[2] == shots and arms[0].task.role == "target"]
            by_arm: dict[str, list[Arm]] = {}
            for task in tasks:
                for arm in blocks[model, task, shots]:
                    by_arm.setdefault(arm.name, []).append(arm)
            full = [arms for arms in by_arm.values() if len(arms) == len(tasks) > 1]
            self.averages += sorted((self._average_row(judge, arms) for arms in full), key=_average_place)

    def _average_all(self, judge: Judges, blocks: Sequence[Sequence[Arm]]) -> None:
        """Averages over all target tasks at all numbers of shots, where there are several."""
        targets = [arms for arms in blocks if arms[0].task.role == "target"]
        if len({arms[0].cell.shots for arms in targets}) < 2:
            return
        by_arm: dict[str, list[Arm]] = {}
        for arm in (arm for arms in targets for arm in arms):
            by_arm.setdefault(arm.name, []).append(arm)
        full = [arms for arms in by_arm.values() if len(arms) == len(targets)]
        self.averages += sorted((self._average_row(judge, arms) for arms in full), key=_average_place)

    def _average_row(self, judge: Judges, arms: Sequence[Arm]) -> AverageRow:
        cell = arms[0].cell
        pairs = [(arm, self._references[arm]) for arm in arms]
        known = [(arm, other) for arm, other in pairs if arm in self._gains and not isinstance(other, str)]
        absent: dict[str, list[str]] = {}
        for arm in arms:
            if self._reasons.get(arm):
                absent.setdefault(self._reasons[arm], []).append(arm.cell.task)
        means = [self._measures[arm].accuracy.mean for arm in arms if arm in self._measures]
        return AverageRow(
            benchmark=self.plan.name,
            model=cell.model,
            method=cell.method,
            arm=arms[0].name,
            shots=cell.shots if len({arm.cell.shots for arm in arms}) == 1 else None,
            kind=arms[0].kind,
            tasks=tuple(dict.fromkeys(arm.cell.task for arm in arms)),
            accuracy=fsum(means) / len(means) if len(means) == len(arms) else None,
            average=judge.average(known) if len(known) == len(arms) else None,
            reason=one_line("; ".join(f"{', '.join(tasks)}: {reason}" for reason, tasks in absent.items())),
            origin=self.origin,
        )

    def _adjust(self) -> None:
        """Holm over the gains that the plan promises: one without a number counts as p = 1, so that p cannot rise."""
        family = [
            arm
            for arm, reference in self._references.items()
            if not isinstance(reference, str)
            and reference is not arm
            and arm.task.role == "target"
            and arm.kind not in ("ceiling", "control")
        ]
        adjusted = holm([self._gains[arm].p if arm in self._gains else 1.0 for arm in family])
        self._adjusted = {arm: p for arm, p in zip(family, adjusted, strict=True) if arm in self._gains}
        self.family = len(family)

    def _look_for_alarms(self, arms: Sequence[Arm]) -> None:
        """What should make a reader doubt one of a block's measured arms."""
        doubts = Doubts((arm, self._measures[arm].traits) for arm in arms)
        for arm in arms:
            gain, measure = self._gains.get(arm), self._measures[arm]
            p = self._adjusted.get(arm, gain.p if gain else None)
            best = self._results.best_of_sweep(arm.cell) if isinstance(self._results, PublishedResults) else ""
            hints = doubts.of(arm, measure.traits, measure.accuracy, gain, p)
            self._alarms[arm] = (*hints, *([f"{BEST_K} ({best})"] if best else []))

    def _place(self, arm: Arm) -> tuple[int, int]:
        if arm.kind == "base":
            return (0, 0)
        if arm not in self._measures:
            return (4, 0)
        if arm.kind == "ceiling":
            return (3, 0)
        return (1, self._ranks[arm][0]) if arm in self._ranks else (2, 0)

    def _row(self, arm: Arm, environments: Environments) -> Row:
        cell, reference, gain = arm.cell, self._references[arm], self._gains.get(arm)
        measure = self._measures.get(arm)
        rank = self._ranks.get(arm)
        known, unknown = self._splits.get(arm, (None, None))
        measured = self.origin == "measured"
        seeds = tuple(result.correct / result.n for result in arm.results) if measure and measured else ()
        return Row(
            origin=self.origin,
            benchmark=arm.benchmark,
            place=arm.place,
            model=cell.model,
            method=cell.method,
            arm=arm.name,
            settings=cell.settings,
            task=cell.task,
            role=arm.task.role,
            corpus=cell.corpus,
            shots=cell.shots,
            kind=arm.kind,
            trained=arm.method.train is not None,
            retrieving=arm.method.retrieve is not None,
            seeds=tuple(cell.seed for cell in arm.cells) if measured else (),
            cells=tuple(cell.id for cell in arm.cells) if measured else (),
            status=arm.status,
            reason=one_line(self._reasons.get(arm, "")),
            n=measure.accuracy.n if measure else arm.task.n,
            metric=arm.results[0].metric if arm.results else None,
            environments=_environments(arm, environments),
            accuracy=measure.accuracy if measure else None,
            seed_accuracies=seeds,
            spread=_spread(seeds),
            reference=None if isinstance(reference, str) else reference.name,
            gain=gain,
            p_adjusted=self._adjusted.get(arm),
            gold_share=self._shares.get(arm),
            known=known,
            unknown=unknown,
            chosen=group_of(arm) in self._chosen,
            validation=self._validation.get((cell.model, arm.name, cell.task, cell.shots)),
            rival=self._rivals.get(arm),
            rank=rank[1] if rank else None,
            tied=rank[2] if rank else False,
            mark=_mark(arm, gain),
            alarms=self._alarms.get(arm, ()),
            recall=measure.recall if measure else None,
            dropped_passages=max((result.dropped_passages for result in arm.results), default=0),
            dropped_questions=max((result.dropped_questions for result in arm.results), default=0),
            prompt_tokens=_prompt_tokens(arm),
            perplexity=_perplexity(arm),
            cost=self._costs.get(arm),
            retrieval=self._retrievals.get(arm),
        )


def _average_place(row: AverageRow) -> tuple[int, float]:
    """Base, contenders by gain, the ceiling, then what has no number."""
    if row.kind == "base" or row.average is None:
        return (0 if row.kind == "base" else 3, 0.0)
    return (2 if row.kind == "ceiling" else 1, -row.average.absolute)


def _environments(arm: Arm, environments: Environments) -> tuple[int, ...]:
    found = (environments.number(one) for result in arm.results for one in result.environments)
    return tuple(dict.fromkeys(found))


def _spread(seeds: Sequence[float]) -> float | None:
    """Standard deviation over seeds, for a sample."""
    if len(seeds) < 2:
        return None
    mean = fsum(seeds) / len(seeds)
    return sqrt(fsum((value - mean) ** 2 for value in seeds) / (len(seeds) - 1))


def _mark(arm: Arm, gain: Gain | None) -> str:
    """Name a control task's drop by more than chance, by what brought it about."""
    if arm.task.role != "control" or gain is None or gain.absolute >= 0 or gain.p >= LEVEL:
        return ""
    return "forgets" if arm.method.train is not None else "harmed"


def _prompt_tokens(arm: Arm) -> float | None:
    tokens = [result.prompt_tokens for result in arm.results if result.prompt_tokens is not None]
    if not tokens or len(tokens) < len(arm.results):
        return None
    return sum(tokens) / sum(result.n for result in arm.results)


def _perplexity(arm: Arm) -> tuple[float, float] | None:
    """Perplexity of held-out text, e to the mean loss over seeds, before and after training; None without such text."""
    found = []
    for when in ("first", "last"):
        losses = [getattr(result.training, f"held_out_{when}_loss", None) for result in arm.results]
        known = [loss for loss in losses if loss is not None]
        if not known or len(known) < len(losses):
            return None
        found.append(exp(fsum(known) / len(known)))
    return found[0], found[1]
