"""A check that the loaded model isolates the texts in a packed row, as required by `pack = "isolated"`."""

import inspect
from array import array
from typing import Any

from kib.errors import InputError
from kib_hf.training.examples import IGNORED, Example
from kib_hf.training.micro_batches import collate

__all__ = ["check_isolation"]

TOLERANCE = 0.01
"""The allowed relative difference of logits, above bfloat16 rounding errors but far below the effect of other texts."""

ADVICE = 'set `layout = "sorted"`'


def check_isolation(model: Any, name: str) -> None:
    """Raise InputError unless a text has the same logits in a packed row as in a row of its own.

    The check can fail for architectures without position ids or with recurrent state in addition to attention.
    """
    import torch

    if "position_ids" not in inspect.signature(_base_model(model).forward).parameters:
        raise InputError(
            f"{name}: the model does not accept position_ids, so texts in one row attend to each other; {ADVICE}"
        )
    vocabulary = model.config.get_text_config().vocab_size
    first, second, third = (_example(vocabulary, start, 12) for start in (0, 12, 24))
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        alone = _logits(model, [[second]])[0]
        packed = _logits(model, [[first, second], [third, second]])[:, -len(second) :]
    model.train(was_training)
    if not bool(alone.isfinite().all()):
        raise InputError(f"{name}: the model's logits are not finite, so the weights must be damaged")
    if not bool((packed - alone).abs().max() <= TOLERANCE * alone.abs().max()):
        raise InputError(f"{name}: with this version of transformers, texts in one row attend to each other; {ADVICE}")


def _base_model(model: Any) -> Any:
    """Return the transformers model wrapped by an adapter, or the model itself if it has no adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _example(vocabulary: int, start: int, length: int) -> Example:
    """Return an example of consecutive token ids that do not contribute to the loss."""
    tokens = array("i", [(start + offset) % vocabulary for offset in range(length)])
    return Example(tokens, array("i", [IGNORED] * length))


def _logits(model: Any, rows: list[list[Example]]) -> Any:
    """Return the float32 logits of rows, with shape (rows, longest row, vocabulary)."""
    batch = {name: tensor.to(model.device) for name, tensor in collate(rows, 0).items()}
    del batch["labels"]
    return model(**batch, use_cache=False).logits.float()
