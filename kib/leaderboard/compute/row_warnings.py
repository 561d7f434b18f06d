"""Warnings about rows: signs that a method had no effect, or that an accuracy is meaningless."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from math import fsum
from operator import itemgetter
from struct import pack

from kib.leaderboard.compute.arms import Arm
from kib.records import FINGERPRINT, Score
from kib.statistics.gains import LEVEL, Accuracy, Gain
from kib.store.result_records import TrainingRecord

__all__ = ["BEST_K", "DRIFTED", "WARNING_MEANINGS", "BlockWarnings", "WarningFacts", "warning_facts"]

MIN_QUESTIONS = 10
"""The number of questions below which a first passage shared by many questions does not cause a warning."""

BEST_K = "best K on test"

DRIFTED = "endpoint drifted"

MIN_LOSS_DROP = 0.001
"""The smallest meaningful drop in loss, in nats per token; rounding alone can cause a smaller drop."""

MIN_WEIGHT_CHANGE = 1e-6
"""The smallest meaningful norm of the update divided by the norm of the weights; rounding hides a smaller update."""

MIN_STEPS = 10
"""The number of optimizer steps below which an arm counts as hardly trained."""

WARNING_MEANINGS = {
    "loss not falling": "training lowered the loss by less than 0.001 nats per token.",
    "hardly trained": (
        "training changed the weights by less than a millionth of their norm, or had fewer than 10 optimizer steps "
        "(the number of steps is in parentheses)."
    ),
    "open pairs": (
        "the number of question-answer pairs that were trained as open questions although the task asks in a different "
        "form, because the pairs lack the options that the task shows, or the task's prompts contain more than a "
        "question and its options."
    ),
    "rounded away": "saving the weights in the model's number format undid more than half of the drop in loss.",
    "as untrained": (
        "all log-probabilities are identical to those of an untrained arm, so training had no effect on the answers."
    ),
    "prompts as base": "all prompts are identical to the prompts of `base`, so no passage was added to any question.",
    "one passage": "more than half of the questions have the same first passage.",
    "few passages": "the number of questions with fewer retrieved passages than requested.",
    "configurations": (
        "the number of different configurations (`system_fingerprint`) that the endpoint reported for the answers of "
        "the row and of `base`; the gain may contain a change of the endpoint."
    ),
    DRIFTED: (
        "the scores of the questions that base was asked again at the end of the run differ significantly from the "
        "first scores; the gain may contain a change of the endpoint."
    ),
    BEST_K: "the published accuracy is the highest over all K in the same paper, as if K had been chosen on the test "
    "questions.",
    "at chance": (
        "the confidence interval for accuracy contains the accuracy of random guessing, and the gain is not "
        "significant."
    ),
}
"""The meaning of each warning; a warning name may be followed by details in parentheses."""


@dataclass(frozen=True, slots=True)
class WarningFacts:
    """The facts about an arm's questions that warnings depend on, cached so that questions are read only once."""

    chance: float | None  # expected accuracy of random guessing; None if any question has no options
    repeated: int  # number of questions with the most frequent first passage
    short: int  # number of questions with fewer passages than the setting k
    prompts: str  # digest of all prompts; "" if the prompts are unknown
    answers: tuple[str, ...]  # per seed, the digest of all log-probabilities; "" if there are none


def warning_facts(seeds: Sequence[Sequence[Score]], k: int) -> WarningFacts:
    """Return the data about an arm's questions; unlike answers, prompts and passages are the same for all seeds."""
    first = seeds[0]
    options = [len(score.logprobs) for score in first]
    passages = [score.passages for score in first]
    first_passages = Counter(map(itemgetter(0), filter(None, passages)))
    ids = [score.question_id for score in first]
    order = sorted(range(len(ids)), key=ids.__getitem__)  # so that digests do not depend on the order of the questions
    ordered_ids = tuple(ids[at] for at in order)
    return WarningFacts(
        chance=fsum(1 / count for count in options) / len(options) if options and min(options) > 1 else None,
        repeated=max(first_passages.values(), default=0),
        short=sum(len(some) < k for some in passages),
        prompts=_digest_of_prompts(ordered_ids, [first[at].prompt for at in order]),
        answers=tuple(_digest_of_answers(ordered_ids, [scores[at].logprobs for at in order]) for scores in seeds),
    )


