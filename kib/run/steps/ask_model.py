"""Requests missing answers from a model batch by batch, and stores each batch immediately."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kib.harness.backends import notes
from kib.harness.requests import answer, batches
from kib.progress import Progress
from kib.records import Environment, Request
from kib.store.model_answers import ModelAnswers

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
    model may define its own batches.
    """
    seconds: dict[str, float] = {}
    if not answers.missing(requests):
        return seconds
    lm, environment = load()
    open_batches = [batch for batch in batches(requests, lm) if answers.missing(batch)]
    reported = 0
    with progress.step(title, sum(map(len, open_batches))) as advance:
        for batch in open_batches:
            begun = time.perf_counter()
            values = answer(lm, batch)
            spent = time.perf_counter() - begun
            seconds[batch[0].kind] = seconds.get(batch[0].kind, 0.0) + spent
            answers.put(batch, values, environment, spent)
            for note in notes(lm)[reported:]:
                answers.add_note(note)
                progress.say(f"{title}: {note}")
                reported += 1
            advance(len(batch))
    return seconds
