"""A finished training: its weights as safetensors, how far they moved, and what they cost."""

import math
import shutil
from pathlib import Path
from typing import Any

from kib.records import Weights
from kib_hf.loading import load_model
from kib_hf.model_folder import PATTERNS
from kib_hf.training.adapters import save_adapter, squared_update
from kib_hf.training.checkpoints import new_folder

__all__ = ["operations", "round_weights", "save"]


def operations(model: Any) -> int:
    """Floating-point operations a token: 6 for each trained weight, 4 for each frozen one (no gradient of its own).

    Tables that are looked up, not multiplied with, do not count; attention's own products are left out, as usual.
    """
    from torch.nn import Embedding

    output = model.get_output_embeddings()
    multiplied = output.weight if output is not None else None
    looked_up = {
        id(layer.weight) for layer in model.modules() if isinstance(layer, Embedding) and layer.weight is not multiplied
    }
    counted = [part for part in model.parameters() if id(part) not in looked_up]
    return sum((6 if part.requires_grad else 4) * part.numel() for part in counted)


def round_weights(model: Any, dtype: Any) -> None:
    """Give each weight the nearest value that `dtype` has; the model goes on computing in its own format."""
    for part in model.state_dict().values():
        if part.is_floating_point():
            part.copy_(part.to(dtype))


def save(model: Any, dtype: Any, start: Path, place: Weights, trust_remote_code: bool) -> float:
    """Write the weights to their place, whole or not at all; the norm of the update over that of the weights before.

    Full weights are saved in the number format of `start`, which a model is scored in by default, with its tokenizer.
    """
    if place.adapter is None:
        _save_full(model.to(dtype), start, place.folder)
        return _moved(model, start, trust_remote_code)
    with new_folder(place.adapter) as part:
        save_adapter(model, part)
    before = sum(float(p.detach().double().square().sum()) for n, p in model.named_parameters() if "lora_" not in n)
    return math.sqrt(squared_update(model) / before)


def _save_full(model: Any, start: Path, place: Path) -> None:
    with new_folder(place) as part:
        model.save_pretrained(part)
        for pattern in PATTERNS:
            for path in start.glob(pattern):
                target = part / path.relative_to(start)
                if path.is_file() and not target.exists() and not path.name.endswith(".safetensors.index.json"):
                    target.parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, target)


def _moved(model: Any, start: Path, trust_remote_code: bool) -> float:
    import torch

    before = load_model(start, dtype="auto", device="cpu", trust_remote_code=trust_remote_code)
    update = weights = 0.0
    with torch.inference_mode():
        for (_, old), (_, new) in zip(before.named_parameters(), model.named_parameters(), strict=True):
            update += float((new.detach().cpu().double() - old.double()).square().sum())
            weights += float(old.double().square().sum())
    return math.sqrt(update / weights)
