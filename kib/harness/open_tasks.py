"""The user's own questions as an lm-eval task that generates answers, which are compared with the accepted answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from kib.errors import InputError
from kib.harness.metrics import Outcome
from kib.harness.tasks import RenderedTask, harness_task, refuse_unusable_text
from kib.prompts import ask_question
from kib.records import AnswerToJudge, Question, Request, Verdict
from kib.support.phrases import shortened
from kib.text_metrics.abstentions import abstains
from kib.text_metrics.metrics import JUDGE, AnswerRules, measure
from kib.text_metrics.normalization import ends_with_article, words
from kib.text_metrics.numbers_in_text import first_number, reads_as_thousands

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["INSTRUCTION", "NEXT_QUESTION", "OPEN_REVISION", "RIGHT", "OpenForm", "OpenTask", "open_task"]

OPEN_REVISION = 2
"""Increase this number when equal questions and options give different prompts, settings or scores than before."""

INSTRUCTION = "Answer the question with the answer alone, without a sentence and without an explanation."
"""The system message for models with a chat template, which would otherwise answer in sentences."""

RIGHT = 0.5
"""The score from which an answer counts as right in the table of right and wrong answers."""

WORD_METRICS = frozenset(["exact", "f1", "contains"])
"""The metrics that compare words without articles."""

NEXT_QUESTION = ("Question:",)
"""The default end of an output without a chat: models that were not trained for chats continue with another question.

A line feed cannot end an output, because many outputs begin with one.
"""


@dataclass(frozen=True, slots=True)
class OpenForm:
    """How answers are generated and scored: rows are ranked by the first metric.

    An output has at most `max_tokens` tokens, and ends before the first text of `stop`. If `stop` is None, the answer
    is the first line of the output that is not empty or, in a chat, the whole turn of the model. `abstentions` are the
    phrases that decline to answer.
    """

    metrics: tuple[str, ...]
    max_tokens: int
    stop: tuple[str, ...] | None
    rules: AnswerRules
    abstentions: tuple[str, ...]

    def declines(self, answer: str) -> bool:
        """Return whether an answer declines to answer."""
        return abstains(answer, self.abstentions, self.rules.language)


class OpenTask(RenderedTask):
    """A task with generated answers."""

    instruction: ClassVar[str] = INSTRUCTION

    def __init__(self, form: OpenForm, *arguments: Any, **options: Any) -> None:
        self._form = form
        super().__init__(*arguments, **options)
        self.metrics = form.metrics

    def _instances(self, index: int, prompt: str, chat: bool) -> "list[Instance]":
        stop = self._form.stop if self._form.stop is not None else () if chat else NEXT_QUESTION
        settings = {"until": list(stop), "max_gen_toks": self._form.max_tokens, "do_sample": False}
        self.task.set_config("generation_kwargs", settings)
        return super()._instances(index, prompt, chat)

    def _answer(self, requests: Sequence[Request], output: str) -> str:
        """Return the part of an output that is scored."""
        by_line = self._form.stop is None and requests[0].arguments[1]["until"] == list(NEXT_QUESTION)
        return _first_line(output) if by_line else output

    def to_judge(self, index: int, requests: Sequence[Request], values: Sequence[Any]) -> AnswerToJudge:
        """Return a question's answer with everything that a judge reads."""
        question = self._question(index)
        return AnswerToJudge(question.text, question.accepted, self._answer(requests, str(values[0])))

    def judged(self, index: int, outcome: Outcome, verdict: Verdict) -> Outcome:
        """Return an outcome with the score of a judge's verdict.

        The judge also decides whether the answer declines to answer, unless the verdict does not say so.
        """
        declined = bool(outcome.abstained if verdict.abstained is None else verdict.abstained)
        names, unanswerable = self.metrics, self._question(index).unanswerable
        scores = dict(zip(names, (outcome.score, *(outcome.other_scores or {}).values()), strict=True))
        if unanswerable:
            scores = dict.fromkeys(names, int(declined))
        else:
            scores[JUDGE] = verdict.score
        score, *others = scores.values()
        other_scores = dict(zip(names[1:], map(float, others), strict=True)) or None
        abstained = declined and (unanswerable or score < RIGHT)
        return replace(outcome, score=score, other_scores=other_scores, abstained=abstained)

    def _question(self, index: int) -> Question:
        return (self.questions or ())[self.rows[index]]

    def score(self, index: int, requests: Sequence[Request], values: Sequence[Any]) -> Outcome:
        """Return the scores of a question's answer, with the whole output; the score of a judge is still 0."""
        output = str(values[0])
        answer = self._answer(requests, output)
        outcome = super().score(index, requests, [answer])
        unanswerable = bool(self.docs[self.rows[index]]["unanswerable"])
        # an output that matches an accepted answer is an answer, for example to "Is the author known or unknown?"
        abstained = (unanswerable or outcome.score < RIGHT) and self._form.declines(answer)
        return replace(outcome, output=output, abstained=abstained)


