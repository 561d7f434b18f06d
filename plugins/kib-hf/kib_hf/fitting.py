"""One training from text to weights, on transformers' Trainer; every process of a training runs this."""

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.records import Text, Trained, Weights
from kib_hf.loading import load_tokenizer, quietly, torch_device
from kib_hf.packing import make_course
from kib_hf.pieces import Piece, cut, join, tokenize
from kib_hf.training import LoraOptions, TrainingOptions

__all__ = ["Job", "fit", "prepare"]

Log = Callable[[Mapping[str, Any]], None]

SAMPLE = 16_384
"""Tokens of the text, evenly spread over it, on which the loss before and after the training is measured."""

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, from what, where; `resume` is the checkpoint to go on from."""

    options: TrainingOptions
    start: Path
    text: Sequence[Text]
    validation: Sequence[Text]
    folder: Path
    seed: int
    resume: Path | None = None

    @property
    def weights(self) -> Weights:
        """Where the outcome lies."""
        if isinstance(self.options, LoraOptions):
            return Weights(self.start, self.folder / "adapter")
        return Weights(self.folder / "model")


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
        self.device = torch_device(self.options.device).partition(":")[0]
        if self.options.dtype == "float16" and self.device != "cuda":
            raise InputError('dtype = "float16" needs a CUDA GPU: on a CPU use "bfloat16" or "float32"')
        self.processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.rounds = -(-self.options.batch_size // (self.options.device_batch * self.processes))
        self.pieces, self.text_tokens = prepare(job.text, job)
        self.validation = prepare(job.validation, job)[0] if job.validation else []
        self.course = make_course(
            [len(piece) for piece in self.pieces],
            epochs=self.options.epochs,
            batch_size=self.options.batch_size,
            block=self.options.block if self.options.pack == "isolated" else None,
            seed=job.seed,
        )
        self.model, self.dtype, self.config = self._load()
        self.filler = 0

    def run(self) -> Trained:
        """The whole training."""
        trainer, watch = self._trainer()
        sample = self._sample(self.pieces)
        first = self._loss(sample)
        trainer.train(resume_from_checkpoint=str(self.job.resume) if self.job.resume else None)
        watch.check(self.course, self.pieces)
        model = trainer.accelerator.unwrap_model(trainer.model)
        watch.take_lowest(model)
        last = self._loss(sample)
        read = sum(len(self.pieces[n]) for step in self.course.steps[: watch.step] for row in step for n in row)
        flops = float(self._flops(model) * read)
        trained = Trained(
            self.job.weights, self.text_tokens, watch.progress.tokens, watch.step, first, last, 0.0, flops
        )
        if trainer.is_world_process_zero():
            trained = self._save(model, trained)
        trainer.accelerator.wait_for_everyone()
        return trained
