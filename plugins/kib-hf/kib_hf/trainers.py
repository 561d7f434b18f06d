"""The trainers `full` and `lora`, which train a model on documents, paraphrases, or question-answer pairs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from kib.identity import digest
from kib.interfaces import Options, TrainingForecast
from kib.records import Text, Trained, Weights
from kib_hf.training.options import FullOptions, LoraOptions, TrainingOptions

__all__ = ["Full", "Lora"]


LORA = """@misc{hu2021lora,
  title = {{LoRA}: Low-Rank Adaptation of Large Language Models},
  author = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi and Wang, Shean and
    Wang, Lu and Chen, Weizhu},
  year = {2021},
  eprint = {2106.09685},
  archivePrefix = {arXiv}
}"""

DORA = """@misc{liu2024dora,
  title = {{DoRA}: Weight-Decomposed Low-Rank Adaptation},
  author = {Liu, Shih-Yang and Wang, Chien-Yi and Yin, Hongxu and Molchanov, Pavlo and Wang, Yu-Chiang Frank and
    Cheng, Kwang-Ting and Chen, Min-Hung},
  year = {2024},
  eprint = {2402.09353},
  archivePrefix = {arXiv}
}"""

RSLORA = """@misc{kalajdzievski2023rslora,
  title = {A Rank Stabilization Scaling Factor for Fine-Tuning with {LoRA}},
  author = {Kalajdzievski, Damjan},
  year = {2023},
  eprint = {2312.03732},
  archivePrefix = {arXiv}
}"""


class _Trainer:
    """The base class of the trainers `full` and `lora`."""

    revision: ClassVar[int] = 1

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return "", because no option refers to data; raise InputError if accelerate's configuration is missing."""
        from kib_hf.training.processes import check_accelerate_file

        if self.options.accelerate is not None:
            check_accelerate_file(self.options.accelerate)
        return ""

    def check(self, start: Weights, validation: bool) -> None:
        """Raise InputError if the options are incompatible with the model or the machine; read no weights."""
        from kib_hf.training.preflight_checks import check_before_training

        check_before_training(self.options, start, validation)

    def forecast(
        self, start: Weights, text: Sequence[Text], validation: Sequence[Text] = (), held_out: Sequence[Text] = ()
    ) -> TrainingForecast | None:
        """Return the tokens, steps, operations and peak memory of `train`; read no weights.

        Raise InputError if the texts cannot be trained.
        """
        from kib_hf.training.forecast import forecast_training

        return forecast_training(self.options, start, text, validation, held_out)

    def operations_per_second(self) -> float:
        """Return the speed of the training device, measured with matrix products in about a second."""
        from kib_hf.forecast import machine_speed
        from kib_hf.loading import torch_device
        from kib_hf.training.processes import process_count

        return process_count(self.options) * machine_speed(torch_device(self.options.device), self.options.dtype)

    def train(
        self,
        start: Weights,
        text: Sequence[Text],
        folder: Path,
        seed: int,
        log: Callable[[Mapping[str, Any]], None],
        validation: Sequence[Text] = (),
        held_out: Sequence[Text] = (),
    ) -> Trained:
        """Train the weights of `start` on `text`, and save checkpoints and the trained weights in `folder`.

        Raise InputError if `check` fails, if the weights are incomplete, or if splitting the text would lose tokens.
        Raise StepError if the loss becomes infinite or NaN.
        """
        from kib_hf.model_folder import check_folder
        from kib_hf.training.checkpoints import (
            last_checkpoint,
            read_trained,
            remove_checkpoints,
            restore_lowest_file,
        )
        from kib_hf.training.processes import process_count, train_in_processes
        from kib_hf.training.training_loop import train_job
        from kib_hf.training.worker_job import TrainingJob

        check_folder(start.folder)
        folder.mkdir(parents=True, exist_ok=True)
        resume = last_checkpoint(folder)
        if resume:
            restore_lowest_file(folder, resume)
        job = TrainingJob(self.options, start, text, validation, held_out, folder, seed, resume)
        trained = read_trained(folder, job.weights)
        if trained is None:
            self.check(start, bool(validation))
        if trained is None and (self.options.accelerate or process_count(self.options) > 1):
            train_in_processes(job, log)
            trained = read_trained(folder, job.weights)
        if trained is None:
            trained = train_job(job, log)
        remove_checkpoints(folder)
        return trained


class Full(_Trainer):
    """The trainer `full`, which trains all weights."""

    Options: ClassVar[type[Options]] = FullOptions


class Lora(_Trainer):
    """The trainer `lora`, which freezes the weights and trains a low-rank adapter."""

    Options: ClassVar[type[Options]] = LoraOptions

    def __init__(self, options: LoraOptions) -> None:
        super().__init__(options)
        self._works = [LORA, *([DORA] if options.dora else []), *([RSLORA] if options.rslora else [])]
        self.dropout = options.dropout

    def fingerprint(self) -> str:
        """Return a digest of the batching options if dropout is used, because batching then affects the weights."""
        from kib_hf.training.processes import process_count

        o, without_dropout = self.options, super().fingerprint()
        if not self.dropout:
            return without_dropout
        return digest({"device_batch": o.device_batch, "layout": o.layout, "processes": process_count(o)})

    def bibtex(self) -> str:
        """Return the BibTeX entries for LoRA and the variants selected by the options."""
        return "\n".join(self._works)
