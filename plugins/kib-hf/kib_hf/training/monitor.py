"""Work done between training steps: token counting, logging, checkpointing, validation and early stopping."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kib.errors import StepError
from kib_hf.training.checkpoints import LOWEST_FILE, Progress, write_progress
from kib_hf.training.examples import Example
from kib_hf.training.packing import StepPlan

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import TrainerCallback

__all__ = ["Monitor", "as_callback", "planned_tokens"]


def planned_tokens(plan: StepPlan, examples: Sequence[Example], steps: int) -> int:
    """Return the number of tokens that contribute to the loss in the first `steps` steps."""
    return sum(examples[index].loss_tokens for step in plan.steps[:steps] for row in step for index in row)


class Monitor:
    """Monitors the transformers Trainer at every step; every training process has its own monitor."""

    def __init__(
        self,
        plan: StepPlan,
        folder: Path,
        *,
        every: int,
        log: Callable[[Mapping[str, Any]], None],
        validate: Callable[[], float] | None,
        patience: int | None,
    ) -> None:
        self.plan, self.folder, self.every, self.log = plan, folder, every, log
        self.validate, self.patience = validate, patience
        self.progress = Progress()
        self.step = 0
        self.step_tokens: Tensor | int = 0
        self.validation: float | None = None
        self.epoch_ends = frozenset(plan.epoch_ends)
        self.clock = time.monotonic()

    def start(self, earlier: Progress | None) -> None:
        """Start measuring the training time.

        If training resumes from a checkpoint, restore the checkpoint's progress.
        """
        self.progress = earlier or self.progress
        self.clock = time.monotonic()

    def count_seconds(self) -> None:
        """Add the seconds since the previous call of this method to the recorded training time."""
        before, self.clock = self.clock, time.monotonic()
        self.progress.seconds += self.clock - before

    def loss(self, outputs: Any, _: "Tensor", num_items_in_batch: "Tensor") -> "Tensor":
        """Return a micro-batch's share of the step's mean loss; `num_items_in_batch` is the step's token count."""
        self.step_tokens = num_items_in_batch
        summed: Tensor = outputs["loss"]
        return summed / num_items_in_batch.clamp(min=1)

    def after_step(self, step: int, control: Any, model: Any) -> None:
        """Count the step's tokens, validate at the end of an epoch, and request a checkpoint or an early stop.

        The last step requests no checkpoint, because a run resumed from it would train for too many steps.
        """
        self.step, self.validation = step, None
        self.progress.tokens += int(self.step_tokens)
        if self.validate and step in self.epoch_ends:
            self.validation = self._from_main_process(self.validate())
            self._compare(step, self.validation, model)
        control.should_training_stop |= self.patience is not None and self.progress.without >= self.patience
        last = control.should_training_stop or step == len(self.plan.steps)
        control.should_save = step % self.every == 0 and not last

    def _from_main_process(self, loss: float) -> float:
        """Return the main process's validation loss in every process, so that all processes stop at the same step."""
        from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

        return float(broadcast_object_list([loss])[0])

    def _compare(self, step: int, loss: float, model: Any) -> None:
        """Record whether a validation loss is the lowest so far; if early stopping is enabled, save the weights."""
        progress = self.progress
        if progress.lowest is not None and not loss < progress.lowest:
            progress.without += 1
            return
        progress.lowest, progress.lowest_step, progress.without = loss, step, 0
        if self.patience is not None:
            _save_trained_weights(model, self.folder / LOWEST_FILE)

    def restore_lowest(self, model: Any) -> None:
        """If `patience` is set, load the weights with the lowest validation loss unless the model already has them."""
        if self.patience is None or self.progress.lowest_step == self.step:
            return
        from safetensors.torch import load_file

        model.load_state_dict(load_file(self.folder / LOWEST_FILE), strict=False)

    def after_log(self, logs: Mapping[str, Any]) -> None:
        """Log the loss of a step; raise StepError if the loss is not finite."""
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise StepError(f"step {self.step}: the loss is {logs['loss']}; lower learning_rate or max_grad_norm")
        record = {
            "step": self.step,
            "steps": len(self.plan.steps),
            "tokens": self.progress.tokens,
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
        }
        self.log(record if self.validation is None else {**record, "validation": self.validation})

    def after_save(self, *, main_process: bool) -> None:
        """Mark the checkpoint as complete after every training process has written its files."""
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.barrier()
        self.count_seconds()
        if main_process:
            write_progress(self.folder / f"checkpoint-{self.step}", self.progress)


def _save_trained_weights(model: Any, path: Path) -> None:
    """Write the trained weights in float32, from the main process only."""
    from accelerate import PartialState  # type: ignore[import-untyped]
    from safetensors.torch import save_file

    if PartialState().is_main_process:
        trained = {name: w.detach().contiguous() for name, w in model.named_parameters() if w.requires_grad}
        part = path.with_name(f"{path.name}.part")
        save_file(trained, part)
        part.replace(path)


def as_callback(monitor: Monitor) -> "TrainerCallback":
    """Wrap the monitor in a callback for the transformers Trainer."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):
        """Forwards Trainer events to the monitor; transformers passes (arguments, state, control) to each method."""

        def on_step_end(self, *given: Any, **named: Any) -> None:
            monitor.after_step(given[1].global_step, given[2], named["model"])

        def on_log(self, *given: Any, **named: Any) -> None:
            if given[1].is_world_process_zero:
                monitor.after_log(named["logs"])

        def on_save(self, *given: Any, **_: Any) -> None:
            monitor.after_save(main_process=given[1].is_world_process_zero)

    return Callback()
