"""A look at the model itself: whether it keeps the texts of a packed row apart, as `pack = "isolated"` promises."""

import inspect
from array import array
from typing import Any

from kib.errors import InputError
from kib_hf.training.examples import IGNORED, Piece
from kib_hf.training.loss import collate

__all__ = ["check_isolation"]

TOLERANCE = 0.01
"""Of the largest logit: rounding in bfloat16 stays below it, a text that is seen goes far beyond."""
ADVICE = 'use `pack = "concatenate"` or `pack = "none"` with it'


def check_isolation(model: Any, name: str) -> None:
    """InputError unless a text gets the same logits after another text in its row as it gets alone.

    Architectures without position numbers, or with a state beside attention, can fail this.
    """
    import torch

    if "position_ids" not in inspect.signature(_inner(model).forward).parameters:
        raise InputError(f'{name}: takes no position_ids, so `pack = "isolated"` cannot keep texts apart; {ADVICE}')
    known = model.config.get_text_config().vocab_size
    first, second, third = (_piece(known, start, 12) for start in (0, 12, 24))
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        alone = _logits(model, [[second]])[0]
        packed = _logits(model, [[first, second], [third, second]])[:, -len(second) :]
    model.train(was_training)
    if not bool(alone.isfinite().all()):
        raise InputError(f"{name}: its logits are no numbers, so its weights are damaged")
    if not bool((packed - alone).abs().max() <= TOLERANCE * alone.abs().max()):
        raise InputError(f"{name}: with this version of transformers, texts in one row see each other; {ADVICE}")


def _inner(model: Any) -> Any:
    """The model of transformers under an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _piece(vocabulary: int, start: int, length: int) -> Piece:
    tokens = array("i", [(start + place) % vocabulary for place in range(length)])
    return Piece(tokens, array("i", [IGNORED] * length))


def _logits(model: Any, rows: list[list[Piece]]) -> Any:
    batch = {name: part.to(model.device) for name, part in collate(rows, 0).items()}
    del batch["labels"]
    return model(**batch, use_cache=False).logits.float()