class BlockWarnings:
    """Determines the warnings for the arms of one block, that is, one combination of model, task and shots."""

    def __init__(self, known: Iterable[tuple[Arm, WarningFacts]]) -> None:
        untrained = [(arm, facts) for arm, facts in known if not arm.method.is_trained]
        self._untrained_answers = {facts.answers[0] for _, facts in untrained}
        self._base_configurations = {one for arm, _ in untrained if arm.kind == "base" for one in _configurations(arm)}
        self._base_prompts = {facts.prompts for arm, facts in untrained if arm.kind == "base"}

    def of(
        self, arm: Arm, facts: WarningFacts, accuracy: Accuracy, gain: Gain | None, p: float | None
    ) -> tuple[str, ...]:
        """Return the warnings of a measured arm; `p` is the decisive p value of its gain, or None if unknown."""
        # a model trained elsewhere is a different model on its server, so its configuration differs from that of base
        configurations = _configurations(arm) | (set() if arm.method.trained_as else self._base_configurations)
        applies = {
            "loss not falling": arm.method.train is not None and _loss_did_not_fall(arm),
            "hardly trained": arm.method.train is not None and _hardly_moved(arm),
            f"hardly trained (steps: {_fewest_steps(arm)})": 0 < _fewest_steps(arm) < MIN_STEPS,
            f"open pairs ({_open_pairs(arm)})": _open_pairs(arm) > 0,
            "rounded away": arm.method.train is not None and _rounded_away(arm),
            "as untrained": arm.method.is_trained and _any_in(facts.answers, self._untrained_answers),
            f"configurations ({len(configurations)})": len(configurations) > 1,
            "prompts as base": arm.method.retrieve is not None and _any_in([facts.prompts], self._base_prompts),
            "one passage": _is_contender(arm) and accuracy.n >= MIN_QUESTIONS and 2 * facts.repeated > accuracy.n,
            f"few passages ({facts.short})": arm.kind != "ceiling" and facts.short > 0,
            "at chance": _is_contender(arm) and _at_chance(facts, accuracy, gain, p),
        }
        return tuple(name for name, applied in applies.items() if applied)


def _is_contender(arm: Arm) -> bool:
    """Return whether the arm is expected to answer target questions better than base."""
    return arm.task.role == "target" and arm.kind == ""


def _trainings(arm: Arm) -> list[TrainingRecord]:
    """Return the training records of an arm's seeds; the list is empty for an untrained model."""
    return [result.training for result in arm.results if result.training]


def _loss_did_not_fall(arm: Arm) -> bool:
    losses = [(one.first_loss, one.last_loss) for one in _trainings(arm)]
    return any(first is not None and last is not None and not first - last >= MIN_LOSS_DROP for first, last in losses)


def _hardly_moved(arm: Arm) -> bool:
    return any(one.change is not None and one.change < MIN_WEIGHT_CHANGE for one in _trainings(arm))


def _fewest_steps(arm: Arm) -> int:
    """Return the smallest number of optimizer steps over all seeds, or 0 if the number is unknown."""
    return min((one.steps or 0 for one in _trainings(arm)), default=0)


def _open_pairs(arm: Arm) -> int:
    """Return the number of training pairs in the open form that their task does not use."""
    return max((one.open_pairs for one in _trainings(arm)), default=0)


def _rounded_away(arm: Arm) -> bool:
    """Return whether rounding the weights undid more than half of the reduction in loss for any seed."""
    losses = [(one.first_loss, one.unrounded_loss, one.last_loss) for one in _trainings(arm)]
    return any(
        last - unrounded > (first - unrounded) / 2 >= MIN_LOSS_DROP / 2
        for first, unrounded, last in losses
        if first is not None and unrounded is not None and last is not None
    )


def _any_in(digests: Iterable[str], known: Collection[str]) -> bool:
    return any(digest and digest in known for digest in digests)


def _at_chance(facts: WarningFacts, accuracy: Accuracy, gain: Gain | None, p: float | None) -> bool:
    if (
        facts.chance is None
        or accuracy.interval is None
        or gain is None
        or p is None
        or (gain.absolute > 0 and p < LEVEL)
    ):
        return False
    return accuracy.interval.low <= facts.chance <= accuracy.interval.high


def _digest_of_prompts(ids: tuple[str, ...], prompts: Iterable[str]) -> str:
    """Return a digest of the prompts of all questions, or "" if a prompt is missing."""
    parts = [prompt.encode("utf-8", "surrogatepass") for prompt in prompts]
    return _digest(ids, tuple(map(len, parts)), b"".join(parts))


def _digest_of_answers(ids: tuple[str, ...], answers: Sequence[tuple[float, ...]]) -> str:
    """Return a digest of the log-probabilities of all questions, or "" if a question has no log-probabilities."""
    values = list(chain.from_iterable(answers))
    return _digest(ids, tuple(8 * len(answer) for answer in answers), pack(f"<{len(values)}d", *values))


def _digest(ids: tuple[str, ...], sizes: tuple[int, ...], content: bytes) -> str:
    return sha256(_heading(ids, sizes) + content).hexdigest()[:16] if all(sizes) else ""


@lru_cache(maxsize=16)  # the arms of a block have the same ids, and mostly the same sizes
def _heading(ids: tuple[str, ...], sizes: tuple[int, ...]) -> bytes:
    """Return the text that separates the parts of a digest: the id of each question and the size of its part."""
    return repr(list(zip(ids, sizes, strict=True))).encode("utf-8", "surrogatepass")


def _configurations(arm: Arm) -> set[str]:
    """Return the fingerprints of a server's configuration that were recorded for the answers of an arm."""
    environments = chain.from_iterable(result.environments for result in arm.results)
    return {one.packages[FINGERPRINT] for one in environments if FINGERPRINT in one.packages}
