"""Checks and digests for a model folder in the transformers format."""

import json
from pathlib import Path

from kib.errors import InputError
from kib.identity import digest
from kib_hf.digest_cache import cached_digest

__all__ = ["check_folder", "fingerprint_folder", "fingerprint_tokenizer", "weight_files"]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py", "additional_chat_templates/*.jinja")
"""Files that transformers reads in addition to weights: configuration, tokenizer, chat templates and code."""
PROSE = ("readme", "license", "licence", "notice", "use_policy")
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf", "*.safetensors")
CONVERT = (
    "convert the files with `AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW)` and "
    "`AutoTokenizer.from_pretrained(OLD).save_pretrained(NEW)`"
)


def check_folder(folder: Path) -> None:
    """Raise InputError unless `folder` contains a transformers model with all of its safetensors files."""
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; expected a folder with a model in transformers' format")
    if not folder.is_dir():
        raise InputError(f"{folder}: this is a file; expected a folder with config.json, weights and a tokenizer")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise InputError(f"{folder}: this is an adapter, not a model; merge the adapter into its model first")
        raise InputError(
            f"{folder}: this is not a model in transformers' format, because the folder contains no config.json"
        )
    weight_files(folder)


def weight_files(folder: Path) -> list[Path]:
    """Return the sorted weight files; raise InputError if a file is missing or no safetensors file exists."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        raise InputError(_no_safetensors(folder))
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / INDEX}: invalid weight index; expected a JSON object with the key `weight_map`"
        ) from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: {len(missing)} of {len(names)} weight files are missing: {', '.join(missing)}")
    return [folder / name for name in names]


def _no_safetensors(folder: Path) -> str:
    found = sorted(path.name for pattern in OTHER_WEIGHTS for path in folder.glob(pattern))
    if not found:
        return (
            f"{folder}: the folder contains no weights; expected {SINGLE}, or {INDEX} and the weight files that it "
            "lists"
        )
    return (
        f"{folder}: found {', '.join(found)} instead of {SINGLE}; kib reads only safetensors, because loading "
        f"other formats can run code; {CONVERT}"
    )


def fingerprint_folder(folder: Path) -> str:
    """Return a digest of the names and contents of all files that affect a model's answers.

    Documentation files such as README.md are excluded.
    """
    check_folder(folder)
    return _digest_files(folder, _files_besides_weights(folder) | set(weight_files(folder)))


def fingerprint_tokenizer(folder: Path) -> str:
    """Return a digest of all files that can affect tokenization; weights and documentation are excluded."""
    return _digest_files(folder, {path for path in _files_besides_weights(folder) if path.name != INDEX})


def _files_besides_weights(folder: Path) -> set[Path]:
    files = {path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()}
    return {path for path in files if not path.name.lower().startswith(PROSE)}


def _digest_files(folder: Path, files: set[Path]) -> str:
    try:
        return digest({path.relative_to(folder).as_posix(): cached_digest(path) for path in files})
    except OSError as error:
        raise InputError(f"{error.filename or folder}: this file cannot be read: {error.strerror or error}") from error
