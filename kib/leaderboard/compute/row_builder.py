"""Collects all statistics of one arm, then builds an immutable table row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, sqrt

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.environments import Environments
from kib.leaderboard.compute.statistics_cache import ArmMeasure, KnowledgeSplit
from kib.leaderboard.table_records import AnswerShares, ArmRow, Cost, LabelledArm, Origin, ProbeGain, RetrievalQuality
from kib.safe_text import one_line
from kib.statistics.gains import Gain
from kib.statistics.paired_test import smallest_p
from kib.store.result_records import AnswerCounts

__all__ = ["Rank", "RowBuilder"]


@dataclass(frozen=True, slots=True)
class Rank:
    """The rank of an arm within its block, and its position among all compared arms.

    `rank` is None if the number of groups is too small to find any difference between arms.
    """

    position: int
    rank: int | None
    tied: bool


@dataclass(eq=False, slots=True)
class RowBuilder:
    """Collects the statistics of one arm; `build` returns the finished row."""

    arm: Arm
    origin: Origin
    chosen: bool = False
    validation: float | None = None
    reference: Arm | str = ""  # the arm that the gain is measured against, or the reason why no such arm exists
    measure: ArmMeasure | None = None
    gain: Gain | None = None
    reason: str = ""
    p_adjusted: float | None = None
    lowest_p: float | None = None  # the smallest decisive p value that the number of groups allows
    base: Arm | str = ""  # base of the same block, or the reason why there is no base
    gain_over_base: Gain | None = None  # None for base, for the gold passage and for arms that are not comparable
    beats_base: bool = False  # whether the gain over base is positive and significant
    gold_share: float | None = None
    split: KnowledgeSplit = (None, None)
    rank: Rank | None = None
    best_on_test: tuple[str, float] | None = None
    warnings: tuple[str, ...] = ()
    cost: Cost | None = None
    retrieval: RetrievalQuality | None = None
    probes: tuple[ProbeGain, ...] = ()
    labelled: LabelledArm | None = None

    @property
    def p(self) -> float | None:
        """The decisive p value, which is adjusted if the gain belongs to Holm's family."""
        return self.p_adjusted if self.p_adjusted is not None or self.gain is None else self.gain.p

    @property
    def smallest_p(self) -> float | None:
        """The smallest unadjusted p value that the number of groups allows, or None without a paired gain."""
        return smallest_p(self.measure.accuracy.groups) if self.measure and self.gain and self.gain.paired else None

    @property
    def order(self) -> tuple[int, int]:
        """The sort key within a block: base, ranked arms, other measured arms, the gold passage, unmeasured arms."""
        if self.arm.kind == "base":
            return (0, 0)
        if self.measure is None:
            return (4, 0)
        if self.arm.kind == "ceiling":
            return (3, 0)
        return (2, 0) if self.rank is None else (1, self.rank.position)

    def build(self, environments: Environments) -> ArmRow:
        """Return the finished row; `environments` assigns numbers to the environments of the whole table."""
        arm, cell, measure = self.arm, self.arm.cell, self.measure
        known, unknown = self.split
        measured = self.origin == "measured"
        seed_accuracies = tuple(one.correct / one.n for one in arm.results) if measure and measured else ()
        return ArmRow(
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
            trained=arm.method.is_trained,
            retrieving=arm.method.retrieve is not None,
            system=arm.method.system,
            seeds=tuple(cell.seed for cell in arm.cells) if measured else (),
            cells=tuple(cell.id for cell in arm.cells) if measured else (),
            status=arm.status,
            reason=one_line(self.reason),
            n=measure.accuracy.n if measure else arm.task.n,
            metric=arm.results[0].metric if arm.results else None,
            graded=any(isinstance(result.correct, float) for result in arm.results),
            other_metrics=_other_metrics(arm) if measure else {},
            answers=_answer_shares([one.answers for one in arm.results if one.answers]) if measure else None,
            environments=_environment_numbers(arm, environments),
            accuracy=measure.accuracy if measure else None,
            seed_accuracies=seed_accuracies,
            spread=_sample_deviation(seed_accuracies),
            reference=None if isinstance(self.reference, str) else self.reference.name,
            gain=self.gain,
            p_adjusted=self.p_adjusted,
            lowest_p=self.lowest_p,
            gold_share=self.gold_share,
            known=known,
            unknown=unknown,
            chosen=self.chosen,
            validation=self.validation,
            best_on_test=self.best_on_test,
            rank=self.rank.rank if self.rank else None,
            tied=self.rank.tied if self.rank else False,
            compared=self.rank is not None,
            mark=_mark(arm, self.gain),
            warnings=self.warnings,
            recall=measure.recall if measure else None,
            dropped_passages=max((result.dropped_passages for result in arm.results), default=0),
            dropped_questions=max((result.dropped_questions for result in arm.results), default=0),
            prompt_tokens=_prompt_tokens(arm),
            perplexity=_perplexity(arm),
            cost=self.cost,
            retrieval=self.retrieval,
            probes=self.probes,
            trained_as=arm.method.trained_as,
            labelled=self.labelled,
        )


def _environment_numbers(arm: Arm, environments: Environments) -> tuple[int, ...]:
    found = (environments.number(one) for result in arm.results for one in result.environments)
    return tuple(dict.fromkeys(found))


def _other_metrics(arm: Arm) -> dict[str, float]:
    """Return the means over all seeds of the metrics by which rows are not ranked."""
    names = arm.results[0].other_metrics if arm.results else ()
    return {name: fsum(one.other_metrics[name] for one in arm.results) / len(arm.results) for name in names}


def _answer_shares(seeds: Sequence[AnswerCounts]) -> AnswerShares | None:
    """Return the shares of right answers and abstentions, or None if answers were not counted."""
    if not seeds:
        return None
    asked, hopeless = sum(one.answerable for one in seeds), sum(one.unanswerable for one in seeds)
    right = sum(one.right for one in seeds) / asked if asked else None
    abstained = sum(one.abstained for one in seeds) / asked if asked else None
    return AnswerShares(
        right=right,
        abstained=abstained,
        wrong=None if right is None or abstained is None else 1 - right - abstained,
        unanswerable=seeds[0].unanswerable,
        declined=sum(one.declined for one in seeds) / hopeless if hopeless else None,
    )


def _sample_deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, or None if there are fewer than two values."""
    if len(values) < 2:
        return None
    mean = fsum(values) / len(values)
    return sqrt(fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _mark(arm: Arm, gain: Gain | None) -> str:
    """For a significant drop on a control task, return "forgets" if the arm was trained and "harmed" otherwise."""
    if arm.task.role != "control" or gain is None or gain.absolute >= 0 or not gain.significant:
        return ""
    return "forgets" if arm.method.is_trained else "harmed"


def _prompt_tokens(arm: Arm) -> float | None:
    """Return the mean number of prompt tokens per question, or None if this number is not recorded for every cell."""
    tokens = [result.prompt_tokens for result in arm.results if result.prompt_tokens is not None]
    if not tokens or len(tokens) < len(arm.results):
        return None
    return sum(tokens) / sum(result.n for result in arm.results)


def _perplexity(arm: Arm) -> tuple[float, float] | None:
    """Return the perplexity of held-out text before and after training: e to the power of the mean loss over seeds."""
    found = []
    for when in ("first", "last"):
        losses = [getattr(result.training, f"held_out_{when}_loss", None) for result in arm.results]
        known = [loss for loss in losses if loss is not None]
        if not known or len(known) < len(losses):
            return None
        found.append(exp(fsum(known) / len(known)))
    return found[0], found[1]
