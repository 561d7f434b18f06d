"""Functions that attach, save and measure LoRA adapters from peft."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib_hf.training.options import LoraOptions
from kib_hf.training.squared_norm import squared_norm

__all__ = ["new_adapter", "save_adapter", "squared_update"]


def new_adapter(model: Any, options: LoraOptions, name: str) -> Any:
    """Attach a new adapter to a model and freeze all other weights; raise InputError if the options are invalid."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=options.rank,
        lora_alpha=2 * options.rank if options.alpha is None else options.alpha,  # type: ignore[arg-type] # any number
        lora_dropout=options.dropout,
        target_modules=options.targets,
        use_dora=options.dora,
        use_rslora=options.rslora,
        task_type="CAUSAL_LM",
    )
    tied = _tied_output_layer(model)
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        reason = str(error).partition(". ")[0].splitlines()[0].rstrip(".")
        layers = ", ".join(_linear_layer_names(model))
        raise InputError(
            f"{name}: targets = {options.targets}: {reason}; linear layers of the model: {layers}"
        ) from error
    _check_layers(list(_adapted_layers(adapted)), tied, options, name)
    return adapted


def _linear_layer_names(model: Any) -> list[str]:
    """Return the last components of the names of a model's linear layers, in sorted order."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    found = {name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, Linear | Conv1D)}
    return sorted(found) or ["none"]


def _tied_output_layer(model: Any) -> Any:
    """Return the output layer if its weight is tied to the embedding, otherwise None."""
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    return last if first is not None and last is not None and last.weight is first.weight else None


def _adapted_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield a tuple (last component of the layer's name, layer without the adapter) for every layer with an adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name.rpartition(".")[2], layer.get_base_layer()


def _check_layers(layers: Sequence[tuple[str, Any]], tied: Any, options: LoraOptions, name: str) -> None:
    """Raise InputError if the adapter cannot be saved or its rank exceeds the maximum rank of every targeted layer."""
    for layer_name, layer in layers:
        if layer is tied:
            raise InputError(
                f"{name}: targets = {options.targets}: {layer_name} shares its weight with the embedding, and an "
                f"adapter would change only one of the two layers; remove {layer_name} from targets"
            )
    highest = max(min(layer.weight.shape[:2]) for _, layer in layers)
    if options.rank > highest:
        raise InputError(
            f"{name}: rank = {options.rank} exceeds {highest}, the highest possible rank of the targeted layers; "
            "lower rank"
        )


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter's weights and configuration; the configuration has sorted lists and no local paths."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)  # peft's model card contains local paths


def squared_update(model: Any) -> float:
    """Merge the adapter into the model, and return the squared norm of the change in the weights."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    total = 0.0
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, BaseTunerLayer):
                base: Any = layer.get_base_layer()
                base.weight.data = base.weight.data.float()
                before = base.weight.detach().clone()
                layer.merge()
                total += squared_norm(base.weight, before)
    return total
