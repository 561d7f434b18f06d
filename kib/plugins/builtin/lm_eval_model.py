"""The model plugin `lm-eval`: any lm-eval backend (vllm, API servers, gguf, …) with its own arguments."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from kib.errors import InputError, ServerUnavailableError
from kib.identity import digest, digest_file
from kib.interfaces import NotInIdentity
from kib.interfaces import Options as BaseOptions
from kib.records import Recipient, Weights
from kib.support.chat_messages import chat_as_text
from kib.support.recipients import require_allowed

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["LmEvalModel"]

SECRET = re.compile(r"key|token$|secret|password|header|auth", re.IGNORECASE)
SECRET_VALUE = re.compile(r"\bbearer\s|\bbasic\s|^(sk|hf|gsk|xai)[-_]\w{4}|://[^/@\s]+@", re.IGNORECASE)
PATH = re.compile(r"^(\.{1,2}|~)?/|^(\.{1,2}|~)$")
LENGTHS = ("max_length", "max_model_len")

URL = re.compile(r"https?:.*", re.IGNORECASE)
ADDRESS = re.compile(r"(^|_)(url|uri|host|hostname|endpoint|server|api_base)$", re.IGNORECASE)
"""Names of arguments that contain an address, even if the value does not begin with http."""

CREDENTIALS = {
    "local-completions": "OPENAI_API_KEY",
    "local-chat-completions": "OPENAI_API_KEY",
    "openai-completions": "OPENAI_API_KEY",
    "openai-chat-completions": "OPENAI_API_KEY",
    "azure-openai-chat-completions": "AZURE_OPENAI_API_KEY",
    "anthropic-completions": "ANTHROPIC_API_KEY",
    "anthropic-chat": "ANTHROPIC_API_KEY",
    "anthropic-chat-completions": "ANTHROPIC_API_KEY",
    "textsynth": "TEXTSYNTH_API_SECRET_KEY",
    "watsonx_llm": "WATSONX_API_KEY",
}
"""The environment variable with the credential that each of lm-eval's backends sends with its requests."""

ADDRESSES = {
    "openai-completions": "https://api.openai.com",
    "openai-chat-completions": "https://api.openai.com",
    "anthropic-completions": "https://api.anthropic.com",
    "anthropic-chat": "https://api.anthropic.com",
    "anthropic-chat-completions": "https://api.anthropic.com",
    "textsynth": "https://api.textsynth.com",
}
"""The default server of each backend that does not require an address."""

ADDRESS_VARIABLES = {"azure-openai-chat-completions": "AZURE_OPENAI_ENDPOINT", "watsonx_llm": "WATSONX_URL"}
"""The environment variable that contains the server, for each backend that reads its address from the environment."""

SERVER_BACKENDS = {*ADDRESSES, *ADDRESS_VARIABLES, "gguf", "ggml"}
"""The backends that send every request to a server, in addition to all subclasses of lm-eval's `TemplateAPI`."""

WITHOUT_DEFAULT_SERVER = {"local-completions", "local-chat-completions", "sglang-generate", "gguf", "ggml"}
"""The backends whose server must be given in the argument `base_url`."""

API_PACKAGES = ("aiohttp", "requests", "tenacity", "tqdm")
"""The packages that all of lm-eval's API backends need; `lm-eval[api]` installs them."""

OTHER_PACKAGES = {
    "anthropic-completions": ("anthropic", "anthropic"),
    "azure-openai-chat-completions": ("openai", "openai"),
    "ipex": ("optimum", "lm-eval[ipex]"),
    "litellm": ("litellm", "lm-eval[litellm]"),
    "litellm-chat": ("litellm", "lm-eval[litellm]"),
    "litellm-chat-completions": ("litellm", "lm-eval[litellm]"),
    "mamba_ssm": ("mamba_ssm", "mamba-ssm"),
    "onnxruntime": ("onnxruntime", "lm-eval[onnxruntime]"),
    "onnxruntime-genai": ("onnxruntime_genai", "lm-eval[onnxruntime-genai]"),
    "openvino": ("optimum", "lm-eval[optimum]"),
    "sglang": ("sglang", "sglang"),
    "trtllm": ("tensorrt_llm", "tensorrt-llm"),
    "vllm": ("vllm", "lm-eval[vllm]"),
    "vllm-vlm": ("vllm", "lm-eval[vllm]"),
    "watsonx_llm": ("ibm_watsonx_ai", "lm-eval[ibm-watsonx-ai]"),
}
"""The module that each of lm-eval's other backends needs, and the argument of `pip install` that installs it."""

DEFAULT_TOKENIZERS = {"openai-completions": "tiktoken"}
"""The value of `tokenizer_backend` of each backend that needs a package for its default tokenizer."""

CHAT = re.compile(r"chat|^litellm")
"""The names of the backends that accept only chats."""

Value = str | int | float | bool
Arguments = Mapping[str, Value]


