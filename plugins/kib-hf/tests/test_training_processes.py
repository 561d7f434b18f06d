import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError, StepError
from kib.records import Text, Trained, Weights
from kib.testing import DOCUMENTS, make_plugin, make_tiny_model
from kib_hf.trainers import Full, Lora
from kib_hf.training.processes import environment

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

TEXTS = [Text(d.id, "document", d.text[:300]) for d in DOCUMENTS]
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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "small", layers=1, width=16, positions=512)


def train(trainer: type[Any], start: Path, folder: Path, log: list[Mapping[str, Any]], **options: Any) -> Trained:
    given = {"epochs": 2, "batch_size": 5, "device": "cpu", "block": 128, "learning_rate": 1e-2, **options}
    trained: Trained = make_plugin(trainer, given).train(Weights(start), TEXTS, folder, 0, log.append)
    return trained


def distance(one: Path, other: Path) -> float:
    from safetensors.torch import load_file

    parts, others = load_file(one), load_file(other)
    assert parts.keys() == others.keys()
    return max(float((part - others[name]).abs().max()) for name, part in parts.items())


@pytest.mark.parametrize("trainer", [Full, Lora])
def test_a_configuration_that_is_not_there(trainer: type[Any], tmp_path: Path) -> None:
    """An accelerate configuration that is no file is named in one sentence as soon as the benchmark is read."""
    with pytest.raises(InputError, match=r"none\.yaml: no such file; expected a file written by"):
        make_plugin(trainer, {"accelerate": tmp_path / "none.yaml"}).fingerprint()


def test_dropout_counts_the_processes_of_a_configuration(tmp_path: Path) -> None:
    """Where dropout makes the number of processes count, it is the number that accelerate's file tells."""
    (tmp_path / "accelerate.yaml").write_text(CONFIGURATION, encoding="utf-8")
    by_file = make_plugin(Lora, {"dropout": 0.1, "accelerate": tmp_path / "accelerate.yaml"})
    assert by_file.fingerprint() == make_plugin(Lora, {"dropout": 0.1, "processes": 2}).fingerprint()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("garbage: [\n", "cannot be read: while parsing"),
        ("nothing\n", "cannot be read: "),
        ("distributed_type: MULTI_GPU\nnum_processes: 2\nsalt: 1\n", "cannot be read: .* unknown keys .*salt"),
        ("distributed_type: MULTI_GPU\nnum_processes: many\n", "num_processes = 'many'; expected a number of"),
    ],
)
def test_a_broken_configuration(small: Path, tmp_path: Path, text: str, message: str) -> None:
    """An accelerate configuration that accelerate could not read is told in one sentence before any training."""
    (tmp_path / "accelerate.yaml").write_text(text, encoding="utf-8")
    made = make_plugin(Full, {"accelerate": tmp_path / "accelerate.yaml"})
    with pytest.raises(InputError, match=rf"accelerate\.yaml: {message}") as caught:
        made.check(Weights(small), validation=False)
    assert "\n" not in str(caught.value)


def test_threads_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process gets its part of the threads, by the number of processes that options or accelerate's file tell."""
    import torch

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    (tmp_path / "accelerate.yaml").write_text(CONFIGURATION, encoding="utf-8")
    for given, threads in (({"processes": 4}, "2"), ({"accelerate": tmp_path / "accelerate.yaml"}, "4"), ({}, "8")):
        assert environment(make_plugin(Full, given).options)["OMP_NUM_THREADS"] == threads


def test_two_processes(small: Path, tmp_path: Path) -> None:
    """Two processes of an accelerate configuration train the same weights as one, in the benchmark's number format."""
    (tmp_path / "accelerate.yaml").write_text(CONFIGURATION, encoding="utf-8")
    log: list[Mapping[str, Any]] = []
    alone_log: list[Mapping[str, Any]] = []
    together = train(
        Full, small, tmp_path / "together", log, accelerate=tmp_path / "accelerate.yaml", checkpoint_every=2
    )
    alone = train(Full, small, tmp_path / "alone", alone_log)
    assert (together.trained_tokens, together.steps) == (alone.trained_tokens, alone.steps)
    assert [record["step"] for record in log] == [record["step"] for record in alone_log]
    assert [record["loss"] for record in log] == pytest.approx([record["loss"] for record in alone_log], rel=1e-4)
    assert together.last_loss == pytest.approx(alone.last_loss, rel=1e-4)
    name = "model.safetensors"
    assert distance(together.weights.folder / name, alone.weights.folder / name) < 1e-4
    assert distance(together.weights.folder / name, small / name) > 1e-2
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == ["model", "trained.json"]


def test_errors_of_processes(small: Path, tmp_path: Path) -> None:
    """What is wrong with the options is said as one process says it."""
    with pytest.raises(InputError, match="block = 1024 exceeds the model's 512 positions"):
        train(Lora, small, tmp_path / "out", [], processes=2, block=1024)


def test_broken_processes(small: Path, tmp_path: Path) -> None:
    """Processes that cannot even start are an error that shows their last lines."""
    (tmp_path / "accelerate.yaml").write_text(CONFIGURATION.replace("MULTI_GPU", "XLA"), encoding="utf-8")
    with pytest.raises(StepError, match=r"a training process exited with code 1:\n(.|\n)*accelerate"):
        train(Lora, small, tmp_path / "out", [], accelerate=tmp_path / "accelerate.yaml")


def test_processes_leave_with_kib(tmp_path: Path) -> None:
    """The processes of a training end when kib is gone, so that no two trainings write to one folder."""
    code = "import sys; from kib_hf.training.worker import exit_with_parent; exit_with_parent()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        time.sleep(0.1)
        assert running.poll() is None
        running.stdin.close()
        assert running.wait(60) == 1
