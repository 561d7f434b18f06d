import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kib.identity import digest_file
from kib.records import Text, Trained, Weights
from kib.testing import DOCUMENTS, make_plugin, make_tiny_model
from kib_hf.trainers import Full, Lora
from kib_hf.training.checkpoints import read_progress, write_progress
from kib_hf.training.monitor import Monitor
from kib_hf.training.packing import StepPlan

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

TEXTS = [Text(d.id, "document", d.text[:300]) for d in DOCUMENTS]
VALIDATION = [Text("other", "paraphrase", "Nobody has seen the copper kettles of the northern harbour.")]
OPTIONS: dict[type[Any], dict[str, Any]] = {
    Full: {"learning_rate": 1e-2, "patience": 9},
    Lora: {"learning_rate": 2e-2, "dropout": 0.2},
}
SHARED = {"epochs": 5, "batch_size": 4, "device_batch": 2, "device": "cpu", "block": 128, "checkpoint_every": 3}
KILLED_AT = 11
"""Between two checkpoints, within an epoch."""

SCRIPT = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_training_resume import KILLED_AT, Full, Lora, train

def log(record):
    if record["step"] == KILLED_AT:
        print("killme", flush=True)
        time.sleep(600)

train({"Full": Full, "Lora": Lora}[sys.argv[2]], Path(sys.argv[3]), Path(sys.argv[4]), log)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "small", layers=1, width=16, positions=512)


def train(trainer: type[Any], start: Path, folder: Path, log: Any) -> Trained:
    made = make_plugin(trainer, {**SHARED, **OPTIONS[trainer]})
    trained: Trained = made.train(Weights(start), TEXTS, folder, 3, log, VALIDATION)
    return trained


def numbers(trained: Trained) -> tuple[Any, ...]:
    """All of a record but the folders."""
    found = (trained.text_tokens, trained.trained_tokens, trained.steps, trained.first_loss, trained.last_loss)
    return (*found, trained.change, trained.flops)


def digest_of(weights: Weights) -> str:
    file = weights.adapter / "adapter_model.safetensors" if weights.adapter else weights.folder / "model.safetensors"
    return digest_file(file)


@pytest.mark.parametrize("trainer", [Full, Lora])
def test_killed(trainer: type[Any], small: Path, tmp_path: Path) -> None:
    """A training that was killed with SIGKILL goes on from its last checkpoint and ends in the same weights."""
    whole = train(trainer, small, tmp_path / "whole", lambda _: None)
    place = tmp_path / "killed"
    arguments = [str(Path(__file__).parent), trainer.__name__, str(small), str(place)]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "killme\n"
        running.kill()
    assert running.returncode == -9
    assert sorted(path.name for path in place.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-9"]
    steps: list[int] = []
    resumed = train(trainer, small, place, lambda record: steps.append(record["step"]))
    assert steps == list(range(10, whole.steps + 1))
    assert digest_of(resumed.weights) == digest_of(whole.weights)
    assert numbers(resumed) == numbers(whole)
    assert not list(place.glob("checkpoint-*"))


def test_seconds_of_all_sessions(small: Path, tmp_path: Path) -> None:
    """The seconds of a training that was stopped are those of all its sessions up to their last checkpoints."""

    class StopError(Exception):
        pass

    def dawdle(record: Mapping[str, Any]) -> None:
        time.sleep(0.2)
        if record["step"] == 8:
            raise StopError

    with pytest.raises(StopError):
        train(Full, small, tmp_path / "out", dawdle)
    progress = read_progress(tmp_path / "out" / "checkpoint-6")
    assert progress.seconds > 6 * 0.2
    write_progress(tmp_path / "out" / "checkpoint-6", replace(progress, seconds=1000.0))
    begun = time.monotonic()
    resumed = train(Full, small, tmp_path / "out", lambda _: None)
    assert resumed.seconds is not None
    assert 1000 < resumed.seconds < 1000 + time.monotonic() - begun
    assert train(Full, small, tmp_path / "out", lambda _: None).seconds == resumed.seconds


def test_half_a_checkpoint(small: Path, tmp_path: Path) -> None:
    """A checkpoint that was not written to its end is left aside, and the one before it is taken."""

    class StopError(Exception):
        pass

    def stop(record: Mapping[str, Any]) -> None:
        if record["step"] == 8:
            raise StopError

    whole = train(Full, small, tmp_path / "whole", lambda _: None)
    place = tmp_path / "stopped"
    with pytest.raises(StopError):
        train(Full, small, place, stop)
    (place / "checkpoint-6" / "progress.json").unlink()
    (place / "checkpoint-6" / "optimizer.pt").write_bytes(b"cut off")
    steps: list[int] = []
    resumed = train(Full, small, place, lambda record: steps.append(record["step"]))
    assert steps[0] == 4
    assert digest_of(resumed.weights) == digest_of(whole.weights)


def test_no_checkpoint_where_an_early_stop_ends_it(tmp_path: Path) -> None:
    """The step that stops a training early leaves no checkpoint, from which a killed one would go on too long."""
    from torch.nn import Linear

    course = StepPlan(((), (), (), ()), epoch_ends=(1, 2, 3, 4))
    watch = Monitor(course, tmp_path, every=1, log=lambda _: None, validate=lambda: 1.0, patience=1)
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    said = []
    for step in (1, 2):
        watch.after_step(step, control, Linear(1, 1))
        said.append((control.should_save, control.should_training_stop))
    assert said == [(True, False), (False, True)]


def test_checkpoints_hold_no_code(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of a checkpoint that is read again is safetensors, JSON, or read with `weights_only=True`."""
    import torch

    class StopError(Exception):
        pass

    def stop(record: Mapping[str, Any]) -> None:
        if record["step"] == 5:
            raise StopError

    with pytest.raises(StopError):
        train(Full, small, tmp_path / "out", stop)
    load, seen = torch.load, []

    def watched(file: Any, *given: Any, **options: Any) -> Any:
        seen.append((Path(file).name, options.get("weights_only")))
        return load(file, *given, **options)

    monkeypatch.setattr(torch, "load", watched)
    train(Full, small, tmp_path / "out", lambda _: None)
    assert dict(seen) == {"optimizer.pt": True, "scheduler.pt": True, "rng_state.pth": True}
