"""Options of the trainers `full` and `lora`; what changes the weights counts, how they are computed does not."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kib.interfaces import InputPath, Local, Options

__all__ = ["FullOptions", "LoraOptions", "TrainingOptions"]

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingOptions(Options):
    """What both trainers share; the defaults that the paper states are the paper's."""

    epochs: int = Field(default=5, ge=1, description="Passes over the text.")
    learning_rate: float = Field(gt=0, lt=1, description="Highest learning rate, reached after the warm-up.")
    batch_size: int = Field(
        default=16, ge=1, description="Rows a step, over all processes; a row is a block, or a text with `pack = none`."
    )
    block: int = Field(default=256, ge=8, description="Longest row in tokens; longer texts are split, none is cut.")
    pack: Literal["isolated", "concatenate", "none"] = Field(
        default="isolated",
        description=(
            '"isolated": several texts a row, none of which sees another; "concatenate": one stream of all texts cut '
            'into blocks, as in the paper; "none": a text a row.'
        ),
    )
    begin: bool | None = Field(
        default=None,
        description=(
            "Begin documents with the BOS token (EOS where there is none). By default yes, unless the tokenizer has "
            "one of its own and puts it before no text: the model then does not know it. Without it the first token "
            "of a document has no loss, as nothing stands before it."
        ),
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="How the learning rate falls after the warm-up."
    )
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps in which the rate rises from 0.")
    weight_decay: float = Field(default=0.0, ge=0, lt=1, description="AdamW's decay; none on biases and norms.")
    betas: tuple[Share, Share] = Field(default=(0.9, 0.999), description="AdamW's two decay rates of its averages.")
    max_grad_norm: float = Field(default=1.0, ge=0, description="Longest gradient of a step; 0 leaves it as it is.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description=(
            "Number format of forward and backward passes; trained weights are kept in float32 meanwhile and saved in "
            "the model's own format. float16 needs a GPU."
        ),
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Stop after so many epochs in a row without a new lowest loss on the validation text, and keep the weights "
            "of the lowest. Without it all epochs are run and the last weights kept."
        ),
    )
    trust_remote_code: bool = Field(
        default=False, description="Run the Python code that comes with the model; only for models you trust."
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], Local] = Field(
        default="auto", description='"cpu" or "cuda"; "auto" is the GPU where there is one.'
    )
    device_batch: Annotated[int, Local] = Field(
        default=16, ge=1, description="Blocks that go through the model at once; gradients are summed up to a step's."
    )
    layout: Annotated[Literal["auto", "packed", "sorted"], Local] = Field(
        default="auto",
        description=(
            'How the texts of isolated rows go through the model: "packed", side by side; "sorted", each beside others '
            'of its length; the gradient is the same. "auto" packs on a GPU, where the model keeps packed texts apart.'
        ),
    )
    gradient_checkpointing: Annotated[bool, Local] = Field(
        default=False, description="Compute activations twice instead of keeping them: less memory, a third more time."
    )
    checkpoint_every: Annotated[int, Local] = Field(
        default=200, ge=1, description="Steps between checkpoints; a killed training goes on from the last one."
    )
    processes: Annotated[int | None, Local] = Field(
        default=None, ge=1, description="Processes on this machine that train together, one a GPU; by default one."
    )
    accelerate: Annotated[InputPath | None, Local] = Field(
        default=None,
        description="Instead of `processes`, a file of `accelerate config`: how many processes train, and on what.",
    )

    @field_validator("learning_rate", "betas", "max_grad_norm", "weight_decay", "warmup")
    @classmethod
    def _finite(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        numbers = value if isinstance(value, tuple) else (value,)
        if any(number != number or number == float("inf") for number in numbers):  # noqa: PLR0124 - this is NaN's test
            raise ValueError("expected a finite number")
        return value

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if self.accelerate is not None and self.processes is not None:
            raise ValueError("expected either `processes` or `accelerate`, whose file says how many there are")
        return self


class FullOptions(TrainingOptions):
    """Options of `full`: all weights are trained."""

    learning_rate: float = Field(
        default=2e-5,
        gt=0,
        lt=1,
        description="Highest learning rate, reached after the warm-up; the paper: 1e-6 to 5e-5.",
    )


class LoraOptions(TrainingOptions):
    """Options of `lora`: low-rank matrices beside the weights are trained, by peft."""

    learning_rate: float = Field(
        default=2e-4,
        gt=0,
        lt=1,
        description="Highest learning rate, reached after the warm-up; about ten times full's.",
    )
    rank: int = Field(default=16, ge=1, description="Columns of the low-rank matrices.")
    alpha: float | None = Field(
        default=None,
        gt=0,
        description="The update is scaled by alpha / rank (rsLoRA: alpha / √rank); by default twice the rank.",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of the adapter's inputs dropped in training.")
    targets: str | list[str] = Field(
        default="all-linear",
        min_length=1,
        description='Which layers get an adapter: "all-linear" (all but the output layer), or names such as "q_proj".',
    )
    dora: bool = Field(default=False, description="DoRA: direction and length of the weights are trained apart.")
    rslora: bool = Field(default=False, description="rsLoRA: scale by √rank, for high ranks.")

    @field_validator("targets")
    @classmethod
    def _pattern(cls, value: str | list[str]) -> str | list[str]:
        """A single text is a pattern to peft, which a layer's whole name must match."""
        try:
            re.compile(value if isinstance(value, str) else "")
        except re.error as error:
            said = f'expected "all-linear", a list of names such as ["q_proj"], or a regular expression: {error}'
            raise ValueError(said) from error
        return value
