"""Statistics of arms: taken from the store where they are stored, else computed from the questions."""

from collections.abc import Container, Iterable, Sequence
from itertools import compress

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.comparability import align, difference
from kib.leaderboard.compute.question_scores import Evidence, QuestionScores
from kib.leaderboard.compute.statistics_cache import Measure, Split, Stored
from kib.statistics.gains import Average, Gain
from kib.statistics.paired_gains import accuracy, average, gain
from kib.statistics.paired_test import p_value
from kib.statistics.question_groups import Pair
from kib.store.results import Results

__all__ = ["Judge"]


class Judge:
    """Measures and compares the arms of one results folder; `view` is what gains are measured against, "" for base."""

    def __init__(self, results: Results, view: str) -> None:
        self._stored = Stored(results, view)
        self._evidence = Evidence(results, f"a gain over {view or 'base'}")
        self._found: dict[tuple[Arm, Arm], Gain | str] = {}

    def count_fresh(self, arms: Iterable[Arm]) -> int:
        """How many of these arms' statistics must be computed from their questions."""
        return sum(1 for arm in arms if arm.status == "measured" and not self._stored.has(arm.stamp))

    def measure(self, arm: Arm) -> Measure:
        """What a measured arm's own questions say."""

        def compute() -> Measure:
            sheet = self._evidence.sheet(arm)
            return Measure(accuracy(sheet.scores, sheet.groups), sheet.recall, sheet.traits)

        return self._stored.measure(arm.stamp, compute)

    def compare(self, arm: Arm, reference: Arm) -> Gain | str:
        """The gain of a measured arm over another, or the reason why they are not comparable."""

        def compute() -> Gain | str:
            pair = self._pair(arm, reference)
            return pair if isinstance(pair, str) else gain(*pair)

        pair = (arm, reference)
        if pair not in self._found:
            self._found[pair] = difference(arm, reference) or self._stored.gain(_key(arm, reference), compute)
        return self._found[pair]

    def p_value(self, worse: Arm, better: Arm) -> float:
        """The p of two arms that were both found comparable with a third one."""

        def compute() -> float:
            pair = self._pair(better, worse)
            return 1.0 if isinstance(pair, str) else p_value(*pair)

        return self._stored.p_value(_key(better, worse), compute)

    def split(self, arm: Arm, reference: Arm, probe: Arm) -> Split:
        """Gains on the questions that `probe`, another measurement of the base, got right, and on the others."""

        def compute() -> Split:
            pair, probed = self._pair(arm, reference), align(self._evidence.sheet(arm), self._evidence.sheet(probe))
            if isinstance(pair, str) or isinstance(probed, str):
                return None, None
            known = [score >= 0.5 for score in probed.scores]
            return _part(pair, known), _part(pair, [not one for one in known])

        return self._stored.split(f"{_key(arm, reference)} {probe.stamp}", compute)

    def average(self, pairs: Sequence[tuple[Arm, Arm]]) -> Average:
        """The mean gain of (arm, reference) pairs that `compare` found comparable, one a task."""

        def compute() -> Average:
            found = [self._pair(arm, reference) for arm, reference in pairs]
            return average([pair for pair in found if not isinstance(pair, str)])

        return self._stored.average("; ".join(_key(arm, reference) for arm, reference in pairs), compute)

    def forget(self) -> None:
        """Free the memory that questions and comparisons take."""
        self._evidence.forget()
        self._found.clear()

    def save(self, views: Container[str]) -> None:
        """Store what was used; views of other names than these are dropped."""
        self._stored.save(views)

    def _pair(self, arm: Arm, reference: Arm) -> Pair | str:
        sheet = self._evidence.sheet(arm)
        other: QuestionScores | str = align(sheet, self._evidence.sheet(reference))
        return other if isinstance(other, str) else (other.scores, sheet.scores, sheet.groups)


def _part(pair: Pair, wanted: Sequence[bool]) -> Gain | None:
    """The gain on some of the questions; None where there are none of them."""
    base, scores, groups = pair
    if not any(wanted):
        return None
    return gain(list(compress(base, wanted)), list(compress(scores, wanted)), list(compress(groups, wanted)))


def _key(arm: Arm, reference: Arm) -> str:
    return f"{reference.stamp} {arm.stamp}"
