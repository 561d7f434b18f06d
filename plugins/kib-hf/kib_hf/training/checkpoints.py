"""The work folder of a training: checkpoints while it runs, one record when it is done."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from kib.records import Trained, Weights

__all__ = [
    "Progress",
    "last_checkpoint",
    "new_folder",
    "read_progress",
    "read_trained",
    "write_progress",
    "write_trained",
]

RECORD, PROGRESS = "trained.json", "progress.json"


@dataclass(slots=True)
class Progress:
    """What transformers' own checkpoint does not hold: tokens trained, validation losses' history, time spent."""

    tokens: int = 0
    lowest: float | None = None
    lowest_step: int = 0
    without: int = 0
    seconds: float = 0.0


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`; those that were interrupted are removed."""
    whole = {}
    for place in folder.glob("checkpoint-*"):
        if (place / PROGRESS).is_file():
            whole[int(place.name.rpartition("-")[2])] = place
        else:
            shutil.rmtree(place)
    return whole[max(whole)] if whole else None


def write_progress(checkpoint: Path, progress: Progress) -> None:
    """Say that a checkpoint is whole; written after everything else in it."""
    _write(checkpoint / PROGRESS, json.dumps(asdict(progress)))


def read_progress(checkpoint: Path) -> Progress:
    """What `write_progress` wrote."""
    return Progress(**json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8")))


def write_trained(folder: Path, trained: Trained) -> None:
    """Write the record of a finished training, last of all; where its weights lie is not in it."""
    value = asdict(trained)
    del value["weights"]
    _write(folder / RECORD, json.dumps(value))


def read_trained(folder: Path, weights: Weights) -> Trained | None:
    """The record of a training that was finished in `folder` before, with its weights; None where there is none."""
    place = folder / RECORD
    if not place.is_file():
        return None
    return Trained(weights=weights, **json.loads(place.read_text(encoding="utf-8")))


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to write into that becomes `place`, replacing what was there, when all is written."""
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    shutil.rmtree(place, ignore_errors=True)
    part.replace(place)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
