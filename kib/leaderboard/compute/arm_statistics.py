"""Statistics of arms, read from the statistics cache or computed from question scores."""

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import Any

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.comparability import align, why_not_comparable
from kib.leaderboard.compute.question_scores import QuestionScores, QuestionScoresReader, seed_gains, seed_means
from kib.leaderboard.compute.statistics_cache import ArmMeasure, KnowledgeSplit, Repetition, StatisticsCache
from kib.statistics.confidence_intervals import FEWEST_SEEDS
from kib.statistics.gains import Average, Gain
from kib.statistics.paired_gains import accuracy, average, gain, p_value
from kib.statistics.question_groups import Pair
from kib.store.results import Results

__all__ = ["ArmStatistics"]


class ArmStatistics:
    """Computes and compares the accuracies of the arms in one results folder.

    `view` is the name of the method or arm that serves as the reference for gains; "" denotes base.
    """

    def __init__(self, results: Results, view: str) -> None:
        self._results = results
        self._cache = StatisticsCache(results, view)
        self._used_former = False
        self._reader = QuestionScoresReader(results, f"a gain over {view or 'base'}")
        self._compared: dict[tuple[Arm, Arm], Gain | str] = {}

    @property
    def outdated(self) -> bool:
        """Whether used statistics were computed by an earlier version of kib and cannot be computed again."""
        return self._cache.outdated or self._used_former

    @property
    def any_stored(self) -> bool:
        """Whether an earlier table with the same reference has stored statistics."""
        return self._cache.any_stored

    @property
    def used(self) -> dict[str, Any]:
        """The statistics used so far, in the form that `add` accepts in another process."""
        return self._cache.used

    def add(self, used: Mapping[str, Any]) -> int:
        """Add statistics that another process has computed, and return the number of their arms."""
        return self._cache.add(used)

    def count_uncached(self, arms: Iterable[Arm]) -> int:
        """Return the number of arms whose statistics must be computed from question scores."""
        return sum(1 for arm in arms if arm.status == "measured" and not self._cache.has(self._stamp(arm)))

    def measure(self, arm: Arm) -> ArmMeasure:
        """Return the accuracy and the recall of a measured arm, and the facts needed for warnings about the arm."""

        def compute() -> ArmMeasure:
            scores = self._reader.read(arm)
            found = accuracy(scores.scores, scores.groups, seed_means(scores))
            return ArmMeasure(found, scores.recall, scores.warning_facts)

        return self._cache.measure(self._stamp(arm), compute)

    def compare(self, arm: Arm, reference: Arm) -> Gain | str:
        """Return the gain of a measured arm over a reference arm, or the reason why the arms are not comparable."""

        def compute() -> Gain | str:
            pair = self._pair(arm, reference)
            return pair if isinstance(pair, str) else gain(*pair, self._seed_gains(arm, reference))

        pair = (arm, reference)
        if pair not in self._compared:
            trouble = why_not_comparable(arm, reference)
            self._compared[pair] = trouble or self._cache.gain(self._cache_key(arm, reference), compute)
        return self._compared[pair]

    def p_value(self, worse: Arm, better: Arm) -> float:
        """Return the p value for two arms, both of which are comparable with a third arm."""

        def compute() -> float:
            pair = self._pair(better, worse)
            return 1.0 if isinstance(pair, str) else p_value(*pair, self._seed_gains(better, worse))

        return self._cache.p_value(self._cache_key(better, worse), compute)

    def split(self, arm: Arm, reference: Arm, probe: Arm) -> KnowledgeSplit:
        """Return the gains on questions that base answered correctly and incorrectly in a second measurement."""

        def compute() -> KnowledgeSplit:
            pair = self._pair(arm, reference)
            probed = align(self._reader.read(arm), self._reader.read(probe), grouped=False)
            if isinstance(pair, str) or isinstance(probed, str):
                return None, None
            known = [score >= 0.5 for score in probed.scores]
            return self._gain_on(arm, reference, known), self._gain_on(arm, reference, [not one for one in known])

        return self._cache.split(f"{self._cache_key(arm, reference)} {probe.stamp}", compute)

    def repetition(self, first: Arm, second: Arm) -> Repetition:
        """Return how the answers of `second` differ from the answers of `first` to the same questions."""

        def compute() -> Repetition:
            [before], [after] = self._reader.seeds(first), self._reader.seeds(second)
            known = {score.question_id: score for score in before}
            pairs = [(known[score.question_id], score) for score in after]
            identical = sum((one.output, one.logprobs) == (two.output, two.logprobs) for one, two in pairs)
            groups = [score.group for score in after]
            return identical, gain([one.score for one, _ in pairs], [two.score for _, two in pairs], groups)

        return self._cache.repetition(self._cache_key(second, first), compute)

    def average(self, pairs: Sequence[tuple[Arm, Arm]]) -> Average:
        """Return the mean gain of comparable (arm, reference) pairs, one pair per task."""

        def compute() -> Average:
            found = [(self._pair(arm, reference), self.compare(arm, reference)) for arm, reference in pairs]
            seeds = [self._seed_gains(arm, reference) for arm, reference in pairs]
            gains = [(pair, one) for pair, one in found if not isinstance(pair, str) and isinstance(one, Gain)]
            return average(gains, seeds)

        return self._cache.average("; ".join(self._cache_key(arm, reference) for arm, reference in pairs), compute)

    def forget(self) -> None:
        """Discard cached question scores and comparisons to release their memory."""
        self._reader.forget()
        self._compared.clear()

    def save(self, views: Container[str]) -> None:
        """Store the statistics used so far, and drop stored views that are not listed in `views`."""
        self._cache.save(views)

    def _pair(self, arm: Arm, reference: Arm) -> Pair | str:
        scores = self._reader.read(arm)
        other: QuestionScores | str = align(scores, self._reader.read(reference))
        return other if isinstance(other, str) else (other.scores, scores.scores, scores.groups)

    def _seed_gains(self, arm: Arm, reference: Arm) -> tuple[float, ...]:
        """Return the gain of each seed of arms with the same questions, or () if the gain does not cover seeds."""
        scores = self._reader.read(arm)
        other = align(scores, self._reader.read(reference))
        return () if isinstance(other, str) else seed_gains(scores, other)

    def _gain_on(self, arm: Arm, reference: Arm, selected: Sequence[bool]) -> Gain | None:
        """Return the gain on the selected questions, or None if no questions are selected or the questions differ."""
        scores = self._reader.read(arm)
        other = align(scores, self._reader.read(reference))
        if isinstance(other, str) or not any(selected):
            return None
        base, ours = (list(compress(one.scores, selected)) for one in (other, scores))
        return gain(base, ours, list(compress(scores.groups, selected)), seed_gains(scores, other, selected))

    def _cache_key(self, arm: Arm, reference: Arm) -> str:
        return f"{self._stamp(reference)} {self._stamp(arm)}"

    def _stamp(self, arm: Arm) -> str:
        """Return the key of an arm's statistics, which states whether intervals cover seeds.

        Statistics of earlier versions, which cover questions alone, are used only if the questions are missing.
        """
        if len(arm.results) < FEWEST_SEEDS:
            return arm.stamp
        stamp = f"{arm.stamp} over seeds"
        if not self._cache.has(stamp) and self._cache.has(arm.stamp) and self._lacks_questions:
            self._used_former = True
            return arm.stamp
        return stamp

    @cached_property
    def _lacks_questions(self) -> bool:
        return not self._results.has_all_questions()
