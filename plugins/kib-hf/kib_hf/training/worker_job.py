"""A training job, and the file that passes the job to worker processes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kib.identity import canonical
from kib.records import Text, Weights
from kib_hf.training.options import FullOptions, LoraOptions, TrainingOptions

__all__ = ["JOB_FILE", "TrainingJob", "read_job", "write_job"]

JOB_FILE = "job.json"


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """The inputs and the output folder of one training run; `resume` is the checkpoint to resume from, or None."""

    options: TrainingOptions
    start: Weights
    text: Sequence[Text]
    validation: Sequence[Text]
    held_out: Sequence[Text]
    folder: Path
    seed: int
    resume: Path | None = None

    @property
    def weights(self) -> Weights:
        """The path of the trained weights."""
        if isinstance(self.options, LoraOptions):
            return Weights(self.start.folder, self.folder / "adapter")
        return Weights(self.folder / "model")

    @property
    def packed_length(self) -> int | None:
        """The length of packed rows in tokens, or None if every row contains a single example."""
        return self.options.block if self.options.pack == "isolated" else None


def write_job(job: TrainingJob) -> None:
    """Write a job to a file in the job's output folder."""
    value = {
        "kind": "lora" if isinstance(job.options, LoraOptions) else "full",
        "options": job.options.model_dump(mode="json"),
        "start": {"folder": str(job.start.folder.absolute()), "add_bos_token": job.start.add_bos_token},
        "text": [asdict(text) for text in job.text],
        "validation": [asdict(text) for text in job.validation],
        "held_out": [asdict(text) for text in job.held_out],
        "seed": job.seed,
        "resume": str(job.resume) if job.resume else None,
    }
    (job.folder / JOB_FILE).write_text(canonical(value), encoding="utf-8")


def read_job(folder: Path) -> TrainingJob:
    """Read the job that `write_job` stored in `folder`."""
    value = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
    kind: type[TrainingOptions] = LoraOptions if value["kind"] == "lora" else FullOptions
    return TrainingJob(
        options=kind.model_validate_json(json.dumps(value["options"])),
        start=Weights(Path(value["start"]["folder"]), add_bos_token=value["start"]["add_bos_token"]),
        text=[Text(**text) for text in value["text"]],
        validation=[Text(**text) for text in value["validation"]],
        held_out=[Text(**text) for text in value["held_out"]],
        folder=folder,
        seed=value["seed"],
        resume=Path(value["resume"]) if value["resume"] else None,
    )
