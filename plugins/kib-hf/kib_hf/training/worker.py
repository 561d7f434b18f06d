"""A training process: `python -m kib_hf.training.worker FOLDER`, started by `kib_hf.training.processes`.

The worker writes lines of JSON to standard output: `{"log": …}` for every step, `{"error": …, "message": …}` on error.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kib.errors import InputError, StepError
from kib_hf.training.training_loop import train_job
from kib_hf.training.worker_job import read_job

__all__ = ["main"]


def main(folder: Path) -> int:
    """Run this process's share of the job stored in `folder`; return the exit code."""
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps libraries' prints out of the messages
    threading.Thread(target=exit_with_parent, daemon=True).start()

    def log(record: Mapping[str, Any]) -> None:
        _send(messages, {"log": dict(record)})

    try:
        train_job(read_job(folder), log)
    except (InputError, StepError) as error:
        _send(messages, {"error": type(error).__name__, "message": str(error)})
        return 1
    return 0


def _send(messages: IO[str], message: Mapping[str, Any]) -> None:
    """Write one message as a line of JSON."""
    messages.write(json.dumps(message) + "\n")
    messages.flush()


def exit_with_parent() -> None:
    """Exit when standard input closes, which happens when kib is killed.

    A worker that outlived kib would write to the same folder as the next training run.
    """
    while os.read(0, 1):  # not sys.stdin: its lock would still be held when this process ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
