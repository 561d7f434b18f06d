"""The training loss, summed over a batch or averaged over texts."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kib_hf.training.examples import IGNORED, Example
from kib_hf.training.micro_batches import collate

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["mean_loss", "summed_loss"]


def summed_loss(logits: "Tensor", labels: "Tensor") -> "Tensor":
    """Return the summed negative log-likelihood of the labels in nats, computed in float32."""
    from torch.nn.functional import cross_entropy, pad

    following = pad(labels[:, 1:], (0, 1), value=IGNORED).reshape(-1)
    return cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), following, ignore_index=IGNORED, reduction="sum")


def mean_loss(model: Any, batches: Iterable[Sequence[Sequence[Example]]], padding: int) -> float:
    """Return the loss in nats per token over batches of rows, without dropout; restore the model's mode afterwards.

    The model must have the loss of `kib_hf.training.blocked_loss.add_loss`.
    """
    import torch

    was_training, total, count = model.training, 0.0, 0
    model.eval()
    try:
        with torch.inference_mode():
            for rows in batches:
                batch = {name: tensor.to(model.device) for name, tensor in collate(rows, padding).items()}
                labels = batch.pop("labels")
                total += float(model(**batch, targets=labels)["loss"])
                count += int((labels != IGNORED).sum())
    finally:
        model.train(was_training)
    return total / count
