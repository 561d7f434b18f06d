"""The model `lab`: a one-million-parameter Llama trained to recall facts about known people and to read passages."""

import json
from collections.abc import Callable
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import Estimate, NotInIdentity, Options, Workload
from kib.records import Weights

if TYPE_CHECKING:
    from lm_eval.api.model import LM

    from kib_hf.model import HF

__all__ = ["FILES", "FOLDER", "LabModel", "ModelOptions"]

FOLDER = Path(__file__).parent / "weights"
"""The model folder in transformers format that is bundled with the distribution."""

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

CONTEXT = 1024
"""The context length of the model; pre-training used only about the first 500 positions."""


class ModelOptions(Options):
    """The options that a `[models.NAME]` table with `plugin = "lab"` may contain."""

    dtype: Literal["float32", "bfloat16"] = Field("float32", description="data type of the weights in memory")
    device: Annotated[str, NotInIdentity] = Field(
        "cpu", min_length=1, description='device that runs the model: "cpu", "cuda", "cuda:1" or "auto"'
    )
    batch_size: Annotated[int, NotInIdentity] = Field(64, ge=1, description="number of prompts per forward pass")
    scorer: Annotated[Literal["kib", "lm-eval"], NotInIdentity] = Field(
        "kib",
        description=(
            "scorer: `kib` computes shared prefixes of prompts once; `lm-eval` uses the unmodified HFLM of lm-eval"
        ),
    )


class LabModel:
    """The model `lab` with its bundled weights, loaded by kib-hf; words outside the vocabulary become `<unk>`."""

    Options: ClassVar[type[Options]] = ModelOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: ModelOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return a digest of the bundled files; raise InputError if a file is missing."""
        missing = [name for name in FILES if not (FOLDER / name).is_file()]
        if missing:
            raise InputError(f"{FOLDER}: files of the lab's model are missing: {', '.join(missing)}; reinstall kib-lab")
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
        """Return a digest of the bundled tokenizer."""
        return digest_file(FOLDER / "tokenizer.json")

    def tokens(self) -> Callable[[str], list[int]]:
        """Return the tokenizing function; tokens are words, punctuation marks and newlines, without special tokens."""
        return self._hf.tokens()

    def context_length(self) -> int:
        """Return the maximum total number of tokens in a prompt and its answer."""
        return CONTEXT

    def parameters(self) -> int:
        """Return the number of parameters, read from the weight file's header."""
        with (FOLDER / "model.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")

    def estimate(self, workload: Workload) -> Estimate | None:
        """Return the operations and the peak memory of answering requests, as for any kib-hf model."""
        return self._hf.estimate(workload)

    def operations_per_second(self) -> float:
        """Return the speed of this machine, measured in about a second."""
        return self._hf.operations_per_second()

    def weights(self) -> Weights:
        """Return the folder of model files bundled with this distribution."""
        return Weights(FOLDER)

    def load(self, weights: Weights | None = None) -> "LM":
        """Load the bundled weights, or a trainer's weights, as a kib-hf model."""
        return self._hf.load(weights)
