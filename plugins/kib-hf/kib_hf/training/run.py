"""One training from text to weights, on transformers' Trainer; every process of a training runs this."""

import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kib.errors import InputError, StepError
from kib.records import Text, Trained, Weights
from kib_hf.loading import load_model, load_tokenizer, quietly, torch_device
from kib_hf.training.adapters import new_adapter
from kib_hf.training.checkpoints import read_progress, write_trained
from kib_hf.training.examples import Piece, cut, join, tokenize
from kib_hf.training.isolation import check_isolation
from kib_hf.training.learning_rate import factor
from kib_hf.training.loss import Batches, mean_loss
from kib_hf.training.micro_batches import lay_out
from kib_hf.training.monitor import Watch, as_callback, planned_tokens
from kib_hf.training.options import LoraOptions, TrainingOptions
from kib_hf.training.packing import Row, make_course, pack
from kib_hf.training.preflight_checks import check_sharding
from kib_hf.training.saved_weights import operations, round_weights, save

__all__ = ["Job", "fit", "prepare"]

Log = Callable[[Mapping[str, Any]], None]

SAMPLE = 16_384
"""Tokens of a text, evenly spread over it, on which the loss before and after the training is measured."""

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, from what, where; `resume` is the checkpoint to go on from."""

    options: TrainingOptions
    start: Path
    text: Sequence[Text]
    validation: Sequence[Text]
    held_out: Sequence[Text]
    folder: Path
    seed: int
    resume: Path | None = None

    @property
    def weights(self) -> Weights:
        """Where the outcome lies."""
        if isinstance(self.options, LoraOptions):
            return Weights(self.start, self.folder / "adapter")
        return Weights(self.folder / "model")

    @property
    def block(self) -> int | None:
        """The length of rows that hold several texts; None where each row is one piece."""
        return self.options.block if self.options.pack == "isolated" else None


def fit(job: Job, log: Log) -> Trained:
    """Train, save and measure; InputError for text or options that do not go with the model.

    The same job gives the same bytes on a CPU with the same number of threads, also when it was killed on the way.
    """
    with quietly(), _own_seed(job.seed):
        return _Fit(job, log).run()


@contextmanager
def _own_seed(seed: int) -> Iterator[None]:
    """All generators start from the seed, and are given back as they were."""
    import numpy as np
    import torch
    from transformers import set_seed

    kept, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(numbers)


def prepare(texts: Sequence[Text], job: Job) -> tuple[list[Piece], int]:
    """The pieces that texts are trained in, and how many of their tokens have a loss.

    InputError for a pair that is longer than a block, and where cutting and joining would lose a token.
    """
    o = job.options
    tokenizer = load_tokenizer(job.start, trust_remote_code=o.trust_remote_code, add_bos_token=None)
    whole = tokenize(texts, tokenizer, begin=o.begin)
    for text, piece in zip(texts, whole, strict=True):
        if text.kind == "pair" and len(piece) > o.block:
            raise InputError(
                f"passage {text.passage}: a pair of {len(piece)} tokens, but block = {o.block}: an answer would be cut "
                f"from its question; raise block to {len(piece)} or more"
            )
    pieces = join(whole, o.block) if o.pack == "concatenate" else [part for one in whole for part in cut(one, o.block)]
    wanted, kept = (sum(piece.trained for piece in group) for group in (whole, pieces))
    if wanted != kept:
        raise InputError(f"{wanted - kept} of {wanted} tokens would be lost in blocks of {o.block}")
    if not wanted:
        raise InputError("no text to train on: not a single token has a loss")
    return pieces, wanted


class _Fit:
    """A training's parts, made in the order in which they can fail."""

    def __init__(self, job: Job, log: Log) -> None:
        self.job, self.options, self.log = job, job.options, log
        o = self.options
        check_sharding()  # in each process: accelerate's file speaks through their environment
        self.device = torch_device(o.device).partition(":")[0]
        self.processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.pieces, self.text_tokens = prepare(job.text, job)
        self.validation = prepare(job.validation, job)[0] if job.validation else []
        self.held_out = _sample(prepare(job.held_out, job)[0]) if job.held_out else []
        lengths = [len(piece) for piece in self.pieces]
        self.course = make_course(lengths, epochs=o.epochs, batch_size=o.batch_size, block=job.block, seed=job.seed)
        self._load()
        self.data, self.rounds = self._batches(self.course.steps, self.pieces, self.processes)

    def _load(self) -> None:
        """The model with what it was like before: number format and whether it keeps a cache."""
        o, start = self.options, self.job.start
        lora = isinstance(o, LoraOptions)
        model: Any = load_model(
            start, dtype=o.dtype if lora else "auto", device="cpu", trust_remote_code=o.trust_remote_code
        )
        self.dtype, self.cache = model.dtype, model.config.use_cache
        self.model = new_adapter(model, o, str(start)) if isinstance(o, LoraOptions) else model.float()
        self.packed = self.job.block is not None and o.layout != "sorted" and self._packs(str(start))

    def _packs(self, name: str) -> bool:
        """Whether texts go through the model side by side; InputError where they shall and would see each other."""
        if self.options.layout == "auto" and self.device == "cpu":
            return False  # filler in rows of a length costs less than attention's work between texts
        try:
            check_isolation(self.model, name)
        except InputError:
            if self.options.layout == "packed":
                raise
            return False
        return True

    def _batches(self, steps: Sequence[Sequence[Row]], pieces: Sequence[Piece], processes: int) -> tuple[Batches, int]:
        """What goes through the model at once, part by part, and the number of parts a step and process."""
        parts, rounds = lay_out(
            steps,
            [len(piece) for piece in pieces],
            packed=self.packed,
            rows=self.options.device_batch,
            block=self.options.block,
            processes=processes,
        )
        return Batches(parts, pieces, 0), rounds

    def run(self) -> Trained:
        """The whole training."""
        trainer, watch = self._trainer()
        sample = _sample(self.pieces)
        first, held_out_first = self._loss(sample), self._held_out_loss()
        watch.start(read_progress(self.job.resume) if self.job.resume else None)
        trainer.train(resume_from_checkpoint=str(self.job.resume) if self.job.resume else None)
        watch.count_seconds()
        trainer.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)  # losses are measured as before it
        self._check(watch)
        watch.take_lowest(self.model)
        unrounded = self._rounded_from(sample)
        last, held_out_last = self._loss(sample), self._held_out_loss()
        validated = self._loss(self.validation) if self.validation else None
        read = sum(len(self.pieces[n]) for step in self.course.steps[: watch.step] for row in step for n in row)
        flops = float(operations(self.model) * read)
        change = 0.0
        if trainer.is_world_process_zero():
            self.model.config.use_cache = self.cache
            change = save(self.model, self.dtype, self.job.start, self.job.weights, self.options.trust_remote_code)
        trained = Trained(
            weights=self.job.weights,
            text_tokens=self.text_tokens,
            trained_tokens=watch.progress.tokens,
            steps=watch.step,
            first_loss=first,
            last_loss=last,
            change=change,
            flops=flops,
            validation_loss=validated,
            held_out_first_loss=held_out_first,
            held_out_last_loss=held_out_last,
            unrounded_loss=unrounded,
            seconds=watch.progress.seconds,
        )
        if trainer.is_world_process_zero():
            write_trained(self.job.folder, trained)
        trainer.accelerator.wait_for_everyone()
        return trained

    def _trainer(self) -> tuple[Any, Watch]:
        from torch.optim.lr_scheduler import LambdaLR
        from transformers import PrinterCallback, Trainer

        o = self.options
        watch = Watch(
            self.course,
            self.job.folder,
            every=o.checkpoint_every,
            log=self.log,
            validate=(lambda: self._loss(self.validation)) if self.validation else None,
            patience=o.patience,
        )
        trainer: Any = Trainer(
            model=self.model,
            args=self._arguments(),
            train_dataset=self.data,
            data_collator=_alone,
            compute_loss_func=watch.loss,
            callbacks=[as_callback(watch)],
        )
        trainer.remove_callback(PrinterCallback)
        steps = len(self.course.steps)
        trainer.create_optimizer()
        trainer.lr_scheduler = LambdaLR(
            trainer.optimizer, lambda step: factor(step, steps, math.ceil(o.warmup * steps), o.schedule)
        )
        return trainer, watch

    def _arguments(self) -> Any:
        from transformers import TrainingArguments

        o, cpu = self.options, self.device == "cpu"
        made = TrainingArguments(
            output_dir=str(self.job.folder),
            seed=self.job.seed % 2**32,
            num_train_epochs=1,  # all epochs stand one after the other in the data
            per_device_train_batch_size=1,  # a part of a step with all its rows
            gradient_accumulation_steps=self.rounds,
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
            logging_nan_inf_filter=False,  # a loss that is no number is an error, not the mean of those before
            save_strategy="no",  # the watch asks for checkpoints
            save_total_limit=2,
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        made.mixed_precision = PRECISION[o.dtype]  # whatever the environment says
        made._n_gpu = min(made.n_gpu, 1)  # noqa: SLF001 - several GPUs by processes, not by PyTorch's DataParallel
        return made

    def _rounded_from(self, sample: Sequence[Piece]) -> float | None:
        """Round full weights to the format that they are saved in; the loss before, None where nothing is rounded."""
        import torch

        if isinstance(self.options, LoraOptions) or self.dtype == torch.float32:
            return None
        loss = self._loss(sample)
        round_weights(self.model, self.dtype)
        return loss

    def _held_out_loss(self) -> float | None:
        return self._loss(self.held_out) if self.held_out else None

    def _loss(self, pieces: Sequence[Piece]) -> float:
        """Nats a token of the pieces that have a loss."""
        chosen = [piece for piece in pieces if piece.trained]
        rows = pack([len(piece) for piece in chosen], self.options.block, range(len(chosen)))
        batches, _ = self._batches([rows], chosen, processes=1)
        return mean_loss(self.model, map(batches.rows, range(len(batches))), 0)

    def _check(self, watch: Watch) -> None:
        planned = planned_tokens(self.course, self.pieces, watch.step)
        if watch.progress.tokens != planned:
            raise StepError(f"{watch.progress.tokens} tokens were trained in {watch.step} steps, not {planned}")
        whole = self.options.epochs * self.text_tokens
        if watch.step == len(self.course.steps) and planned != whole:
            raise StepError(
                f"{planned} tokens were trained, but {self.options.epochs} passes over the text are {whole}"
            )


def _sample(pieces: Sequence[Piece]) -> list[Piece]:
    """Every n-th piece of a text, `SAMPLE` tokens or a little more."""
    every = -(-sum(map(len, pieces)) // SAMPLE)
    chosen = [piece for piece in pieces[::every] if piece.trained]
    return chosen or [piece for piece in pieces if piece.trained][:1]


def _alone(items: Sequence[Any]) -> Any:
    """A part of a step is a batch already."""
    return items[0]
