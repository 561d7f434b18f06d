"""A training process, started by `kib_hf.training.processes` as `python -m kib_hf.training.worker FOLDER`.

The worker writes JSON lines to standard output: `{"log": …}` after every step, `{"error": …, "message": …}` on failure.
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
    """Run this process's share of the training job in `folder`, and return the exit code."""
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps output printed by libraries out of the messages
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
    """Write one message to standard output as a line of JSON."""
    messages.write(json.dumps(message) + "\n")
    messages.flush()


def exit_with_parent() -> None:
    """Exit when standard input closes, which happens if kib is killed.

    If a worker outlived kib, it would write to the same folder as the next training run.
    """
    while os.read(0, 1):  # not sys.stdin, because the process could exit while holding its lock
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
