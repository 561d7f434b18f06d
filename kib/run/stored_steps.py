"""Lists the steps of a plan that are stored in the work folder, and recomputes damaged steps."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kib.errors import StepError
from kib.plan.plan import Plan
from kib.plan.steps import HeldBackStep, PassagesStep, TextStep
from kib.run.failures import explain_error
from kib.run.shared_steps import SharedSteps
from kib.store.model_answers import ModelAnswers

__all__ = ["verify_stored_steps"]

StoredStep = tuple[str, str, Callable[[], Any]]
"""The kind and the identity of a step, and the function that reads or recomputes the step."""


def verify_stored_steps(plan: Plan, steps: SharedSteps) -> None:
    """Verify the digests of every stored step of a plan, recompute damaged steps, and remove damaged answers.

    Missing steps remain missing. Raises StepError if a damaged step cannot be recomputed.
    """
    work, progress = steps.context.work, steps.context.progress
    stored = [step for step in _steps(plan, steps) if work.is_marked(*step[:2])]
    with progress.step("verifying stored steps", len(stored)) as advance:
        for kind, identity, compute in stored:
            if not work.has(kind, identity):
                try:
                    compute()
                except Exception as error:
                    where = f"recomputing the damaged step {work.step_folder(kind, identity)}"
                    raise StepError(f"{where}: {explain_error(work, where, error)}") from error
            advance(1)
    for weights in plan.weights:
        if work.step_folder("answers", weights.identity).is_dir():
            with ModelAnswers.open(work, weights.identity):
                pass  # damaged answers are removed when the file is opened


def _steps(plan: Plan, steps: SharedSteps) -> Iterator[StoredStep]:
    """Yield every step of a plan once, after the steps that the step depends on."""
    for asked in plan.asked:
        yield "asked", asked.identity, partial(steps.questions, asked)
    texts = list(dict.fromkeys(_texts(plan)))
    for passages in dict.fromkeys(_passages(plan, texts)):
        yield "passages", passages.identity, partial(steps.passages, passages)
    for index in dict.fromkeys(hits.index for hits in plan.hits if hits.index):
        yield "index", index.identity, partial(steps.index, index)
    for hits in plan.hits:
        yield "hits", hits.identity, partial(steps.hits, hits)
    for text in texts:
        read: Callable[[Any], Any] = steps.held_back if isinstance(text, HeldBackStep) else steps.text
        yield "text", text.identity, partial(read, text)
    for weights in plan.weights:
        if weights.text:
            yield "weights", weights.identity, partial(steps.trained, weights)


def _texts(plan: Plan) -> Iterator[TextStep | HeldBackStep]:
    """Yield the steps that write texts for trainers."""
    for weights in plan.weights:
        if weights.text and weights.text.as_many_as:
            yield weights.text.as_many_as
        if weights.text:
            yield weights.text
        if isinstance(weights.validation, HeldBackStep):
            yield weights.validation


def _passages(plan: Plan, texts: list[TextStep | HeldBackStep]) -> Iterator[PassagesStep]:
    """Yield the steps that split corpora into passages for retrievers and trainers."""
    yield from (hits.passages for hits in plan.hits)
    yield from (text.passages for text in texts)
    yield from (text.replay for text in texts if isinstance(text, TextStep) and text.replay)
    for weights in plan.weights:
        yield from (step for step in (weights.validation, weights.held_out) if isinstance(step, PassagesStep))
