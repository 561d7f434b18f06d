"""Download a model from the Hugging Face Hub."""

from pathlib import Path

from kib.errors import InputError
from kib.support.hub import cache_of, plainly, remove_damaged_files
from kib_hf.digest_cache import cached_digest
from kib_hf.model_folder import PATTERNS, check_folder

__all__ = ["snapshot"]

IGNORED = ["*/*", "consolidated*"]
"""Files that contain the same weights in formats that transformers does not read."""


def snapshot(hub: str, commit: str, *, weights: bool) -> Path:
    """Return the folder that contains a commit's files; download any missing or damaged files.

    The files include the weights only if `weights` is true.
    """
    cached = cache_of(hub, "model") / "snapshots" / commit
    if not remove_damaged_files(cached, cached_digest) and _is_complete(cached, weights=weights):
        return cached
    from huggingface_hub import snapshot_download

    wanted = [*PATTERNS, *(["*.safetensors"] if weights else [])]
    with plainly(hub, commit, "model"):
        folder = Path(snapshot_download(hub, revision=commit, allow_patterns=wanted, ignore_patterns=IGNORED))
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{hub}: this is not a model in transformers' format, because commit {commit} contains no config.json"
        )
    try:
        if weights:
            check_folder(folder)
    except InputError as error:
        raise InputError(
            f"{hub}: {error}; if the download was interrupted, connect to the network and run the same command again"
        ) from error
    return folder


def _is_complete(folder: Path, *, weights: bool) -> bool:
    vocabularies = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    try:
        if weights:
            check_folder(folder)
    except InputError:
        return False
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in vocabularies)
