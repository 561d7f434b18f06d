import signal
import subprocess
import sys
import time

import pytest

from kib.identity import digest_file

SMALL = ["--steps=50", "--width=32", "--layers=2", "--rows=0.04", "--threads=1", "--every=5"]


def _start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "kib_lab.pretrain", f"--out={folder}", *SMALL],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(folder):
    process = _start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


@pytest.mark.slow
def test_killed_pretraining_ends_in_the_same_weights(tmp_path):
    """Pre-training killed with kill -9 and started again writes the weights and the steps of an undisturbed one."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _finish(whole)
    process = _start(killed)
    limit = time.monotonic() + 120
    while not list(killed.glob("checkpoint-*0")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()
    _finish(killed)
    assert digest_file(killed / "model.safetensors") == digest_file(whole / "model.safetensors")
    steps = [[line.split(", ")[0] for line in (f / "log.jsonl").read_text().splitlines()] for f in (whole, killed)]
    assert steps[0] == steps[1] == [f'{{"step": {step}' for step in range(10, 51, 10)]


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    """A folder with a checkpoint made with other settings is left alone."""
    from kib_lab.pretrain import Settings, pretrain

    small = {"steps": 2, "width": 32, "layers": 1, "rows": 0.05, "threads": 1}
    pretrain(tmp_path, Settings(**small), every=1)
    with pytest.raises(SystemExit, match="other settings"):
        pretrain(tmp_path, Settings(**small, seed=1), every=1)
