"""Completeness checks and digests for a folder that contains a sentence-transformers model."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from kib.errors import InputError
from kib.identity import digest

__all__ = ["IGNORED_FOLDERS", "PATTERNS", "ModelClass", "check_folder", "fingerprint_folder"]

ModelClass = Literal["SentenceTransformer", "CrossEncoder"]
"""The sentence-transformers class that was used to save a model."""

EXPECTED: dict[ModelClass, str] = {
    "SentenceTransformer": "an encoder saved by sentence-transformers (modules.json, config.json, safetensors files)",
    "CrossEncoder": "a cross-encoder (config.json of a sequence classifier, safetensors files and a tokenizer)",
}

PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py", "*.safetensors")
"""Names of the files that belong to a model, in its folder and subfolders."""

IGNORED_FOLDERS = ("onnx/", "openvino/")
"""Folders with copies of the model for other backends."""

PROSE = ("readme", "license", "licence", "notice")
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"


def check_folder(folder: Path, model_class: ModelClass) -> None:
    """Raise InputError unless `folder` contains a complete model of `model_class` in safetensors format."""
    expected = EXPECTED[model_class]
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; expected a folder with {expected}")
    if not folder.is_dir():
        raise InputError(f"{folder}: this is a file; expected a folder with {expected}")
    _check_class(folder, model_class)
    modules = _module_folders(folder)
    with_weights = [module for module in modules if any((module / name).is_file() for name in (WEIGHTS, WEIGHTS_INDEX))]
    for module in modules:
        if (module / "pytorch_model.bin").is_file() and module not in with_weights:
            raise InputError(
                f"{module}: the weights exist only in pytorch_model.bin, and reading such a file can run code; convert "
                "the weights to safetensors with the sentence-transformers call "
                f"`{model_class}(OLD).save_pretrained(NEW)`"
            )
    if not with_weights:
        raise InputError(
            f"{folder}: the folder contains no weights; expected {WEIGHTS}, or {WEIGHTS_INDEX} and the weight files "
            "that it lists"
        )
    for module in with_weights:
        _check_weight_files(module)


def _check_class(folder: Path, model_class: ModelClass) -> None:
    """Reject a folder if sentence-transformers would replace missing layers with guessed or random layers."""
    modules, config, expected = folder / "modules.json", folder / "config.json", EXPECTED[model_class]
    if not modules.is_file() and not config.is_file():
        raise InputError(f"{folder}: the folder contains neither modules.json nor config.json; expected {expected}")
    if modules.is_file():
        saved_class = _read_object(folder / "config_sentence_transformers.json").get(
            "model_type", "SentenceTransformer"
        )
        if saved_class != model_class:
            raise InputError(f"{folder}: contains a {saved_class} model; expected {expected}")
    elif model_class == "SentenceTransformer":
        raise InputError(
            f"{folder}: modules.json is missing, so the pooling of token vectors is unknown; expected {expected}"
        )
    else:
        architecture = str((_read_object(config).get("architectures") or ["none"])[0])
        if not architecture.endswith(("ForSequenceClassification", "ForCausalLM")):
            raise InputError(f"{folder}: the architecture {architecture} does not produce scores; expected {expected}")


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; return an empty object if the file does not exist."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path}: invalid JSON") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object")
    return value


def _module_folders(folder: Path) -> list[Path]:
    """Return the model's own folder and the folders of the modules listed in modules.json."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return [folder]
    try:
        paths = [str(module["path"]) for module in json.loads(modules.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{modules}: invalid content; expected a list of modules with their paths") from error
    return list(dict.fromkeys([folder, *(folder / path for path in paths)]))


def _check_weight_files(module: Path) -> None:
    """Raise InputError if a file listed in the weight index is missing."""
    index = module / WEIGHTS_INDEX
    if (module / WEIGHTS).is_file():
        return
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: invalid weight index; expected a JSON object with the key `weight_map`") from error
    missing = [name for name in names if not (module / name).is_file()]
    if missing:
        raise InputError(f"{module}: {len(missing)} of {len(names)} weight files are missing: {', '.join(missing)}")


def fingerprint_folder(folder: Path, model_class: ModelClass) -> str:
    """Return a digest of the names and contents of all files that affect the model's output; exclude documentation."""
    from kib_hf.digest_cache import cached_digest

    check_folder(folder, model_class)
    try:
        return digest({path.relative_to(folder).as_posix(): cached_digest(path) for path in _model_files(folder)})
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error


def _model_files(folder: Path) -> Iterable[Path]:
    for path in {path for pattern in PATTERNS for path in folder.rglob(pattern) if path.is_file()}:
        relative = path.relative_to(folder).as_posix()
        if not path.name.lower().startswith(PROSE) and not relative.startswith((".", *IGNORED_FOLDERS)):
            yield path
