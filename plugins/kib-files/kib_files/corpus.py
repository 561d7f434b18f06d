"""The corpus `files`: each file in a folder is a document, whose id is the file's path relative to the folder."""

import codecs
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Document
from kib.support.limited_process import LimitError
from kib.support.phrases import counted, first_names
from kib_files.converters import CONVERTERS, Converter
from kib_files.file_records import BLANK_PAGES, DEFAULT_LIMITS, BrokenFileError, ConvertedFile, FileLimits
from kib_files.folder_listing import FolderListing, count_files, document_id, list_folder
from kib_files.text_cache import TextCache, converter_versions

__all__ = ["Files", "FilesOptions"]

LOGGER = logging.getLogger("kib_files")

OCR_HINT = "if the pages are scans, run OCR first, for example with OCRmyPDF"
SHOWN_NAMES = 5
"""The usual maximum number of file names in one message."""

MOST_SCANS = 50
"""Maximum number of names in a message that may be the only list of the files."""

EXTENSIONS = ", ".join(sorted(CONVERTERS))

ErrorOrSkip = Literal["error", "skip"]


LIMIT_OPTIONS = {
    "seconds": "max_seconds",
    "memory": "max_memory_mb",
    "unpacked": "max_unpacked_mb",
    "depth": "max_nesting",
}
"""The option for each limit on the conversion of a file."""


class FilesOptions(Options):
    """Options of the corpus `files`: the folder, the files to read, and the treatment of unreadable files."""

    path: InputPath = Field(description="Folder that contains the documents; files in subfolders are also read.")
    include: list[str] = Field(
        default=[],
        description="Patterns of the files to read, such as `*.pdf` or `manuals/*`; if empty, all files are read.",
    )
    exclude: list[str] = Field(default=[], description="Patterns of the files to leave out.")
    others: ErrorOrSkip = Field(
        default="error",
        description="How to treat files of an unsupported type: report an `error`, or `skip` and count them.",
    )
    empty: ErrorOrSkip = Field(
        default="error",
        description=(
            "How to treat files without text, such as scanned PDFs: report an `error`, or `skip` and count them."
        ),
    )
    broken: ErrorOrSkip = Field(
        default="error",
        description=(
            "How to treat files that cannot be read, decoded or opened: report an `error`, or `skip` and count them."
        ),
    )
    over_limit: Annotated[ErrorOrSkip, NotInIdentity] = Field(
        default="error",
        description="How to treat files that exceed a limit: report an `error`, or `skip`, count and record the files.",
    )
    max_seconds: Annotated[float, NotInIdentity] = Field(
        default=DEFAULT_LIMITS.seconds,
        gt=0,
        le=86_400,
        description="Maximum number of seconds for converting one file.",
    )
    max_memory_mb: Annotated[int, NotInIdentity] = Field(
        default=DEFAULT_LIMITS.memory_mb,
        ge=256,
        description=(
            "Maximum memory, in MB, of the process that converts files other than plain text; enforced on Linux only."
        ),
    )
    max_unpacked_mb: Annotated[int, NotInIdentity] = Field(
        default=DEFAULT_LIMITS.unpacked_mb,
        ge=1,
        description="Maximum size of one file in MB; for a Word document, the size after unpacking.",
    )
    max_nesting: Annotated[int, NotInIdentity] = Field(
        default=DEFAULT_LIMITS.nesting,
        ge=1,
        le=10_000,
        description="Maximum nesting depth of elements in an HTML file or a Word document.",
    )
    title: Literal["document", "name"] = Field(
        default="document",
        description=(
            "Source of titles: `document` uses the document's own title or, if missing, the file name; `name` always "
            "uses the file name."
        ),
    )
    encoding: str = Field(
        default="utf-8",
        description="Encoding of plain text files, Markdown files, and HTML files that declare no encoding.",
    )
    source: str = Field(default="", description="Source of the documents.")
    licence: str = Field(default="", description="Licence of the documents.")
    date: str = Field(
        default="", description="Date or version of the documents; recorded with the corpus but not used otherwise."
    )

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError as error:
            raise ValueError(f"unknown encoding {value!r}; expected an encoding such as utf-8 or cp1252") from error
        return value


