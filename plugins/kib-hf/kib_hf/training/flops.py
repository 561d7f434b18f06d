"""The computational cost of training."""

from typing import Any

__all__ = ["flops_per_token"]


def flops_per_token(model: Any) -> int:
    """Return the floating-point operations per training token: 6 per trained weight and 4 per frozen weight.

    A frozen weight needs no gradient, which saves two operations. Embedding tables are excluded because they are looked
    up, not multiplied. As is common practice, the matrix products inside attention are omitted.
    """
    from torch.nn import Embedding

    output = model.get_output_embeddings()
    multiplied = output.weight if output is not None else None
    looked_up = {
        id(layer.weight) for layer in model.modules() if isinstance(layer, Embedding) and layer.weight is not multiplied
    }
    counted = [weight for weight in model.parameters() if id(weight) not in looked_up]
    return sum((6 if weight.requires_grad else 4) * weight.numel() for weight in counted)
