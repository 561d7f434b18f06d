"""What should make a reader doubt a row: hints that a method was not applied, or that its number says nothing."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import fsum

from kib.leaderboard.compute.arms import Arm
from kib.records import Score
from kib.statistics.gains import LEVEL, Accuracy, Gain
from kib.store.result_records import TrainingRecord

__all__ = ["MEANINGS", "Doubts", "Traits", "traits"]

FEWEST = 10
"""Of fewer questions than these it says nothing that most got the same first passage."""

BEST_K = "best K on test"

LEAST_DROP = 0.001
"""Nats a token: a loss that fell by less may as well have fallen by rounding."""

LEAST_CHANGE = 1e-6
"""Norm of the update over that of the weights: below it an answer moves by no more than rounding moves it."""

MEANINGS = {
    "loss not falling": "the training's loss was lower by less than 0.001 nats a token after it than before.",
    "hardly trained": "the training moved the weights by less than a millionth of their norm.",
    "rounded away": "saving the weights in the model's number format lost more than half of what the loss had gained.",
    "as untrained": "every log-probability is that of an untrained arm: the training had no part in the answers.",
    "prompts as base": "every prompt is base's: no passage came before a question.",
    "one passage": "more than half of the questions got the same first passage.",
    "few passages": "for so many questions, fewer passages than asked for were found.",
    BEST_K: "the published number is the highest over all K of the same paper: K was chosen on the test "
    "questions, or as if.",
    "at chance": "the accuracy's interval holds what guessing gives, and the gain is no more than chance.",
}
"""What each alarm says; a number may stand behind its name, in brackets."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What alarms need of an arm's questions; stored with its accuracy, so that no question is read for them again."""

    chance: float | None  # accuracy of guessing; None where a question has no options
    repeated: int  # questions with the most frequent first passage
    short: int  # questions with fewer passages than the setting k
    prompts: str  # digest of all prompts; "" where they are not known
    answers: tuple[str, ...]  # of each seed, digest of all log-probabilities; "" where there are none


def traits(seeds: Sequence[Sequence[Score]], k: int) -> Traits:
    """The traits of an arm's questions, seed by seed; prompts and passages are the same for all seeds."""
    first = seeds[0]
    options = [len(score.logprobs) for score in first]
    passages = Counter(score.passages[0] for score in first if score.passages)
    return Traits(
        chance=fsum(1 / count for count in options) / len(options) if options and min(options) > 1 else None,
        repeated=max(passages.values(), default=0),
        short=sum(len(score.passages) < k for score in first),
        prompts=_digest(first, lambda score: score.prompt),
        answers=tuple(_digest(scores, lambda score: score.logprobs) for scores in seeds),
    )


class Doubts:
    """Raises the alarms of one block's arms: a model on a task with a number of shots."""

    def __init__(self, known: Iterable[tuple[Arm, Traits]]) -> None:
        untrained = [(arm, its) for arm, its in known if arm.method.train is None]
        self._answers = {its.answers[0] for _, its in untrained}
        self._prompts = {its.prompts for arm, its in untrained if arm.kind == "base"}

    def of(self, arm: Arm, found: Traits, accuracy: Accuracy, gain: Gain | None, p: float | None) -> tuple[str, ...]:
        """The alarms of a measured arm; `p` is its gain's, adjusted or not."""
        hints = {
            "loss not falling": arm.method.train is not None and _loss_stays(arm),
            "hardly trained": arm.method.train is not None and _hardly_moved(arm),
            "rounded away": arm.method.train is not None and _rounded_away(arm),
            "as untrained": arm.method.train is not None and _shared(found.answers, self._answers),
            "prompts as base": arm.method.retrieve is not None and _shared([found.prompts], self._prompts),
            "one passage": _is_contender(arm) and accuracy.n >= FEWEST and 2 * found.repeated > accuracy.n,
            f"few passages ({found.short})": arm.kind != "ceiling" and found.short > 0,
            "at chance": _is_contender(arm) and _at_chance(found, accuracy, gain, p),
        }
        return tuple(name for name, is_so in hints.items() if is_so)


def _is_contender(arm: Arm) -> bool:
    """Whether the arm is meant to find and know what a target task asks for."""
    return arm.task.role == "target" and arm.kind == ""


def _trainings(arm: Arm) -> list[TrainingRecord]:
    """Return the training records of an arm's seeds; empty for an untrained model."""
    return [result.training for result in arm.results if result.training]


def _loss_stays(arm: Arm) -> bool:
    losses = [(one.first_loss, one.last_loss) for one in _trainings(arm)]
    return any(first is not None and last is not None and not first - last >= LEAST_DROP for first, last in losses)


def _hardly_moved(arm: Arm) -> bool:
    return any(one.change is not None and one.change < LEAST_CHANGE for one in _trainings(arm))


def _rounded_away(arm: Arm) -> bool:
    """Whether a seed's loss had fallen, and rose again by more than half of that when the weights were rounded."""
    losses = [(one.first_loss, one.unrounded_loss, one.last_loss) for one in _trainings(arm)]
    return any(
        last - unrounded > (first - unrounded) / 2 >= LEAST_DROP / 2
        for first, unrounded, last in losses
        if first is not None and unrounded is not None and last is not None
    )


def _shared(ours: Iterable[str], theirs: Collection[str]) -> bool:
    return any(one and one in theirs for one in ours)


def _at_chance(found: Traits, accuracy: Accuracy, gain: Gain | None, p: float | None) -> bool:
    if found.chance is None or gain is None or p is None or (gain.absolute > 0 and p < LEVEL):
        return False
    return accuracy.interval.low <= found.chance <= accuracy.interval.high


def _digest(scores: Iterable[Score], part: Callable[[Score], object]) -> str:
    """The same for the same parts by question, in any order; "" where a question has none."""
    parts = sorted((score.question_id, part(score)) for score in scores)
    if not all(value for _, value in parts):
        return ""
    return sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
