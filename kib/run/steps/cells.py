"""Prepares the prompts of a cell, and computes its scores and its result from the answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import fsum

from kib.errors import InputError, PromptTemplateError, PromptTooLongError, SpecError
from kib.harness.open_tasks import RIGHT, OpenTask
from kib.harness.tasks import RenderedTask, sample_rows
from kib.plan.steps import PlannedCell
from kib.prompts import DEFAULT_TEMPLATE, build_prompt
from kib.records import Answer, AnswerToJudge, Environment, Prompt, RenderedQuestion, Request, Score, Verdict
from kib.run.steps.hits import HitsByQuestion
from kib.run.steps.passages import Passages
from kib.run.token_budget import TokenBudget
from kib.spec.load import Spec
from kib.store.result_records import AnswerCounts, CellResult, total_score
from kib.support.phrases import counted

__all__ = ["PreparedCell", "answers_to_judge", "prepare_cell", "score_questions", "summarise_scores"]


@dataclass(frozen=True, slots=True)
class PreparedCell:
    """A cell with one prompt and its requests for each question, in task order.

    `numbers` are the positions of the questions among all questions in `plan.asked`.
    """

    plan: PlannedCell
    numbers: Sequence[int]
    asked: Sequence[RenderedQuestion]
    retrieved: Sequence[tuple[str, ...]]
    prompts: Sequence[Prompt]
    requests: Sequence[Sequence[Request]]


def prepare_cell(
    plan: PlannedCell,
    spec: Spec,
    requests_of: Callable[[int, str], list[Request]],
    questions: Sequence[RenderedQuestion],
    hits: HitsByQuestion | None,
    passages: Passages | None,
    token_budget: TokenBudget,
) -> PreparedCell:
    """Return the prompts and requests of a cell; `requests_of` returns the requests for a question's number and prompt.

    Raises InputError that states the number of questions that do not fit into the prompt, and SpecError if the template
    fails on a passage.
    """
    numbers = sample_rows(len(questions), plan.sample)
    questions = [questions[number] for number in numbers]
    retrieved = [_first_hits(hits, question.question_id, plan.k) for question in questions]
    prompts: list[Prompt] = []
    too_long: list[str] = []
    for number, question, ids in zip(numbers, questions, retrieved, strict=True):
        unprompted = requests_of(number, "")
        try:
            prompt = build_prompt(
                question,
                passages.get(ids) if passages else [],
                count=token_budget.counter(unprompted),
                reserve=token_budget.reserve(unprompted),
                budget=token_budget.limit,
                template=spec.prompt.template or DEFAULT_TEMPLATE,
                order=spec.prompt.order,
                limits=spec.prompt.limits(),
            )
            prompts.append(prompt)
        except PromptTooLongError as error:
            too_long.append(str(error))
        except PromptTemplateError as error:
            raise SpecError([spec.mistake(str(error), "prompt", "template")]) from error
    if too_long:
        total = counted(len(questions), "question")
        raise InputError(f"the prompts of {len(too_long)} of {total} are too long; {too_long[0]}")
    prompted = zip(numbers, prompts, strict=True)
    requests = [requests_of(number, prompt.text) for number, prompt in prompted]
    for question, some in zip(questions, requests, strict=True):
        token_budget.check_joins(question.question_id, some)
    return PreparedCell(plan, numbers, questions, retrieved, prompts, requests)


def _first_hits(hits: HitsByQuestion | None, question_id: str, k: int | None) -> tuple[str, ...]:
    """Return the passage ids of the first `k` hits for a question, or of all hits if `k` is None."""
    found = hits[question_id] if hits is not None else ()
    return tuple(hit.passage for hit in (found if k is None else found[:k]))


def answers_to_judge(
    prepared: PreparedCell, rendered_task: RenderedTask, answers: Sequence[Sequence[Answer]]
) -> list[AnswerToJudge]:
    """Return the answers of a cell with everything that a judge reads; empty unless a judge grades the cell."""
    if prepared.plan.judge is None or not isinstance(rendered_task, OpenTask):
        return []
    return [
        rendered_task.to_judge(position, requests, [answer.value for answer in some])
        for position, requests, some in zip(prepared.numbers, prepared.requests, answers, strict=True)
    ]


def score_questions(
    prepared: PreparedCell,
    rendered_task: RenderedTask,
    answers: Sequence[Sequence[Answer]],
    gold: Mapping[str, Sequence[str]] | None,
    verdicts: Sequence[Verdict] = (),
) -> list[Score]:
    """Return the score of each question; `gold` contains the gold passage ids, or is None if the task has none.

    `verdicts` are the verdicts of the cell's judge; the sequence is empty if kib computes the scores.
    """
    scores = []
    for number, (question, prompt) in enumerate(zip(prepared.asked, prepared.prompts, strict=True)):
        position = prepared.numbers[number]
        outcome = rendered_task.score(position, prepared.requests[number], [answer.value for answer in answers[number]])
        verdict = verdicts[number] if verdicts else None
        if verdict is not None and isinstance(rendered_task, OpenTask):
            outcome = rendered_task.judged(position, outcome, verdict)
        retrieved = prepared.retrieved[number]
        of_question = None if gold is None else gold[question.question_id]
        scores.append(
            Score(
                question_id=question.question_id,
                group=question.group,
                score=outcome.score,
                prediction=outcome.prediction,
                answer=question.answer,
                logprobs=outcome.logprobs,
                output=outcome.output,
                passages=retrieved,
                gold=None if of_question is None or not retrieved else tuple(p in of_question for p in retrieved),
                dropped=prompt.dropped,
                tokens=prompt.tokens,
                prompt=sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest(),
                relevant=None if of_question is None else len(of_question),
                other_scores=outcome.other_scores,
                abstained=outcome.abstained,
                unanswerable=question.unanswerable,
                probe=question.probe,
                verdict=verdict,
            )
        )
    return scores


def summarise_scores(
    plan: PlannedCell,
    rendered_task: RenderedTask,
    scores: Sequence[Score],
    environments: tuple[Environment, ...],
    parameters: int | None,
) -> CellResult:
    """Return the result of a cell from its scores; `parameters` is the number of model parameters, if known."""
    counted = [score.tokens for score in scores if score.tokens is not None]
    tokens = sum(counted) if len(counted) == len(scores) else None
    return CellResult(
        cell=plan.cell,
        n=len(scores),
        correct=total_score(scores),
        metric=rendered_task.metric,
        other_metrics=_other_means(rendered_task.metrics[1:], scores),
        answers=_count_answers(scores),
        empty_answers=sum(score.output is not None and not score.output.strip() for score in scores),
        environments=environments,
        prompt_tokens=tokens,
        flops=None if tokens is None or parameters is None else 2.0 * parameters * tokens,
        dropped_passages=sum(score.dropped for score in scores),
        dropped_questions=sum(score.dropped > 0 for score in scores),
        steps=_step_identities(plan),
    )


def _other_means(metrics: Sequence[str], scores: Sequence[Score]) -> dict[str, float]:
    """Return the mean of each further metric over all questions."""
    return {metric: fsum((score.other_scores or {})[metric] for score in scores) / len(scores) for metric in metrics}


def _count_answers(scores: Sequence[Score]) -> AnswerCounts | None:
    """Return the numbers of right answers and of abstentions, or None if the task scores options."""
    if any(score.abstained is None for score in scores):
        return None
    asked = [score for score in scores if not score.unanswerable]
    hopeless = [score for score in scores if score.unanswerable]
    return AnswerCounts(
        answerable=len(asked),
        right=sum(score.score >= RIGHT for score in asked),
        abstained=sum(score.abstained is True for score in asked),
        unanswerable=len(hopeless),
        declined=sum(score.abstained is True for score in hopeless),
    )


def _step_identities(plan: PlannedCell) -> dict[str, str]:
    """Return the identities of a cell's steps, keyed by kind of step."""
    steps = {"asked": plan.asked.identity, "weights": plan.weights.identity}
    if plan.hits:
        steps |= {"hits": plan.hits.identity, "passages": plan.hits.passages.identity}
    if plan.matched:
        steps |= {"passages": plan.matched.identity}
    if plan.weights.text:
        steps |= {"text": plan.weights.text.identity}
    return steps
