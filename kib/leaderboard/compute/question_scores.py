"""The questions behind an arm's number, read only where a statistic is not stored yet."""

from dataclasses import dataclass

from kib.errors import InputError
from kib.identity import digest_file
from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.row_warnings import Traits, traits
from kib.records import Score
from kib.statistics.ranking_measures import is_judged
from kib.store.result_records import CellResult
from kib.store.results import Results

__all__ = ["Evidence", "QuestionScores"]


@dataclass(frozen=True, slots=True)
class QuestionScores:
    """Scores question by question, each the mean over the arm's seeds; `recall` is None without gold or retrieval."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    groups: tuple[str | None, ...]
    recall: float | None
    traits: Traits


class Evidence:
    """Reads sheets of one results folder and keeps them until told to forget; `user` is what needs the questions."""

    def __init__(self, results: Results, user: str) -> None:
        self._results = results
        self._user = user
        self._sheets: dict[Arm, QuestionScores] = {}

    def sheet(self, arm: Arm) -> QuestionScores:
        """The sheet of a measured arm; InputError where its files were changed since they were measured."""
        if arm not in self._sheets:
            self._sheets[arm] = self._read(arm)
        return self._sheets[arm]

    def forget(self) -> None:
        """Free the memory."""
        self._sheets.clear()

    def seeds(self, arm: Arm) -> list[list[Score]]:
        """The lines of a measured arm, seed by seed, of the same questions; InputError as for `sheet`."""
        seeds = [self._scores(result) for result in arm.results]
        ids = tuple(score.question_id for score in seeds[0])
        for result, scores in zip(arm.results, seeds, strict=True):
            if tuple(score.question_id for score in scores) != ids:
                raise self._damaged(result, "other questions than in the arm's first seed")
        return seeds

    def _read(self, arm: Arm) -> QuestionScores:
        seeds = self.seeds(arm)
        first = seeds[0]
        ids = tuple(score.question_id for score in first)
        columns = zip(*([score.score for score in scores] for scores in seeds), strict=True)
        means = tuple(sum(column) / len(column) for column in columns)
        groups = tuple(score.group for score in first)
        recall = _recall([score for scores in seeds for score in scores], arm)
        return QuestionScores(ids, means, groups, recall, traits(seeds, int(dict(arm.cell.settings).get("k", 0))))

    def _scores(self, result: CellResult) -> list[Score]:
        if digest_file(self._results.questions(result.cell, self._user)) != result.questions:
            raise self._damaged(result, "not the file that was measured (its digest differs from cell.json's)")
        scores = self._results.scores(result.cell)
        if len(scores) != result.n or sum(score.score for score in scores) != result.correct:
            raise self._damaged(result, f"does not hold the {result.correct} of {result.n} of cell.json")
        if len({score.question_id for score in scores}) != len(scores):
            raise self._damaged(result, "a question stands in it twice")
        return scores

    def _damaged(self, result: CellResult, what: str) -> InputError:
        place = self._results.cell_folder(result.cell)
        return InputError(f"{place / 'questions.jsonl'}: {what}; delete {place} and run the benchmark again")


def _recall(scores: list[Score], arm: Arm) -> float | None:
    """Share of the questions with judgments of which a gold passage was retrieved."""
    judged = [score.gold or () for score in scores if is_judged(score)]
    if arm.method.retrieve is None or not judged:
        return None
    return sum(any(gold) for gold in judged) / len(judged)
