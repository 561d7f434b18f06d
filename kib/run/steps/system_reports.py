"""What a system reports about its answers: passages, times and prices; passages are compared with the gold passages.

A system may name passages by the ids of passages or documents in the corpus, or may quote their texts. A text is gold
if it contains the quote of the gold range or, without a quote, a whole gold passage, or if a gold passage contains it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

from msgspec.structs import replace

from kib.records import Answer, Score, ServedAnswer, document_id
from kib.run.steps.cells import PreparedCell
from kib.run.steps.gold_passages import TELLING, LocatedGold
from kib.run.steps.passages import Passages
from kib.store.model_answers import ModelAnswers
from kib.store.result_records import SystemReport
from kib.support.phrases import counted
from kib.support.quotes import find_quote, folded

__all__ = [
    "ReportedAnswer",
    "read_answers",
    "report_remarks",
    "system_report",
    "with_report",
    "with_reports",
]


@dataclass(frozen=True, slots=True)
class ReportedAnswer:
    """An answer whose value is the text alone, with what the system reports about the answer (`ServedAnswer`)."""

    answer: Answer
    passages: tuple[str, ...] | None
    seconds: float
    cost: float | None


def with_report(served: ServedAnswer) -> Any:
    """Return the value to store for an answer: its text or, for an answer of a system, the text with the report."""
    if served.seconds is None:
        return served.value
    passages = None if served.passages is None else list(served.passages)
    return {"text": served.value, "passages": passages, "seconds": served.seconds, "cost": served.cost}


def _reported_answer(answer: Answer) -> ReportedAnswer:
    """Return a stored answer of a system with its report."""
    value = answer.value
    passages = None if value["passages"] is None else tuple(value["passages"])
    text = Answer(value["text"], answer.environment, answer.seconds)
    return ReportedAnswer(text, passages, value["seconds"], value["cost"])


def read_answers(prepared: PreparedCell, answers: ModelAnswers) -> tuple[list[list[Answer]], list[ReportedAnswer]]:
    """Return the stored answers to the questions of a cell, and what a system reports about them (a model: nothing).

    The value of each answer is what models return, so the text alone if a system answered.
    """
    answered = [answers.get(requests) for requests in prepared.requests]
    if prepared.plan.weights.system is None:
        return answered, []
    reported = [_reported_answer(one) for some in answered for one in some]
    return [[one.answer] for one in reported], reported


def system_report(reported: Sequence[ReportedAnswer]) -> SystemReport:
    """Return the sums of what a system reports about the answers of a cell."""
    costs = [one.cost for one in reported if one.cost is not None]
    return SystemReport(
        seconds=fsum(one.seconds for one in reported),
        cost=fsum(costs) if len(costs) == len(reported) else None,
        passages=sum(one.passages is not None for one in reported),
    )


def with_reports(
    scores: Sequence[Score],
    reported: Sequence[ReportedAnswer],
    located: LocatedGold | None,
    passages: Passages | None,
) -> list[Score]:
    """Return the scores with the passages, the times and the prices of the answers.

    `located` and `passages` are the gold and the passages of the corpus, or None if the questions have no gold. Gold
    passages are marked only if at least one reported passage names or quotes a part of the corpus that kib recognises;
    otherwise, the recall is unknown.
    """
    told = [
        replace(score, passages=one.passages or (), seconds=one.seconds, cost=one.cost)
        for score, one in zip(scores, reported, strict=True)
    ]
    if located is None or passages is None:
        return told
    matcher = _Matcher(located, passages, {name for score in told for name in score.passages})
    flags = [tuple(matcher.is_gold(score.question_id, name) for name in score.passages) for score in told]
    if not matcher.names_corpus and not any(map(any, flags)):
        return told
    relevant = [len(located.passages.get(score.question_id, ())) for score in told]
    return [
        replace(score, gold=flag, relevant=number) for score, flag, number in zip(told, flags, relevant, strict=True)
    ]


def report_remarks(scores: Sequence[Score], located: LocatedGold | None) -> list[str]:
    """Return sentences about incomplete reports: answers without a price, and passages that match no gold."""
    remarks = []
    priced = sum(score.cost is not None for score in scores)
    if 0 < priced < len(scores):
        remarks.append(f"the system reports the cost of {priced:,} of {counted(len(scores), 'answer')}")
    if located is not None and all(score.gold is None for score in scores):
        remarks.append(
            "the passages that the system reports neither name passages or documents of the corpus nor quote any gold "
            "text, so the recall is unknown"
        )
    return remarks


class _Matcher:
    """Recognises gold passages among the ids and texts that a system reports."""

    def __init__(self, located: LocatedGold, passages: Passages, named: Collection[str]) -> None:
        self._located = located
        self._ids = passages.offsets.keys() & set(named)
        known = passages.document_names(named)
        self._documents: Mapping[str, str] = {name: one for name, one in known.items() if one is not None}
        gold = sorted({one for some in located.passages.values() for one in some})
        self._texts = {one.id: folded(one.text) for one in passages.get(gold)}

    @property
    def names_corpus(self) -> bool:
        """Whether any reported passage is the id of a passage or of a document in the corpus."""
        return bool(self._ids or self._documents)

    def is_gold(self, question_id: str, name: str) -> bool:
        """Return whether a reported passage is gold for a question."""
        gold = self._located.passages.get(question_id, ())
        if name in self._ids:
            return name in gold
        if name in self._documents:
            return self._documents[name] in map(document_id, gold)
        quotes = [one.quote for one in self._located.gold.get(question_id, ()) if one.quote]
        if quotes:
            return any(find_quote(name, quote) is not None for quote in quotes)
        text = folded(name)
        return any(_overlaps(text, self._texts[one]) for one in gold)


def _overlaps(text: str, passage: str) -> bool:
    """Return whether one of two texts contains the other, which must be long enough to identify its origin."""
    return (len(text) >= TELLING and text in passage) or (bool(passage) and passage in text)
