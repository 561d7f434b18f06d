"""The comparison of automatic scores with the verdicts of people, and the corrected accuracy and gain of each arm."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import fsum

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.comparability import align
from kib.leaderboard.compute.question_scores import QuestionScores, QuestionScoresReader
from kib.leaderboard.compute.row_builder import RowBuilder
from kib.leaderboard.table_records import LabelledArm, LabelledBlock
from kib.statistics.human_labels import Agreement, Corrected, agreement, corrected_mean
from kib.store.label_records import Labels, population_digest
from kib.store.results import Results
from kib.support.phrases import counted

__all__ = ["compare_with_labels"]


def compare_with_labels(results: Results, labels: Labels, rows: Sequence[RowBuilder]) -> LabelledBlock | str:
    """Add the comparison with labels to the measured rows of a block, and return the comparison of the whole block.

    Return the reason if no row can be compared.
    """
    if not labels.questions:
        return f"the labels are not used, because verdicts are missing for all {labels.drawn} drawn questions"
    arms = [row.arm for row in rows]
    if any(results.lacks_questions(cell) for arm in arms for cell in arm.cells):
        return "the labels are not used, because the questions of some cells are missing"
    comparison = _LabelComparison(QuestionScoresReader(results, "the comparison with labels"), labels)
    for row in rows:
        has_gain = row.gain is not None and row.reference is not row.arm
        reference = None if isinstance(row.reference, str) or not has_gain else row.reference
        row.labelled = comparison.of_arm(row.arm, reference)
    model, task, shots = arms[0].key
    return LabelledBlock(
        benchmark=arms[0].benchmark,
        model=model,
        task=task,
        shots=shots,
        population=labels.population,
        drawn=labels.drawn,
        questions=len(labels.questions),
        groups=comparison.groups(arms),
        agreement=comparison.total(arms),
    )


@dataclass(slots=True)
class _Judged:
    """The labelled outputs of an arm: scores, verdicts and groups of outputs, and the mean verdict of each question.

    An arm with several seeds has several outputs per question.
    """

    scores: list[float] = field(default_factory=list)
    verdicts: list[float] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    means: dict[str, float] = field(default_factory=dict)


class _LabelComparison:
    """Compares the arms of one block with the labels of their task."""

    def __init__(self, reader: QuestionScoresReader, labels: Labels) -> None:
        self._reader = reader
        self._labels = labels
        self._judged_before: dict[Arm, _Judged | str] = {}

    def of_arm(self, arm: Arm, reference: Arm | None) -> LabelledArm:
        """Return the comparison of a measured arm; `reference` is None if the arm has no gain."""
        judged = self._judged(arm)
        if isinstance(judged, str):
            return LabelledArm(None, None, None, judged)
        scores = self._reader.read(arm)
        verdicts = [judged.means.get(name) for name in scores.ids]
        return LabelledArm(
            agreement=agreement(judged.scores, judged.verdicts, judged.groups),
            accuracy=corrected_mean(scores.scores, verdicts, scores.groups, 0.0, 1.0),
            gain=None if reference is None else self._gain(scores, judged, reference),
        )

    def total(self, arms: Iterable[Arm]) -> Agreement | None:
        """Return the agreement over the outputs of several arms, or None if no arm can be compared."""
        found = [judged for judged in map(self._judged, arms) if isinstance(judged, _Judged)]
        if not found:
            return None
        return agreement(
            [score for one in found for score in one.scores],
            [verdict for one in found for verdict in one.verdicts],
            [group for one in found for group in one.groups],
        )

    def groups(self, arms: Iterable[Arm]) -> int:
        """Return the number of groups of the labelled questions; 0 if no arm can be compared."""
        judged = (self._judged(arm) for arm in arms)
        return next((len(set(one.groups)) for one in judged if isinstance(one, _Judged)), 0)

    def _gain(self, scores: QuestionScores, judged: _Judged, reference: Arm) -> Corrected | None:
        """Return the corrected gain over a reference, or None if the reference cannot be compared with the labels."""
        other, aligned = self._judged(reference), align(scores, self._reader.read(reference))
        if isinstance(other, str) or isinstance(aligned, str):
            return None
        differences = [score - base for score, base in zip(scores.scores, aligned.scores, strict=True)]
        verdicts = [judged.means[name] - other.means[name] if name in judged.means else None for name in scores.ids]
        return corrected_mean(differences, verdicts, scores.groups, -1.0, 1.0)

    def _judged(self, arm: Arm) -> _Judged | str:
        """Return the labelled outputs of an arm, or the reason why the arm cannot be compared with the labels.

        Labels are used only if every labelled question has a verdict on every output of the arm: the questions whose
        outputs changed are not a random sample.
        """
        if arm not in self._judged_before:
            self._judged_before[arm] = self._judge(arm)
        return self._judged_before[arm]

    def _judge(self, arm: Arm) -> _Judged | str:
        if population_digest(self._reader.read(arm).ids) != self._labels.population_digest:
            return "the questions are not those from which the labelled questions were drawn; run `kib label` again"
        wanted, found, unknown = set(self._labels.questions), _Judged(), set()
        by_question: dict[str, list[float]] = {}
        for score in (score for seed in self._reader.seeds(arm) for score in seed if score.question_id in wanted):
            verdict = self._labels.verdict(score.question_id, score.output)
            if verdict is None:
                unknown.add(score.question_id)
                continue
            found.scores.append(score.score)
            found.verdicts.append(verdict)
            found.groups.append(f"question {score.question_id}" if score.group is None else f"group {score.group}")
            by_question.setdefault(score.question_id, []).append(verdict)
        if unknown:
            of = counted(len(wanted), "labelled question")
            return (
                f"nobody judged the outputs of {len(unknown)} of {of}, because the outputs changed or were added "
                "after the sheet was written; run `kib label` again"
            )
        found.means = {name: fsum(verdicts) / len(verdicts) for name, verdicts in by_question.items()}
        return found
