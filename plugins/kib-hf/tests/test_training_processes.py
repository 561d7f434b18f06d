import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError, StepError
from kib.records import Text, Trained, Weights
from kib.testing import DOCUMENTS, make_plugin, make_tiny_model
from kib_hf.trainers import Full, Lora
from kib_hf.training import processes
from kib_hf.training.processes import environment, train_in_processes
from kib_hf.training.worker_job import TrainingJob, read_job, write_job

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [Text(d.id, "document", d.text[:100]) for d in DOCUMENTS[:8]]
CONFIGURATION = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_processes: 2
num_machines: 1
machine_rank: 0
main_process_port: 0
mixed_precision: bf16
use_cpu: false
"""
WORKER = """
import os, sys, time
from pathlib import Path
from kib.errors import InputError
from kib.records import Trained
from kib_hf.training import worker
from kib_hf.training.checkpoints import write_trained

def train_job(job, log):
    print("a library prints this")
    log({"process": os.getpid(), "seed": job.seed})
    ENDING

worker.train_job = train_job
sys.exit(worker.main(Path(sys.argv[1])))
"""
"""The code of a worker process that performs no training."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "small", layers=1, width=16, positions=512)


@pytest.fixture
def accelerate_file(tmp_path: Path) -> Path:
    path = tmp_path / "accelerate.yaml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return path


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    options = make_plugin(Lora, {"processes": 2, "betas": [0.5, 0.25]}).options
    pair = Text("pump", "pair", "Which lever?", "the red one")
    return TrainingJob(
        options,
        Weights(tmp_path / "start", add_bos_token=False),
        [pair],
        TEXTS[:2],
        TEXTS[2:3],
        tmp_path,
        7,
        tmp_path / "checkpoint",
    )


def command(ending: str, folder: Path) -> list[str]:
    return [sys.executable, "-c", WORKER.replace("ENDING", ending), str(folder)]


@pytest.mark.parametrize("trainer", [Full, Lora])
def test_missing_configuration(trainer: type[Any], tmp_path: Path) -> None:
    """A missing accelerate configuration file is reported as soon as the benchmark file is read."""
    with pytest.raises(InputError, match=r"none\.yaml: no such file; expected a file written by"):
        make_plugin(trainer, {"accelerate": tmp_path / "none.yaml"}).fingerprint()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("garbage: [\n", "cannot be read: while parsing"),
        ("nothing\n", "cannot be read: "),
        ("distributed_type: MULTI_GPU\nnum_processes: 2\nsalt: 1\n", "cannot be read: .* unknown keys .*salt"),
        (
            "distributed_type: MULTI_GPU\nnum_processes: many\n",
            "num_processes = 'many'; expected a whole number of at least 1",
        ),
    ],
)
def test_broken_configuration(small: Path, accelerate_file: Path, text: str, message: str) -> None:
    """A configuration file that accelerate cannot read raises a one-line error before training."""
    accelerate_file.write_text(text, encoding="utf-8")
    plugin = make_plugin(Full, {"accelerate": accelerate_file})
    with pytest.raises(InputError, match=rf"accelerate\.yaml: {message}") as caught:
        plugin.check(Weights(small), validation=False)
    assert "\n" not in str(caught.value)


def test_process_count_is_part_of_the_identity_with_dropout(accelerate_file: Path) -> None:
    """If dropout is used, the process count in accelerate's configuration file is part of the result's identity."""
    by_file = make_plugin(Lora, {"dropout": 0.1, "accelerate": accelerate_file})
    assert by_file.fingerprint() == make_plugin(Lora, {"dropout": 0.1, "processes": 2}).fingerprint()


