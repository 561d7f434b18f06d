"""The trainers `full` and `lora`: knowledge into the weights, by causal language modelling or by answers."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from kib.identity import digest
from kib.interfaces import Options
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
    """What `full` and `lora` share; the class of the options makes the difference."""

    revision: ClassVar[int] = 1

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """The options point at nothing that counts; InputError where accelerate's file is not there."""
        from kib_hf.training.crew import check_file

        if self.options.accelerate is not None:
            check_file(self.options.accelerate)
        return ""

    def check(self, start: Weights, validation: bool) -> None:
        """InputError where options, model and machine do not go together, known without the weights."""
        from kib_hf.training.preflight_checks import check_suitability

        check_suitability(self.options, start, validation)

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
        """Train the weights of `start` on `text`; new ones lie in `folder`, as does a checkpoint meanwhile.

        InputError for what `check` finds, weights that are not whole, and text that would lose tokens; StepError where
        the loss is no number any more.
        """
        from kib_hf.model_folder import check_folder
        from kib_hf.training.checkpoints import last_checkpoint, read_trained
        from kib_hf.training.crew import crew_size
        from kib_hf.training.processes import fit_together
        from kib_hf.training.run import Job, fit

        check_folder(start.folder)
        folder.mkdir(parents=True, exist_ok=True)
        job = Job(self.options, start.folder, text, validation, held_out, folder, seed, last_checkpoint(folder))
        trained = read_trained(folder, job.weights)
        if trained is None:
            self.check(start, bool(validation))
        if trained is None and (self.options.accelerate or crew_size(self.options) > 1):
            fit_together(job, log)
            trained = read_trained(folder, job.weights)
        if trained is None:
            trained = fit(job, log)
        for rest in (*folder.glob("checkpoint-*"), folder / "lowest.safetensors"):
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink(missing_ok=True)
        return trained


class Full(_Trainer):
    """The trainer `full`: all weights are trained."""

    Options: ClassVar[type[Options]] = FullOptions


class Lora(_Trainer):
    """The trainer `lora`: the weights stay as they are, and a low-rank adapter beside them is trained."""

    Options: ClassVar[type[Options]] = LoraOptions

    def __init__(self, options: LoraOptions) -> None:
        super().__init__(options)
        self._works = [LORA, *([DORA] if options.dora else []), *([RSLORA] if options.rslora else [])]
        self.dropout = options.dropout

    def fingerprint(self) -> str:
        """How rows go through the model, where that decides which of their places the adapter's dropout hits."""
        from kib_hf.training.crew import crew_size

        o, nothing = self.options, super().fingerprint()
        if not self.dropout:
            return nothing
        return digest({"device_batch": o.device_batch, "layout": o.layout, "processes": crew_size(o)})

    def bibtex(self) -> str:
        """LoRA, and the variants of it that the options take."""
        return "\n".join(self._works)
