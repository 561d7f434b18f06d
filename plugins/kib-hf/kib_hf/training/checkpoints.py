"""The output folder of a training run, with checkpoints during training and a record of the final result.

A checkpoint or the trained weights are considered complete only if a record with the digests of their files exists.
Damaged checkpoints and weights are reported and removed, so that training continues from the last intact checkpoint.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from kib.records import Trained, Weights
from kib.store.files import flush_folder, flush_tree
from kib_hf.training.sealed_record import DamagedRecordError, read_record, write_record

__all__ = [
    "LOWEST_FILE",
    "Progress",
    "last_checkpoint",
    "read_progress",
    "read_trained",
    "remove_checkpoints",
    "restore_lowest_file",
    "whole_folder",
    "write_progress",
    "write_trained",
]

Record = TypeVar("Record")

LOGGER = logging.getLogger("kib_hf")

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
    """Return the newest intact checkpoint in `folder`, or None; remove incomplete and damaged checkpoints."""
    steps = {path: int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*")}
    for path in sorted(steps, key=steps.__getitem__, reverse=True):
        if not (path / PROGRESS_FILE).is_file():
            shutil.rmtree(path)
            continue
        try:
            read_progress(path)
        except DamagedRecordError as error:
            LOGGER.warning("%s; the training run continues without this checkpoint", error)
            shutil.rmtree(path)
        else:
            return path
    return None


def restore_lowest_file(folder: Path, checkpoint: Path) -> None:
    """Restore the weights that had the lowest validation loss when the checkpoint was written."""
    stored = checkpoint / LOWEST_FILE
    if stored.is_file():  # checkpoints written by earlier versions do not contain this file
        (folder / LOWEST_FILE).unlink(missing_ok=True)
        _link(stored, folder / LOWEST_FILE)


def _link(source: Path, target: Path) -> None:
    """Create a hard link to a file that is never changed in place; copy the file if links are not supported."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints and the weights saved for early stopping."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)
    (folder / LOWEST_FILE).unlink(missing_ok=True)


def write_progress(checkpoint: Path, progress: Progress) -> None:
    """Write the progress file, which marks the checkpoint as complete and must therefore be written last.

    The checkpoint also contains the weights with the lowest validation loss so far, if any have been saved.
    """
    lowest = checkpoint.parent / LOWEST_FILE
    if lowest.is_file() and not (checkpoint / LOWEST_FILE).exists():
        _link(lowest, checkpoint / LOWEST_FILE)
    write_record(checkpoint / PROGRESS_FILE, asdict(progress), [checkpoint])
    flush_folder(checkpoint.parent)


def read_progress(checkpoint: Path) -> Progress:
    """Read the progress stored in a complete checkpoint; raise DamagedRecordError if any of its files has changed."""
    path = checkpoint / PROGRESS_FILE
    return _record_of(Progress, path, read_record(path))


def write_trained(folder: Path, trained: Trained) -> None:
    """Write a finished training run's record, which contains digests of the weights but not their path.

    Save the weights before calling this function.
    """
    value = asdict(trained)
    del value["weights"]
    write_record(folder / RECORD_FILE, value, [trained.weights.adapter or trained.weights.folder])


def read_trained(folder: Path, weights: Weights) -> Trained | None:
    """Return the record of a finished training run, with `weights` as its trained weights.

    Return None if no record exists, or if the weights have changed since the record was written.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        return _record_of(Trained, path, {**read_record(path, digests_required=True), "weights": weights})
    except DamagedRecordError as error:
        LOGGER.warning("%s; kib trains the weights again", error)
        path.unlink()
        return None


def _record_of(cls: type[Record], path: Path, value: dict[str, Any]) -> Record:
    try:
        return cls(**value)
    except TypeError as error:
        raise DamagedRecordError(f"{path}: this record is not in the format that kib-hf writes") from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Create a temporary folder, which is flushed to disk and replaces the folder at `path` if the block succeeds."""
    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    flush_tree(part)
    shutil.rmtree(path, ignore_errors=True)
    part.replace(path)
    flush_folder(path.parent)
