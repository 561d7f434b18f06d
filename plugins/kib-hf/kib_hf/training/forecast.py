"""The size, the operations and the peak memory of a training run, computed from texts and configuration only."""

from collections.abc import Sequence
from typing import Any

from kib.interfaces import TrainingForecast
from kib.records import Text, Weights
from kib_hf.forecast import SHARED_LOGITS, ModelShape, base_bytes, byte_width, empty_model, shape_of
from kib_hf.loading import quietly, torch_device
from kib_hf.training.adapters import new_adapter
from kib_hf.training.examples import Example, prepare_examples, sample_examples
from kib_hf.training.flops import flops_per_token
from kib_hf.training.micro_batches import plan_micro_batches
from kib_hf.training.options import LoraOptions, TrainingOptions
from kib_hf.training.packing import plan_steps
from kib_hf.training.processes import process_count

__all__ = ["forecast_training"]

ACTIVATIONS = 1.6
"""The number of stored values per input and output of a linear layer; the rest belongs to norms and attention."""

TRAINED_BYTES = 16
"""The bytes per trained weight: the weight, its gradient and AdamW's two averages, all in float32."""


def forecast_training(
    options: TrainingOptions,
    start: Weights,
    text: Sequence[Text],
    validation: Sequence[Text],
    held_out: Sequence[Text],
) -> TrainingForecast | None:
    """Return the forecast of a training run, or None if the model's own code requires real weights.

    Raise InputError if the texts cannot be trained.
    """
    with quietly():
        return _forecast(options, start, text, validation, held_out)


def _forecast(
    options: TrainingOptions,
    start: Weights,
    text: Sequence[Text],
    validation: Sequence[Text],
    held_out: Sequence[Text],
) -> TrainingForecast | None:
    model = empty_model(start.folder, trust_remote_code=options.trust_remote_code)
    if model is None:
        return None
    shape = shape_of(model)
    if isinstance(options, LoraOptions):
        model = new_adapter(model, options, str(start.folder))
    examples = prepare_examples(text, start, options)
    others = [prepare_examples(some, start, options) if some else [] for some in (validation, held_out)]
    steps, largest = _plan(options, examples)
    tokens = options.epochs * sum(map(len, examples))
    measured = _measured_tokens(options, examples, *others)
    return TrainingForecast(
        tokens=tokens,
        steps=steps,
        operations=float(flops_per_token(model)) * tokens + 2.0 * (shape.inner + shape.output) * measured,
        peak_bytes=_peak_bytes(options, model, shape, largest),
    )


def _plan(options: TrainingOptions, examples: Sequence[Example]) -> tuple[int, int]:
    """Return the number of steps, and the number of tokens in the largest micro-batch, including padding."""
    o, lengths = options, [len(example) for example in examples]
    isolated = o.pack == "isolated"
    plan = plan_steps(lengths, epochs=o.epochs, batch_size=o.batch_size, block=o.block if isolated else None, seed=0)
    packed = isolated and (o.layout == "packed" or (o.layout == "auto" and _device(o) != "cpu"))
    planned, _ = plan_micro_batches(
        plan.steps, lengths, packed=packed, rows=o.device_batch, block=o.block, processes=process_count(o)
    )
    sizes = (len(rows) * max(sum(lengths[index] for index in row) for row in rows) for rows in planned if rows)
    return len(plan.steps), max(sizes)


def _measured_tokens(
    options: TrainingOptions, examples: Sequence[Example], validation: Sequence[Example], held_out: Sequence[Example]
) -> int:
    """Return the number of tokens in all measurements of the loss before, during and after training."""
    samples = (sum(map(len, sample_examples(some))) if some else 0 for some in (examples, held_out))
    return 2 * sum(samples) + (options.epochs + 1) * sum(map(len, validation))


def _peak_bytes(options: TrainingOptions, model: Any, shape: ModelShape, largest: int) -> int:
    """Return the peak memory in bytes; the weights are held by every process, and the largest process counts."""
    from kib_hf.training.blocked_loss import BLOCK_VALUES

    width = byte_width(options.dtype)
    trained = sum(int(weight.numel()) for weight in model.parameters() if weight.requires_grad)
    frozen = sum(int(weight.numel()) for weight in model.parameters()) - trained
    stored = shape.layer_values * ACTIVATIONS
    if options.gradient_checkpointing:  # the input of every layer, and all values of one layer
        stored = stored / shape.layers + shape.layer_values / shape.layers
    logits = min(largest * shape.vocabulary, BLOCK_VALUES) * 4 * SHARED_LOGITS
    batch = int(largest * stored * width) + logits
    return base_bytes(_device(options)) + TRAINED_BYTES * trained + width * frozen + batch


def _device(options: TrainingOptions) -> str:
    return torch_device(options.device).partition(":")[0]
