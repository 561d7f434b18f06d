"""Forecasts of time and memory, computed without loading weights."""

from pathlib import Path
from typing import Any

import pytest

from kib.interfaces import TrainingForecast, Workload
from kib.records import Text, Weights
from kib.testing import make_plugin
from kib_hf import HF
from kib_hf.forecast import empty_model, estimate_scoring, rate, shape_of
from kib_hf.loading import load_model
from kib_hf.trainers import Full, Lora
from kib_hf.training import forecast

TEXTS = [
    Text(f"p{number}", "document", f"The ferry number {number} goes north. " * (1 + number % 5)) for number in range(12)
]


def test_the_shape_equals_the_loaded_model(tiny: Path) -> None:
    """A model without values has the same numbers of weights as the loaded model."""
    empty = empty_model(tiny, trust_remote_code=False)
    loaded: Any = load_model(tiny, dtype="float32", device="cpu", trust_remote_code=False)
    shape = shape_of(empty)
    assert shape == shape_of(loaded)
    assert shape.parameters == sum(weight.numel() for weight in loaded.parameters())
    output = loaded.get_output_embeddings().weight
    assert (shape.output, shape.vocabulary) == (output.numel(), output.shape[0])
    assert 0 < shape.inner < shape.parameters


def test_the_operations_of_scoring_follow_the_tokens(tiny: Path) -> None:
    """Each token to read is multiplied with the inner weights, and each scored token with the output layer."""
    shape = shape_of(empty_model(tiny, trust_remote_code=False))

    def operations(read: int, scored: int, written: int = 0) -> float:
        work = Workload("loglikelihood", 1, read, scored, written, read)
        return estimate_scoring(shape, work, weight_bytes=4, row_tokens=16, positions=8, device="cpu").operations

    assert operations(10, 0) == 20 * shape.inner
    assert operations(10, 3) == 20 * shape.inner + 6 * shape.output
    assert operations(10, 0, 2) == 24 * shape.inner + 4 * shape.output


def test_the_memory_of_scoring_does_not_grow_with_the_answers(tiny: Path) -> None:
    """The peak memory depends on the weights, the longest prompt and a block of logits, but not on more answers."""
    shape = shape_of(empty_model(tiny, trust_remote_code=False))

    def peak(scored: int, longest: int, weight_bytes: int = 4) -> int:
        work = Workload("loglikelihood", scored, 10 * scored, scored, 0, longest)
        options = {"weight_bytes": weight_bytes, "row_tokens": 16, "positions": 8, "device": "cuda"}
        return estimate_scoring(shape, work, **options).peak_bytes  # type: ignore[arg-type] # mixed types

    assert peak(8, 10) == peak(8000, 10)
    assert peak(8, 1000) > peak(8, 10)
    assert peak(8, 10) - peak(8, 10, weight_bytes=2) == 2 * shape.parameters


def test_a_model_estimates_its_requests(tiny: Path) -> None:
    """The model `hf` estimates operations and memory, and measures the speed of its device."""
    model: HF = make_plugin(HF, {"path": tiny, "device": "cpu"})
    estimate = model.estimate(Workload("loglikelihood", 4, 100, 8, 0, 30))
    assert estimate is not None
    assert estimate.operations > 0
    assert estimate.peak_bytes > 0


def test_a_speed_is_measured_for_about_a_second() -> None:
    """The speed is that of the fastest call, because a busy machine delays some calls; the first call is left out."""
    now, calls = 0.0, 0

    def work() -> None:
        nonlocal now, calls
        now += (5.0, 0.25, 0.5, 0.125, 0.25)[calls]
        calls += 1

    assert rate(work, lambda: now) == pytest.approx(8.0)
    assert calls == 5


@pytest.mark.parametrize("trainer", [Full, Lora])
def test_a_training_forecast_equals_the_training_run(trainer: type[Any], tiny: Path, tmp_path: Path) -> None:
    """The forecast of a training run has the steps and, without the loss measurements, the operations of the run."""
    plugin = make_plugin(trainer, {"epochs": 2, "batch_size": 4, "block": 64, "device": "cpu"})
    found: TrainingForecast | None = plugin.forecast(Weights(tiny), TEXTS)
    trained = plugin.train(Weights(tiny), TEXTS, tmp_path, 0, lambda _: None)
    assert found is not None
    assert found.steps == trained.steps
    assert found.tokens >= trained.trained_tokens
    measured = found.operations - trained.flops
    shape = shape_of(empty_model(tiny, trust_remote_code=False))
    assert measured == pytest.approx(
        found.tokens * 2.0 * (shape.inner + shape.output)
    )  # before and after, one epoch each


def test_training_memory_depends_on_the_batch_and_the_trained_weights(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger forward passes and more trained weights need more memory, and gradient checkpointing needs less."""
    monkeypatch.setattr(forecast, "base_bytes", lambda _: 0)  # the memory of this process changes between calls

    def peak(trainer: type[Any], **options: Any) -> int:
        plugin = make_plugin(trainer, {"epochs": 1, "block": 64, "device": "cpu", **options})
        found = plugin.forecast(Weights(tiny), TEXTS * 4)
        assert found is not None
        return int(found.peak_bytes)

    whole = peak(Full)
    assert peak(Full, device_batch=1) < whole
    assert peak(Full, gradient_checkpointing=True) < whole
    assert peak(Lora, rank=1) < whole
