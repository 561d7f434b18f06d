"""sentence-transformers, asked without noise and with its refusals said in a sentence."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib_dense.source import ModelOptions, Source

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

__all__ = ["batch_tokens", "batches", "by_itself", "load", "quietly"]

ON_GPU = 32_768
"""Tokens that are computed at once where `batch_tokens` is not given and the device is no CPU."""
MISSING = re.compile(r"^(\S+)\s*\|\s*MISSING\b")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Heard(logging.Handler):
    """Keeps what is logged instead of printing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += COLOUR.sub("", record.getMessage()).splitlines()


@contextmanager
def quietly() -> Iterator[list[str]]:
    """No progress bar and no output from transformers and sentence-transformers; gives their warnings as lines."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    heard = _Heard()
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for logger in loggers:
        logger.handlers, logger.propagate = [heard], False
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield heard.lines
    finally:
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load(source: Source, options: ModelOptions) -> Any:
    """The SentenceTransformer or CrossEncoder on its device, in evaluation mode, with every weight from its files."""
    import sentence_transformers

    from kib_hf.loading import torch_device

    device = torch_device(options.device)
    folder = source.folder()
    made: type[SentenceTransformer | CrossEncoder] = getattr(sentence_transformers, source.kind)
    said: list[str] = []
    try:
        with quietly() as said:
            model = made(
                str(folder),
                device=device,
                trust_remote_code=options.trust_remote_code,
                local_files_only=not options.trust_remote_code,  # code may stand in another repository
                model_kwargs={"dtype": options.dtype, "use_safetensors": True},
            )
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        if "trust_remote_code" in str(error):
            reason = "it brings Python code of its own; set `trust_remote_code = true` if you trust where it comes from"
        raise InputError(f"{source}: sentence-transformers cannot load it: {reason}") from error
    _check_complete(source, said)
    _check_tokenizer(source, model.tokenizer)
    _limit(model, source, options.max_tokens)
    return model.eval()


def _check_complete(source: Source, said: list[str]) -> None:
    """Refuse weights that the files lack: transformers fills them in at random and says so in its log alone."""
    names = [match.group(1) for line in said if (match := MISSING.match(line))]
    if source.kind == "SentenceTransformer":
        names = [name for name in names if "pooler" not in name]  # never read: pooling is a module of its own
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(f"{source}: the weights lack what config.json describes: {', '.join(names[:3])}{more}")


def _check_tokenizer(source: Source, tokenizer: Any) -> None:
    """Refuse a tokenizer without a word: transformers makes one where the files of a tokenizer are lost."""
    special = set(getattr(tokenizer, "all_special_tokens", ()))
    if not set(tokenizer.get_vocab()) - special:
        raise InputError(f"{source}: its tokenizer knows no word; are tokenizer.json or the vocabulary lost?")


def _limit(model: Any, source: Source, wanted: int | None) -> None:
    if wanted is None:
        return
    if model.transformers_model is None:
        raise InputError(
            f"{source}: max_tokens = {wanted}, but a model without a transformer reads as much as it is saved to"
        )
    most = getattr(model.config, "max_position_embeddings", None)
    if most is not None and wanted > most:
        raise InputError(f"{source}: max_tokens = {wanted}, but the model has {most} positions")
    model.max_seq_length = wanted


def batch_tokens(model: Any, options: ModelOptions) -> int:
    """Tokens in one batch: the option; else one text on a CPU, where batches gain little and rounding would differ."""
    if options.batch_tokens is not None:
        return options.batch_tokens
    return 1 if model.device.type == "cpu" else ON_GPU


def batches(lengths: list[int], most: int) -> Iterator[list[int]]:
    """The places of texts, longest first, in groups whose padded size is at most `most` tokens, at least one a group.

    What follows a group does not depend on the groups before it, so that a list cut at a group's end goes on alike.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    group: list[int] = []
    for place in order:
        if group and lengths[group[0]] * (len(group) + 1) > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


@contextmanager
def by_itself(source: Source) -> Iterator[None]:
    """One computation, quiet; a device without enough memory is said in a sentence."""
    import torch

    try:
        with quietly():
            yield
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(f"{source}: the GPU's memory is full; a smaller `batch_tokens` needs less of it") from error
