"""Training in several processes, which are started by accelerate and send messages to this module."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from kib.errors import InputError, StepError
from kib_hf.training.options import TrainingOptions
from kib_hf.training.worker_job import JOB_FILE, TrainingJob, write_job

__all__ = ["check_accelerate_file", "environment", "process_count", "train_in_processes"]

ERRORS = {error.__name__: error for error in (InputError, StepError)}

EXPECTED = "expected a file written by `accelerate config`"

SHOWN_OUTPUT = 4000
"""The number of characters of process output that an error message quotes."""


def check_accelerate_file(path: Path) -> None:
    """Raise InputError if accelerate's configuration file does not exist."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {EXPECTED}")


def process_count(options: TrainingOptions) -> int:
    """Return the number of training processes; raise InputError if accelerate's configuration is unreadable."""
    path = options.accelerate
    if path is None:
        return options.processes or 1
    from accelerate.commands.config.config_args import load_config_from_file  # type: ignore[import-untyped]

    check_accelerate_file(path)
    try:
        found = load_config_from_file(str(path)).num_processes
    except Exception as error:  # YAML, JSON and accelerate raise errors of different classes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read: {reason}; {EXPECTED}") from error
    if not isinstance(found, int) or found < 1:
        raise InputError(f"{path}: num_processes = {found!r}; expected a whole number of at least 1")
    return found


def train_in_processes(job: TrainingJob, log: Callable[[Mapping[str, Any]], None]) -> None:
    """Train in the number of processes set by the options; the main process writes the result to the job's folder.

    Raise InputError and StepError as for training in a single process. If a process crashes, raise StepError with the
    end of the process's output.
    """
    write_job(job)
    output = job.folder / "processes.log"
    with (
        output.open("w", encoding="utf-8") as errors,
        subprocess.Popen(  # noqa: S603 - this interpreter, with paths as arguments
            _command(job),
            stdin=subprocess.PIPE,  # the workers exit when this pipe closes
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(job.options),
            text=True,
            encoding="utf-8",
        ) as running,
    ):
        try:
            error = _forward_logs(running.stdout, log)
            running.wait()  # leaving the block closes stdin, which would kill a worker before it has finished
        except BaseException:
            running.terminate()
            raise
    if error is not None:
        raise error
    if running.returncode:
        shown = output.read_text(encoding="utf-8", errors="replace")[-SHOWN_OUTPUT:]
        raise StepError(f"a training process exited with code {running.returncode}:\n{shown}")
    output.unlink()
    (job.folder / JOB_FILE).unlink()


def _command(job: TrainingJob) -> list[str]:
    """Return the command line that starts the workers with `accelerate launch`."""
    o = job.options
    if o.accelerate is not None:
        settings = ["--config_file", str(o.accelerate)]
    else:
        settings = ["--num_processes", str(o.processes), "--num_machines", "1", "--mixed_precision", "no"]
        settings += ["--dynamo_backend", "no", "--main_process_port", "0", "--multi_gpu"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *settings]
    return [*launch, "-m", "kib_hf.training.worker", str(job.folder)]


def environment(options: TrainingOptions) -> dict[str, str]:
    """Return the workers' environment variables, with the CPU threads divided among the processes."""
    import torch

    threads = max(1, torch.get_num_threads() // process_count(options))
    return {"OMP_NUM_THREADS": str(threads), **os.environ}


def _forward_logs(lines: IO[str] | None, log: Callable[[Mapping[str, Any]], None]) -> Exception | None:
    """Forward the workers' log records until the workers' output ends; return the first error reported by a worker."""
    error = None
    for line in lines or ():
        message = json.loads(line)
        if "log" in message:
            log(message["log"])
        elif error is None:
            error = ERRORS[message["error"]](message["message"])
    return error
