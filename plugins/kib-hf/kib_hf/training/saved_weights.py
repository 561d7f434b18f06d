"""Functions that save trained weights as safetensors and measure the change in the weights."""

import math
import shutil
from pathlib import Path
from typing import Any

from kib.records import Weights
from kib_hf.loading import load_model
from kib_hf.model_folder import PATTERNS
from kib_hf.training.adapters import save_adapter, squared_update
from kib_hf.training.checkpoints import whole_folder
from kib_hf.training.squared_norm import squared_norm

__all__ = ["round_weights", "save_weights"]


def round_weights(model: Any, dtype: Any) -> None:
    """Round every weight to the nearest value in `dtype` without changing the model's data type."""
    for weight in model.state_dict().values():
        if weight.is_floating_point():
            weight.copy_(weight.to(dtype))


def save_weights(model: Any, dtype: Any, start: Path, target: Weights, trust_remote_code: bool) -> float:
    """Save the trained weights atomically to `target`; return the norm of their change relative to `start`.

    Full weights are saved together with the tokenizer from `start`, in the data type of `start`, because models are
    scored in this data type by default.
    """
    if target.adapter is None:
        _save_full(model.to(dtype), start, target.folder)
        return _relative_change(model, start, trust_remote_code)
    with whole_folder(target.adapter) as part:
        save_adapter(model, part)
    before = sum(squared_norm(weight) for name, weight in model.named_parameters() if "lora_" not in name)
    return math.sqrt(squared_update(model) / before)


def _save_full(model: Any, start: Path, target: Path) -> None:
    """Save all weights, and copy files that transformers does not write, such as the tokenizer."""
    with whole_folder(target) as part:
        model.save_pretrained(part)
        for pattern in PATTERNS:
            for path in start.glob(pattern):
                copy = part / path.relative_to(start)
                if path.is_file() and not copy.exists() and not path.name.endswith(".safetensors.index.json"):
                    copy.parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, copy)


def _relative_change(model: Any, start: Path, trust_remote_code: bool) -> float:
    """Return the norm of the difference from the weights in `start`, divided by the norm of the weights in `start`."""
    import torch

    before = load_model(start, dtype="auto", device="cpu", trust_remote_code=trust_remote_code)
    update = weights = 0.0
    with torch.inference_mode():
        for (_, old), (_, new) in zip(before.named_parameters(), model.named_parameters(), strict=True):
            update += squared_norm(new.cpu(), old)
            weights += squared_norm(old)
    return math.sqrt(update / weights)
