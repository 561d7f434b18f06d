"""A model's files of a commit on the Hugging Face Hub, on this machine."""

from pathlib import Path

from kib.errors import InputError
from kib.support.hub import cache_of, plainly
from kib_hf.model_folder import PATTERNS, check_folder

__all__ = ["snapshot"]

IGNORED = ["*/*", "consolidated*"]  # the same weights once more, in formats that transformers does not read


def snapshot(hub: str, commit: str, *, weights: bool) -> Path:
    """The folder of a commit's files, downloaded where they are not here; without weights where they are not needed."""
    here = cache_of(hub, "model") / "snapshots" / commit
    if _complete(here, weights=weights):
        return here
    from huggingface_hub import snapshot_download

    wanted = [*PATTERNS, *(["*.safetensors"] if weights else [])]
    with plainly(hub, commit, "model"):
        folder = Path(snapshot_download(hub, revision=commit, allow_patterns=wanted, ignore_patterns=IGNORED))
    if not (folder / "config.json").is_file():
        raise InputError(f"{hub}: no config.json at commit {commit}, so not a model in transformers' format")
    try:
        if weights:
            check_folder(folder)
    except InputError as error:
        raise InputError(f"{hub}: {error}; if its download was cut off, go online and run again") from error
    return folder


def _complete(folder: Path, *, weights: bool) -> bool:
    vocabularies = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    try:
        if weights:
            check_folder(folder)
    except InputError:
        return False
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in vocabularies)