@dataclass
class _Findings:
    """Records the omitted files, and the files with remarks, in one pass over the folder."""

    others: list[str]
    broken: list[str]
    empty: list[str] = field(default_factory=list)
    scans: list[str] = field(default_factory=list)
    over_limit: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def by_reason(self) -> dict[str, list[str]]:
        """Return the omitted files, grouped by the reason given in messages."""
        reasons = {
            "of an unsupported type": self.others,
            "without text": self.empty,
            f"without text on any page ({OCR_HINT})": self.scans,
            "that cannot be read": self.broken,
            "beyond a limit": self.over_limit,
        }
        return {reason: names for reason, names in reasons.items() if names}

    def add_remarks(self, name: str, remarks: Mapping[str, str]) -> None:
        """Add the remarks of a converted file."""
        for what, where in remarks.items():
            self.remarks.setdefault(what, []).append(f"{name} ({where})")


class Files:
    """The corpus `files`, which reads the files in a folder as documents."""

    Options: ClassVar[type[Options]] = FilesOptions
    revision: ClassVar[int] = 3

    def __init__(self, options: FilesOptions) -> None:
        self.options = options
        self.counts: dict[str, int] = {}
        self.skipped: list[str] = []
        self.remarks: list[str] = []

    def fingerprint(self) -> str:
        """Return a digest of the files' names and contents.

        Raise InputError if the folder or any of its files cannot be read.
        """
        listing = self._list_folder()
        digests: dict[str, Any] = {name: self._digest(name) for name in listing.documents}
        digests |= dict.fromkeys(listing.broken, "")
        if self.options.over_limit == "skip":  # with other values, the limits do not affect the documents
            digests[""] = asdict(self._limits())
        return digest(digests)

    def document_count(self) -> int:
        """Return the number of files that may become documents."""
        return len(self._list_folder().documents)

    def memory(self) -> str:
        """Return the name of the cache that contains the text of converted files."""
        return "files"

    def documents(self, memory: Path | None = None) -> Iterator[Document]:
        """Yield the documents in order of file name; read and store the text of files in the folder `memory`.

        Raise InputError at the first unusable file, or after all files if some of the files are scans without text.
        """
        with TextCache.open(memory) if memory else nullcontext() as cache:
            yield from self._converted(cache)

    def _converted(self, cache: TextCache | None) -> Iterator[Document]:
        listing = self._list_folder()
        broken = [f"{name} ({reason})" for name, reason in listing.broken.items()]
        findings = _Findings(list(listing.others), broken)
        converter = Converter(self.options.encoding, self._limits(), cache, self._cache_key())
        count = 0
        results = converter.convert_each(self.options.path / name for name in listing.documents)
        for name, converted in zip(listing.documents, results, strict=True):
            document = self._document(name, converted, findings)
            if document:
                count += 1
                yield document
        if findings.scans and self.options.empty == "error":
            raise self._scanned(findings.scans)
        if not count:
            reasons = ", ".join(f"{count_files(names)} {reason}" for reason, names in findings.by_reason().items())
            raise InputError(
                f"{self.options.path}: the folder contains no documents{f'; left out: {reasons}' if reasons else ''}"
            )
        self._record(count, listing, findings)

    def notes(self) -> dict[str, Any]:
        """Return the corpus date and the last pass's counts, remarks and files over a limit, for the corpus record."""
        lists = {"skipped": self.skipped, "remarks": self.remarks}
        return {"date": self.options.date, **self.counts, **{name: some for name, some in lists.items() if some}}

    def _limits(self) -> FileLimits:
        options = self.options
        return FileLimits(options.max_seconds, options.max_memory_mb, options.max_unpacked_mb, options.max_nesting)

    def _cache_key(self) -> str:
        """Return a digest of everything, apart from a file's bytes and type, that determines the file's text."""
        limits = asdict(self._limits()) if self.options.over_limit == "skip" else {}
        return digest([self.revision, converter_versions(), self.options.encoding, limits])

    def _list_folder(self) -> FolderListing:
        """List the folder; raise InputError if it has no documents or if an option forbids one of its files."""
        options = self.options
        listing = list_folder(options.path, options.include, options.exclude, tuple(CONVERTERS))
        if listing.others and options.others == "error":
            listed = first_names(listing.others, SHOWN_NAMES)
            problem = f"found {count_files(listing.others)} of an unsupported type: {listed}"
            fix = 'to leave out such files, set `others = "skip"` or add the files to `exclude`'
            raise InputError(f"{options.path}: {problem}; supported types are {EXTENSIONS}; {fix}")
        for name, reason in listing.broken.items():
            if options.broken == "error":
                raise _unusable(options.path / name, reason, "broken")
        if not listing.documents and not listing.broken:
            raise InputError(
                f"{options.path}: the folder contains no documents; expected files of the types {EXTENSIONS}"
            )
        return listing

    def _digest(self, name: str) -> str:
        try:
            return digest_file(self.options.path / name)
        except OSError as error:
            if self.options.broken == "skip":
                return ""
            reason = f"cannot be read: {error.strerror or error}"
            raise _unusable(self.options.path / name, reason, "broken") from error

    def _document(
        self, name: str, converted: ConvertedFile | BrokenFileError | LimitError, findings: _Findings
    ) -> Document | None:
        """Return a file's document, or None if the file may be omitted; add an omitted file to `findings`."""
        options, path = self.options, self.options.path / name
        if isinstance(converted, LimitError):
            if options.over_limit == "error":
                advice = converted.advice("to convert the file", LIMIT_OPTIONS)
                raise _unusable(path, f"the file {converted}{advice}", "over_limit")
            findings.over_limit.append(f"{document_id(name)} (the file {converted})")
            return None
        if isinstance(converted, BrokenFileError):
            if options.broken == "error":
                raise _unusable(path, str(converted), "broken")
            findings.broken.append(f"{document_id(name)} ({converted})")
            return None
        if not converted.text.strip():
            if converted.pages:  # such files are reported together, because a folder of scans contains many
                findings.scans.append(f"{document_id(name)} ({counted(converted.pages, 'page')})")
            elif options.empty == "error":
                raise _unusable(path, "the file contains no text", "empty")
            else:
                findings.empty.append(name)
            return None
        findings.add_remarks(document_id(name), converted.remarks)
        title = converted.title if options.title == "document" else ""
        return Document(
            document_id(name), title or document_id(path.stem), converted.text, options.source, options.licence
        )

    def _scanned(self, names: Sequence[str]) -> InputError:
        """Return the error that lists all PDF files without text."""
        problem = f"{count_files(names)} without text on any page: {first_names(names, MOST_SCANS)}; {OCR_HINT}"
        fix = 'to leave out such files, set `empty = "skip"` or add the files to `exclude`'
        return InputError(f"{self.options.path}: {problem}; {fix}")

    def _record(self, count: int, listing: FolderListing, findings: _Findings) -> None:
        """Keep the counts and remarks for `notes`, and log them as warnings."""
        left_out = [
            (names, f"left out {count_files(names)} {reason}: {first_names(names, SHOWN_NAMES)}")
            for reason, names in findings.by_reason().items()
        ]
        for _, line in left_out:
            LOGGER.warning("%s: %s", self.options.path, line)
        self.remarks = [
            f"{count_files(names)} with {what}: {first_names(names, MOST_SCANS)}"
            for what, names in sorted(findings.remarks.items())
        ]
        for remark in self.remarks:
            LOGGER.warning("%s: %s", self.options.path, remark)
        if findings.scans:
            listed = first_names(findings.scans, MOST_SCANS)
            self.remarks.append(
                f"left out {count_files(findings.scans)} without text on any page: {listed}; {OCR_HINT}"
            )
        self.remarks += [
            line
            for names, line in left_out
            if names is not findings.scans and names is not findings.over_limit  # these have lines of their own
        ]
        self.skipped = findings.over_limit
        self.counts = {"files": count, "hidden": len(listing.hidden), "others": len(findings.others)}
        self.counts |= {"empty": len(findings.empty) + len(findings.scans), "broken": len(findings.broken)}
        self.counts["over_limit"] = len(findings.over_limit)
        self.counts["with_blank_pages"] = len(findings.remarks.get(BLANK_PAGES, ()))


def _unusable(path: Path, reason: str, option: str) -> InputError:
    """Return the InputError for an unusable file; `option` is the option that can omit such files."""
    return InputError(f'{path}: {reason}; to leave out the file, set `{option} = "skip"` or add the file to `exclude`')
