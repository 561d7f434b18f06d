"""Download one commit of a data set from the Hugging Face Hub."""

from collections.abc import Sequence
from pathlib import Path

from kib.identity import digest
from kib.support.hub import cache_of, plainly, remove_damaged_files

__all__ = ["download_commit"]

METADATA_FILES = ["README.md", "dataset_infos.json", "dataset_dict.json"]
"""Files that declare a data set's configurations and splits, and that are downloaded with every selection of files."""


def download_commit(hub: str, commit: str, patterns: Sequence[str]) -> Path:
    """Return a commit's cache folder; download any files that are missing from the cache or damaged.

    Download all files or, if `patterns` is set, only the files that match a pattern. An empty file marks a completed
    download, because the hub's cache does not record completion.
    """
    cache = cache_of(hub, "dataset")
    folder = cache / "snapshots" / commit
    marker = cache / f".kib-{commit}-{digest(sorted(patterns))[:16]}"
    if folder.is_dir() and not remove_damaged_files(folder) and marker.is_file():
        return folder
    from huggingface_hub import HfApi, snapshot_download

    with plainly(hub, commit, "dataset"):
        HfApi().dataset_info(hub, revision=commit)  # fails if the hub is unreachable; `snapshot_download` does not
        allowed = [*patterns, *METADATA_FILES] if patterns else None
        folder = Path(snapshot_download(hub, repo_type="dataset", revision=commit, allow_patterns=allowed))
    marker.touch()
    return folder
