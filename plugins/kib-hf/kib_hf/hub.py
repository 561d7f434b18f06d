"""Models of the Hugging Face Hub: which commit a name means today, and that commit's files on this machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kib.errors import InputError
from kib_hf.folder import PATTERNS, check_folder

__all__ = ["commit_of", "snapshot"]

COMMIT = re.compile(r"[0-9a-f]{40}")
IGNORED = ["*/*", "consolidated*"]  # the same weights once more, in formats that transformers does not read


def commit_of(hub: str, revision: str) -> str:
    """The 40 hexadecimal digits of a revision: as given, as downloaded before, or as the hub says now."""
    if COMMIT.fullmatch(revision):
        return revision
    known = _cache(hub) / "refs" / revision
    if known.is_file():
        return known.read_text(encoding="utf-8").strip()
    from huggingface_hub import HfApi

    with _plainly(hub, revision):
        commit = HfApi().model_info(hub, revision=revision).sha
    if not commit:
        raise InputError(f"{hub}: the hub gave no commit for `{revision}`; pin `revision` to 40 hexadecimal digits")
    return commit


def snapshot(hub: str, commit: str, *, weights: bool) -> Path:
    """The folder of a commit's files, downloaded where they are not here; without weights where they are not needed."""
    here = _cache(hub) / "snapshots" / commit
    if _complete(here, weights=weights):
        return here
    from huggingface_hub import snapshot_download

    wanted = [*PATTERNS, *(["*.safetensors"] if weights else [])]
    with _plainly(hub, commit):
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


def _cache(hub: str) -> Path:
    """A model's place in the hub's cache, whose layout is documented."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"


@contextmanager
def _plainly(hub: str, revision: str) -> Iterator[None]:
    """Say in a sentence why the hub did not answer."""
    from huggingface_hub import errors

    pin = "go online, or give a folder as `path`, or pin `revision` to a commit that is downloaded already"
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(f"{hub}: the hub wants its conditions accepted and a token (`hf auth login`)") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{hub}: no such model on the hub, or it is private and needs `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{hub}: the hub knows no revision `{revision}` of it") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise InputError(f"{hub}: `{revision}` is not on this machine and the hub is out of reach; {pin}") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise InputError(f"{hub}: the hub cannot be asked for `{revision}`: {_first_line(error)}; {pin}") from error
    except Exception as error:
        # Where nobody answers, what its HTTP client raises comes through: httpx or httpx2, by the hub's version.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2"):
            raise
        said = f"`{revision}` is not on this machine and the hub is out of reach ({_first_line(error)})"
        raise InputError(f"{hub}: {said}; {pin}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
