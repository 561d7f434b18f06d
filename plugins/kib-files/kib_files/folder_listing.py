"""List the files in a folder in the same order on every machine, and select the files that can become documents.

In this module, a name is a file's path relative to the folder, with "/" as the separator.
"""

import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kib.errors import InputError

__all__ = ["FolderListing", "count_files", "document_id", "list_folder"]


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The names of a folder's files; each tuple of names is sorted."""

    documents: tuple[str, ...]
    """Files of a supported type."""
    others: tuple[str, ...]
    """Files of an unsupported type."""
    hidden: tuple[str, ...]
    """Hidden files and hidden folders; the content of hidden folders is not listed."""
    broken: Mapping[str, str]
    """Dangling links and unreadable files and folders (`NAME/`), mapped to the reason."""


def list_folder(
    folder: Path, include: Sequence[str], exclude: Sequence[str], extensions: Sequence[str]
) -> FolderListing:
    """List the files in a folder and its subfolders; `extensions` are the supported file extensions, in lowercase.

    Raise InputError if the folder cannot be read, a name is not a valid id, two names produce the same id, a link
    points outside the folder, or a pattern in `include` matches no file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: {'this is a file; expected a folder' if folder.exists() else 'no such folder'}")
    hidden: list[str] = []
    documents: list[str] = []
    others: list[str] = []
    broken: dict[str, str] = {}
    for name in _select(folder, sorted(_walk(folder, folder, hidden)), include, exclude):
        if reason := _why_unreadable(folder, name):
            broken[name] = reason
        elif Path(name).suffix.lower() in extensions:
            documents.append(name)
        else:
            others.append(name)
    _check_ids(folder, documents)
    return FolderListing(tuple(documents), tuple(others), tuple(sorted(hidden)), broken)


def document_id(name: str) -> str:
    """Return a file's name in Unicode's composed form, with ordinary spaces instead of other Unicode spaces.

    macOS writes accented letters in decomposed form, and unusual spaces in the names of screenshots.
    """
    composed = unicodedata.normalize("NFC", name)
    return "".join(" " if unicodedata.category(character) == "Zs" else character for character in composed)


def count_files(names: Sequence[str]) -> str:
    """Return the number of names as text for a message, for example "1 file" or "1,000 files"."""
    return f"{len(names):,} file{'' if len(names) == 1 else 's'}"


def _select(folder: Path, names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the names that match no pattern in `exclude` and, unless `include` is empty, a pattern in `include`."""
    unused = set(include)
    selected = []
    for name in names:
        if any(fnmatchcase(document_id(name), document_id(pattern)) for pattern in exclude):
            continue
        matching = {pattern for pattern in include if fnmatchcase(document_id(name), document_id(pattern))}
        unused -= matching
        if matching or not include:
            selected.append(name)
    if unused:
        raise InputError(
            f"{folder}: no file matches these patterns in `include`: {', '.join(map(repr, sorted(unused)))}"
        )
    return selected


def _check_ids(folder: Path, names: Sequence[str]) -> None:
    """Raise InputError if two names produce the same document id."""
    name_by_id: dict[str, str] = {}
    for name in names:
        other = name_by_id.setdefault(document_id(name), name)
        if other != name:
            problem = f"the file names {other!a} and {name!a} differ only in the kind of space or accented letter"
            raise InputError(f"{folder}: {problem}; rename one file, or add both files to `exclude`")


def _walk(root: Path, folder: Path, hidden: list[str]) -> Iterator[str]:
    """Yield every file below a folder, and `NAME/` for each unreadable folder; add hidden names to `hidden`.

    A link to a folder is treated as a file, so that no folder is read twice and no cycle of links is followed.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if folder == root:
            raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
        yield f"{folder.relative_to(root).as_posix()}/"
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith((".", "~$")):  # Word creates `~$NAME` beside an open document
            hidden.append(path.relative_to(root).as_posix())
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, hidden)
        elif not _links_to_inner_folder(root, entry):
            yield path.relative_to(root).as_posix()


def _links_to_inner_folder(root: Path, entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a link to a folder below the root; such a folder is read under its own path."""
    try:
        return entry.is_symlink() and entry.is_dir() and Path(entry.path).resolve().is_relative_to(root.resolve())
    except OSError:  # a circular link, which `_why_unreadable` reports later
        return False


def _why_unreadable(folder: Path, name: str) -> str:
    """Return the reason why a file cannot be read, or "" if the file appears to be readable.

    Raise InputError if the file can never be part of a corpus.
    """
    path = folder / name
    if not document_id(name).isprintable():
        problem = f"the file name {name!a} contains unprintable characters or is not valid UTF-8"
        fix = "rename the file, or add its name to `exclude` with `?` in place of each invalid character"
        raise InputError(f"{folder}: {problem}; {fix}")
    try:
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder.resolve()):
            fix = "copy the file into the folder, or add the link to `exclude`"
            raise InputError(f"{path}: the link points to a path outside the folder; {fix}")
        mode = path.stat().st_mode
        if name.endswith("/"):
            os.scandir(path).close()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: this is neither a file nor a folder; add its name to `exclude`")
    return ""
