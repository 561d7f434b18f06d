"""The output folder of a training run, with checkpoints during training and a record of the final result."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kib.records import Trained, Weights
from kib.store import write_text

__all__ = [
    "LOWEST_FILE",
    "Progress",
    "last_checkpoint",
    "read_progress",
    "read_trained",
    "remove_checkpoints",
    "whole_folder",
    "write_progress",
    "write_trained",
]

RECORD_FILE, PROGRESS_FILE, LOWEST_FILE = "trained.json", "progress.json", "lowest.safetensors"


@dataclass(slots=True)
class Progress:
    """The training state missing from the checkpoints that transformers writes.

    `tokens` counts trained tokens, `lowest` is the lowest validation loss, `lowest_step` is the step of the lowest
    loss, `without` counts the epochs since the step of the lowest loss, and `seconds` is the training time.
    """

    tokens: int = 0
    lowest: float | None = None
    lowest_step: int = 0
    without: int = 0
    seconds: float = 0.0


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in `folder`, or None; remove incomplete checkpoints."""
    complete = {}
    for path in folder.glob("checkpoint-*"):
        if (path / PROGRESS_FILE).is_file():
            complete[int(path.name.rpartition("-")[2])] = path
        else:
            shutil.rmtree(path)
    return complete[max(complete)] if complete else None


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints and the weights saved for early stopping."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)
    (folder / LOWEST_FILE).unlink(missing_ok=True)


def write_progress(checkpoint: Path, progress: Progress) -> None:
    """Write the progress file, which marks the checkpoint as complete and must therefore be written last."""
    write_text(checkpoint / PROGRESS_FILE, json.dumps(asdict(progress)))


def read_progress(checkpoint: Path) -> Progress:
    """Read the progress stored in a complete checkpoint."""
    return Progress(**json.loads((checkpoint / PROGRESS_FILE).read_text(encoding="utf-8")))


def write_trained(folder: Path, trained: Trained) -> None:
    """Write a finished training run's record, without the weights' path.

    Save the weights before calling this function.
    """
    value = asdict(trained)
    del value["weights"]
    write_text(folder / RECORD_FILE, json.dumps(value))


def read_trained(folder: Path, weights: Weights) -> Trained | None:
    """Read the record of a finished training run, and add the given `weights`; return None if no record exists."""
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    return Trained(weights=weights, **json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Create a temporary folder, which replaces the folder at `path` if the `with` block succeeds."""
    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    shutil.rmtree(path, ignore_errors=True)
    part.replace(path)
