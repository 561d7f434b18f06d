"""`lm-eval`: any backend of lm-eval as a model (vllm, API servers, gguf, …), with its arguments as they are."""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import Local
from kib.interfaces import Options as BaseOptions
from kib.records import Weights

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["LmEvalModel"]

SECRET = re.compile(r"key|token$|secret|password", re.IGNORECASE)
LENGTHS = ("max_length", "max_model_len")


class LmEvalModel:
    """Whatever lm-eval can score; kib knows no tokenizer of it, so that prompts are neither counted nor fitted."""

    class Options(BaseOptions):
        """Keys of `[models.NAME]` with `plugin = "lm-eval"`."""

        backend: str = Field(min_length=1, description="lm-eval's name of the backend, for example vllm")
        args: Mapping[str, str | int | float | bool] = Field(
            default_factory=dict, description="the backend's own arguments, for example `{ pretrained = … }`"
        )
        local_args: Annotated[Mapping[str, str | int | float | bool], Local] = Field(
            default_factory=dict, description="arguments that change no result: device, batch_size, base_url"
        )

        @field_validator("args", "local_args")
        @classmethod
        def _no_secret(cls, args: Mapping[str, str | int | float | bool]) -> Mapping[str, str | int | float | bool]:
            for key in args:
                if SECRET.search(key):
                    raise ValueError(f"{key} looks like a secret; backends read theirs from the environment")
            return args

    revision: ClassVar[int] = 1

    def __init__(self, options: "LmEvalModel.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Digest of local weights that `pretrained` names; "" where it names none."""
        folder = Path(str(self.options.args.get("pretrained", "")))
        if not self.options.args.get("pretrained") or not folder.is_dir():
            return ""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return digest({path.relative_to(folder).as_posix(): digest_file(path) for path in files})

    def tokens(self) -> Callable[[str], list[int]] | None:
        """None: the backend keeps its tokenizer to itself."""
        return None

    def context_length(self) -> int | None:
        """The backend's own argument, where it is given."""
        given = [self.options.args[key] for key in LENGTHS if isinstance(self.options.args.get(key), int)]
        return int(given[0]) if given else None

    def weights(self) -> Weights | None:
        """None: a backend is scored as it is."""
        return None

    def load(self, weights: Weights | None = None) -> "LM":
        """The backend with its arguments; InputError for a name lm-eval does not have or arguments it refuses."""
        from lm_eval.api.registry import MODEL_REGISTRY, get_model

        if weights is not None:
            raise InputError(f"the backend {self.options.backend} cannot load trained weights")
        try:
            backend = get_model(self.options.backend)
        except (KeyError, ValueError) as error:
            near = get_close_matches(self.options.backend, list(MODEL_REGISTRY), 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InputError(f"lm-eval has no backend {self.options.backend}{hint}") from error
        except ImportError as error:
            raise InputError(f"the backend {self.options.backend} needs a package: {error}") from error
        try:
            made: LM = backend.create_from_arg_obj({**self.options.args, **self.options.local_args})
        except (TypeError, ValueError, OSError, ImportError, AssertionError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the backend {self.options.backend} cannot start: {said}") from error
        return made
