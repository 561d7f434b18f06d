"""Check before training, without loading weights, that the options suit the model, the machine and the texts."""

import os
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.records import Weights
from kib_hf.loading import load_config, load_tokenizer, quietly, torch_device
from kib_hf.training.adapters import new_adapter
from kib_hf.training.examples import end_token
from kib_hf.training.options import LoraOptions, TrainingOptions
from kib_hf.training.processes import process_count

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["check_before_training", "check_no_sharding"]

SHARDING_VARIABLES = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""Environment variables that accelerate sets if a model is to be sharded across processes."""


def check_before_training(options: TrainingOptions, start: Weights, validation: bool) -> None:
    """Raise InputError for foreseeable training failures, reading only the configuration and tokenizer."""
    folder = start.folder
    if start.adapter is not None:
        raise InputError(
            f"{start.adapter}: weights with an adapter cannot be trained; merge the adapter into its model"
        )
    if options.patience is not None and not validation:
        raise InputError(
            f"patience = {options.patience} requires a validation text; set `validation` or remove `patience`"
        )
    check_no_sharding()
    process_count(options)
    device = torch_device(options.device).partition(":")[0]
    if options.dtype == "float16" and device != "cuda":
        raise InputError('dtype = "float16" requires a CUDA GPU; use "bfloat16" or "float32" on a CPU')
    config = load_config(folder, trust_remote_code=options.trust_remote_code)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is not None and options.block > context:
        raise InputError(
            f"{folder}: block = {options.block} exceeds the model's limit of {context} positions; lower block"
        )
    end_token(load_tokenizer(folder, trust_remote_code=options.trust_remote_code, add_bos_token=None))
    if isinstance(options, LoraOptions):
        _check_adapter(options, config, str(folder))


def check_no_sharding() -> None:
    """Raise InputError if environment variables make accelerate shard the model across processes."""
    found = [name for name in SHARDING_VARIABLES if os.environ.get(name, "").lower() in ("1", "true")]
    if found:
        raise InputError(
            f"{found[0]} is set, but every training process must hold the whole model; use the distributed type "
            "MULTI_GPU"
        )


def _check_adapter(options: LoraOptions, config: "PretrainedConfig", name: str) -> None:
    """Raise InputError if the adapter does not match the model's layers, which are created without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with quietly(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            auto_model: Any = AutoModelForCausalLM
            model = auto_model.from_config(config, trust_remote_code=options.trust_remote_code)
        except Exception:  # noqa: BLE001 - the model's own code may need real weights; training checks its layers
            return
        new_adapter(model, options, name)
