"""Estimates of the operations and the peak memory of scoring, and the speed of this machine; no weights are loaded.

The model is created on the device "meta", which stores the shapes of the weights but not their values.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from kib.interfaces import Estimate, Workload
from kib.support.peak_memory import resident
from kib_hf.loading import load_config, quietly

__all__ = ["ModelShape", "base_bytes", "byte_width", "empty_model", "estimate_scoring", "machine_speed", "shape_of"]

PROBE_SECONDS = 1.0
"""The duration of the measurement of the machine's speed."""

PROBE_SHAPE = (512, 1024)
"""The numbers of rows and columns of the multiplied matrices, which resemble a forward pass of a small model."""

EFFICIENCY = 0.4
"""The speed of a model relative to the speed of large matrix products; attention, norms and copies take the rest."""

SHARED_LOGITS = 3
"""The number of copies of a block of logits that exist at the same time: the logits, their softmax and a gradient."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model.

    `parameters` counts all weights; `output` counts the weights of the output layer, and `looked_up` the weights of
    embedding tables that are not multiplied. `layer_values` is the number of inputs and outputs of all linear layers
    per token except the output layer, and `layers` is the number of decoder layers. `vocabulary` is the number of
    logits per position.
    """

    parameters: int
    output: int
    looked_up: int
    layer_values: int
    layers: int
    vocabulary: int

    @property
    def inner(self) -> int:
        """The number of weights that are multiplied for every token, excluding the output layer."""
        return self.parameters - self.output - self.looked_up


def empty_model(folder: Path, *, trust_remote_code: bool) -> Any | None:
    """Return a model without values, or None if the model's own code requires real weights.

    Raise InputError if the configuration cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(folder, trust_remote_code=trust_remote_code)
    auto_model: Any = AutoModelForCausalLM
    with quietly(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            return auto_model.from_config(config, trust_remote_code=trust_remote_code)
        except Exception:  # noqa: BLE001 - the model's own code may raise anything
            return None


def shape_of(model: Any) -> ModelShape:
    """Return the sizes of a model."""
    from torch.nn import Embedding

    output = model.get_output_embeddings()
    weight = None if output is None else output.weight
    tables = {id(layer.weight): layer.weight for layer in model.modules() if isinstance(layer, Embedding)}
    looked_up = sum(table.numel() for table in tables.values() if table is not weight)
    config = model.config.get_text_config()
    values = sum(sum(layer.shape) for layer in _matrices(model) if layer is not weight and id(layer) not in tables)
    return ModelShape(
        parameters=sum(one.numel() for one in model.parameters()),
        output=0 if weight is None else weight.numel(),
        looked_up=looked_up,
        layer_values=values,
        layers=max(1, int(getattr(config, "num_hidden_layers", 1))),
        vocabulary=int(config.vocab_size),
    )


def _matrices(model: Any) -> Iterator[Any]:
    """Yield every weight matrix once."""
    yield from (weight for weight in model.parameters() if weight.dim() == 2)


def estimate_scoring(
    shape: ModelShape, workload: Workload, *, weight_bytes: int, row_tokens: int, positions: int, device: str
) -> Estimate:
    """Return the operations and the peak memory of answering requests.

    A weight takes `weight_bytes` bytes. A forward pass has about `row_tokens` tokens, and the output layer computes the
    logits of at most `positions` positions at a time.
    """
    read, scored = workload.read_tokens or 0, workload.scored_tokens or 0
    operations = 2.0 * (
        shape.inner * (read + workload.written_tokens) + shape.output * (scored + workload.written_tokens)
    )
    tokens = max(row_tokens, workload.longest or 0)
    layer = 4 * tokens * shape.layer_values // shape.layers
    logits = 4 * SHARED_LOGITS * min(positions, max(1, scored)) * shape.vocabulary
    return Estimate(operations, base_bytes(device) + weight_bytes * shape.parameters + layer + logits)


def base_bytes(device: str) -> int:
    """Return the memory in bytes that is used before a model is loaded; on a GPU, only the model's memory counts."""
    return resident() if device == "cpu" else 0


def byte_width(dtype: Any) -> int:
    """Return the number of bytes per value of a torch data type or its name; 4 if the data type is not known."""
    import torch

    known = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    return int(known.itemsize) if isinstance(known, torch.dtype) else 4


@lru_cache
def machine_speed(device: str, dtype: str) -> float:
    """Return the speed of models on a device in operations per second, measured once per process.

    `dtype` is the name of the data type of the products, such as "float32".
    """
    import torch

    rows, size = PROBE_SHAPE
    number = getattr(torch, dtype)
    left, right = (torch.ones(shape, dtype=number, device=device) for shape in ((rows, size), (size, size)))

    def multiply() -> None:
        left @ right
        if left.is_cuda:
            torch.cuda.synchronize(left.device)

    return EFFICIENCY * 2.0 * rows * size * size * rate(multiply)


def rate(work: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how many times per second `work` can be called, from the fastest call in about `PROBE_SECONDS` seconds.

    Other programs make most calls slower while the machine is busy, so the mean would say little about the machine.
    """
    work()  # the first call also allocates memory and starts threads
    begun = now = clock()
    fastest = inf
    while now - begun < PROBE_SECONDS:
        work()
        before, now = now, clock()
        fastest = min(fastest, now - before)
    return 1 / fastest
