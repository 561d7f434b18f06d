"""The corpus `huggingface`, which reads each row of a data set as a document.

The data set is either a commit on the Hugging Face Hub or a local folder, and is read with the `datasets` library.
"""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Document
from kib.support.hub import commit_of
from kib.support.json_parsing import parse_json
from kib_datasets.download import download_commit
from kib_datasets.file_patterns import check_data_card, check_pattern
from kib_datasets.unpacked_size import check_unpacked_sizes

if TYPE_CHECKING:
    from kib_tables.row_documents import RowDocuments

__all__ = ["HuggingFace", "HuggingFaceOptions"]

SAVED_MARKERS = ("dataset_dict.json", "state.json")
"""Files that the method `save_to_disk` of the library `datasets` writes to every folder."""


class HuggingFaceOptions(Options):
    """Options of `huggingface`: the data set, the rows to read, and the column names."""

    hub: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="Name of a data set on the Hugging Face Hub. Set either `hub` or `path`.",
    )
    path: InputPath | None = Field(
        default=None, description="Folder with files that `datasets` can read, or a folder written by `save_to_disk`."
    )
    revision: Annotated[str | None, NotInIdentity] = Field(
        default=None,
        min_length=1,
        description=(
            'Commit, tag or branch of the `hub` data set (default: "main"); the resolved commit identifies the data.'
        ),
    )
    config: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the data set's configuration; if unset, the data set's default configuration is read.",
    )
    split: str = Field(default="train", min_length=1, description="Name of the split to read.")
    files: list[Annotated[str, AfterValidator(check_pattern)]] = Field(
        default=[],
        description=(
            "Patterns of the files to read, relative to the data set, such as `data/train-*.parquet`; if empty, the "
            "data set's own file list is used."
        ),
    )
    streaming: Annotated[bool, NotInIdentity] = Field(
        default=False, description="Read rows from the hub as needed instead of downloading the files; requires `hub`."
    )
    numbered: bool = Field(
        default=False,
        description="Use row numbers, starting at 1, as document ids; for data sets without an id column.",
    )
    fields: dict[Literal["id", "title", "text", "source", "licence"], Annotated[str, Field(min_length=1)]] = Field(
        default={},
        description=(
            "Column names for `id`, `title`, `text`, `source` and `licence`; set only names that differ from these "
            "words."
        ),
    )
    empty: Literal["error", "skip"] = Field(
        default="error", description="How to treat documents without text: report an `error`, or `skip` and count them."
    )
    max_unpacked_mb: Annotated[int, NotInIdentity] = Field(
        default=2048,
        ge=1,
        description=(
            "Maximum unpacked size of one compressed file; a larger file raises an error. Not used if `streaming`."
        ),
    )
    source: str = Field(default="", description="Source for documents that do not specify one.")
    licence: str = Field(default="", description="Licence for documents that do not specify one.")
    date: str = Field(
        default="", description="Date or version of the documents; recorded with the corpus but not used otherwise."
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if (self.hub is None) == (self.path is None):
            raise ValueError("expected either `hub` or `path`, but not both")
        if self.hub is None and (self.revision is not None or self.streaming):
            raise ValueError(
                "`revision` and `streaming` apply only to `hub`; a folder's data is identified by the contents of its "
                "files"
            )
        if self.numbered and "id" in self.fields:
            raise ValueError("`numbered` and `fields.id` both set the document ids; remove one of them")
        return self


class HuggingFace:
    """The corpus `huggingface`, which reads the rows of a data set as documents."""

    Options: ClassVar[type[Options]] = HuggingFaceOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: HuggingFaceOptions) -> None:
        self.options = options
        self.name = options.hub or str(options.path)
        self.left_out = 0

    def fingerprint(self) -> str:
        """Return the commit on the hub or a digest of the folder's files; raise InputError if neither exists."""
        if self.options.hub is not None:
            return commit_of(self.options.hub, self._revision, "dataset")
        folder = self._folder()
        try:
            return digest({path.relative_to(folder).as_posix(): digest_file(path) for path in _visible_files(folder)})
        except OSError as error:
            raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error

    def online(self) -> list[str]:
        """Return the data set's name on the hub, or an empty list for a local folder, which needs no network access."""
        if self.options.hub is None:
            return []
        return [f"data set {self.options.hub} on the hub at revision `{self._revision}`"]

    def documents(self) -> Iterator[Document]:
        """Yield one document per row of the split, in order; raise InputError at the first invalid row."""
        rows = self._rows()
        yield from rows.documents(self._numbered_rows(rows))
        self.left_out = len(rows.left_out)

    def notes(self) -> dict[str, Any]:
        """Return the data set's date and the number of rows that the last pass omitted, for the corpus record."""
        return {"date": self.options.date, "left_out": self.left_out}

    @property
    def _revision(self) -> str:
        return self.options.revision or "main"

    def _rows(self) -> "RowDocuments":
        from kib_tables.options import Fields, Origin
        from kib_tables.row_documents import RowDocuments

        options = self.options
        origin = Origin(source=options.source, licence=options.licence)
        return RowDocuments(self.name, Fields(**dict(options.fields)), origin, options.empty, "row")

    def _folder(self) -> Path:
        """Return the data set's folder; raise InputError if the folder does not exist or contains no files."""
        folder = self.options.path
        if folder is None or not folder.is_dir():
            problem = (
                "this is a file; expected a folder" if folder is not None and folder.exists() else "no such folder"
            )
            raise InputError(f"{folder}: {problem}")
        if not _visible_files(folder):
            raise InputError(f"{folder}: the folder contains no files")
        return folder

    def _numbered_rows(self, rows: "RowDocuments") -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield each row with its number; raise InputError if the `datasets` library fails."""
        numbered = self.options.numbered
        columns = [column for part, column in dict(rows.fields).items() if part != "id" or not numbered]
        number = 0
        try:
            for number, row in enumerate(_select_columns(self._split(), columns), 1):
                yield number, {**row, rows.fields.id: number} if numbered else row
        except InputError:
            raise
        except Exception as error:  # `datasets` does not wrap the exceptions raised by its file format readers
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            problem = "not UTF-8: " if isinstance(error, UnicodeDecodeError) else ""
            position = f", after row {number}" if number else ""
            raise InputError(f"{self.name}: the data set cannot be read{position}: {problem}{reason}") from error

    def _split(self) -> Any:
        """Return an iterable over the split's rows; download the data set first if necessary."""
        import datasets

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity_error()
        options = self.options
        files = {options.split: list(options.files)} if options.files else None
        arguments = {"name": options.config, "split": options.split, "data_files": files, "streaming": True}
        if options.hub is None:
            folder = self._folder()
            _check_json_lists(_visible_files(folder))
        else:
            commit = commit_of(options.hub, self._revision, "dataset")
            if options.streaming:
                return datasets.load_dataset(options.hub, revision=commit, **arguments)
            folder = download_commit(options.hub, commit, options.files)
        check_data_card(folder)
        check_unpacked_sizes(_visible_files(folder), options.max_unpacked_mb)
        if any((folder / name).is_file() for name in SAVED_MARKERS):
            return self._saved_split(folder)
        return datasets.load_dataset(str(folder), **arguments)

    def _saved_split(self, folder: Path) -> Any:
        """Load the split from a data set written by `save_to_disk`."""
        from datasets import DatasetDict, load_from_disk

        saved = load_from_disk(str(folder))
        if not isinstance(saved, DatasetDict):
            return saved
        if self.options.split not in saved:
            raise InputError(
                f'{folder}: no split is named "{self.options.split}"; available splits: {", ".join(saved)}'
            )
        return saved[self.options.split]


def _select_columns(rows: Any, columns: list[str]) -> Iterator[Mapping[str, Any]]:
    """Yield rows with only the given columns, to avoid decoding images and audio.

    The first row also contains the names of all other columns, with the value None, so that errors can list these
    names.
    """
    names = rows.column_names
    if not names:
        yield from rows
        return
    others = {name: None for name in names if name not in columns}
    existing = [name for name in names if name in columns]
    for number, row in enumerate(rows.select_columns(existing) if existing else rows):
        yield row if number else {**others, **row}


def _check_json_lists(paths: Iterable[Path]) -> None:
    """Raise InputError for an invalid JSON list of rows, because `datasets` accepts a repeated key in such a list."""
    for path in paths:
        if path.suffix == ".json" and _first_byte(path) == b"[":
            parse_json(path.read_text(encoding="utf-8-sig"), str(path), whole_file=True)


def _first_byte(path: Path) -> bytes:
    """Return the first byte of a text file that is neither white space nor part of a byte order mark."""
    with path.open("rb") as file:
        return file.read(1024).removeprefix(BOM_UTF8).lstrip()[:1]


def _visible_files(folder: Path) -> list[Path]:
    """Return all files below a folder in sorted order, excluding hidden files and the contents of hidden folders."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))
