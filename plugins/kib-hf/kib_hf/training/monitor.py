"""What happens beside a training's steps: counting, logging, checkpoints, validation and the early stop."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kib.errors import StepError
from kib_hf.training.checkpoints import Progress, write_progress
from kib_hf.training.examples import Piece
from kib_hf.training.packing import Course

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import TrainerCallback

__all__ = ["Watch", "as_callback", "planned_tokens"]

LOWEST = "lowest.safetensors"


def planned_tokens(course: Course, pieces: Sequence[Piece], steps: int) -> int:
    """Tokens with a loss in the first `steps` steps."""
    return sum(pieces[number].trained for step in course.steps[:steps] for row in step for number in row)


class Watch:
    """Follows transformers' Trainer from step to step; each process of a training has one."""

    def __init__(
        self,
        course: Course,
        folder: Path,
        *,
        every: int,
        log: Callable[[Mapping[str, Any]], None],
        validate: Callable[[], float] | None,
        patience: int | None,
    ) -> None:
        self.course, self.folder, self.every, self.log = course, folder, every, log
        self.validate, self.patience = validate, patience
        self.progress = Progress()
        self.step = 0
        self.counted: Tensor | int = 0
        self.validation: float | None = None
        self.ends = frozenset(course.epoch_ends)
        self.since = time.monotonic()

    def start(self, earlier: Progress | None) -> None:
        """Begin to count, from what an earlier session had counted when it left its last checkpoint."""
        self.progress = earlier or self.progress
        self.since = time.monotonic()

    def count_seconds(self) -> None:
        """Add the time since this was last called to the progress."""
        before, self.since = self.since, time.monotonic()
        self.progress.seconds += self.since - before

    def loss(self, outputs: Any, labels: "Tensor", num_items_in_batch: "Tensor") -> "Tensor":
        """A batch's part of its step's mean loss; `num_items_in_batch` are the step's tokens with a loss."""
        from kib_hf.training.loss import summed_loss

        self.counted = num_items_in_batch
        return summed_loss(outputs["logits"], labels) / num_items_in_batch.clamp(min=1)

    def after_step(self, step: int, control: Any, model: Any) -> None:
        """Count, validate at the end of an epoch, and ask for what is due: a checkpoint, or the end."""
        self.step, self.validation = step, None
        self.progress.tokens += int(self.counted)
        if self.validate and step in self.ends:
            self.validation = self._agreed(self.validate())
            self._judge(step, self.validation, model)
        control.should_training_stop |= self.patience is not None and self.progress.without >= self.patience
        last = control.should_training_stop or step == len(self.course.steps)  # going on from it would train too long
        control.should_save = step % self.every == 0 and not last

    def _agreed(self, loss: float) -> float:
        """The first process's number, so that all of them stop together."""
        from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

        return float(broadcast_object_list([loss])[0])

    def _judge(self, step: int, loss: float, model: Any) -> None:
        progress = self.progress
        if progress.lowest is not None and not loss < progress.lowest:
            progress.without += 1
            return
        progress.lowest, progress.lowest_step, progress.without = loss, step, 0
        if self.patience is not None:
            _keep(model, self.folder / LOWEST)

    def take_lowest(self, model: Any) -> None:
        """Put the weights of the lowest validation loss back, where that is what stops the training."""
        if self.patience is None or self.progress.lowest_step == self.step:
            return
        from safetensors.torch import load_file

        model.load_state_dict(load_file(self.folder / LOWEST), strict=False)

    def after_log(self, logs: Mapping[str, Any]) -> None:
        """Hand a step's loss on; StepError where it is no number any more."""
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise StepError(f"step {self.step}: the loss is {logs['loss']}; lower learning_rate or max_grad_norm")
        record = {
            "step": self.step,
            "steps": len(self.course.steps),
            "tokens": self.progress.tokens,
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
        }
        self.log(record if self.validation is None else {**record, "validation": self.validation})

    def after_save(self, first: bool) -> None:
        """Mark the checkpoint as whole, once every process has written its part."""
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.barrier()
        self.count_seconds()
        if first:
            write_progress(self.folder / f"checkpoint-{self.step}", self.progress)


def _keep(model: Any, place: Path) -> None:
    """Write the trained weights, in float32, by one process alone."""
    from accelerate import PartialState  # type: ignore[import-untyped]
    from safetensors.torch import save_file

    if PartialState().is_main_process:
        trained = {name: part.detach().contiguous() for name, part in model.named_parameters() if part.requires_grad}
        part = place.with_name(f"{place.name}.part")
        save_file(trained, part)
        part.replace(place)


def as_callback(watch: Watch) -> "TrainerCallback":
    """The watch as transformers calls it."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):
        """Passes the events on; what is given is (arguments, state, control)."""

        def on_step_end(self, *given: Any, **named: Any) -> None:
            watch.after_step(given[1].global_step, given[2], named["model"])

        def on_log(self, *given: Any, **named: Any) -> None:
            if given[1].is_world_process_zero:
                watch.after_log(named["logs"])

        def on_save(self, *given: Any, **_: Any) -> None:
            watch.after_save(given[1].is_world_process_zero)

    return Callback()
