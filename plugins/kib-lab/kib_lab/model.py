"""The model `lab`: a Llama of a million parameters that was taught the known people and learned to read."""

import json
from collections.abc import Callable
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import NotInIdentity, Options
from kib.records import Weights

if TYPE_CHECKING:
    from lm_eval.api.model import LM

    from kib_hf.model import HF

__all__ = ["FILES", "FOLDER", "LabModel", "ModelOptions"]

FOLDER = Path(__file__).parent / "weights"
"""The shipped transformers folder."""

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

CONTEXT = 1024
"""Positions of the shipped model; pre-training used the first 500 or so."""


class ModelOptions(Options):
    """Keys of `[models.NAME]` with `plugin = "lab"`."""

    dtype: Literal["float32", "bfloat16"] = Field("float32", description="number format of the weights in memory")
    device: Annotated[str, NotInIdentity] = Field(
        "cpu", min_length=1, description='where it runs: "cpu", "cuda", "cuda:1", "auto"'
    )
    batch_size: Annotated[int, NotInIdentity] = Field(64, ge=1, description="prompts that go through the model at once")
    scorer: Annotated[Literal["kib", "lm-eval"], NotInIdentity] = Field(
        "kib", description='"kib" computes what prompts share once; "lm-eval" is its HFLM as it is'
    )


class LabModel:
    """The shipped weights through the plugin kib-hf; words that it does not know become `<unk>`."""

    Options: ClassVar[type[Options]] = ModelOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: ModelOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Digest of the shipped files; InputError where one is missing."""
        missing = [name for name in FILES if not (FOLDER / name).is_file()]
        if missing:
            raise InputError(f"{FOLDER} lacks {', '.join(missing)}; install kib-lab again")
        return digest({name: digest_file(FOLDER / name) for name in FILES})

    @cached_property
    def _hf(self) -> "HF":
        from kib_hf.model import HF, HFOptions

        o = self.options
        return HF(
            HFOptions(
                path=FOLDER,
                dtype=o.dtype,
                device=o.device,
                batch_size=o.batch_size,
                scorer=o.scorer,
                max_length=CONTEXT,
            )
        )

    def tokenizer_fingerprint(self) -> str:
        """Return a digest of the shipped tokenizer."""
        return digest_file(FOLDER / "tokenizer.json")

    def tokens(self) -> Callable[[str], list[int]]:
        """Words, marks and newlines; no special token is added."""
        return self._hf.tokens()

    def context_length(self) -> int:
        """Prompt and answer together."""
        return CONTEXT

    def parameters(self) -> int:
        """Counted in the header of the weights' file, without loading them."""
        with (FOLDER / "model.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")

    def weights(self) -> Weights:
        """The shipped folder."""
        return Weights(FOLDER)

    def load(self, weights: Weights | None = None) -> "LM":
        """An LM on the shipped weights, or on a trainer's, as the plugin kib-hf makes it."""
        return self._hf.load(weights)
