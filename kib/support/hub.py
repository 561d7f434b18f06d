"""Helpers for plugins that read from the Hugging Face Hub: commits of revisions, and readable error messages."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from kib.errors import InputError
from kib.identity import digest_file

__all__ = ["Kind", "cache_of", "commit_of", "plainly", "remove_damaged_files"]

LOGGER = logging.getLogger("kib.hub")

Kind = Literal["model", "dataset"]
CALLED: dict[Kind, str] = {"model": "model", "dataset": "data set"}
COMMIT = re.compile(r"[0-9a-f]{40}")
CLIENTS = ("httpx", "httpx2")
"""The HTTP clients used by versions of huggingface_hub; errors of these clients mean that the hub is unreachable."""


def commit_of(name: str, revision: str, kind: Kind) -> str:
    """Return the commit (40 hexadecimal digits) of a revision, looked up in the cache or on the hub if necessary.

    Raises InputError if the commit is neither in the cache nor on the hub.
    """
    if COMMIT.fullmatch(revision):
        return revision
    known = cache_of(name, kind) / "refs" / revision
    if known.is_file():
        return known.read_text(encoding="utf-8").strip()
    from huggingface_hub import HfApi

    with plainly(name, revision, kind):
        commit = HfApi().repo_info(name, revision=revision, repo_type=kind).sha
    if not commit:
        raise InputError(
            f"{name}: the hub returned no commit for `{revision}`; set `revision` to a full commit hash (40 "
            "hexadecimal digits)"
        )
    return commit


def cache_of(name: str, kind: Kind) -> Path:
    """Return the folder of a model or data set in the hub's cache, which has a documented layout."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"


def remove_damaged_files(folder: Path, sha256: Callable[[Path], str] = digest_file) -> bool:
    """Remove the damaged files of a commit's cache folder, so that they are downloaded again.

    Returns whether any file was removed. Each file in the folder is a symbolic link to a file named after its SHA-256
    or its git object id. Files that are not symbolic links cannot be verified, and are not removed. `sha256` computes
    the digest of a large file.
    """
    links = sorted(path for path in folder.rglob("*") if path.is_symlink())
    damaged = [path for path in links if path.is_file() and _is_damaged(path.resolve(), sha256)]
    for path in damaged:
        LOGGER.warning("%s: the content of the file has changed since its download; kib removes the file", path)
        path.resolve().unlink()
        path.unlink()
    return bool(damaged)


def _is_damaged(stored: Path, sha256: Callable[[Path], str]) -> bool:
    """Return whether a file's content does not match its name, which is a SHA-256 or a git object id."""
    name = stored.name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return sha256(stored) != name
    if not COMMIT.fullmatch(name):
        return False
    data = stored.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() != name


@contextmanager
def plainly(name: str, revision: str, kind: Kind) -> Iterator[None]:
    """Turn a hub error raised in the block into an InputError that states the reason and a remedy."""
    from huggingface_hub import errors

    pin = "connect to the network, set `path` to a local folder, or set `revision` to a downloaded commit"
    away = f"{name}: the revision `{revision}` is not on this machine, and the hub cannot be reached"
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(
            f"{name}: access to this repository is restricted; accept the conditions on the hub and log in with `hf "
            "auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        what = CALLED[kind]
        raise InputError(
            f"{name}: no such {what} on the hub, or the {what} is private and requires `hf auth login`"
        ) from error
    except errors.HFValidationError as error:
        raise InputError(f"{name}: invalid name for a hub repository: {_first_line(error)}") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{name}: this repository has no revision `{revision}` on the hub") from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError(f"{away}; {pin}") from error
    except errors.LocalEntryNotFoundError as error:  # raised for a download; the cause of this error is the reason
        cause = error.__cause__
        reason = "" if cause is None or isinstance(cause, errors.OfflineModeIsEnabled) else f" ({_first_line(cause)})"
        raise InputError(f"{away}{reason}; {pin}") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise InputError(f"{name}: the hub cannot resolve `{revision}`: {_first_line(error)}; {pin}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        raise InputError(f"{away} ({_first_line(error)}); {pin}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
