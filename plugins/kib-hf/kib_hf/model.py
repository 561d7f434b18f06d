"""The model `hf`: a folder of safetensors or a commit on the hub, scored by lm-eval's HFLM or one that shares more."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Weights
from kib.support.hub import commit_of
from kib_hf.hub_download import snapshot
from kib_hf.loading import add_adapter, load_config, load_model, load_tokenizer, quietly, torch_device
from kib_hf.model_folder import check_folder, fingerprint_folder

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerBase

__all__ = ["HF", "HFOptions"]


class HFOptions(Options):
    """Which model, and how it is read and run."""

    path: Annotated[InputPath | None, NotInIdentity] = Field(
        default=None, description="Folder with config.json, safetensors and tokenizer. Either this or `hub`."
    )
    hub: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$",
        description="Name of a model on the Hugging Face Hub. Either this or `path`.",
    )
    revision: Annotated[str | None, NotInIdentity] = Field(
        default=None,
        min_length=1,
        description='Commit, tag or branch of `hub`, by default "main"; what counts is the commit that it names.',
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description='Number format to compute in; "auto" is the one that config.json names.'
    )
    device: Annotated[str, NotInIdentity] = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]+)?|mps)$",
        description='"cpu", "cuda", "cuda:1", "mps"; "auto" is the first CUDA GPU, else the CPU.',
    )
    batch_size: Annotated[int, NotInIdentity] = Field(
        default=8,
        ge=1,
        description="Prompts that are answered at once where text is generated or lm-eval's scorer scores.",
    )
    scorer: Annotated[Literal["kib", "lm-eval"], NotInIdentity] = Field(
        default="kib",
        description='"kib" computes what prompts share once; "lm-eval" is its HFLM as it is; they differ by rounding.',
    )
    row_tokens: Annotated[int | None, NotInIdentity] = Field(
        default=None,
        ge=16,
        description="Tokens that kib's scorer reads at once, by default 1,024 on a CPU and 8,192 on a GPU.",
    )
    max_length: int | None = Field(
        default=None, ge=2, description="Tokens read at once, prompt and answer together; by default the model's own."
    )
    add_bos_token: bool | None = Field(
        default=None, description="Whether texts begin with the BOS token; by default as the tokenizer is set up."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run the Python code that comes with the model; only for models you trust."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("expected either `path` (a folder) or `hub` (a name on the hub), exactly one of them")
        if self.revision is not None and self.hub is None:
            raise ValueError("`revision` belongs to `hub`; a folder's weights are known by their bytes")
        return self


class HF:
    """The model `hf`."""

    Options: ClassVar[type[Options]] = HFOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: HFOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Digest of the folder's weights, configuration and tokenizer, or the hub's commit; InputError if not there."""
        return fingerprint_folder(self.options.path) if self.options.path else self._commit

    def online(self) -> list[str]:
        """The model on the hub, where it is no folder."""
        return [f"model {self.options.hub} of the hub at `{self._revision}`"] if self.options.hub else []

    def tokens(self) -> Callable[[str], list[int]]:
        """The tokenizer alone; the same ids as HFLM's `tok_encode`, special tokens included."""
        tokenizer, add = self._tokenizer, self.options.add_bos_token
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        prefix = str(tokenizer.decode(first))

        def encode(text: str) -> list[int]:
            special = {} if add is None else {"add_special_tokens": add}
            if text.startswith(prefix):  # it brings the token itself
                special = {"add_special_tokens": False}
            return list(tokenizer.encode(text, verbose=False, **special))

        return encode

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """A conversation in the tokenizer's chat template, as HFLM's `apply_chat_template` gives it.

        InputError where there is no template or it refuses the conversation.
        """
        from jinja2.exceptions import TemplateError

        if self._tokenizer.chat_template is None:
            raise InputError(f"{self._name}: its tokenizer has no chat template; leave `chat_template` off")
        try:
            return self._chat(messages, add_generation_prompt)
        except TemplateError:
            without_system = [message for message in messages if message["role"] != "system"]
        try:
            return self._chat(without_system, add_generation_prompt)
        except TemplateError as error:
            raise InputError(f"{self._name}: its chat template refuses the conversation: {error}") from error

    def _chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        with quietly():
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        return str(text)

    def context_length(self) -> int:
        """Tokens read at once: the option, else what lm-eval finds in configuration and tokenizer; no weights."""
        if self.options.max_length is not None:
            return self.options.max_length
        from lm_eval.models.utils import resolve_max_length

        config = load_config(self._folder(weights=False), trust_remote_code=self.options.trust_remote_code)
        return int(resolve_max_length(config, self._tokenizer))

    def weights(self) -> Weights:
        """The folder to train from; a model of the hub is downloaded for it where it is not here."""
        folder = self._folder(weights=True)
        check_folder(folder)
        return Weights(folder)

    def described(self) -> Weights:
        """The same folder, of a model of the hub without the weights themselves."""
        return Weights(self._folder(weights=False))

    def load(self, weights: Weights | None = None) -> "HFLM":
        """An LM on this model, or on a trainer's weights with this model's tokenizer: lm-eval's HFLM or one like it."""
        o, own = self.options, self._folder(weights=weights is None)
        folder = weights.folder if weights else own
        check_folder(folder)
        device = torch_device(o.device)
        _ = self._tokenizer  # before the weights: its errors cost nothing
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
        load_config(folder, trust_remote_code=o.trust_remote_code)  # first, or its errors look like the tokenizer's
        return load_tokenizer(folder, trust_remote_code=o.trust_remote_code, add_bos_token=o.add_bos_token)

    def _folder(self, *, weights: bool) -> Path:
        if self.options.path:
            check_folder(self.options.path)
            return self.options.path
        return snapshot(str(self.options.hub), self._commit, weights=weights)
