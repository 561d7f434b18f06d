import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kib.identity import digest_file
from kib.records import Text, Trained, Weights
from kib.testing import DOCUMENTS, make_plugin, make_tiny_model
from kib_hf.trainers import Full, Lora
from kib_hf.training.checkpoints import last_checkpoint, read_progress, restore_lowest_file, write_progress

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [Text(d.id, "document", d.text[:100]) for d in DOCUMENTS[:8]]
VALIDATION = [Text("other", "paraphrase", "Nobody has seen the copper kettles of the northern harbour.")]
OPTIONS: dict[type[Any], dict[str, Any]] = {
    Full: {"learning_rate": 1e-2, "patience": 9},
    Lora: {"learning_rate": 2e-2, "dropout": 0.2},
}
SHARED = {"epochs": 3, "batch_size": 2, "device_batch": 1, "device": "cpu", "block": 128, "checkpoint_every": 3}
STOPPED_AT = 8
"""The step at which training runs are interrupted, between two checkpoints and within an epoch."""

BOTH = pytest.mark.parametrize("trainer", [Full, Lora])

SCRIPT = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_training_resume import STOPPED_AT, Lora, train

def log(record):
    if record["step"] == STOPPED_AT:
        print("killme", flush=True)
        time.sleep(600)

train(Lora, Path(sys.argv[2]), Path(sys.argv[3]), log)
"""


class StopError(Exception):
    """An exception that a log handler raises to interrupt a training run."""


@pytest.fixture(scope="module", autouse=True)
def cheap_collection() -> Iterator[None]:
    """Exclude imported modules from garbage collection, which otherwise takes longer than a training run."""
    import peft  # noqa: F401 - imported to be left out
    import transformers  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "small", layers=1, width=16, positions=512)


@pytest.fixture(scope="module")
def whole(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[type[Any], Trained]:
    """The results of uninterrupted training runs, for comparison with resumed training runs."""
    return {trainer: train(trainer, small, tmp_path_factory.mktemp("whole"), lambda _: None) for trainer in OPTIONS}


@pytest.fixture(scope="module")
def stopped_runs(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[type[Any], Path]:
    """The folders of training runs that were interrupted at step STOPPED_AT."""

    def stop(record: Mapping[str, Any]) -> None:
        if record["step"] == STOPPED_AT:
            raise StopError

    folders = {trainer: tmp_path_factory.mktemp("stopped") for trainer in OPTIONS}
    for trainer, folder in folders.items():
        with pytest.raises(StopError):
            train(trainer, small, folder, stop)
    return folders


def train(trainer: type[Any], start: Path, folder: Path, log: Callable[[Mapping[str, Any]], None]) -> Trained:
    plugin = make_plugin(trainer, {**SHARED, **OPTIONS[trainer]})
    trained: Trained = plugin.train(Weights(start), TEXTS, folder, 3, log, VALIDATION)
    return trained


def assert_same(found: Trained, expected: Trained) -> None:
    """Assert that two training runs have the same weight files and the same record, except for paths and times."""
    assert replace(found, weights=expected.weights, seconds=expected.seconds) == expected
    assert digest_of(found.weights) == digest_of(expected.weights)


def digest_of(weights: Weights) -> str:
    file = weights.adapter / "adapter_model.safetensors" if weights.adapter else weights.folder / "model.safetensors"
    return digest_file(file)


@BOTH
def test_interrupted(
    trainer: type[Any],
    small: Path,
    tmp_path: Path,
    whole: dict[type[Any], Trained],
    stopped_runs: dict[type[Any], Path],
) -> None:
    """An interrupted training run resumes from the last checkpoint, saves identical weights and adds up the time."""
    folder = Path(shutil.copytree(stopped_runs[trainer], tmp_path / "stopped"))
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    progress = read_progress(folder / "checkpoint-6")
    assert progress.seconds > 0
    write_progress(folder / "checkpoint-6", replace(progress, seconds=1e6))
    steps: list[int] = []
    resumed = train(trainer, small, folder, lambda record: steps.append(record["step"]))
    assert steps == list(range(7, whole[trainer].steps + 1))
    assert_same(resumed, whole[trainer])
    assert resumed.seconds is not None
    assert resumed.seconds > 1e6
    assert not list(folder.glob("checkpoint-*"))
    assert train(trainer, small, folder, lambda _: None) == resumed


def test_an_incomplete_checkpoint_is_ignored(
    small: Path, tmp_path: Path, whole: dict[type[Any], Trained], stopped_runs: dict[type[Any], Path]
) -> None:
    """An incomplete checkpoint is ignored, and the training run resumes from the previous checkpoint."""
    folder = Path(shutil.copytree(stopped_runs[Full], tmp_path / "stopped"))
    (folder / "checkpoint-6" / "progress.json").unlink()
    (folder / "checkpoint-6" / "optimizer.pt").write_bytes(b"truncated")
    steps: list[int] = []
    resumed = train(Full, small, folder, lambda record: steps.append(record["step"]))
    assert steps[0] == 4
    assert_same(resumed, whole[Full])


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "lowest.safetensors", "progress.json"])
def test_a_damaged_checkpoint(
    name: str,
    small: Path,
    tmp_path: Path,
    whole: dict[type[Any], Trained],
    stopped_runs: dict[type[Any], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A checkpoint with a file of zero bytes is reported and removed, and the previous checkpoint is used."""
    folder = Path(shutil.copytree(stopped_runs[Full], tmp_path / "stopped"))
    damaged = folder / "checkpoint-6" / name
    damaged.write_bytes(bytes(damaged.stat().st_size))
    steps: list[int] = []
    resumed = train(Full, small, folder, lambda record: steps.append(record["step"]))
    assert steps[0] == 4
    assert_same(resumed, whole[Full])
    assert f"{damaged}: " in caplog.text


