"""The files of a set: local files, or files of a data set on the Hugging Face Hub at a fixed commit."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.support.hub import cache_of, commit_of, plainly, remove_damaged_files

__all__ = ["FileName", "LocationOptions", "SetFiles"]


def _check_name(name: str) -> str:
    """Return the name of a file unchanged; raise ValueError if the file could be outside its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
        raise ValueError(f"expected the name of a file in the folder or data set, such as dev.json, got {name!r}")
    return name


FileName = Annotated[str, AfterValidator(_check_name)]


class LocationOptions(Options):
    """The location of a set: a file or folder, or a data set on the hub."""

    path: InputPath | None = Field(
        default=None, description="The official file, or a folder with official files. Set either `path` or `hub`."
    )
    hub: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="Name of a data set on the Hugging Face Hub that contains the official files.",
    )
    revision: Annotated[str | None, NotInIdentity] = Field(
        default=None,
        min_length=1,
        description='Commit, tag or branch of the `hub` data set (default: "main"); the commit identifies the data.',
    )

    @model_validator(mode="after")
    def _check_location(self) -> Self:
        if (self.hub is None) == (self.path is None):
            raise ValueError("expected either `path` or `hub`, but not both")
        if self.hub is None and self.revision is not None:
            raise ValueError("`revision` applies only to `hub`; local files are identified by their content")
        if self.hub is not None and not getattr(self, "files", None):
            raise ValueError("`hub` needs the names of the files in `files`")
        return self


class SetFiles:
    """The files of one set; `names` contains the name of each file by its role, or is empty if `path` is a file."""

    def __init__(self, options: LocationOptions, names: Mapping[str, str]) -> None:
        self.options = options
        self.names = dict(names)

    def roles(self, default: str) -> list[str]:
        """Return the roles of the files; a single file has the role `default`."""
        return list(self.names) or [default]

    def fingerprint(self) -> str:
        """Return a digest of the files, or of the commit and the file names; raise InputError if a file is missing."""
        if self.options.hub is not None:
            return digest([self._commit(), self.names])
        return digest({role: digest_file(self.path(role)) for role in self.roles("")})

    def online(self) -> list[str]:
        """Return the files to download; local files need no network."""
        if self.options.hub is None:
            return []
        files = ", ".join(dict.fromkeys(self.names.values()))
        return [f"{files} of the data set {self.options.hub} on the hub at revision `{self._revision}`"]

    def path(self, role: str) -> Path:
        """Return the path of a file, which is downloaded if necessary; raise InputError if there is no such file."""
        if self.options.hub is not None:
            return self._download(self.options.hub, self.names[role])
        path = self.options.path or Path()
        if self.names and path.is_file():
            raise InputError(f"{path}: `files` applies only to a folder; remove `files`, or set `path` to the folder")
        if not self.names and path.is_dir():
            raise InputError(f"{path}: this is a folder; set `files` to the names of the files to read")
        file = path / self.names[role] if self.names else path
        if not file.is_file():
            raise InputError(f"{file}: no such file")
        return file

    @property
    def _revision(self) -> str:
        return self.options.revision or "main"

    def _commit(self) -> str:
        return commit_of(self.options.hub or "", self._revision, "dataset")

    def _download(self, hub: str, name: str) -> Path:
        """Return a file in the hub's cache; download the file if it is missing or damaged."""
        commit = self._commit()
        folder = cache_of(hub, "dataset") / "snapshots" / commit
        if folder.is_dir():
            remove_damaged_files(folder)
        if (folder / name).is_file():
            return folder / name
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with plainly(hub, commit, "dataset"):
            try:
                return Path(hf_hub_download(hub, name, repo_type="dataset", revision=commit))
            except LocalEntryNotFoundError:  # the hub cannot be reached
                raise
            except EntryNotFoundError as error:
                raise InputError(f"{hub}: the data set has no file {name} at revision `{self._revision}`") from error
