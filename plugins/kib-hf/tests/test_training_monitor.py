from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kib.errors import StepError
from kib_hf.training import monitor as module
from kib_hf.training.checkpoints import Progress, read_progress
from kib_hf.training.monitor import Monitor
from kib_hf.training.packing import StepPlan

EPOCHS = 8
PLAN = StepPlan(tuple(() for _ in range(2 * EPOCHS)), epoch_ends=tuple(range(2, 2 * EPOCHS + 1, 2)))
"""A training plan with two steps per epoch."""


def follow(
    folder: Path, losses: Sequence[float], *, patience: int | None, every: int = 1
) -> tuple[Monitor, Any, list[int]]:
    """Call a monitor with one validation loss per epoch until the monitor stops the training run.

    The model has a single weight, the step number. Return the monitor, the model, and the steps with a checkpoint.
    """
    import torch

    given = iter(losses)
    monitor = Monitor(PLAN, folder, every=every, log=lambda _: None, validate=lambda: next(given), patience=patience)
    model, control = torch.nn.Linear(1, 1, bias=False), SimpleNamespace(should_training_stop=False, should_save=False)
    saved = []
    for step in range(1, len(PLAN.steps) + 1):
        torch.nn.init.constant_(model.weight, step)
        monitor.after_step(step, control, model)
        saved += [step] if control.should_save else []
        if control.should_training_stop:
            break
    return monitor, model, saved


@pytest.mark.parametrize(
    ("losses", "patience", "stop", "best"),
    [
        ([3, 2, 1, 1, 1], 1, 8, 6),
        ([3, 2, 1, 1, 1], 2, 10, 6),
        ([1, 2, 0.5, 2, 0.6, 0.5, 0.1], 3, 12, 6),
        ([1, float("nan"), 2], 2, 6, 2),
        ([8, 7, 6, 5, 4, 3, 2, 1], 1, 16, 16),
    ],
)
def test_early_stop(tmp_path: Path, losses: Sequence[float], patience: int, stop: int, best: int) -> None:
    """A run stops after `patience` epochs without a new lowest loss, and restores the weights with the lowest loss."""
    monitor, model, _ = follow(tmp_path, losses, patience=patience)
    assert monitor.step == stop
    monitor.restore_lowest(model)
    assert model.weight.item() == best


def test_no_early_stop(tmp_path: Path) -> None:
    """Without the option `patience`, a training run completes all epochs and keeps the last weights."""
    monitor, model, _ = follow(tmp_path, [1, 2, 3, 4, 5, 6, 7, 8], patience=None)
    monitor.restore_lowest(model)
    assert model.weight.item() == monitor.step == 2 * EPOCHS
    assert not list(tmp_path.iterdir())


def test_last_step_leaves_no_checkpoint(tmp_path: Path) -> None:
    """No checkpoint is saved after the last step, because a run resumed from it would train for additional steps."""
    _, _, saved = follow(tmp_path, [1, 1, 1], patience=1)
    assert saved == [1, 2, 3]
    _, _, saved = follow(tmp_path, [1] * EPOCHS, patience=None, every=4)
    assert saved == [4, 8, 12]


def test_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint stores the training time of all sessions so far, excluding the time between sessions."""
    clock = SimpleNamespace(now=50.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monitor = Monitor(PLAN, tmp_path, every=1, log=lambda _: None, validate=None, patience=None)
    clock.now += 7
    monitor.start(Progress(tokens=5, seconds=1000.0))
    clock.now += 2
    monitor.step = 4
    (tmp_path / "checkpoint-4").mkdir()
    monitor.after_save(main_process=True)
    assert read_progress(tmp_path / "checkpoint-4") == Progress(tokens=5, seconds=1002.0)
    clock.now += 3
    monitor.count_seconds()
    assert monitor.progress.seconds == 1005.0


def test_log(tmp_path: Path) -> None:
    """The log of a step includes any measured validation loss, and an infinite or NaN loss raises an error."""
    records: list[Mapping[str, Any]] = []
    monitor = Monitor(PLAN, tmp_path, every=1, log=records.append, validate=None, patience=None)
    monitor.step = 3
    monitor.after_log({"train_runtime": 1.0})
    monitor.after_log({"loss": 2.0, "learning_rate": 0.1})
    monitor.validation = 4.0
    monitor.after_log({"loss": 2.0, "learning_rate": 0.1})
    record = {"step": 3, "steps": 2 * EPOCHS, "tokens": 0, "loss": 2.0, "learning_rate": 0.1}
    assert records == [record, {**record, "validation": 4.0}]
    with pytest.raises(StepError, match="step 3: the loss is inf; lower learning_rate or max_grad_norm"):
        monitor.after_log({"loss": float("inf"), "learning_rate": 0.1})
