"""Data sets of the Hugging Face Hub: which commit a name means today, and that commit's files on this machine."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kib.errors import InputError
from kib.identity import digest

__all__ = ["commit_of", "snapshot"]

COMMIT = re.compile(r"[0-9a-f]{40}")
BESIDE = ["README.md", "dataset_infos.json", "dataset_dict.json"]
"""Files that say which configurations and splits there are."""


def commit_of(hub: str, revision: str) -> str:
    """The 40 hexadecimal digits of a revision: as given, as downloaded before, or as the hub says now."""
    if COMMIT.fullmatch(revision):
        return revision
    known = _cache(hub) / "refs" / revision
    if known.is_file():
        return known.read_text(encoding="utf-8").strip()
    from huggingface_hub import HfApi

    with _plainly(hub, revision):
        commit = HfApi().dataset_info(hub, revision=revision).sha
    if not commit:
        raise InputError(f"{hub}: the hub gave no commit for `{revision}`; pin `revision` to 40 hexadecimal digits")
    return commit


def snapshot(hub: str, commit: str, files: Sequence[str]) -> Path:
    """The folder of a commit's files, all or those that match a pattern, downloaded where they are not here.

    The cache does not say whether a download was finished, so a mark of our own does.
    """
    here = _cache(hub) / "snapshots" / commit
    mark = _cache(hub) / f".kib-{commit}-{digest(sorted(files))[:16]}"
    if mark.is_file() and here.is_dir():
        return here
    from huggingface_hub import HfApi, snapshot_download

    with _plainly(hub, commit):
        HfApi().dataset_info(hub, revision=commit)  # the download itself takes half a folder where the hub is silent
        wanted = [*files, *BESIDE] if files else None
        here = Path(snapshot_download(hub, repo_type="dataset", revision=commit, allow_patterns=wanted))
    mark.touch()
    return here


def _cache(hub: str) -> Path:
    """A data set's place in the hub's cache, whose layout is documented."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"datasets--{hub.replace('/', '--')}"


@contextmanager
def _plainly(hub: str, revision: str) -> Iterator[None]:
    """Say in a sentence why the hub did not answer."""
    from huggingface_hub import errors

    pin = "go online, or give its folder as `path`"
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(f"{hub}: the hub wants its conditions accepted and a token (`hf auth login`)") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{hub}: no such data set on the hub, or it is private and needs `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{hub}: the hub knows no revision `{revision}` of it") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise InputError(f"{hub}: `{revision}` is not on this machine and the hub is out of reach; {pin}") from error
    except Exception as error:
        # A hub that cannot be reached raises what its HTTP client does, which is httpx or httpx2 by the version.
        client = type(error).__module__.partition(".")[0]
        if not isinstance(error, errors.HfHubHTTPError | OSError) and client not in ("httpx", "httpx2"):
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{hub}: the hub cannot be asked for `{revision}`: {said}; {pin}") from error