def test_lost_weights_of_the_lowest_loss(
    small: Path, tmp_path: Path, whole: dict[type[Any], Trained], stopped_runs: dict[type[Any], Path]
) -> None:
    """If the file with the lowest-loss weights is empty, a resumed run restores the file from the checkpoint."""
    folder = Path(shutil.copytree(stopped_runs[Full], tmp_path / "stopped"))
    (folder / "lowest.safetensors").write_bytes(b"")
    last = last_checkpoint(folder)
    assert last is not None
    restore_lowest_file(folder, last)
    assert digest_file(folder / "lowest.safetensors") == digest_file(last / "lowest.safetensors")
    assert_same(train(Full, small, folder, lambda _: None), whole[Full])


@BOTH
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damaged_weights(
    trainer: type[Any],
    damage: str,
    small: Path,
    tmp_path: Path,
    whole: dict[type[Any], Trained],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If trained weights are damaged before the run ends, the damage is reported and training is repeated."""
    folder = tmp_path / "trained"
    trained = train(trainer, small, folder, lambda _: None)
    weights = trained.weights.adapter or trained.weights.folder
    file = next(weights.glob("*.safetensors"))
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        file.unlink()
    assert_same(train(trainer, small, folder, lambda _: None), whole[trainer])
    assert f"{file}: " in caplog.text


def test_a_record_without_digests(
    small: Path, tmp_path: Path, whole: dict[type[Any], Trained], caplog: pytest.LogCaptureFixture
) -> None:
    """If an earlier version recorded trained weights without digests, the weights are trained again."""
    folder = tmp_path / "trained"
    train(Full, small, folder, lambda _: None)
    record = json.loads((folder / "trained.json").read_text())
    old = {key: value for key, value in record.items() if key not in ("files", "digest")}
    (folder / "trained.json").write_text(json.dumps(old))
    assert_same(train(Full, small, folder, lambda _: None), whole[Full])
    assert "trained.json: written by an earlier version" in caplog.text


def test_a_checkpoint_of_an_earlier_version(
    small: Path, tmp_path: Path, whole: dict[type[Any], Trained], stopped_runs: dict[type[Any], Path]
) -> None:
    """A training run resumes from a checkpoint that an earlier version wrote without digests."""
    folder = Path(shutil.copytree(stopped_runs[Full], tmp_path / "stopped"))
    for path in folder.glob("checkpoint-*/progress.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in record.items() if key not in ("files", "digest")}))
    steps: list[int] = []
    resumed = train(Full, small, folder, lambda record: steps.append(record["step"]))
    assert steps[0] == 7
    assert_same(resumed, whole[Full])


def test_weights_are_flushed_before_their_record(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the trained weights is flushed to disk before the record of the training run is written."""
    flushed: list[int] = []
    written: list[tuple[str, list[int]]] = []
    fsync, replace_file = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def recorded_replace(source: Any, target: Any) -> None:
        written.append((Path(target).name, list(flushed)))
        replace_file(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    trained = train(Full, small, tmp_path, lambda _: None)
    [before] = [inodes for name, inodes in written if name == "trained.json"]
    files = [path for path in trained.weights.folder.rglob("*") if path.is_file()]
    assert {path.stat().st_ino for path in files} <= set(before)


def test_no_checkpoint(tmp_path: Path) -> None:
    """An incomplete checkpoint is removed and never used, even if no complete checkpoint exists."""
    (tmp_path / "checkpoint-3").mkdir()
    assert last_checkpoint(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_checkpoints_hold_no_code(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_runs: dict[type[Any], Path]
) -> None:
    """A resumed run always calls `torch.load` with `weights_only=True`, so a checkpoint cannot execute code."""
    import torch

    folder = Path(shutil.copytree(stopped_runs[Full], tmp_path / "stopped"))
    load, seen = torch.load, []

    def watched(file: Any, *given: Any, **options: Any) -> Any:
        seen.append((Path(file).name, options.get("weights_only")))
        return load(file, *given, **options)

    monkeypatch.setattr(torch, "load", watched)
    train(Full, small, folder, lambda _: None)
    assert dict(seen) == {"optimizer.pt": True, "scheduler.pt": True, "rng_state.pth": True}


@pytest.mark.slow
def test_killed(small: Path, tmp_path: Path, whole: dict[type[Any], Trained]) -> None:
    """A run killed with SIGKILL resumes in a new process and ends with the same weights as an uninterrupted run."""
    folder = tmp_path / "killed"
    arguments = [str(Path(__file__).parent), str(small), str(folder)]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "killme\n"
        running.kill()
    assert running.returncode == -9
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    steps: list[int] = []
    resumed = train(Lora, small, folder, lambda record: steps.append(record["step"]))
    assert steps == list(range(7, whole[Lora].steps + 1))
    assert_same(resumed, whole[Lora])
