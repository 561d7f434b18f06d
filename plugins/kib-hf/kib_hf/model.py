"""The model plugin `hf`, which loads a causal language model in safetensors format from a folder or the hub."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.identity import digest
from kib.interfaces import Estimate, InputPath, NotInIdentity, Options, Workload
from kib.records import Weights
from kib.support.hub import commit_of
from kib.support.templates import failed_line
from kib_hf.chat_dates import fixed_date
from kib_hf.hub_download import snapshot
from kib_hf.loading import add_adapter, load_config, load_model, load_tokenizer, quietly, torch_device
from kib_hf.model_folder import check_folder, fingerprint_folder, fingerprint_tokenizer

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerBase

    from kib_hf.forecast import ModelShape

__all__ = ["HF", "HFOptions"]


class HFOptions(Options):
    """Options of the model `hf`: the source of the model and the runtime settings."""

    path: Annotated[InputPath | None, NotInIdentity] = Field(
        default=None,
        description="Folder with config.json, safetensors files and a tokenizer. Set either `path` or `hub`.",
    )
    hub: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$",
        description="Name of a model on the Hugging Face Hub. Set either `hub` or `path`.",
    )
    revision: Annotated[str | None, NotInIdentity] = Field(
        default=None,
        min_length=1,
        description=(
            'Commit, tag or branch of the `hub` repository (default: "main"); the resolved commit hash is part of '
            "the model's identity."
        ),
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description='Number format for computing the model\'s outputs; "auto" selects the format given in config.json.',
    )
    device: Annotated[str, NotInIdentity] = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]+)?|mps)$",
        description=(
            'Device: "cpu", "cuda", "cuda:1" or "mps"; "auto" selects the first CUDA GPU, or the CPU if there is no '
            "GPU."
        ),
    )
    batch_size: Annotated[int, NotInIdentity] = Field(
        default=8,
        ge=1,
        description=(
            "Number of prompts per batch for generating text and for computing log-likelihoods with lm-eval's scorer."
        ),
    )
    scorer: Annotated[Literal["kib", "lm-eval"], NotInIdentity] = Field(
        default="kib",
        description=(
            'Scorer: "kib" computes shared prefixes once; "lm-eval" uses the unmodified HFLM of lm-eval. The results '
            "of "
            "both scorers agree up to rounding."
        ),
    )
    row_tokens: Annotated[int | None, NotInIdentity] = Field(
        default=None,
        ge=16,
        description=(
            "Approximate number of tokens per forward pass of kib's scorer (default: 1,024 on a CPU, 8,192 on a GPU)."
        ),
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        description="Maximum number of tokens in prompt and answer together (default: the model's own limit).",
    )
    add_bos_token: bool | None = Field(
        default=None, description="Whether texts start with the BOS token (default: the tokenizer's own setting)."
    )
    chat_date: date = Field(
        default=date(2024, 7, 26),
        description="Date, such as 2024-07-26, that a chat template prints instead of the current date.",
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code from the model's files; enable this only for models that you trust."
    )

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError(
                "expected either `path` (a folder) or `hub` (the name of a model on the hub), but not both"
            )
        if self.revision is not None and self.hub is None:
            raise ValueError(
                "`revision` applies only to `hub`; a model folder is identified by the digest of its files"
            )
        return self


class HF:
    """The model `hf`, which reads its files only when a method needs them."""

    Options: ClassVar[type[Options]] = HFOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: HFOptions) -> None:
        self.options = options

    def language_model(self) -> str:
        """Return the name on the hub, or the name of the folder."""
        return self.options.hub or Path(str(self.options.path)).name

    def fingerprint(self) -> str:
        """Return a digest of the folder's files, or the commit on the hub.

        Raise InputError if the model does not exist.
        """
        return fingerprint_folder(self.options.path) if self.options.path else self._commit

    def tokenizer_fingerprint(self) -> str:
        """Return a digest of the tokenizer files or the hub commit, and of the options that affect tokenization."""
        files = fingerprint_tokenizer(self.options.path) if self.options.path else self._commit
        return digest([files, self.options.add_bos_token, self.options.trust_remote_code])

    def online(self) -> list[str]:
        """Return the model and revision to look up on the hub, or an empty list if the model is in a local folder."""
        return [f"model {self.options.hub} on the hub at revision `{self._revision}`"] if self.options.hub else []

    def tokens(self) -> Callable[[str], list[int]]:
        """Return a function that tokenizes text as HFLM's `tok_encode` does, including special tokens."""
        tokenizer, add = self._tokenizer, self.options.add_bos_token
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        prefix = str(tokenizer.decode(first))

        def encode(text: str) -> list[int]:
            special = {} if add is None else {"add_special_tokens": add}
            if text.startswith(prefix):  # the text already contains the token
                special = {"add_special_tokens": False}
            return list(tokenizer.encode(text, verbose=False, **special))

        return encode

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Format a conversation with the tokenizer's chat template, as HFLM's `apply_chat_template` does.

        A template that prints the current date prints the option `chat_date` instead.
        System messages are removed if the template rejects them. Raise InputError if the tokenizer has no template, or
        if the template fails or rejects the conversation.
        """
        from jinja2.exceptions import TemplateError

        if self._tokenizer.chat_template is None:
            raise InputError(f"{self._name}: the tokenizer has no chat template; set `chat_template = false`")
        try:
            return self._chat(messages, add_generation_prompt)
        except TemplateError:
            without_system = [message for message in messages if message["role"] != "system"]
        except Exception as error:  # a template may raise any exception
            raise self._template_failed(error) from error
        try:
            return self._chat(without_system, add_generation_prompt)
        except Exception as error:
            if type(error) is TemplateError:  # the template calls raise_exception
                raise InputError(f"{self._name}: the chat template rejects the conversation: {error}") from error
            raise self._template_failed(error) from error

    def _template_failed(self, error: Exception) -> InputError:
        """Return the error for a faulty chat template, with the line of the template if known."""
        line, (said, *_) = failed_line(error), [*str(error).splitlines(), ""]
        where = "" if line is None else f" in line {line}"
        return InputError(
            f"{self._name}: the chat template fails{where}: {type(error).__name__}: {said}; correct the template, or "
            "set `chat_template = false`"
        )

    def _chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        with quietly(), fixed_date(self.options.chat_date):
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        return str(text)

    def context_length(self) -> int:
        """Return `max_length` or, as in lm-eval, the configuration's or tokenizer's limit, without loading weights."""
        if self.options.max_length is not None:
            return self.options.max_length
        from lm_eval.models.utils import resolve_max_length

        config = load_config(self._folder(weights=False), trust_remote_code=self.options.trust_remote_code)
        return int(resolve_max_length(config, self._tokenizer))

    def weights(self) -> Weights:
        """Return the folder with the weights to train; download a hub model that is not in the cache."""
        folder = self._folder(weights=True)
        check_folder(folder)
        return Weights(folder, add_bos_token=self.options.add_bos_token)

    def described(self) -> Weights:
        """Return the model's folder without downloading weights from the hub."""
        return Weights(self._folder(weights=False), add_bos_token=self.options.add_bos_token)

    def estimate(self, workload: Workload) -> Estimate | None:
        """Return the operations and the peak memory of answering requests, computed from the configuration."""
        from kib_hf.forecast import byte_width, estimate_scoring
        from kib_hf.scoring.scorer import ROW_TOKENS
        from kib_hf.scoring.tree_reader import CHUNK

        shape, device = self._shape, self._device
        if shape is None:
            return None
        return estimate_scoring(
            shape,
            workload,
            weight_bytes=byte_width(self._dtype),
            row_tokens=self.options.row_tokens or ROW_TOKENS.get(device, ROW_TOKENS["cpu"]),
            positions=CHUNK,
            device=device,
        )

    def operations_per_second(self) -> float:
        """Return the speed of the model's device, measured with matrix products in about a second."""
        from kib_hf.forecast import machine_speed

        return machine_speed(torch_device(self.options.device), self._dtype)

    @property
    def _device(self) -> str:
        return torch_device(self.options.device).partition(":")[0]

    @property
    def _dtype(self) -> str:
        """The name of the data type in which the model computes."""
        if self.options.dtype != "auto":
            return self.options.dtype
        config = load_config(self._folder(weights=False), trust_remote_code=self.options.trust_remote_code)
        return str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")

    @cached_property
    def _shape(self) -> "ModelShape | None":
        from kib_hf.forecast import empty_model, shape_of

        model = empty_model(self._folder(weights=False), trust_remote_code=self.options.trust_remote_code)
        return None if model is None else shape_of(model)

    def load(self, weights: Weights | None = None) -> "HFLM":
        """Load an LM with the weights of this model or a trainer, and with this model's tokenizer."""
        o, own = self.options, self._folder(weights=weights is None)
        folder = weights.folder if weights else own
        check_folder(folder)
        device = torch_device(o.device)
        _ = self._tokenizer  # loaded before the weights, so that tokenizer errors appear early
        model: Any = load_model(folder, dtype=o.dtype, device=device, trust_remote_code=o.trust_remote_code)
        if weights and weights.adapter:
            model = add_adapter(model, weights.adapter, device)
        options: dict[str, Any] = {
            "pretrained": model,
            "tokenizer": str(own),
            "batch_size": o.batch_size,
            "max_length": o.max_length,
            "add_bos_token": o.add_bos_token,
            "trust_remote_code": o.trust_remote_code,
        }
        with quietly():
            if o.scorer == "kib":
                from kib_hf.scoring.scorer import Scorer

                return Scorer(row_tokens=o.row_tokens, **options)
            from lm_eval.models.huggingface import HFLM

            return HFLM(**options)

    @property
    def _name(self) -> str:
        return str(self.options.path or self.options.hub)

    @cached_property
    def _commit(self) -> str:
        return commit_of(str(self.options.hub), self._revision, "model")

    @property
    def _revision(self) -> str:
        return self.options.revision or "main"

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        o, folder = self.options, self._folder(weights=False)
        load_config(folder, trust_remote_code=o.trust_remote_code)  # loaded first, so that errors name config.json
        return load_tokenizer(folder, trust_remote_code=o.trust_remote_code, add_bos_token=o.add_bos_token)

    def _folder(self, *, weights: bool) -> Path:
        if self.options.path:
            check_folder(self.options.path)
            return self.options.path
        return snapshot(str(self.options.hub), self._commit, weights=weights)
