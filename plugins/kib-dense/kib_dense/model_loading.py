"""Load and run sentence-transformers models without printing anything except one-sentence errors."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib_dense.encoder_location import EncoderLocation
from kib_dense.model_options import ModelOptions

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

__all__ = ["load_model", "run_quietly", "silenced"]

MISSING_WEIGHT = re.compile(r"^(\S+)\s*\|\s*MISSING\b")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Recorder(logging.Handler):
    """A log handler that records warnings as lines of text instead of printing the warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += COLOUR.sub("", record.getMessage()).splitlines()


@contextmanager
def silenced() -> Iterator[list[str]]:
    """Silence transformers and sentence-transformers; yield a list that receives the lines of their warnings."""
    from transformers.utils import logging as transformers_logging

    progress_bars = transformers_logging.is_progress_bar_enabled()
    recorder = _Recorder()
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for logger in loggers:
        logger.handlers, logger.propagate = [recorder], False
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield recorder.lines
    finally:
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        if progress_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_model(location: EncoderLocation, options: ModelOptions) -> Any:
    """Load a SentenceTransformer or CrossEncoder on its device, in evaluation mode.

    Raise InputError if the model cannot be loaded or its files lack weights or a vocabulary.
    """
    import sentence_transformers

    from kib_hf.loading import torch_device

    device = torch_device(options.device)
    folder = location.folder()
    model_class: type[SentenceTransformer | CrossEncoder] = getattr(sentence_transformers, location.model_class)
    try:
        with silenced() as warning_lines:
            model = model_class(
                str(folder),
                device=device,
                trust_remote_code=options.trust_remote_code,
                local_files_only=not options.trust_remote_code,  # custom code may be in a different repository
                model_kwargs={"dtype": options.dtype, "use_safetensors": True},
            )
    except Exception as error:
        raise InputError(f"{location}: sentence-transformers cannot load this model: {_explain(error)}") from error
    _check_weights(location, warning_lines)
    _check_tokenizer(location, model.tokenizer)
    _set_max_tokens(model, location, options.max_tokens)
    return model.eval()


def _explain(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            "the model requires Python code from its own files; set `trust_remote_code = true` if you trust its source"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _check_weights(location: EncoderLocation, warning_lines: list[str]) -> None:
    """Reject missing weights, which transformers would replace with random values after logging a warning."""
    names = [match.group(1) for line in warning_lines if (match := MISSING_WEIGHT.match(line))]
    if location.model_class == "SentenceTransformer":
        names = [name for name in names if "pooler" not in name]  # unused, as pooling is a separate module
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(f"{location}: weights described in config.json are missing: {', '.join(names[:3])}{more}")


def _check_tokenizer(location: EncoderLocation, tokenizer: Any) -> None:
    """Reject a tokenizer with an empty vocabulary, which transformers creates if the tokenizer files are missing."""
    special = set(getattr(tokenizer, "all_special_tokens", ()))
    if not set(tokenizer.get_vocab()) - special:
        raise InputError(
            f"{location}: the tokenizer's vocabulary is empty; tokenizer.json or the vocabulary file may be missing"
        )


def _set_max_tokens(model: Any, location: EncoderLocation, max_tokens: int | None) -> None:
    if max_tokens is None:
        return
    if model.transformers_model is None:
        raise InputError(
            f"{location}: max_tokens = {max_tokens} has no effect, because the model contains no transformer; its "
            "saved limit applies"
        )
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and max_tokens > positions:
        raise InputError(
            f"{location}: max_tokens = {max_tokens} exceeds the model's limit of {positions} positions; lower "
            "max_tokens"
        )
    model.max_seq_length = max_tokens


@contextmanager
def run_quietly(location: EncoderLocation) -> Iterator[None]:
    """Run a computation and suppress its output; raise InputError if the GPU runs out of memory."""
    import torch

    try:
        with silenced():
            yield
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(f"{location}: the GPU ran out of memory; lower `batch_tokens`") from error