def _first_line(text: str) -> str:
    """Return the first line of a text that is not empty, or "" if there is none."""
    return next(filter(str.strip, text.splitlines()), "")


def open_task(
    name: str,
    questions: Sequence[Question],
    examples: Sequence[Question],
    form: OpenForm,
    limit: int | None = None,
    notes: Sequence[str] = (),
) -> OpenTask:
    """Return the user's own questions as a task with generated answers; options of the questions are not shown.

    `notes` are remarks on the questions. Raises InputError for a question without a valid answer.
    """
    for question in (*questions, *examples):
        _refuse_unusable(name, question, form)

    def row(question: Question) -> dict[str, Any]:
        asked = ask_question(question.text, (), letters=False)
        shown = form.abstentions[0] if question.unanswerable else question.correct[0]
        accepted = list(question.correct)
        return {"ask": asked, "accepted": accepted, "answer": shown, "unanswerable": question.unanswerable}

    def scores(doc: dict[str, Any], outputs: Sequence[str]) -> dict[str, float]:
        if doc["unanswerable"]:
            return dict.fromkeys(form.metrics, float(form.declines(outputs[0])))
        computed = [metric for metric in form.metrics if metric != JUDGE]
        values = {metric: measure(metric, outputs[0], doc["accepted"], form.rules) for metric in computed}
        return {metric: values.get(metric, 0.0) for metric in form.metrics}

    every = (*notes, *_remarks(questions, form))
    config = {"output_type": "generate_until", "doc_to_target": "answer", "process_results": scores}
    task = harness_task(name, list(map(row, questions)), list(map(row, examples)), config)
    return OpenTask(form, name, task, metric=form.metrics[0], questions=questions, limit=limit, notes=every)


def _remarks(questions: Sequence[Question], form: OpenForm) -> list[str]:
    """Return remarks on accepted answers that a metric may read differently than their author."""
    language = form.rules.language
    accepted = list(dict.fromkeys(answer for question in questions for answer in question.correct))
    remarks = []
    if WORD_METRICS.intersection(form.metrics):
        ending = [answer for answer in accepted if ends_with_article(answer, language)]
        if ending:
            compared = " ".join(words(ending[0], language))
            remarks.append(
                f"{_such_as(ending, 'end')} with a word that is ignored as an article, so that {compared!r} is compared"
            )
    if "number" in form.metrics:
        whole = [answer for answer in accepted if reads_as_thousands(answer, language)]
        if whole:
            value = first_number(whole[0], language)
            remarks.append(
                f"{_such_as(whole, 'contain')} a number that is read as {value:,.0f}, because numbers in the language "
                f"{language} have decimal commas"
            )
    return remarks


def _such_as(answers: Sequence[str], verb: str) -> str:
    """Return the beginning of a sentence about accepted answers: their number, an example, and the verb."""
    many = len(answers) > 1
    example = f", such as {shortened(answers[0])!r}," if many else f" {shortened(answers[0])!r}"
    count = f"{len(answers):,} accepted answers" if many else "the accepted answer"
    return f"{count}{example} {verb if many else f'{verb}s'}"


def _refuse_unusable(name: str, question: Question, form: OpenForm) -> None:
    """Raise InputError if a question has no text, no accepted answer, or no number that `number` can compare."""
    refuse_unusable_text(name, question)
    if question.unanswerable:
        return
    where = f"tasks.{name}: question {question.id}"
    if not question.correct or not all(answer.strip() for answer in question.correct):
        raise InputError(f"{where}: the question has no accepted answer, or an empty one")
    if "number" in form.metrics:
        for answer in question.correct:
            if first_number(answer, form.rules.language) is None:
                raise InputError(
                    f'{where}: the metric "number" needs a number in every accepted answer, got {answer!r}'
                )
