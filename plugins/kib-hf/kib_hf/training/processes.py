"""A training by several processes: started by accelerate, watched from here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from kib.errors import InputError, StepError
from kib.identity import canonical
from kib.records import Text
from kib_hf.training.crew import crew_size
from kib_hf.training.options import FullOptions, LoraOptions, TrainingOptions
from kib_hf.training.run import Job

__all__ = ["environment", "fit_together", "read_job"]

JOB = "job.json"
ERRORS = {error.__name__: error for error in (InputError, StepError)}
TAIL = 4000
"""Characters of what the processes printed that an error shows."""


def fit_together(job: Job, log: Callable[[Mapping[str, Any]], None]) -> None:
    """Train in the processes that the options ask for; the record of the training is left in the job's folder.

    InputError and StepError as in one process; StepError with the last lines of a process that broke.
    """
    _write_job(job)
    noise = job.folder / "processes.log"
    with (
        noise.open("w", encoding="utf-8") as errors,
        subprocess.Popen(  # noqa: S603 - this interpreter, with paths as arguments
            _command(job),
            stdin=subprocess.PIPE,  # its end tells the processes that this one is gone
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(job.options),
            text=True,
            encoding="utf-8",
        ) as running,
    ):
        try:
            failed = _follow(running.stdout, log)
        except BaseException:
            running.terminate()
            raise
    if failed is not None:
        raise failed
    if running.returncode:
        said = noise.read_text(encoding="utf-8", errors="replace")[-TAIL:]
        raise StepError(f"a process of the training ended with code {running.returncode}:\n{said}")
    noise.unlink()
    (job.folder / JOB).unlink()


def _command(job: Job) -> list[str]:
    o = job.options
    ways = ["--num_processes", str(o.processes), "--num_machines", "1", "--mixed_precision", "no"]
    ways += ["--dynamo_backend", "no", "--main_process_port", "0", "--multi_gpu"]
    if o.accelerate is not None:
        ways = ["--config_file", str(o.accelerate)]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *ways]
    return [*launch, "-m", "kib_hf.training.worker", str(job.folder)]


def environment(options: TrainingOptions) -> dict[str, str]:
    """That of kib itself, with its threads shared out."""
    import torch

    threads = max(1, torch.get_num_threads() // crew_size(options))
    return {"OMP_NUM_THREADS": str(threads), **os.environ}


def _follow(lines: IO[str] | None, log: Callable[[Mapping[str, Any]], None]) -> Exception | None:
    """Hand the processes' records on until they end; the first error that one of them told."""
    failed = None
    for line in lines or ():
        said = json.loads(line)
        if "log" in said:
            log(said["log"])
        elif failed is None:
            failed = ERRORS[said["error"]](said["message"])
    return failed


def _write_job(job: Job) -> None:
    value = {
        "kind": "lora" if isinstance(job.options, LoraOptions) else "full",
        "options": job.options.model_dump(mode="json"),
        "start": str(job.start.absolute()),
        "text": [asdict(text) for text in job.text],
        "validation": [asdict(text) for text in job.validation],
        "held_out": [asdict(text) for text in job.held_out],
        "seed": job.seed,
        "resume": str(job.resume) if job.resume else None,
    }
    (job.folder / JOB).write_text(canonical(value), encoding="utf-8")


def read_job(folder: Path) -> Job:
    """The job that was written into `folder`."""
    value = json.loads((folder / JOB).read_text(encoding="utf-8"))
    kind: type[TrainingOptions] = LoraOptions if value["kind"] == "lora" else FullOptions
    return Job(
        options=kind.model_validate_json(json.dumps(value["options"])),
        start=Path(value["start"]),
        text=[Text(**text) for text in value["text"]],
        validation=[Text(**text) for text in value["validation"]],
        held_out=[Text(**text) for text in value["held_out"]],
        folder=folder,
        seed=value["seed"],
        resume=Path(value["resume"]) if value["resume"] else None,
    )
