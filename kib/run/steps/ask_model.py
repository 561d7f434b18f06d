"""Requests missing answers from a model batch by batch or, from some servers, one by one; stores them immediately."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kib.harness.backends import notes
from kib.harness.requests import answer, answer_each, batches
from kib.interfaces import SeparateBackend
from kib.progress import Progress
from kib.records import Environment, Request, ServedAnswer
from kib.run.steps.system_reports import with_report
from kib.store.model_answers import ModelAnswers, request_key

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["ask_model"]


def ask_model(
    requests: Sequence[Request],
    answers: ModelAnswers,
    load: Callable[[], tuple["LM", Environment]],
    progress: Progress,
    title: str,
) -> dict[str, float]:
    """Request the missing answers to `requests` from a model; `load` is called only if an answer is missing.

    The result contains the seconds that the model needed for each kind of request.

    Batches are formed from all requests, and a batch with a missing answer is recomputed completely, so that a resumed
    run computes the same answers as an uninterrupted run. The model is loaded before batches are formed because the
    model may define its own batches. A `SeparateBackend` has no batches.
    """
    seconds: dict[str, float] = {}
    if not answers.missing(requests):
        return seconds
    lm, environment = load()
    if isinstance(lm, SeparateBackend):
        return {"generate_until": _ask_each(requests, answers, (lm, environment), progress, title)}
    open_batches = [batch for batch in batches(requests, lm) if answers.missing(batch)]
    reported = 0
    with progress.step(title, sum(map(len, open_batches))) as advance:
        for batch in open_batches:
            begun = time.perf_counter()
            values = answer(lm, batch)
            spent = time.perf_counter() - begun
            seconds[batch[0].kind] = seconds.get(batch[0].kind, 0.0) + spent
            answers.put(batch, values, environment, spent)
            reported += _report(notes(lm)[reported:], answers, progress, title)
            advance(len(batch))
    return seconds


def _report(remarks: Sequence[str], answers: ModelAnswers, progress: Progress, title: str) -> int:
    """Store and show remarks of a backend, and return their number."""
    for remark in remarks:
        answers.add_note(remark)
        progress.say(f"{title}: {remark}")
    return len(remarks)


def _ask_each(
    requests: Sequence[Request],
    answers: ModelAnswers,
    loaded: tuple[SeparateBackend, Environment],
    progress: Progress,
    title: str,
) -> float:
    """Request only the missing answers, store each answer as soon as it arrives, and return the seconds spent."""
    backend, environment = loaded
    missing = answers.missing_keys(requests)
    unanswered = {key: request for request in requests if (key := request_key(request)) in missing}
    begun = last = time.perf_counter()
    reported = 0
    with progress.step(title, len(unanswered)) as advance:

        def store(request: Request, served: ServedAnswer) -> None:
            nonlocal last, reported
            now = time.perf_counter()
            packages = {**environment.packages, **served.server}
            read, written = served.input_tokens, served.output_tokens
            tokens = [(read, written)] if read is not None and written is not None else []
            value = with_report(served)
            answers.put([request], [value], replace(environment, packages=packages), now - last, tokens)
            last = now
            reported += _report(notes(backend)[reported:], answers, progress, title)
            advance(1)

        answer_each(backend, list(unanswered.values()), store)
    return last - begun
