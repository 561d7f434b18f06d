"""The question scores from which an arm's accuracy is computed, read only if a statistic is not cached."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from math import fsum
from operator import attrgetter

from kib.errors import InputError
from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.row_warnings import WarningFacts, warning_facts
from kib.records import Score
from kib.statistics.confidence_intervals import FEWEST_SEEDS
from kib.statistics.ranking_measures import is_judged
from kib.store.result_records import CellResult
from kib.store.results import Results

__all__ = ["QuestionScores", "QuestionScoresReader", "seed_gains", "seed_means"]

_question_id, _group, _score = attrgetter("question_id"), attrgetter("group"), attrgetter("score")
_probe = attrgetter("probe")


@dataclass(frozen=True, slots=True)
class QuestionScores:
    """The scores of an arm for each question, averaged over seeds.

    `recall` is None if the task has no gold passages or the arm retrieves no passages. `seeds` are the scores of each
    seed in the order of `ids`, or () if there are too few seeds for intervals that cover seeds.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    groups: tuple[str | None, ...]
    recall: float | None
    warning_facts: WarningFacts
    probes: tuple[str | None, ...] = ()
    seeds: tuple[tuple[float, ...], ...] = ()


class QuestionScoresReader:
    """Reads question scores from one results folder and caches them in memory.

    `purpose` is the name of the statistic that needs the questions; the error for missing files contains this name.
    """

    def __init__(self, results: Results, purpose: str) -> None:
        self._results = results
        self._purpose = purpose
        self._read_before: dict[Arm, QuestionScores] = {}

    def read(self, arm: Arm) -> QuestionScores:
        """Return the scores of a measured arm; raises InputError if its files have changed since they were written."""
        if arm not in self._read_before:
            self._read_before[arm] = self._average_over_seeds(arm)
        return self._read_before[arm]

    def forget(self) -> None:
        """Release the memory used by cached scores."""
        self._read_before.clear()

    def seeds(self, arm: Arm) -> list[list[Score]]:
        """Return the recorded questions of each seed of a measured arm; raises InputError if any file is damaged."""
        seeds = [self._scores(result) for result in arm.results]
        ids = list(map(_question_id, seeds[0]))
        for result, scores in zip(arm.results[1:], seeds[1:], strict=True):
            if list(map(_question_id, scores)) != ids:
                raise self._damaged(result, "the questions differ from the questions of the arm's first seed")
        return seeds

    def _average_over_seeds(self, arm: Arm) -> QuestionScores:
        seeds = self.seeds(arm)
        by_seed = tuple(tuple(map(_score, scores)) for scores in seeds)
        columns = zip(*by_seed, strict=True)
        return QuestionScores(
            ids=tuple(map(_question_id, seeds[0])),
            scores=tuple(total / len(seeds) for total in map(sum, columns)),
            groups=tuple(map(_group, seeds[0])),
            recall=_recall(chain.from_iterable(seeds)) if _has_passages(arm) else None,
            warning_facts=warning_facts(seeds, int(dict(arm.cell.settings).get("k", 0))),
            probes=tuple(map(_probe, seeds[0])),
            seeds=by_seed if len(seeds) >= FEWEST_SEEDS else (),
        )

    def _scores(self, result: CellResult) -> list[Score]:
        scores = self._results.scores(result.cell, self._purpose)
        if len(scores) != result.n or fsum(map(_score, scores)) != result.correct:
            stated = f"a total score of {result.correct} for {result.n} questions"
            raise self._damaged(result, f"the file contradicts cell.json, which states {stated}")
        if len(set(map(_question_id, scores))) != len(scores):
            raise self._damaged(result, "the file contains a question twice")
        return scores

    def _damaged(self, result: CellResult, problem: str) -> InputError:
        folder = self._results.cell_folder(result.cell)
        return InputError(f"{folder / 'questions.jsonl'}: {problem}; delete {folder} and run the benchmark again")


def _has_passages(arm: Arm) -> bool:
    """Return whether the answers of an arm may be based on passages."""
    return arm.method.retrieve is not None or arm.method.system is not None


def seed_means(scores: QuestionScores, selected: Sequence[bool] | None = None) -> tuple[float, ...]:
    """Return the mean score of each seed on the selected questions (None: all), or () for fewer than FEWEST_SEEDS."""
    return tuple(_mean(seed if selected is None else tuple(compress(seed, selected))) for seed in scores.seeds)


def seed_gains(
    scores: QuestionScores, reference: QuestionScores, selected: Sequence[bool] | None = None
) -> tuple[float, ...]:
    """Return the gain of each seed on the selected questions (None: all), or () if the gain does not cover seeds.

    If both arms were trained with several seeds, the gain of a seed is the difference between two runs with this seed.
    The ids of `reference` are those of `scores`.
    """
    ours, theirs = seed_means(scores, selected), seed_means(reference, selected)
    if not ours and not theirs:
        return ()
    kept = [True] * len(scores.ids) if selected is None else selected
    ours = ours or (_mean(tuple(compress(scores.scores, kept))),) * len(theirs)
    theirs = theirs or (_mean(tuple(compress(reference.scores, kept))),) * len(ours)
    return tuple(one - other for one, other in zip(ours, theirs, strict=True))


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _recall(scores: Iterable[Score]) -> float | None:
    """Return the share of judged questions with a retrieved gold passage, or None if no question is judged."""
    found = [score.gold is not None and True in score.gold for score in scores if is_judged(score)]
    return sum(found) / len(found) if found else None
