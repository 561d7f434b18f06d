"""Documents from a data set: one of the Hugging Face Hub at a commit, or one in a folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, Local, Options
from kib.records import Document
from kib.support.hub import commit_of
from kib_datasets.download import snapshot

if TYPE_CHECKING:
    from kib_tables.fields import Rows

__all__ = ["HuggingFace", "HuggingFaceOptions"]

SAVED = ("dataset_dict.json", "state.json")
"""What `save_to_disk` leaves in a folder."""


class HuggingFaceOptions(Options):
    """Which data set, which part of it, and what its columns are called."""

    hub: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="The data set's name on the hub; or else `path`.",
    )
    path: InputPath | None = Field(
        default=None, description="A folder: files that `datasets` reads, or what `save_to_disk` wrote."
    )
    revision: Annotated[str | None, Local] = Field(
        default=None, min_length=1, description="With `hub`: commit, tag or branch; the commit is what counts."
    )
    config: str | None = Field(default=None, min_length=1, description="The configuration; left out: the default one.")
    split: str = Field(default="train", min_length=1, description="The split whose rows are the documents.")
    files: list[str] = Field(
        default=[], description="Patterns of the files to read, such as `data/train-*.parquet`; empty: as the set says."
    )
    streaming: Annotated[bool, Local] = Field(
        default=False, description="With `hub`: read from the hub as needed, and keep nothing."
    )
    numbered: bool = Field(
        default=False, description="The row's number, from 1, is the id: for data sets that have no column of ids."
    )
    fields: dict[Literal["id", "title", "text", "source", "licence"], Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="What the columns of id, title, text, source and licence are called, where otherwise."
    )
    empty: Literal["error", "skip"] = Field(
        default="error", description="What a document without text is: an `error`, or left out (`skip`) and counted."
    )
    source: str = Field(default="", description="Where the documents come from, for those that do not say.")
    licence: str = Field(default="", description="Licence of the documents, for those that do not say.")
    date: str = Field(default="", description="As of when the documents are: a day, a version; it is only recorded.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.hub is None) == (self.path is None):
            raise ValueError("expected `hub` or `path`, one of the two")
        if self.hub is None and (self.revision is not None or self.streaming):
            raise ValueError("`revision` and `streaming` belong to `hub`; a folder's files are known by their bytes")
        if self.numbered and "id" in self.fields:
            raise ValueError("expected `numbered` or `fields.id`, one of the two")
        return self


class HuggingFace:
    """The corpus `huggingface`."""

    Options: ClassVar[type[Options]] = HuggingFaceOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: HuggingFaceOptions) -> None:
        self.options = options
        self.place = options.hub or str(options.path)
        self.left_out = 0

    def fingerprint(self) -> str:
        """The hub's commit, or the digest of the folder's files; InputError if they are not there."""
        if self.options.hub is not None:
            return commit_of(self.options.hub, self._revision, "dataset")
        folder = self._folder()
        try:
            return digest({path.relative_to(folder).as_posix(): digest_file(path) for path in _files(folder)})
        except OSError as error:
            raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error

    def online(self) -> list[str]:
        """The data set on the hub, where it is no folder."""
        return [f"data set {self.options.hub} of the hub at `{self._revision}`"] if self.options.hub else []

    def documents(self) -> Iterator[Document]:
        """The rows of the split in their order; InputError at the first that is no document."""
        rows = self._rows()
        yield from rows.documents(self._records(rows))
        self.left_out = len(rows.left_out)

    def notes(self) -> dict[str, Any]:
        """What is recorded with the corpus: its date, and how many were left out when it was read last."""
        return {"date": self.options.date, "left_out": self.left_out}

    @property
    def _revision(self) -> str:
        return self.options.revision or "main"

    def _rows(self) -> "Rows":
        from kib_tables.fields import Fields, Origin, Rows

        options = self.options
        origin = Origin(source=options.source, licence=options.licence)
        return Rows(self.place, Fields(**dict(options.fields)), origin, options.empty, "row")

    def _folder(self) -> Path:
        folder = self.options.path
        if folder is None or not folder.is_dir():
            what = "a file, expected a folder" if folder is not None and folder.exists() else "no such folder"
            raise InputError(f"{folder}: {what}")
        if not _files(folder):
            raise InputError(f"{folder}: holds no file")
        return folder

    def _records(self, rows: "Rows") -> Iterator[tuple[int, Mapping[str, Any]]]:
        numbered = self.options.numbered
        wanted = [name for part, name in dict(rows.fields).items() if part != "id" or not numbered]
        number = 0
        try:
            for number, row in enumerate(_chosen(self._split(), wanted), 1):
                yield number, {**row, rows.fields.id: number} if numbered else row
        except InputError:
            raise
        except Exception as error:  # the library raises anything, by way of every format that it reads
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            what = "text that is not UTF-8: " if isinstance(error, UnicodeDecodeError) else ""
            where = f", after row {number}" if number else ""
            raise InputError(f"{self.place}: cannot be read as a data set{where}: {what}{said}") from error

    def _split(self) -> Any:
        """The rows of the split, one after the other."""
        import datasets

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity_error()
        options = self.options
        files = {options.split: list(options.files)} if options.files else None
        settings = {"name": options.config, "split": options.split, "data_files": files, "streaming": True}
        if options.hub is None:
            folder = self._folder()
        else:
            commit = commit_of(options.hub, self._revision, "dataset")
            if options.streaming:
                return datasets.load_dataset(options.hub, revision=commit, **settings)
            folder = snapshot(options.hub, commit, options.files)
        if any((folder / name).is_file() for name in SAVED):
            return self._saved(folder)
        return datasets.load_dataset(str(folder), **settings)

    def _saved(self, folder: Path) -> Any:
        from datasets import DatasetDict, load_from_disk

        found = load_from_disk(str(folder))
        if not isinstance(found, DatasetDict):
            return found
        if self.options.split not in found:
            raise InputError(f'{folder}: no split "{self.options.split}"; there is {", ".join(found)}')
        return found[self.options.split]


def _chosen(rows: Any, wanted: list[str]) -> Iterator[Mapping[str, Any]]:
    """Rows with the columns of documents alone, the first one with the names of all: others may be pictures."""
    names = rows.column_names
    if not names:
        yield from rows
        return
    absent = {name: None for name in names if name not in wanted}
    here = [name for name in names if name in wanted]
    for number, row in enumerate(rows.select_columns(here) if here else rows):
        yield row if number else {**absent, **row}


def _files(folder: Path) -> list[Path]:
    """Every file of a folder but hidden ones, in order."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
