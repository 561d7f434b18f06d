"""Trained weights: made once by a trainer, with its log; an interrupted training goes on from its checkpoint."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical
from kib.plan.planner import WeightsStep
from kib.plugins.resolve import Lock
from kib.progress import Progress
from kib.records import Text, Trained, Weights
from kib.store.folders import Work

__all__ = ["Texts", "make", "written"]


@dataclass(frozen=True, slots=True)
class Texts:
    """What a trainer gets: text to train on, text to watch the loss on, and text to measure the perplexity of.

    `written` is what was paid for these texts, by the names of a cell's record.
    """

    training: Sequence[Text]
    validation: Sequence[Text]
    held_out: Sequence[Text]
    written: Mapping[str, int | None]


def make(
    step: WeightsStep,
    texts: Callable[[], Texts],
    lock: Lock,
    work: Work,
    progress: Progress,
) -> Trained:
    """What a trainer made of a model; `texts` gives its texts and is called only where needed."""
    start = lock.get("models", step.model).plugin.weights()
    if start is None or step.trainer is None:
        raise InputError(f"models.{step.model}: this model cannot be trained")
    trainer = lock.get("trainers", step.trainer, step.settings).plugin

    def build(folder: Path) -> dict[str, Any]:
        given = texts()
        with progress.step(f"training {step.title}") as advance, _Log(folder / "log.jsonl", advance) as log:
            begun = time.perf_counter()  # the text may have been waited for
            trained = trainer.train(start, given.training, folder, step.seed, log, given.validation, given.held_out)
            seconds = time.perf_counter() - begun if trained.seconds is None else trained.seconds
        _check(step, trained)
        if given.validation and trained.validation_loss is None:
            raise InputError(f"trainers.{step.trainer}: was given a validation text and does not tell the loss on it")
        told = {"weights": _inside(trained.weights, start, folder), "seconds": seconds, "written": given.written}
        return {**asdict(trained), **told}

    folder = work.make("weights", step.identity, build)
    note = work.note("weights", step.identity)
    note.pop("written", None)
    places = note["weights"]
    adapter = folder / places["adapter"] if places["adapter"] else None
    whole = start.folder if places["folder"] == "start" else folder / places["folder"]
    return Trained(**{**note, "weights": Weights(whole, adapter)})


def written(step: WeightsStep, work: Work) -> Mapping[str, int | None]:
    """What was paid for the texts of a training; it outlives the texts' own folders, as the weights do."""
    told: Mapping[str, int | None] = work.note("weights", step.identity).get("written", {})
    return told


class _Log:
    """A trainer's records as JSON lines; what an interrupted training wrote stays above what its successor adds."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        self.path = path
        self.advance = advance
        self.step = 0

    def __enter__(self) -> Callable[[Mapping[str, Any]], None]:
        self.file = self.path.open("a", encoding="utf-8", newline="\n")
        return self.write

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, record: Mapping[str, Any]) -> None:
        self.file.write(canonical(dict(record)) + "\n")
        self.file.flush()
        step = int(record.get("step", self.step))
        self.advance(max(0, step - self.step))
        self.step = step


def _check(step: WeightsStep, trained: Trained) -> None:
    """A training that lost text or changed nothing is a failure, not a result."""
    if trained.trained_tokens < trained.text_tokens:
        raise InputError(
            f"trainers.{step.trainer}: {trained.trained_tokens:,} tokens were trained on, of a text of "
            f"{trained.text_tokens:,}: text was lost"
        )
    if trained.change == 0:
        raise InputError(f"trainers.{step.trainer}: the training changed no weight")


def _inside(weights: Weights, start: Weights, folder: Path) -> dict[str, str | None]:
    """Places within the step's folder, so that the work folder can be moved; "start" is the model's own."""
    whole = "start" if weights.folder == start.folder else weights.folder.relative_to(folder).as_posix()
    adapter = weights.adapter.relative_to(folder).as_posix() if weights.adapter else None
    return {"folder": whole, "adapter": adapter}
