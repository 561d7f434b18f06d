"""The model plugin `lm-eval`: any lm-eval backend (vllm, API servers, gguf, …) with its own arguments."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import NotInIdentity
from kib.interfaces import Options as BaseOptions
from kib.records import Recipient, Weights
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

API_PACKAGES = ("aiohttp", "requests", "tenacity", "tqdm")
"""The packages that all of lm-eval's API backends need; `lm-eval[api]` installs them."""

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

    def weights(self) -> Weights | None:
        """Return None, because a backend cannot be trained."""
        return None

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
        except (TypeError, ValueError, OSError, ImportError, AssertionError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the backend {self.options.backend} cannot start: {said}") from error
        return made

    def check(self) -> None:
        """Raise InputError for an unknown backend, or for an API backend that lacks a package."""
        from lm_eval.models.api_models import TemplateAPI

        if issubclass(self._backend(), TemplateAPI):
            missing = [name for name in API_PACKAGES if find_spec(name) is None]
            if missing:
                raise InputError(
                    f"the backend {self.options.backend} requires packages that are not installed: "
                    f"{', '.join(missing)}; install them with `pip install 'lm-eval[api]'`"
                )

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
            raise InputError(
                f"the backend {self.options.backend} requires a package that is not installed: {error}"
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
