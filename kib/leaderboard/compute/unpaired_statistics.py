"""Statistics of published arms, which are compared using only their accuracies and numbers of questions."""

from collections.abc import Container, Iterable, Sequence

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.row_warnings import WarningFacts
from kib.leaderboard.compute.statistics_cache import ArmMeasure, KnowledgeSplit
from kib.published.results import PublishedResults
from kib.statistics.gains import Average, Gain
from kib.statistics.unpaired_gains import (
    Estimate,
    Experiment,
    graded_accuracy,
    graded_gain,
    unpaired_accuracy,
    unpaired_average,
    unpaired_gain,
)

__all__ = ["UnpairedStatistics"]


class UnpairedStatistics:
    """Measures and compares published arms; this class has the same methods as `ArmStatistics`."""

    def __init__(self, results: PublishedResults) -> None:
        self._results = results

    @property
    def outdated(self) -> bool:
        """Return False, because unpaired statistics are not stored."""
        return False

    def count_uncached(self, arms: Iterable[Arm]) -> int:
        """Return 0, because unpaired statistics are computed quickly and do not need a cache."""
        del arms
        return 0

    def measure(self, arm: Arm) -> ArmMeasure:
        """Return the accuracy of an arm with its interval, without facts about individual questions."""
        mean, n = self._accuracy_and_n(arm)
        graded = self._results.is_graded(arm.cell)
        accuracy = graded_accuracy(self._estimate(arm), n) if graded else unpaired_accuracy(mean, n)
        facts = WarningFacts(self._results.chance(arm.cell), repeated=0, short=0, prompts="", answers=("",))
        return ArmMeasure(accuracy, None, facts)

    def compare(self, arm: Arm, reference: Arm) -> Gain | str:
        """Return the unpaired gain of an arm over a reference arm."""
        return self._gain(reference, arm)

    def _gain(self, reference: Arm, arm: Arm) -> Gain:
        if self._results.is_graded(arm.cell):
            return graded_gain(self._estimate(reference), self._estimate(arm))
        return unpaired_gain(self._accuracy_and_n(reference), self._accuracy_and_n(arm))

    def p_value(self, worse: Arm, better: Arm) -> float:
        """Return the unpaired p value for two arms, or 1 for graded scores without a stated error."""
        p = self._gain(worse, better).p
        return 1.0 if p is None else p

    def split(self, arm: Arm, reference: Arm, probe: Arm) -> KnowledgeSplit:
        """Return no gains, because papers do not list the questions that base answered correctly."""
        del arm, reference, probe
        return None, None

    def average(self, pairs: Sequence[tuple[Arm, Arm]]) -> Average:
        """Return the mean gain of (arm, reference) pairs; pairs from the same task share their questions."""
        by_task: dict[str, list[Experiment]] = {}
        for arm, reference in pairs:
            by_task.setdefault(arm.cell.task, []).append((self._estimate(reference), self._estimate(arm)))
        return unpaired_average(list(by_task.values()))

    def forget(self) -> None:
        """Do nothing, because unpaired statistics are not cached in memory."""

    def save(self, views: Container[str]) -> None:
        """Do nothing, because unpaired statistics are not stored."""
        del views

    def _estimate(self, arm: Arm) -> Estimate:
        return self._results.accuracy(arm.cell), self._results.standard_error(arm.cell)

    def _accuracy_and_n(self, arm: Arm) -> tuple[float, int]:
        return self._results.accuracy(arm.cell), arm.results[0].n
