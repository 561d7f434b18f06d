import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from kib.identity import digest_file
from kib_lab import pretrain
from kib_lab.pretrain import PretrainingSettings

SMALL = PretrainingSettings(steps=20, width=32, layers=1, rows=0.04, warmup=5, threads=1, bf16=False)
OPTIONS = [f"--{name}={value}" for name, value in asdict(SMALL).items() if name != "bf16"]
EVERY = 8
"""The number of steps between two checkpoints; with this value, step 10 is logged after the only checkpoint."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The output folder of an uninterrupted pre-training run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    pretrain.pretrain(folder, SMALL, EVERY)
    return folder


def logged_steps(folder):
    """Return the steps in the log of a pre-training run."""
    return [line.split(", ")[0] for line in (folder / "log.jsonl").read_text().splitlines()]


def check_equal(folder, uninterrupted):
    """Assert that a run's weights and logged steps equal those from an uninterrupted run."""
    assert digest_file(folder / "model.safetensors") == digest_file(uninterrupted / "model.safetensors")
    assert logged_steps(folder) == logged_steps(uninterrupted) == ['{"step": 10', '{"step": 20']


def test_interrupted_pretraining_resumes(uninterrupted, tmp_path, monkeypatch):
    """An interrupted pre-training run resumes from its checkpoint and ends with the weights of an uninterrupted run."""
    train_step = pretrain._step

    def interrupt(model, settings, step):
        if step == 12:
            raise KeyboardInterrupt
        return train_step(model, settings, step)

    with monkeypatch.context() as patched:
        patched.setattr(pretrain, "_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrain.pretrain(tmp_path, SMALL, EVERY)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000008"]
    pretrain.pretrain(tmp_path, SMALL, EVERY)
    check_equal(tmp_path, uninterrupted)


@pytest.mark.slow
def test_killed_pretraining_resumes(uninterrupted, tmp_path):
    """A pre-training run killed with SIGKILL resumes and ends with the weights of an uninterrupted run."""
    command = [sys.executable, "-m", "kib_lab.pretrain", f"--out={tmp_path}", f"--every={EVERY}", "--no-bf16", *OPTIONS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("checkpoint-*[0-9]")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    pretrain.pretrain(tmp_path, SMALL, EVERY)
    check_equal(tmp_path, uninterrupted)


def test_a_checkpoint_with_other_settings(tmp_path):
    """A folder with a checkpoint from a run with different settings is rejected and left unchanged."""
    checkpoint = tmp_path / "checkpoint-000008"
    checkpoint.mkdir()
    (checkpoint / "settings.json").write_text('{"steps": 4400}')
    with pytest.raises(SystemExit, match="checkpoint-000008: this checkpoint was written with different settings"):
        pretrain.pretrain(tmp_path, SMALL, EVERY)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000008"]


def test_command_line(tmp_path, monkeypatch):
    """Every pre-training setting has a command-line option."""
    calls = []
    monkeypatch.setattr(pretrain, "pretrain", lambda folder, settings, every: calls.append((folder, settings, every)))
    monkeypatch.setattr(sys, "argv", ["pretrain", f"--out={tmp_path}", f"--every={EVERY}", "--no-bf16", *OPTIONS])
    pretrain.main()
    assert calls == [(tmp_path, SMALL, EVERY)]
