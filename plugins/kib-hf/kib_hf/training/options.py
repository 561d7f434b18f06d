"""The options of the trainers `full` and `lora`.

A result's identity excludes options that affect only speed and memory, not the trained weights.
"""

import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kib.interfaces import InputPath, NotInIdentity, Options

__all__ = ["FullOptions", "LoraOptions", "TrainingOptions"]

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingOptions(Options):
    """Options shared by both trainers; defaults follow Ovadia et al. (2024) if the paper states a value."""

    epochs: int = Field(default=5, ge=1, description="Number of passes over the training text.")
    learning_rate: float = Field(gt=0, lt=1, description="Peak learning rate, reached after the warm-up.")
    batch_size: int = Field(
        default=16,
        ge=1,
        description=(
            'Number of rows per training step, counted over all processes. If `pack = "none"`, a row contains a '
            "single text."
        ),
    )
    block: int = Field(
        default=256, ge=8, description="Maximum row length in tokens. Longer texts are split, never truncated."
    )
    pack: Literal["isolated", "concatenate", "none"] = Field(
        default="isolated",
        description=(
            'Packing of texts: "isolated" puts several texts in one row and hides the texts from each other; '
            '"concatenate" joins all texts and splits them into blocks, as in the paper; "none" puts one text in each '
            "row."
        ),
    )
    begin: bool | None = Field(
        default=None,
        description=(
            "Whether documents start with the BOS token, or with EOS if the tokenizer has no BOS token. By default, "
            "documents start with this token unless the tokenizer never puts its BOS token before a prompt, because "
            "the model has then not learned the token. If a document starts without this token, its first token "
            "does not contribute to the loss."
        ),
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Decay of the learning rate after the warm-up."
    )
    warmup: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Fraction of the training steps during which the learning rate rises from 0.",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, lt=1, description="AdamW's weight decay, which is not applied to biases and norms."
    )
    betas: tuple[Share, Share] = Field(
        default=(0.9, 0.999),
        description="AdamW's decay rates for the running averages of the gradient and of the squared gradient.",
    )
    max_grad_norm: float = Field(
        default=1.0,
        ge=0,
        description="Maximum norm of the gradient; a larger gradient is scaled down. The value 0 turns clipping off.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description=(
            "Number format of the forward and backward passes. Trained weights stay in float32 during training and "
            "are saved in the model's own format. float16 requires a GPU."
        ),
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Number of consecutive epochs without a new lowest validation loss after which training stops and keeps "
            "the weights with the lowest loss. If unset, training runs all epochs and keeps the last weights."
        ),
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code from the model's files; enable this only for models that you trust."
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], NotInIdentity] = Field(
        default="auto",
        description='Device: "cpu", "cuda" or "auto", which selects a GPU if available and the CPU otherwise.',
    )
    device_batch: Annotated[int, NotInIdentity] = Field(
        default=16,
        ge=1,
        description=(
            "Number of rows per forward pass; gradients accumulate over several passes until the training step is "
            "complete."
        ),
    )
    layout: Annotated[Literal["auto", "packed", "sorted"], NotInIdentity] = Field(
        default="auto",
        description=(
            'Arrangement of isolated texts in a forward pass: "packed" puts several texts in one row; "sorted" puts '
            "each text in a separate row, next to texts of similar length. Both arrangements yield the same gradient. "
            '"auto" packs '
            "texts "
            "on a GPU if the model keeps packed texts apart."
        ),
    )
    gradient_checkpointing: Annotated[bool, NotInIdentity] = Field(
        default=False,
        description=(
            "Recompute activations instead of storing them, which saves memory but takes about a third more time."
        ),
    )
    checkpoint_every: Annotated[int, NotInIdentity] = Field(
        default=200,
        ge=1,
        description=(
            "Number of training steps between checkpoints. A killed training run resumes from its last checkpoint."
        ),
    )
    processes: Annotated[int | None, NotInIdentity] = Field(
        default=None, ge=1, description="Number of training processes on this machine, one per GPU (default: 1)."
    )
    accelerate: Annotated[InputPath | None, NotInIdentity] = Field(
        default=None,
        description=(
            "Path of a file written by `accelerate config`, which sets the number of processes and their devices. "
            "Set either `accelerate` or `processes`."
        ),
    )

    @field_validator("learning_rate", "betas", "max_grad_norm", "weight_decay", "warmup")
    @classmethod
    def _finite(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        """Reject an option value that is infinite or NaN."""
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("expected a finite number")
        return value

    @model_validator(mode="after")
    def _one_process_count(self) -> Self:
        """Reject `processes` together with `accelerate`, because both set the number of processes."""
        if self.accelerate is not None and self.processes is not None:
            raise ValueError("`processes` and `accelerate` both set the number of processes; remove one of them")
        return self


class FullOptions(TrainingOptions):
    """Options of the trainer `full`, which trains all weights."""

    learning_rate: float = Field(
        default=2e-5,
        gt=0,
        lt=1,
        description="Peak learning rate, reached after the warm-up. The paper uses 1e-6 to 5e-5.",
    )


class LoraOptions(TrainingOptions):
    """Options of the trainer `lora`, which adds trainable low-rank matrices to the frozen weights, using peft."""

    learning_rate: float = Field(
        default=2e-4,
        gt=0,
        lt=1,
        description=(
            "Peak learning rate, reached after the warm-up; the default is ten times the default of the trainer `full`."
        ),
    )
    rank: int = Field(default=16, ge=1, description="Rank of the low-rank matrices.")
    alpha: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Value of alpha (default: twice the rank). The update is multiplied by alpha / rank or, with `rslora`, by "
            "alpha / √rank."
        ),
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of the adapter's inputs that are dropped at random during training.",
    )
    targets: str | list[str] = Field(
        default="all-linear",
        min_length=1,
        description=(
            'Layers with an adapter: "all-linear" (every linear layer except the output layer), a list of layer names '
            'such as ["q_proj"], or a regular expression for full layer names.'
        ),
    )
    dora: bool = Field(
        default=False, description="Use DoRA, which trains the direction and the magnitude of each weight separately."
    )
    rslora: bool = Field(
        default=False, description="Use rsLoRA, which scales the update by alpha / √rank and suits high ranks."
    )

    @field_validator("targets")
    @classmethod
    def _valid_pattern(cls, value: str | list[str]) -> str | list[str]:
        """Require a single string to be a valid regular expression, because peft matches full layer names with it."""
        try:
            re.compile(value if isinstance(value, str) else "")
        except re.error as error:
            raise ValueError(
                f"invalid regular expression ({error}); "
                'expected "all-linear", a list of layer names such as ["q_proj"], or a regular expression'
            ) from error
        return value
