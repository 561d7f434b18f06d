"""A data set's files of a commit on the Hugging Face Hub, on this machine."""

from collections.abc import Sequence
from pathlib import Path

from kib.identity import digest
from kib.support.hub import cache_of, plainly

__all__ = ["snapshot"]

BESIDE = ["README.md", "dataset_infos.json", "dataset_dict.json"]
"""Files that say which configurations and splits there are."""


def snapshot(hub: str, commit: str, files: Sequence[str]) -> Path:
    """The folder of a commit's files, all or those that match a pattern, downloaded where they are not here.

    The cache does not say whether a download was finished, so a mark of our own does.
    """
    place = cache_of(hub, "dataset")
    here = place / "snapshots" / commit
    mark = place / f".kib-{commit}-{digest(sorted(files))[:16]}"
    if mark.is_file() and here.is_dir():
        return here
    from huggingface_hub import HfApi, snapshot_download

    with plainly(hub, commit, "dataset"):
        HfApi().dataset_info(hub, revision=commit)  # the download itself takes half a folder where the hub is silent
        wanted = [*files, *BESIDE] if files else None
        here = Path(snapshot_download(hub, repo_type="dataset", revision=commit, allow_patterns=wanted))
    mark.touch()
    return here
