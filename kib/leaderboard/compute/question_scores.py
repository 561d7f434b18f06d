"""The question scores from which an arm's accuracy is computed, read only if a statistic is not cached."""

from dataclasses import dataclass

from kib.errors import InputError
from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.row_warnings import WarningFacts, warning_facts
from kib.records import Score
from kib.statistics.ranking_measures import is_judged
from kib.store.result_records import CellResult
from kib.store.results import Results

__all__ = ["QuestionScores", "QuestionScoresReader"]


@dataclass(frozen=True, slots=True)
class QuestionScores:
    """The scores of an arm for each question, averaged over seeds.

    `recall` is None if the task has no gold passages or the arm retrieves no passages.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    groups: tuple[str | None, ...]
    recall: float | None
    warning_facts: WarningFacts


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
        ids = tuple(score.question_id for score in seeds[0])
        for result, scores in zip(arm.results, seeds, strict=True):
            if tuple(score.question_id for score in scores) != ids:
                raise self._damaged(result, "the questions differ from the questions of the arm's first seed")
        return seeds

    def _average_over_seeds(self, arm: Arm) -> QuestionScores:
        seeds = self.seeds(arm)
        first = seeds[0]
        ids = tuple(score.question_id for score in first)
        columns = zip(*([score.score for score in scores] for scores in seeds), strict=True)
        means = tuple(sum(column) / len(column) for column in columns)
        groups = tuple(score.group for score in first)
        recall = _recall([score for scores in seeds for score in scores], arm)
        facts = warning_facts(seeds, int(dict(arm.cell.settings).get("k", 0)))
        return QuestionScores(ids, means, groups, recall, facts)

    def _scores(self, result: CellResult) -> list[Score]:
        scores = self._results.scores(result.cell, self._purpose)
        if len(scores) != result.n or sum(score.score for score in scores) != result.correct:
            raise self._damaged(
                result,
                (f"the file contradicts cell.json, which counts {result.correct} of {result.n} answers as correct"),
            )
        if len({score.question_id for score in scores}) != len(scores):
            raise self._damaged(result, "the file contains a question twice")
        return scores

    def _damaged(self, result: CellResult, problem: str) -> InputError:
        folder = self._results.cell_folder(result.cell)
        return InputError(f"{folder / 'questions.jsonl'}: {problem}; delete {folder} and run the benchmark again")


def _recall(scores: list[Score], arm: Arm) -> float | None:
    """Return the share of judged questions with a retrieved gold passage."""
    judged = [score.gold or () for score in scores if is_judged(score)]
    if arm.method.retrieve is None or not judged:
        return None
    return sum(any(gold) for gold in judged) / len(judged)
