"""The training loss of a causal language model, with a limited number of logits in memory at a time.

The logits of a batch have one value per position and vocabulary entry, which is gigabytes for a large vocabulary. This
module therefore computes logits only at positions with a label, block by block, and computes the gradients of a block
before the next block. The model's own forward pass computes the logits of a block from the decoder's output at these
positions, so that everything the model applies after its decoder is applied, such as soft-capping and scaling.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kib_hf.scoring.model_support import UNSUPPORTED, agree, first_line, probe_tokens
from kib_hf.scoring.tree_reader import replaced
from kib_hf.training.examples import IGNORED
from kib_hf.training.loss import summed_loss

__all__ = ["BLOCK_VALUES", "add_loss"]

BLOCK_VALUES = 2**25
"""The maximum number of logits in memory at a time, which take 128 MiB in float32."""

LOGGER = logging.getLogger("kib_hf")


def add_loss(model: Any, name: str) -> None:
    """Make the call `model(**batch, targets=labels)` return {"loss": the summed loss in nats} instead of logits.

    Calls without `targets` do not change. If the model cannot be divided into a decoder and an output layer, log a
    warning with the model's `name`; the loss is then computed from the logits of all positions.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    halves = _Halves(causal)
    reason = halves.why_not_divisible()
    if reason:
        message = "%s: training computes the logits of all positions at once, which needs more memory, because %s"
        LOGGER.warning(message, name, reason)

    def forward(_: Any, *args: Any, targets: Tensor | None = None, **batch: Any) -> Any:
        if targets is None:
            return halves.forward(*args, **batch)
        batch.pop("num_items_in_batch", None)  # added by the transformers Trainer
        batch["use_cache"] = False  # with a cache, transformers does not isolate packed texts
        if reason or targets.numel() * halves.vocabulary <= BLOCK_VALUES:
            return {"loss": summed_loss(halves.forward(**batch).logits, targets)}
        return {"loss": halves.summed_loss(batch, targets)}

    causal.forward = MethodType(forward, causal)


class _Halves:
    """A causal language model, divided into its decoder and everything that follows the decoder."""

    def __init__(self, causal: Any) -> None:
        self.causal = causal
        self.forward = causal.forward
        self.vocabulary = int(causal.config.get_text_config().vocab_size)

    def why_not_divisible(self) -> str | None:
        """Return the reason why the halves do not compute the model's logits, or None if they do."""
        tokens = torch.tensor(probe_tokens(self.causal)[:8], device=self.causal.device).view(2, 4)
        batch = {"input_ids": tokens, "use_cache": False}
        was_training = self.causal.training
        self.causal.eval()
        try:
            with torch.no_grad():
                expected = self.forward(**batch).logits.flatten(0, 1)
                decoded = self._decoded(batch)
                found = self._logits(batch, decoded, decoded.last_hidden_state.flatten(0, 1))
                if found.shape == expected.shape and agree(found, expected):
                    return None
        except UNSUPPORTED as error:
            return f"the model's decoder cannot be called separately ({first_line(error)})"
        finally:
            self.causal.train(was_training)
        return "the logits computed from the output of the model's decoder differ from the model's logits"

    def summed_loss(self, batch: dict[str, Any], labels: Tensor) -> Tensor:
        """Return the summed loss in nats; the logits of a block of positions are freed before the next block."""
        decoded = self._decoded(batch)
        following = labels[:, 1:]
        scored = following != IGNORED
        hidden, targets = decoded.last_hidden_state[:, :-1][scored], following[scored]
        size = max(1, BLOCK_VALUES // self.vocabulary)

        def block_loss(start: int, block: Tensor) -> Tensor:
            logits = self._logits(batch, decoded, block).float()
            return cross_entropy(logits, targets[start : start + len(block)], reduction="sum")

        if torch.is_grad_enabled():
            weights = [weight for weight in self.causal.parameters() if weight.requires_grad]
            apply: Any = _BlockedLoss.apply
            loss: Tensor = apply(block_loss, size, hidden, *weights)
            return loss
        losses = [block_loss(start, hidden[start : start + size]) for start in range(0, max(1, len(hidden)), size)]
        return torch.stack(losses).sum()

    def _decoded(self, batch: dict[str, Any]) -> Any:
        """Return the decoder's output for a batch."""
        decoder = self.causal.get_decoder()
        original, found = decoder.forward, []

        def forward(*args: Any, **options: Any) -> Any:
            found.append(original(*args, **options))
            return replace(found[0], last_hidden_state=found[0].last_hidden_state[:1, :1])

        with replaced(decoder, forward):
            self.forward(**batch)
        if not found:
            raise ValueError("the forward pass does not call the decoder")
        return found[0]

    def _logits(self, batch: dict[str, Any], decoded: Any, hidden: Tensor) -> Tensor:
        """Return the logits, of shape (positions, vocabulary), for the decoder's output at some positions."""
        output = replace(decoded, last_hidden_state=hidden[None])
        with replaced(self.causal.get_decoder(), lambda *_, **__: output):
            logits: Tensor = self.forward(**batch).logits
        return logits[0]


class _BlockedLoss(torch.autograd.Function):
    """The sum of the losses of all blocks; the gradients are computed together with the loss."""

    @staticmethod
    def forward(
        ctx: Any, block_loss: Callable[[int, Tensor], Tensor], size: int, hidden: Tensor, *weights: Tensor
    ) -> Tensor:
        """Return the loss; store its gradients with respect to the decoder's output and all trained weights."""
        losses, parts = [], []
        sums: list[Tensor | None] = [None] * len(weights)
        for start in range(0, max(1, len(hidden)), size):
            with torch.enable_grad():
                block = hidden[start : start + size].detach().requires_grad_()
                loss = block_loss(start, block)
            part, *gradients = torch.autograd.grad(loss, [block, *weights], allow_unused=True)
            losses.append(loss.detach())
            parts.append(part)
            sums = [_sum(total, gradient) for total, gradient in zip(sums, gradients, strict=True)]
        ctx.gradients = [torch.cat(parts), *sums]
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        """Return the stored gradients times the gradient of the loss."""
        gradients, ctx.gradients = ctx.gradients, None
        return (None, None, *(one if one is None else one.mul_(outer[0]) for one in gradients))


def _sum(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    """Return the sum of two gradients; the first gradient is changed in place, and None denotes a gradient of 0."""
    return gradient if total is None else total if gradient is None else total.add_(gradient)
