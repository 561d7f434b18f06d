"""Trains weights once and stores them with the training log; an interrupted run resumes from its checkpoint."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical
from kib.plan.steps import WeightsStep
from kib.progress import Advance
from kib.records import Text, Trained, Weights
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, check_type
from kib.run.speeds import Speed, store_speed, training_key
from kib.store.result_records import TrainingRecord
from kib.store.work import Work

__all__ = ["TrainerTexts", "train_weights", "training_record"]


@dataclass(frozen=True, slots=True)
class TrainerTexts:
    """The texts passed to a trainer: for training, for monitoring the loss, and for measuring perplexity.

    `written` contains the amounts paid for writing these texts, keyed by the names of the fields in a `TrainingRecord`.
    """

    training: Sequence[Text]
    validation: Sequence[Text]
    held_out: Sequence[Text]
    written: Mapping[str, int | None]
    open_pairs: int = 0  # number of pairs in `training` that cannot have the form in which their task asks


def train_weights(step: WeightsStep, read_texts: Callable[[], TrainerTexts], context: RunContext) -> Trained:
    """Return trained weights; train only if no weights are stored. `read_texts` is called only for a training run."""
    with context.progress.waiting(f"reading the weights of model {step.model}"):  # a model may have to be downloaded
        start = context.lock.get("models", step.model).plugin.weights()
    if start is None or step.trainer is None:
        raise InputError(f"models.{step.model}: this model cannot be trained")
    locked = context.lock.get("trainers", step.trainer, step.settings)

    def build(folder: Path) -> dict[str, Any]:
        texts = read_texts()
        with context.progress.step(f"training {step.title}") as advance, _TrainingLog(folder, advance) as log:
            begun = time.perf_counter()  # reading the texts may involve waiting for a writer
            with call_plugin(locked, "train"):
                trained = locked.plugin.train(
                    start, texts.training, folder, step.seed, log, texts.validation, texts.held_out
                )
            seconds = wall = time.perf_counter() - begun
        _check_trained(step, check_type(locked, "train", trained, Trained), bool(texts.validation))
        seconds = seconds if trained.seconds is None else trained.seconds
        if seconds <= wall:  # a resumed run trained only some of its steps in this process
            key = training_key(context.lock.get("models", step.model), locked)
            store_speed(context.work, key, Speed(trained.flops, wall))
        weights = _relative(trained.weights, start, folder)
        return {
            **asdict(trained),
            "weights": weights,
            "seconds": seconds,
            "written": texts.written,
            "open_pairs": texts.open_pairs,
        }

    folder = context.work.compute("weights", step.identity, build)
    record = context.work.record("weights", step.identity)
    for name in ("written", "open_pairs"):
        record.pop(name, None)
    paths = record["weights"]
    adapter = folder / paths["adapter"] if paths["adapter"] else None
    whole = start.folder if paths["folder"] == "start" else folder / paths["folder"]
    return Trained(**{**record, "weights": Weights(whole, adapter)})


def training_record(step: WeightsStep, trained: Trained, work: Work) -> TrainingRecord:
    """Return the facts about a training run that are stored in a cell's result, including the cost of written text.

    The record omits paths and seconds because these values differ from run to run.
    """
    reported = {name: value for name, value in asdict(trained).items() if name in TrainingRecord.__slots__}
    record = work.record("weights", step.identity)
    return TrainingRecord(**reported, open_pairs=record.get("open_pairs", 0), **record.get("written", {}))


class _TrainingLog:
    """The log of a training run as JSON lines; a resumed run appends to the log of the interrupted run."""

    def __init__(self, folder: Path, advance: Advance) -> None:
        self.path = folder / "log.jsonl"
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
        if "steps" in record:
            self.advance.expect(int(record["steps"]))
        self.advance(max(0, step - self.step))
        self.step = step


def _check_trained(step: WeightsStep, trained: Trained, has_validation: bool) -> None:
    """Raise InputError if training lost text, changed no weights or did not report a required validation loss."""
    where = f"trainers.{step.trainer}"
    if trained.trained_tokens < trained.text_tokens:
        raise InputError(
            f"{where}: training used only {trained.trained_tokens:,} of {trained.text_tokens:,} tokens, so part of "
            "the training text was lost"
        )
    if trained.change == 0:
        raise InputError(f"{where}: training did not change any weights")
    if has_validation and trained.validation_loss is None:
        raise InputError(f"{where}: the trainer received a validation text but did not report a validation loss")


def _relative(weights: Weights, start: Weights, folder: Path) -> dict[str, str | None]:
    """Return paths relative to the step's folder, so that the work folder can be moved.

    The value "start" denotes the path of the base model.
    """
    whole = "start" if weights.folder == start.folder else weights.folder.relative_to(folder).as_posix()
    adapter = weights.adapter.relative_to(folder).as_posix() if weights.adapter else None
    return {"folder": whole, "adapter": adapter}
