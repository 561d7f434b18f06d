"""Options shared by encoders and cross-encoders."""

from typing import Annotated, Literal

from pydantic import Field

from kib.interfaces import InputPath, NotInIdentity, Options

__all__ = ["ModelOptions"]


class ModelOptions(Options):
    """The options that select a model and its runtime settings."""

    path: Annotated[InputPath | None, NotInIdentity] = Field(
        default=None, description="Folder with a model saved by sentence-transformers."
    )
    hub: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$",
        description="Name of a model on the Hugging Face Hub.",
    )
    revision: Annotated[str | None, NotInIdentity] = Field(
        default=None,
        min_length=1,
        description=(
            'Commit, tag or branch of the `hub` repository (default: "main"); the resolved commit hash is part of '
            "the model's identity."
        ),
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Number format for computing the model's outputs."
    )
    device: Annotated[str, NotInIdentity] = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]+)?|mps)$",
        description=(
            'Device: "cpu", "cuda", "cuda:1" or "mps"; "auto" selects the first CUDA GPU, or the CPU if there is no '
            "GPU."
        ),
    )
    max_tokens: int | None = Field(
        default=None,
        ge=4,
        description="Maximum number of tokens to read from each text (default: the model's own limit).",
    )
    batch_tokens: Annotated[int | None, NotInIdentity] = Field(
        default=None,
        ge=1,
        description=(
            "Maximum number of tokens per batch, including padding (default: one text on a CPU, 32,768 tokens on a "
            "GPU)."
        ),
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code from the model's files; enable this only for models that you trust."
    )
