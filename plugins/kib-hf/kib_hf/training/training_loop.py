"""One training run, from text to saved weights, using the transformers Trainer; all processes run this code."""

import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kib.errors import InputError, StepError
from kib.records import Trained
from kib_hf.loading import load_model, quietly, torch_device
from kib_hf.training.adapters import new_adapter
from kib_hf.training.blocked_loss import add_loss
from kib_hf.training.checkpoints import read_progress, write_trained
from kib_hf.training.examples import Example, prepare_examples, sample_examples
from kib_hf.training.flops import flops_per_token
from kib_hf.training.learning_rate import rate_factor
from kib_hf.training.loss import mean_loss
from kib_hf.training.micro_batches import MicroBatches, plan_micro_batches
from kib_hf.training.monitor import Monitor, as_callback, planned_tokens
from kib_hf.training.options import LoraOptions
from kib_hf.training.packed_text_isolation import check_isolation
from kib_hf.training.packing import Row, pack, plan_steps
from kib_hf.training.preflight_checks import check_no_sharding
from kib_hf.training.saved_weights import round_weights, save_weights
from kib_hf.training.worker_job import TrainingJob

__all__ = ["train_job"]

Log = Callable[[Mapping[str, Any]], None]

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""accelerate's names for data types."""


def train_job(job: TrainingJob, log: Log) -> Trained:
    """Train a model, measure its loss and save the weights; raise InputError for unsuitable text or options.

    On a CPU, the same job with the same number of threads produces identical files, even if the job was killed and
    resumed.
    """
    with quietly(), _seeded(job.seed):
        return _TrainingRun(job, log).run()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed all random number generators, and restore their states afterwards."""
    import numpy as np
    import torch
    from transformers import set_seed

    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


class _TrainingRun:
    """The state of a training run; components that can fail are created first."""

    def __init__(self, job: TrainingJob, log: Log) -> None:
        self.job, self.options, self.log = job, job.options, log
        o = self.options
        check_no_sharding()  # in every worker, because accelerate's file affects only the workers' environment
        self.device = torch_device(o.device).partition(":")[0]
        self.processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.examples = prepare_examples(job.text, job.start, o)
        self.text_tokens = sum(example.loss_tokens for example in self.examples)
        self.validation = prepare_examples(job.validation, job.start, o) if job.validation else []
        self.held_out = sample_examples(prepare_examples(job.held_out, job.start, o)) if job.held_out else []
        self.plan = plan_steps(
            [len(example) for example in self.examples],
            epochs=o.epochs,
            batch_size=o.batch_size,
            block=job.packed_length,
            seed=job.seed,
        )
        self._load()
        self.batches, self.batches_per_step = self._micro_batches(self.plan.steps, self.examples, self.processes)

    def _load(self) -> None:
        """Load the model; store its data type and cache setting, which the saved model must retain."""
        o, start = self.options, self.job.start.folder
        lora = isinstance(o, LoraOptions)
        model: Any = load_model(
            start, dtype=o.dtype if lora else "auto", device="cpu", trust_remote_code=o.trust_remote_code
        )
        self.dtype, self.use_cache = model.dtype, model.config.use_cache
        self.model = new_adapter(model, o, str(start)) if isinstance(o, LoraOptions) else model.float()
        self.packed = self.job.packed_length is not None and o.layout != "sorted" and self._can_pack(str(start))
        add_loss(self.model, str(start))

    def _can_pack(self, name: str) -> bool:
        """Return whether texts may share rows; raise InputError if they may not, but `layout = "packed"` is set."""
        if self.options.layout == "auto" and self.device == "cpu":
            return False  # padding sorted rows costs less than computing attention between texts
        try:
            check_isolation(self.model, name)
        except InputError:
            if self.options.layout == "packed":
                raise
            return False
        return True

    def _micro_batches(
        self, steps: Sequence[Sequence[Row]], examples: Sequence[Example], processes: int
    ) -> tuple[MicroBatches, int]:
        """Return the micro-batches of all steps, and their number per step and process."""
        planned, per_process = plan_micro_batches(
            steps,
            [len(example) for example in examples],
            packed=self.packed,
            rows=self.options.device_batch,
            block=self.options.block,
            processes=processes,
        )
        return MicroBatches(planned, examples, 0), per_process

    def run(self) -> Trained:
        """Train, restore the best weights if training stopped early, then measure the loss and save the weights."""
        trainer, monitor = self._trainer()
        sample, resume = sample_examples(self.examples), self.job.resume
        first, held_out_first = self._loss(sample), self._held_out_loss()
        monitor.start(read_progress(resume) if resume else None)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        monitor.count_seconds()
        trainer.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)  # losses are measured without autocast
        self._check_token_count(monitor)
        monitor.restore_lowest(self.model)
        unrounded = self._round_full_weights(sample)
        last, held_out_last = self._loss(sample), self._held_out_loss()
        validation = self._loss(self.validation) if self.validation else None
        flops = self._flops(monitor.step)
        main_process = trainer.is_world_process_zero()
        change = self._save() if main_process else 0.0
        trained = Trained(
            weights=self.job.weights,
            text_tokens=self.text_tokens,
            trained_tokens=monitor.progress.tokens,
            steps=monitor.step,
            first_loss=first,
            last_loss=last,
            change=change,
            flops=flops,
            validation_loss=validation,
            held_out_first_loss=held_out_first,
            held_out_last_loss=held_out_last,
            unrounded_loss=unrounded,
            seconds=monitor.progress.seconds,
        )
        if main_process:
            write_trained(self.job.folder, trained)
        trainer.accelerator.wait_for_everyone()
        return trained

    def _trainer(self) -> tuple[Any, Monitor]:
        """Return the transformers Trainer with its optimizer and learning rate schedule, and the Trainer's monitor."""
        from torch.optim.lr_scheduler import LambdaLR
        from transformers import PrinterCallback, Trainer

        o = self.options
        monitor = Monitor(
            self.plan,
            self.job.folder,
            every=o.checkpoint_every,
            log=self.log,
            validate=(lambda: self._loss(self.validation)) if self.validation else None,
            patience=o.patience,
        )
        trainer: Any = Trainer(
            model=self.model,
            args=self._trainer_arguments(),
            train_dataset=self.batches,
            data_collator=_only_item,
            compute_loss_func=monitor.loss,
            callbacks=[as_callback(monitor)],
        )
        trainer.remove_callback(PrinterCallback)
        steps = len(self.plan.steps)
        trainer.create_optimizer()
        trainer.lr_scheduler = LambdaLR(
            trainer.optimizer, lambda step: rate_factor(step, steps, math.ceil(o.warmup * steps), o.schedule)
        )
        return trainer, monitor

    def _trainer_arguments(self) -> Any:
        """Return the `TrainingArguments` for the transformers Trainer."""
        from transformers import TrainingArguments

        o, cpu = self.options, self.device == "cpu"
        arguments = TrainingArguments(
            output_dir=str(self.job.folder),
            seed=self.job.seed % 2**32,
            num_train_epochs=1,  # the dataset contains all epochs
            per_device_train_batch_size=1,  # one dataset item is a complete micro-batch
            gradient_accumulation_steps=self.batches_per_step,
            train_sampling_strategy="sequential",
            learning_rate=o.learning_rate,
            optim="adamw_torch",
            weight_decay=o.weight_decay,
            adam_beta1=o.betas[0],
            adam_beta2=o.betas[1],
            max_grad_norm=o.max_grad_norm,
            bf16=o.dtype == "bfloat16",
            fp16=o.dtype == "float16",
            activation_checkpointing=o.gradient_checkpointing,
            activation_checkpointing_kwargs={"use_reentrant": False},
            use_cpu=cpu,
            ddp_backend=("gloo" if cpu else "nccl") if self.processes > 1 else None,
            ddp_find_unused_parameters=False,
            dataloader_pin_memory=not cpu,
            remove_unused_columns=False,
            logging_steps=1,
            logging_nan_inf_filter=False,  # the filter would replace NaN with an average instead of reporting NaN
            save_strategy="no",  # the monitor requests checkpoints
            save_total_limit=2,
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        arguments.mixed_precision = PRECISION[o.dtype]  # overrides the environment
        arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - use one process per GPU, never DataParallel
        return arguments

    def _check_token_count(self, monitor: Monitor) -> None:
        """Raise StepError unless the number of trained tokens matches the plan and, after a full run, all epochs."""
        planned = planned_tokens(self.plan, self.examples, monitor.step)
        if monitor.progress.tokens != planned:
            raise StepError(
                f"{monitor.step} training steps covered {monitor.progress.tokens} tokens; expected {planned}"
            )
        all_epochs = self.options.epochs * self.text_tokens
        if monitor.step == len(self.plan.steps) and planned != all_epochs:
            raise StepError(f"{self.options.epochs} epochs covered {planned} tokens; expected {all_epochs}")

    def _round_full_weights(self, sample: Sequence[Example]) -> float | None:
        """Round full weights to the data type for saving; return the loss before rounding, or None if not rounded."""
        import torch

        if isinstance(self.options, LoraOptions) or self.dtype == torch.float32:
            return None
        loss = self._loss(sample)
        round_weights(self.model, self.dtype)
        return loss

    def _held_out_loss(self) -> float | None:
        """Return the loss on held-out text, or None if no text is held out."""
        return self._loss(self.held_out) if self.held_out else None

    def _loss(self, examples: Sequence[Example]) -> float:
        """Return the mean loss in nats per token, over all tokens that contribute to the loss."""
        chosen = [example for example in examples if example.loss_tokens]
        rows = pack([len(example) for example in chosen], self.options.block, range(len(chosen)))
        batches, _ = self._micro_batches([rows], chosen, processes=1)
        return mean_loss(self.model, map(batches.rows, range(len(batches))), 0)

    def _flops(self, steps: int) -> float:
        """Return the number of floating-point operations in the first `steps` steps."""
        tokens = sum(len(self.examples[index]) for step in self.plan.steps[:steps] for row in step for index in row)
        return float(flops_per_token(self.model) * tokens)

    def _save(self) -> float:
        """Save the weights; return the norm of their change relative to the original weights."""
        self.model.config.use_cache = self.use_cache
        o = self.options
        return save_weights(self.model, self.dtype, self.job.start.folder, self.job.weights, o.trust_remote_code)


def _only_item(items: Sequence[Any]) -> Any:
    """Return the only item in a DataLoader batch, which is a complete micro-batch."""
    return items[0]
