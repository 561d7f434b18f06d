"""transformers, asked without noise and with its refusals said in a sentence."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib_hf.model_folder import ADAPTER

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["add_adapter", "load_config", "load_model", "load_tokenizer", "quietly", "torch_device"]


@contextmanager
def quietly() -> Iterator[None]:
    """No progress bar, no warning and no log line below an error from transformers and lm-eval."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in ("accelerate", "lm_eval", "peft", "transformers")]
    levels = [logger.level for logger in loggers]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _plainly(folder: Path, what: str) -> Iterator[None]:
    try:
        with quietly():
            yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join(lines[:2]) or type(error).__name__
        if "trust_remote_code" in str(error):
            said = "it brings Python code of its own; set `trust_remote_code = true` if you trust where it comes from"
        raise InputError(f"{folder}: {what}: {said}") from error


def load_config(folder: Path, *, trust_remote_code: bool) -> "PretrainedConfig":
    """The configuration of a causal language model."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    with _plainly(folder, "transformers cannot read its config.json"):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    kind = config.model_type
    if kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(f'{folder}: "{kind}" is an encoder-decoder model; `hf` takes causal language models')
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not getattr(config, "auto_map", None):
        raise InputError(f'{folder}: "{kind}" is no causal language model that this version of transformers knows')
    return config


def load_tokenizer(folder: Path, *, trust_remote_code: bool, add_bos_token: bool | None) -> "PreTrainedTokenizerBase":
    """The tokenizer, made as lm-eval's HFLM makes it."""
    from transformers import AutoTokenizer

    given = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
    with _plainly(folder, "transformers cannot read its tokenizer (tokenizer.json and tokenizer_config.json)"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, use_fast=True, **given
        )
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        raise InputError(
            f"{folder}: the tokenizer has neither a beginning-of-text nor an end-of-text token, and lm-eval puts "
            "one before a text without context; name `bos_token` or `eos_token` in tokenizer_config.json"
        )
    return tokenizer


def load_model(folder: Path, *, dtype: str, device: str, trust_remote_code: bool) -> "PreTrainedModel":
    """The weights on their device, every one of them from the files: none left at random."""
    from transformers import AutoModelForCausalLM

    load_config(folder, trust_remote_code=trust_remote_code)
    options: dict[str, Any] = {
        "device_map": {"": device},
        "dtype": dtype,
        "ignore_mismatched_sizes": True,  # told below, by name
        "output_loading_info": True,
        "trust_remote_code": trust_remote_code,
        "use_safetensors": True,
    }
    with _plainly(folder, "transformers cannot load it"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
    model: PreTrainedModel
    model, report = loaded
    if report["missing_keys"]:
        raise InputError(f"{folder}: the weights lack what config.json describes: {_some(report['missing_keys'])}")
    if report["mismatched_keys"]:
        names = [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]]
        raise InputError(f"{folder}: the weights have other sizes than config.json says: {_some(names)}")
    return model


def add_adapter(model: "PreTrainedModel", adapter: Path, device: str) -> Any:
    """The model with a peft adapter on top; InputError where any part of the adapter would not apply."""
    for name in ("adapter_config.json", ADAPTER):
        if not (adapter / name).is_file():
            raise InputError(f"{adapter}: no {name} in it, so not an adapter that kib can put on a model")
    from peft import PeftModel

    with _plainly(adapter, "peft cannot load it"), warnings.catch_warnings():
        # peft says by a warning alone that it left the adapter, or a part of it, out
        warnings.filterwarnings("error", message=r".*[Mm]issing adapter keys")
        try:
            return PeftModel.from_pretrained(model, str(adapter), torch_device=device)
        except UserWarning as warning:
            raise ValueError(str(warning)) from warning


def torch_device(wanted: str) -> str:
    """The device to load on: `auto` is the first CUDA GPU, else the CPU; InputError where the wanted one is absent."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if count else "cpu"
    here = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    if torch.backends.mps.is_available():
        here.append("mps")
    if wanted not in here:
        raise InputError(
            f'device = "{wanted}": PyTorch {torch.__version__} sees no such device here, only {", ".join(here)}'
        )
    return wanted


def _some(names: Any) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