def test_threads_are_divided(accelerate_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU threads are divided equally among the processes, whether `processes` or `accelerate` sets their number."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    for given, threads in (({"processes": 4}, "2"), ({"accelerate": accelerate_file}, "4"), ({}, "8")):
        assert environment(make_plugin(Full, given).options)["OMP_NUM_THREADS"] == threads


def test_launch_command(job: TrainingJob, accelerate_file: Path) -> None:
    """The launch command contains the job folder and either the number of processes or accelerate's file."""
    by_file = replace(job, options=make_plugin(Full, {"accelerate": accelerate_file}).options)
    for given, setting in ((job, ["--num_processes", "2"]), (by_file, ["--config_file", str(accelerate_file)])):
        found = processes._command(given)
        assert found[3:5] == setting
        assert found[-3:] == ["-m", "kib_hf.training.worker", str(job.folder)]


def test_job_file(job: TrainingJob) -> None:
    """The function `read_job` returns the same training job that `write_job` stored."""
    write_job(job)
    assert read_job(job.folder) == job


@pytest.mark.slow
def test_worker_messages(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer with several processes forwards the workers' log records and returns the result that a worker wrote."""
    ending = "job.weights.folder.mkdir(); write_trained(job.folder, Trained(job.weights, 1, 2, 3, 4.0, 5.0, 6.0, 7.0))"
    monkeypatch.setattr(processes, "_command", lambda job: command(ending, job.folder))
    log: list[Mapping[str, Any]] = []
    folder = tmp_path / "out"
    plugin = make_plugin(Full, {"processes": 2, "device": "cpu"})
    trained = plugin.train(Weights(small), TEXTS, folder, 7, log.append)
    assert trained == Trained(Weights(folder / "model"), 1, 2, 3, 4.0, 5.0, 6.0, 7.0)
    assert [record["seed"] for record in log] == [7]
    assert sorted(path.name for path in folder.iterdir()) == ["model", "trained.json"]


@pytest.mark.slow
def test_worker_error(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input error in a worker process is raised again in the main process with the same message."""
    monkeypatch.setattr(processes, "_command", lambda job: command("raise InputError('wrong')", job.folder))
    with pytest.raises(InputError, match=r"^wrong$"):
        train_in_processes(job, lambda _: None)


def test_crashed_worker(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a worker process crashes, an error shows the exit code and the end of the worker's output."""
    crash = [sys.executable, "-c", "import sys; print('out of luck', file=sys.stderr); sys.exit(3)"]
    monkeypatch.setattr(processes, "_command", lambda _: crash)
    with pytest.raises(StepError, match=r"a training process exited with code 3:\nout of luck"):
        train_in_processes(job, lambda _: None)


@pytest.mark.slow
def test_interrupted_workers(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupting kib terminates its worker processes."""
    monkeypatch.setattr(processes, "_command", lambda job: command("time.sleep(600)", job.folder))
    seen: list[int] = []

    def interrupt(record: Mapping[str, Any]) -> None:
        seen.append(record["process"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_processes(job, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


@pytest.mark.slow
def test_workers_exit_with_kib(job: TrainingJob) -> None:
    """A worker exits if kib is killed, because two training runs must not write to the same folder."""
    write_job(job)
    with subprocess.Popen(
        command("time.sleep(600)", job.folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["log"]["seed"] == 7
        assert running.poll() is None
        running.stdin.close()
        assert running.wait(60) == 1


def moved(one: Path, other: Path) -> float:
    """Return the norm of the difference between the weights in two files."""
    from safetensors.torch import load_file

    parts, others = load_file(one), load_file(other)
    assert parts.keys() == others.keys()
    return math.sqrt(sum(float((part - others[name]).square().sum()) for name, part in parts.items()))


@pytest.mark.slow
def test_two_processes(small: Path, tmp_path: Path, accelerate_file: Path) -> None:
    """Two processes produce the same weights as one process, even if accelerate's file sets a different dtype."""
    options = {"epochs": 2, "batch_size": 5, "device": "cpu", "block": 128, "learning_rate": 1e-2}
    results, logs = [], []
    for name, given in (("one", {}), ("two", {"accelerate": accelerate_file, "checkpoint_every": 2})):
        log: list[Mapping[str, Any]] = []
        plugin = make_plugin(Full, {**options, **given})
        results.append(plugin.train(Weights(small), TEXTS, tmp_path / name, 0, log.append))
        logs.append(log)
    one, two = results
    assert (two.trained_tokens, two.steps) == (one.trained_tokens, one.steps)
    assert [record["step"] for record in logs[1]] == [record["step"] for record in logs[0]]
    losses = [[record["loss"] for record in log] for log in logs]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    name = "model.safetensors"
    files = (two.weights.folder / name, one.weights.folder / name, small / name)
    assert moved(files[0], files[1]) < 1e-3 * moved(files[1], files[2])
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["model", "trained.json"]
