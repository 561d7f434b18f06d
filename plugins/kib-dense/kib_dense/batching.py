"""Batches of texts for a model, limited by the number of tokens."""

from collections.abc import Iterator
from typing import Any

from kib_dense.model_options import ModelOptions

__all__ = ["batch_tokens", "split_into_batches"]

GPU_BATCH_TOKENS = 32_768
"""Maximum number of tokens in one batch on a GPU if `batch_tokens` is not set."""


def batch_tokens(model: Any, options: ModelOptions) -> int:
    """Return the maximum number of tokens in one batch.

    By default, a CPU processes one text at a time, because batching on a CPU gains little speed and makes rounding
    depend on the batch.
    """
    if options.batch_tokens is not None:
        return options.batch_tokens
    return 1 if model.device.type == "cpu" else GPU_BATCH_TOKENS


def split_into_batches(lengths: list[int], most: int) -> Iterator[list[int]]:
    """Yield batches of text indices, longest texts first.

    A batch of several texts contains at most `most` tokens, including padding.

    Each batch depends only on the texts that are not in earlier batches, so an interrupted computation resumes with the
    same batches.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    batch: list[int] = []
    for position in order:
        if batch and lengths[batch[0]] * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
