"""What can be known of a training before it: whether its options go with the model, the machine and the texts."""

import os
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.records import Weights
from kib_hf.loading import load_config, load_tokenizer, quietly, torch_device
from kib_hf.training.adapters import new_adapter
from kib_hf.training.crew import crew_size
from kib_hf.training.examples import ending
from kib_hf.training.options import LoraOptions, TrainingOptions

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["check_sharding", "check_suitability"]

SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""What accelerate sets for models that are spread over processes."""


def check_suitability(options: TrainingOptions, start: Weights, validation: bool) -> None:
    """InputError for what a training would stumble over; of the model only configuration and tokenizer are read."""
    o, folder = options, start.folder
    if start.adapter is not None:
        raise InputError(f"{start.adapter}: weights with an adapter cannot be trained on; merge it into its model")
    if o.patience is not None and not validation:
        raise InputError(f"patience = {o.patience} needs a validation text; name one, or leave patience out")
    check_sharding()
    crew_size(o)
    device = torch_device(o.device).partition(":")[0]
    if o.dtype == "float16" and device != "cuda":
        raise InputError('dtype = "float16" needs a CUDA GPU: on a CPU use "bfloat16" or "float32"')
    config = load_config(folder, trust_remote_code=o.trust_remote_code)
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    if length is not None and o.block > length:
        raise InputError(f"{folder}: block = {o.block}, but the model reads {length} tokens at once; lower block")
    ending(load_tokenizer(folder, trust_remote_code=o.trust_remote_code, add_bos_token=None))
    if isinstance(o, LoraOptions):
        _check_adapter(o, config, str(folder))


def check_sharding() -> None:
    """InputError where accelerate would spread the model over processes."""
    sharding = [name for name in SHARDING if os.environ.get(name, "").lower() in ("1", "true")]
    if sharding:
        raise InputError(
            f"{sharding[0]} is set: each process of a training holds the whole model; use MULTI_GPU instead"
        )


def _check_adapter(options: LoraOptions, config: "PretrainedConfig", name: str) -> None:
    """InputError where the adapter does not go with the model's layers, which are built without their weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with quietly(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            made: Any = AutoModelForCausalLM
            model = made.from_config(config, trust_remote_code=options.trust_remote_code)
        except Exception:  # noqa: BLE001 - code that needs its weights at once: the training looks at its layers
            return
        new_adapter(model, options, name)
