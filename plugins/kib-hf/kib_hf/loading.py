"""Load configurations, tokenizers, weights and adapters with transformers, printing nothing except short errors."""

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
    """Suppress progress bars and log messages below the error level in transformers, accelerate, peft and lm-eval."""
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
def _one_sentence(folder: Path, problem: str) -> Iterator[None]:
    """Convert any error to an InputError with the first two lines of the original message."""
    try:
        with quietly():
            yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        if "trust_remote_code" in str(error):
            reason = (
                "the model requires Python code from its own files; set `trust_remote_code = true` if you trust its "
                "source"
            )
        raise InputError(f"{folder}: {problem}: {reason}") from error


def load_config(folder: Path, *, trust_remote_code: bool) -> "PretrainedConfig":
    """Load the configuration of a causal language model; raise InputError for other kinds of models."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    with _one_sentence(folder, "transformers cannot read config.json"):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    kind = config.model_type
    if kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(f'{folder}: "{kind}" is an encoder-decoder model; `hf` requires a causal language model')
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not getattr(config, "auto_map", None):
        raise InputError(
            f'{folder}: "{kind}" is not a causal language model that this version of transformers supports'
        )
    return config


def load_tokenizer(folder: Path, *, trust_remote_code: bool, add_bos_token: bool | None) -> "PreTrainedTokenizerBase":
    """Load a tokenizer as lm-eval's HFLM does; raise InputError if the tokenizer has neither a BOS nor an EOS token."""
    from transformers import AutoTokenizer

    given = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
    with _one_sentence(folder, "transformers cannot read the tokenizer (tokenizer.json and tokenizer_config.json)"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, use_fast=True, **given
        )
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        raise InputError(
            f"{folder}: the tokenizer has neither a beginning-of-sequence nor an end-of-sequence token, but lm-eval "
            "requires such a token before a text without context; set `bos_token` or `eos_token` in "
            "tokenizer_config.json"
        )
    return tokenizer


def load_model(folder: Path, *, dtype: str, device: str, trust_remote_code: bool) -> "PreTrainedModel":
    """Load a model on a device; raise InputError if any weight would keep its random initial value."""
    from transformers import AutoModelForCausalLM

    load_config(folder, trust_remote_code=trust_remote_code)
    options: dict[str, Any] = {
        "device_map": {"": device},
        "dtype": dtype,
        "ignore_mismatched_sizes": True,  # mismatched weights are reported by name below
        "output_loading_info": True,
        "trust_remote_code": trust_remote_code,
        "use_safetensors": True,
    }
    with _one_sentence(folder, "transformers cannot load the model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
    model: PreTrainedModel
    model, report = loaded
    if report["missing_keys"]:
        raise InputError(
            f"{folder}: weights described by config.json are missing: {_first_names(report['missing_keys'])}"
        )
    if report["mismatched_keys"]:
        names = [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]]
        raise InputError(f"{folder}: the shapes of these weights do not match config.json: {_first_names(names)}")
    return model


def add_adapter(model: "PreTrainedModel", adapter: Path, device: str) -> Any:
    """Apply a peft adapter to a model; raise InputError if any part of the adapter would have no effect."""
    for name in ("adapter_config.json", ADAPTER):
        if not (adapter / name).is_file():
            raise InputError(
                f"{adapter}: this is not an adapter in peft's format, because the folder contains no {name}"
            )
    from peft import PeftModel

    with _one_sentence(adapter, "peft cannot load the adapter"), warnings.catch_warnings():
        # peft only logs a warning if it ignores all or part of an adapter
        warnings.filterwarnings("error", message=r".*[Mm]issing adapter keys")
        try:
            return PeftModel.from_pretrained(model, str(adapter), torch_device=device)
        except UserWarning as warning:
            raise ValueError(str(warning)) from warning


def torch_device(wanted: str) -> str:
    """Return the name of a device; `auto` selects the first CUDA GPU, or the CPU if there is no GPU.

    Raise InputError if the requested device is not available on this machine.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if count else "cpu"
    available = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if wanted not in available:
        raise InputError(
            f'device = "{wanted}": PyTorch {torch.__version__} finds no such device; available devices: '
            f"{', '.join(available)}"
        )
    return wanted


def _first_names(names: Any) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
