"""A cell: prompts from questions and hits, then scores from the answers to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256

from kib.errors import InputError
from kib.harness.tasks import RenderedTask
from kib.plan.planner import PlannedCell
from kib.prompts import DEFAULT_TEMPLATE, build_prompt
from kib.records import Answer, Environment, Prompt, RenderedQuestion, Request, Score, Trained
from kib.run.steps.hits import Found
from kib.run.steps.passages import Passages
from kib.spec.load import Spec
from kib.store.folders import CellResult

__all__ = ["PreparedCell", "TokenBudget", "cell_result", "prepare", "scores"]

UNTOLD = ("weights", "seconds")
"""What a training gave and no result holds: places and times differ from run to run."""

DEFAULT_ANSWER_TOKENS = 256
"""lm-eval's own default for what a generating task may write."""

TAIL = 64
"""Characters of a context that decide how its end is tokenised."""


class TokenBudget:
    """A model's tokenizer as a measure: tokens of a prompt with its longest answer, against what the model reads."""

    def __init__(self, tokens: Callable[[str], list[int]] | None, length: int | None, budget: int | None) -> None:
        limits = [limit for limit in (length, budget) if limit is not None]
        self.tokens = tokens
        self.limit = min(limits) if limits and tokens else None
        self._joins: set[tuple[str, str]] = set()
        self._special = len(tokens("")) if tokens else 0
        self._answer = lru_cache(maxsize=65536)(self._answer_tokens)

    def _answer_tokens(self, text: str) -> int:
        return len(self.tokens(text)) - self._special if self.tokens else 0

    def counter(self, requests: Sequence[Request]) -> Callable[[str], int] | None:
        """A function from a prompt to its tokens together with the longest of these requests' answers."""
        tokens = self.tokens
        if tokens is None:
            return None
        longest = max(self._reserve(request) for request in requests)
        return lambda text: len(tokens(text)) + longest

    def _reserve(self, request: Request) -> int:
        if request.kind == "generate_until":
            return int(request.arguments[1].get("max_gen_toks", DEFAULT_ANSWER_TOKENS))
        return self._answer(request.arguments[-1])

    def check_joins(self, question: str, requests: Sequence[Request]) -> None:
        """InputError where an answer would have no token of its own: one token spans its join with the prompt."""
        if self.tokens is None:
            return
        for request in requests:
            if request.kind != "loglikelihood" or not request.arguments[0]:
                continue
            context, continuation = request.arguments[0][-TAIL:], request.arguments[1]
            if (context, continuation) in self._joins:
                continue
            if len(self.tokens(context + continuation)) <= len(self.tokens(context.rstrip())):
                raise InputError(
                    f"question {question}: the answer {continuation!r} has no token of its own after "
                    f"{context[-16:]!r}: the tokenizer joins the two"
                )
            self._joins.add((context, continuation))


@dataclass(frozen=True, slots=True)
class PreparedCell:
    """A cell ready to be asked: a prompt and its requests for each question, in the task's order."""

    plan: PlannedCell
    asked: Sequence[RenderedQuestion]
    retrieved: Sequence[tuple[str, ...]]
    prompts: Sequence[Prompt]
    requests: Sequence[Sequence[Request]]


def prepare(
    plan: PlannedCell,
    spec: Spec,
    rendered_task: RenderedTask,
    asked: Sequence[RenderedQuestion],
    found: Found | None,
    passages: Passages | None,
    token_budget: TokenBudget,
) -> PreparedCell:
    """Prompts and requests of a cell; InputError where questions do not fit, which are then counted and named."""
    retrieved = [_first(found, question.question_id, plan.k) for question in asked]
    chat = plan.asked.chat_of is not None
    template = spec.prompt.template or DEFAULT_TEMPLATE
    prompts: list[Prompt] = []
    too_long: list[str] = []
    for number, (question, ids) in enumerate(zip(asked, retrieved, strict=True)):
        texts = passages.get(ids) if passages else []
        counter = token_budget.counter(rendered_task.requests(number, "", chat=chat))
        try:
            prompts.append(
                build_prompt(
                    question,
                    texts,
                    count=counter,
                    budget=token_budget.limit,
                    template=template,
                    order=spec.prompt.order,
                )
            )
        except InputError as error:
            too_long.append(str(error))
    if too_long:
        raise InputError(f"{len(too_long)} of {len(asked)} questions do not fit into the prompt; {too_long[0]}")
    requests = [rendered_task.requests(number, prompt.text, chat=chat) for number, prompt in enumerate(prompts)]
    for question, some in zip(asked, requests, strict=True):
        token_budget.check_joins(question.question_id, some)
    return PreparedCell(plan, asked, retrieved, prompts, requests)


def _first(found: Found | None, question: str, k: int | None) -> tuple[str, ...]:
    hits = found[question] if found is not None else ()
    return tuple(hit.passage for hit in (hits if k is None else hits[:k]))


def scores(
    prepared: PreparedCell,
    rendered_task: RenderedTask,
    answers: Sequence[Sequence[Answer]],
    gold: Mapping[str, Sequence[str]] | None,
) -> list[Score]:
    """A line for each question; `gold` gives the gold passages' ids where the task has any."""
    made = []
    for number, (question, prompt) in enumerate(zip(prepared.asked, prepared.prompts, strict=True)):
        outcome = rendered_task.score(number, prepared.requests[number], [answer.value for answer in answers[number]])
        retrieved = prepared.retrieved[number]
        made.append(
            Score(
                question_id=question.question_id,
                group=question.group,
                score=outcome.score,
                prediction=outcome.prediction,
                answer=question.answer,
                logprobs=outcome.logprobs,
                output=outcome.output,
                passages=retrieved,
                gold=tuple(p in gold[question.question_id] for p in retrieved)
                if gold is not None and retrieved
                else None,
                dropped=prompt.dropped,
                tokens=prompt.tokens,
                prompt=sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest(),
                relevant=None if gold is None else len(gold[question.question_id]),
            )
        )
    return made


def cell_result(
    plan: PlannedCell,
    rendered_task: RenderedTask,
    lines: Sequence[Score],
    environments: tuple[Environment, ...],
    trained: Trained | None,
    parameters: int | None,
) -> CellResult:
    """The number of a cell and its circumstances."""
    counted = [line.tokens for line in lines if line.tokens is not None]
    tokens = sum(counted) if len(counted) == len(lines) else None
    return CellResult(
        cell=plan.cell,
        n=len(lines),
        correct=sum(line.score for line in lines),
        metric=rendered_task.metric,
        environments=environments,
        prompt_tokens=tokens,
        flops=None if tokens is None or parameters is None else 2.0 * parameters * tokens,
        dropped_passages=sum(line.dropped for line in lines),
        dropped_questions=sum(line.dropped > 0 for line in lines),
        steps=_steps(plan),
        training={key: value for key, value in asdict(trained).items() if key not in UNTOLD} if trained else {},
    )


def _steps(plan: PlannedCell) -> dict[str, str]:
    steps = {"asked": plan.asked.identity, "weights": plan.weights.identity}
    if plan.hits:
        steps |= {"hits": plan.hits.identity, "passages": plan.hits.passages.identity}
    if plan.weights.text:
        steps |= {"text": plan.weights.text.identity}
    return steps