class LmEvalModel:
    """A model scored by lm-eval; kib has no access to its tokenizer, so prompts are neither counted nor shortened."""

    class Options(BaseOptions):
        """The keys of `[models.NAME]` with `plugin = "lm-eval"`."""

        backend: str = Field(min_length=1, description="the name of the backend in lm-eval, such as vllm")
        args: Arguments = Field(
            default_factory=dict, description="arguments for the backend, such as `{ pretrained = … }`"
        )
        local_args: Annotated[Arguments, NotInIdentity] = Field(
            default_factory=dict,
            description="arguments that do not affect results, such as device, batch_size and base_url",
        )

        @field_validator("args", "local_args")
        @classmethod
        def _no_secret(cls, args: Arguments) -> Arguments:
            for key, value in args.items():
                if SECRET.search(key) or SECRET_VALUE.search(str(value)):
                    raise ValueError(
                        f"{key} looks like a secret; pass the secret to the backend as an environment variable instead"
                    )
            return args

        _folder: Path = PrivateAttr(default=Path())

        @model_validator(mode="after")
        def _find_paths(self, info: ValidationInfo) -> Self:
            """Check that each argument that looks like a path (./x, ../x, /x, ~/x) exists, relative to the spec."""
            self._folder = (info.context or {}).get("folder", Path())
            for key, path in self.paths().items():
                if not path.exists():
                    raise ValueError(f"{key}: {self.args[key]} looks like a path, but no such file or folder exists")
            return self

        def paths(self) -> dict[str, Path]:
            """Return the arguments that look like paths, resolved against the folder of the spec file."""
            written = {key: value for key, value in self.args.items() if isinstance(value, str) and PATH.search(value)}
            return {key: (self._folder / Path(value).expanduser()).resolve() for key, value in written.items()}

    revision: ClassVar[int] = 1

    def __init__(self, options: "LmEvalModel.Options") -> None:
        self.options = options

    def language_model(self) -> str:
        """Return the name of the model in the arguments of the backend, or the name of the backend."""
        return str(self._argument("model") or self._argument("pretrained") or self.options.backend)

    def fingerprint(self) -> str:
        """Return the digest of all local files among the arguments, or "" if no argument is a local file.

        A model on the Hugging Face Hub has no digest; changes to the model are not detected unless `args` pins its
        `revision`.
        """
        digests = {key: _digest(path) for key, path in self.options.paths().items()}
        return digest(digests) if digests else ""

    def recipients(self) -> list[Recipient]:
        """Return the servers that receive the prompts: every address in the arguments, or else the default server."""
        credential = self._credential()
        verified = self._argument("verify_certificate") in (None, True)
        found = [Recipient(key, url, credential, verified=verified) for key, url in self._addresses()]
        variable = ADDRESS_VARIABLES.get(self.options.backend, "")
        own = ADDRESSES.get(self.options.backend) or os.environ.get(variable)
        return found or ([Recipient((), own, credential, variable, verified)] if own else [])

    def _credential(self) -> str:
        """Return the environment variable with the backend's credential, or "" if there is none or it is not set."""
        backend = self.options.backend
        if backend.startswith("litellm"):  # litellm selects the variable by the first part of the model's name
            provider = str(self._argument("model") or "").partition("/")[0] or "openai"
            return f"{re.sub(r'[^A-Za-z0-9]', '_', provider).upper()}_API_KEY"
        credential = CREDENTIALS.get(backend, "")
        return credential if backend in ADDRESSES or os.environ.get(credential) else ""

    def _argument(self, name: str) -> Value | None:
        return {**self.options.args, **self.options.local_args}.get(name)

    def _number(self, name: str) -> int:
        """Return an argument that is a positive whole number, or 1 if the argument is missing or different."""
        value = str(self._argument(name))
        return max(1, int(value)) if value.isdecimal() else 1

    def _addresses(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield the key path and the URL of every argument that contains an address."""
        for option in ("args", "local_args"):
            for name, value in getattr(self.options, option).items():
                url = URL.search(str(value))
                if ADDRESS.search(name) and isinstance(value, str):
                    yield (option, name), value if "://" in value else f"http://{value}"
                elif url:
                    yield (option, name), url.group()

    def tokens(self) -> Callable[[str], list[int]] | None:
        """Return None, because the tokenizer of a backend is not accessible."""
        return None

    def context_length(self) -> int | None:
        """Return the context length from the backend's arguments, or None if no argument specifies it."""
        given = [self.options.args[key] for key in LENGTHS if isinstance(self.options.args.get(key), int)]
        return int(given[0]) if given else None

    def generated_tokens(self) -> int | None:
        """Return the backend's argument `max_gen_toks`, or None if it is missing."""
        value = str(self._argument("max_gen_toks"))
        return int(value) if value.isdecimal() else None

    def weights(self) -> Weights | None:
        """Return None, because a backend cannot be trained."""
        return None

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Return a conversation as a text that the server receives as messages, because it has its own template.

        Raises InputError for a backend that does not accept chats.
        """
        if not self.sends_chats():
            raise InputError(
                f"the backend {self.options.backend} does not accept chats; set `chat_template = false`, or use a "
                "backend such as local-chat-completions"
            )
        return chat_as_text(messages, add_generation_prompt)

    def backend(self) -> str:
        """Return the name of the backend."""
        return self.options.backend

    def sends_chats(self) -> bool:
        """Return whether the backend accepts only chats, so that a prompt without messages is sent as one message."""
        return bool(CHAT.search(self.options.backend))

    def load(self, weights: Weights | None = None) -> "LM":
        """Load the backend; raise InputError for an unknown backend or invalid arguments."""
        from kib.harness.http_clients import restrict_requests

        if weights is not None:
            raise InputError(f"the backend {self.options.backend} cannot load trained weights")
        require_allowed(self.recipients())
        backend = self._backend()
        restrict_requests()
        try:
            made: LM = backend.create_from_arg_obj(self._arguments(backend))
        except (TypeError, ValueError, OSError, ImportError, AssertionError, RuntimeError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the backend {self.options.backend} cannot start: {said}") from error
        if self._sends_requests(backend):
            self._prepare(made)
        return made

    def _sends_requests(self, backend: type["LM"]) -> bool:
        """Return whether a backend sends every request to a server."""
        from lm_eval.models.api_models import TemplateAPI

        return issubclass(backend, TemplateAPI) or self.options.backend in SERVER_BACKENDS

    def _prepare(self, lm: "LM") -> None:
        """Adapt a backend that sends requests to a server."""
        from kib.harness.server_backends import Server, prepare_server_backend

        found = self.recipients()
        address = found[0].address if found else f"backend {self.options.backend}"
        server = Server(address, os.environ.get(self._credential(), ""))
        size = self._number("num_concurrent") * self._number("batch_size")
        prepare_server_backend(lm, server, size, chat=self.sends_chats())

    def check(self) -> None:
        """Raise InputError for an unknown backend, or for a backend that lacks a package or the address of a server."""
        from lm_eval.models.api_models import TemplateAPI

        module, source = OTHER_PACKAGES.get(self.options.backend, ("", ""))
        missing, install = [module] if module and find_spec(module) is None else [], source
        if not missing and issubclass(self._backend(), TemplateAPI):
            tokenizer = self._argument("tokenizer_backend") or DEFAULT_TOKENIZERS.get(self.options.backend)
            needed = (*API_PACKAGES, "tiktoken") if tokenizer == "tiktoken" else API_PACKAGES
            missing, install = [name for name in needed if find_spec(name) is None], "lm-eval[api]"
        if missing:
            raise InputError(
                f"the backend {self.options.backend} requires packages that are not installed: {', '.join(missing)}; "
                f"install them with `pip install '{install}'`"
            )
        if not self.recipients() and self.options.backend in {*WITHOUT_DEFAULT_SERVER, *ADDRESS_VARIABLES}:
            variable = ADDRESS_VARIABLES.get(self.options.backend)
            remedy = f"set the environment variable {variable}" if variable else "set `base_url` in `local_args`"
            raise InputError(f"the backend {self.options.backend} requires the address of a server; {remedy}")

    def probed_server(self) -> str | None:
        """Return the address of the backend's server; None for a backend without a server or with an unknown server."""
        found = self.recipients()
        return found[0].address if found and self._sends_requests(self._backend()) else None

    def probe(self, kinds: Collection[str]) -> Mapping[str, str]:
        """Send one test request of each kind to the server; return the reason for each kind without a valid answer.

        Raises ServerUnavailableError if kib cannot connect to the server.
        """
        from kib.harness.backends import free
        from kib.harness.server_backends import send_test_requests, why_unreachable

        lm = self.load()
        try:
            reasons = send_test_requests(lm, kinds)
        finally:
            free(lm)
        # a backend may fail before it connects, for example without a tokenizer, and hide that the server is down
        if reasons and (unreachable := why_unreachable(self.probed_server() or "")):
            raise ServerUnavailableError(unreachable)
        return reasons

    def _backend(self) -> type["LM"]:
        """Return the class of the backend; raise InputError if lm-eval has no such backend or a package is missing."""
        from lm_eval.api.registry import MODEL_REGISTRY, get_model

        try:
            found: type[LM] = get_model(self.options.backend)
        except (KeyError, ValueError) as error:
            near = get_close_matches(self.options.backend, list(MODEL_REGISTRY), 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InputError(f"lm-eval has no backend {self.options.backend}{hint}") from error
        except ImportError as error:
            install = f"; install it with `pip install {error.name}`" if error.name else ""
            raise InputError(
                f"the backend {self.options.backend} requires a package that is not installed: {error}{install}"
            ) from error
        return found

    def _arguments(self, backend: type["LM"]) -> dict[str, Value]:
        """Return the arguments for a backend with absolute paths.

        The argument `trust_remote_code` is false if neither `args` nor `local_args` contains it, because some backends,
        such as sglang, would otherwise run a model's own code.
        """
        parameters = signature(backend.__init__).parameters
        default: Arguments = {"trust_remote_code": False} if "trust_remote_code" in parameters else {}
        found = {key: str(path) for key, path in self.options.paths().items()}
        return {**default, **self.options.args, **found, **self.options.local_args}


def _digest(path: Path) -> str:
    if path.is_file():
        return digest_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest({file.relative_to(path).as_posix(): digest_file(file) for file in files})
