"""kib survives killed processes and damaged files; `python tests/robustness --help` explains how to repeat a test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent


def attack(*arguments):
    """Run the attack script and check that it found no fault; on failure, print its output, which contains the seed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "KIB_", "HF_"))}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, f"{done.stdout[-20000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
def test_a_few_kills_and_damaged_files():
    """A few stopped runs and damaged files change no result."""
    attack("--light", "--kills", "4", "--commands", "run", "train", "--damage", "16", "--seed", "1")


@pytest.mark.nightly
@pytest.mark.parametrize(("count", "light"), [("1000", ["--light"]), ("300", [])], ids=["toys", "small model"])
def test_thousands_of_kills(count, light):
    """A command that is stopped at random moments and rerun leaves no stray files and produces the same results."""
    attack("--kills", count, *light)


@pytest.mark.nightly
@pytest.mark.parametrize("light", [["--light"], []], ids=["toys", "small model"])
def test_hundreds_of_damaged_files(light):
    """A damaged file is repaired or named in an error, and is never used silently."""
    attack("--damage", "500", *light)
