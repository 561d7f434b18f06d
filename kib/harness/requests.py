"""Splits the requests to a backend into batches, and sends one batch."""

from collections.abc import Callable, Sequence
from inspect import signature
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

from kib.errors import InputError, MissingAnswersError, StepError
from kib.identity import canonical
from kib.interfaces import SeparateBackend
from kib.records import Request, ServedAnswer

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

__all__ = ["answer", "answer_each", "batches"]

BATCH_SIZE = 64
"""The number of requests per stored batch; a killed run loses at most one batch."""


def batches(requests: Sequence[Request], lm: "LM | None" = None) -> list[list[Request]]:
    """Return the distinct requests, split into batches that depend only on the list of requests.

    A backend may define its own batches: `plan(instances)` returns lists of indices, or None if any batches are
    suitable. Otherwise, requests with the same context stay together, because one forward pass scores all one-token
    options, and long requests come first.
    """
    originals = dict(zip(map(_hashable, requests), requests, strict=True))
    ordered = sorted(originals, key=lambda key: (key[0], -len(key[1]), key[1:]))
    plan = getattr(lm, "plan", None)
    planned = plan(_instances([originals[key] for key in ordered])) if plan else None
    if planned is not None:
        if sorted(number for batch in planned for number in batch) != list(range(len(ordered))):
            raise StepError(
                f"the requests sent to the backend {type(lm).__name__} differ from the requests that the backend "
                "planned"
            )
        return [[originals[ordered[number]] for number in batch] for batch in planned]
    collected: list[list[Request]] = [[]]
    for _, group in groupby(ordered, key=lambda key: key[:2]):
        members = [originals[key] for key in group]
        last = collected[-1]
        if last and (len(last) + len(members) > BATCH_SIZE or last[-1].kind != members[0].kind):
            collected.append([])
        collected[-1] += members
    return [batch for batch in collected if batch]


def _hashable(request: Request) -> tuple[str, str, str]:
    return request.kind, str(request.arguments[0]), canonical(list(request.arguments[1:]))


def answer(lm: "LM", batch: Sequence[Request]) -> list[Any]:
    """Return a backend's answers to a batch of one kind: [log-probability, is_greedy], a log-probability, or text.

    Raises InputError if the backend does not support this kind, and StepError if its answers are unusable.
    """
    kind = batch[0].kind
    ask_lm = getattr(lm, kind)
    try:
        values = ask_lm(_instances(batch), **_no_progress_bars(ask_lm))
    except NotImplementedError as error:
        raise InputError(f"the backend {type(lm).__name__} {_inability(kind)}") from error
    if len(values) != len(batch):
        raise StepError(f"the backend {type(lm).__name__} returned {len(values)} answers to {len(batch)} requests")
    if kind == "generate_until":
        return list(values)
    pairs = [(float(value[0]), bool(value[1])) if kind == "loglikelihood" else (float(value), True) for value in values]
    for request, (number, _) in zip(batch, pairs, strict=True):
        if not isfinite(number):
            raise StepError(
                f"the backend {type(lm).__name__} returned the invalid log-probability {number} after "
                f"{str(request.arguments[0])[-40:]!r}; try a dtype with a larger range, such as float32"
            )
    return [[number, greedy] for number, greedy in pairs] if kind == "loglikelihood" else [one for one, _ in pairs]


def answer_each(
    lm: SeparateBackend, requests: Sequence[Request], store: Callable[[Request, ServedAnswer], None]
) -> None:
    """Call `store` with each request and its answer as soon as the answer arrives.

    Raises MissingAnswersError after all other requests if the backend does not support the kind of a request.
    """
    able = [request for request in requests if request.kind == "generate_until"]
    lm.answer_each(_instances(able), lambda number, served: store(able[number], served))
    for request in requests:
        if request.kind != "generate_until":
            raise MissingAnswersError(f"the backend {type(lm).__name__} {_inability(request.kind)}")


def _inability(kind: str) -> str:
    """Return why a backend cannot answer requests of a kind."""
    if kind == "loglikelihood":
        return "does not return log-probabilities; use tasks that generate text"
    return "cannot do this"


def _instances(requests: Sequence[Request]) -> "list[Instance]":
    from lm_eval.api.instance import Instance

    return [
        Instance(
            request_type=request.kind, doc={}, arguments=request.arguments, idx=number, metadata=("kib", number, 1)
        )
        for number, request in enumerate(requests)
    ]


def _no_progress_bars(ask_lm: Callable[..., Any]) -> dict[str, bool]:
    """Return the argument that hides the progress bars of a backend, if the backend accepts this argument."""
    return {"disable_tqdm": True} if "disable_tqdm" in signature(ask_lm).parameters else {}
