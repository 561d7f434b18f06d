"""peft's adapters: put beside a model, saved, and measured against the weights that they change."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib_hf.training.options import LoraOptions

__all__ = ["new_adapter", "save_adapter", "squared_update"]


def new_adapter(model: Any, options: LoraOptions, name: str) -> Any:
    """The model with a fresh adapter, which alone is trained; InputError where it has no layer of the names given."""
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
    tied = _tied_output(model)
    try:
        made = get_peft_model(model, config)
    except ValueError as error:
        said = str(error).partition(". ")[0].splitlines()[0].rstrip(".")
        raise InputError(f"{name}: targets = {options.targets}: {said}; it has {', '.join(_linear(model))}") from error
    _check_layers(list(_adapted(made)), tied, options, name)
    return made


def _linear(model: Any) -> list[str]:
    """Last parts of the names of a model's linear layers."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    found = {name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, Linear | Conv1D)}
    return sorted(found) or ["no linear layer"]


def _tied_output(model: Any) -> Any:
    """The output layer where its weight is the embedding's too, else None."""
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    return last if first is not None and last is not None and last.weight is first.weight else None


def _adapted(model: Any) -> Iterator[tuple[str, Any]]:
    """The layers that got an adapter, without it, each behind the last part of its name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name.rpartition(".")[2], layer.get_base_layer()


def _check_layers(layers: Sequence[tuple[str, Any]], tied: Any, options: LoraOptions, name: str) -> None:
    """InputError where an adapter could not be saved, or is larger than any layer that it is to change."""
    for last, layer in layers:
        if layer is tied:
            raise InputError(
                f"{name}: targets = {options.targets}: the weight of {last} is that of the embedding too, and an "
                f"adapter on it would change only one of the two; leave {last} out"
            )
    largest = max(min(layer.weight.shape[:2]) for _, layer in layers)
    if options.rank > largest:
        raise InputError(
            f"{name}: rank = {options.rank}, but the smaller side of the targeted layers is {largest} at most, and an "
            "adapter of that rank changes them in any way there is; lower rank"
        )


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter's safetensors and its configuration, the sets in it sorted and without a machine's paths."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    place = folder / "adapter_config.json"
    config = json.loads(place.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key].sort()
    place.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)  # peft's model card names the machine's paths


def squared_update(model: Any) -> float:
    """Squared norm of what an adapter adds to the weights; merges it into the model layer by layer on the way."""
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
                total += float((base.weight - before).double().square().sum())
    return total
