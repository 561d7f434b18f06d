"""One of the processes of a training: `python -m kib_hf.training.worker FOLDER`, started by `kib_hf.training.processes`.

It writes lines of JSON to standard output: `{"log": …}` a step, or `{"error": …, "message": …}`.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kib.errors import InputError, StepError
from kib_hf.training.processes import read_job
from kib_hf.training.run import fit

__all__ = ["main"]


def main(folder: Path) -> int:
    """Train with the others; 0 where it went well."""
    speech = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is none of our lines
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def log(record: Mapping[str, Any]) -> None:
        _say(speech, {"log": dict(record)})

    try:
        fit(read_job(folder), log)
    except (InputError, StepError) as error:
        _say(speech, {"error": type(error).__name__, "message": str(error)})
        return 1
    return 0


def _say(speech: IO[str], line: Mapping[str, Any]) -> None:
    speech.write(json.dumps(line) + "\n")
    speech.flush()


def _leave_with_parent() -> None:
    """A training whose kib was killed must not go on: the next one would write to the same folder."""
    while os.read(0, 1):  # not through sys.stdin, whose lock would be held when this process ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
