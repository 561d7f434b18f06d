"""Which files of a folder are documents: by their names and kinds, in one order everywhere."""

import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kib.errors import InputError

__all__ = ["Found", "find_files", "id_of", "named"]

NAMED = 5
"""Files that a message names."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a folder by their place in it, as POSIX text, sorted: documents, other kinds, and hidden ones."""

    documents: tuple[str, ...]
    others: tuple[str, ...]
    hidden: tuple[str, ...]  # of a hidden folder its name alone
    broken: Mapping[str, str]
    """Links to nothing, and files and folders (`NAME/`) that may not be looked at, with the reason."""


def find_files(folder: Path, include: Sequence[str], exclude: Sequence[str], kinds: Sequence[str]) -> Found:
    """What a folder holds, subfolders included. `kinds` are the endings of documents, in lower case.

    InputError where the folder cannot be read, a name cannot be an id, two names give one, a link leaves the folder, or
    a pattern of `include` matches no file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: {'a file, expected a folder' if folder.exists() else 'no such folder'}")
    hidden: list[str] = []
    documents: list[str] = []
    others: list[str] = []
    broken: dict[str, str] = {}
    names = _chosen(folder, sorted(_walk(folder, folder, hidden)), include, exclude)
    for name in names:
        trouble = _check(folder, name)
        if trouble:
            broken[name] = trouble
        else:
            (documents if Path(name).suffix.lower() in kinds else others).append(name)
    _check_ids(folder, documents)
    return Found(tuple(documents), tuple(others), tuple(sorted(hidden)), broken)


def id_of(name: str) -> str:
    """A file's place as an id: each kind of space, such as those that macOS puts in names, as the one on keyboards."""
    return "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in name)


def _chosen(folder: Path, names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """The names that match a pattern of `include`, if there are any, and none of `exclude`."""
    unused = set(include)
    chosen = []
    for name in names:
        if any(fnmatchcase(id_of(name), id_of(pattern)) for pattern in exclude):
            continue
        matching = {pattern for pattern in include if fnmatchcase(id_of(name), id_of(pattern))}
        unused -= matching
        if matching or not include:
            chosen.append(name)
    if unused:
        raise InputError(f"{folder}: include: no file matches {', '.join(map(repr, sorted(unused)))}")
    return chosen


def _check_ids(folder: Path, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(id_of(name), name)
        if other != name:
            what = f"the names {other!a} and {name!a} differ by the kind of their spaces alone"
            raise InputError(f"{folder}: {what}; rename one, or leave both out by `exclude`")


def named(names: Sequence[str]) -> str:
    """The first names, and how many there are besides."""
    more = f" and {len(names) - NAMED:,} more" if names[NAMED:] else ""
    return ", ".join(names[:NAMED]) + more


def _walk(root: Path, folder: Path, hidden: list[str]) -> Iterator[str]:
    """Every file below a folder, and `NAME/` for a folder that cannot be read.

    A link to a folder is a file here, so that nothing is read twice or for ever.
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
        if entry.name.startswith((".", "~$")):  # `~$` is what Word leaves beside a document that is open
            hidden.append(path.relative_to(root).as_posix())
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, hidden)
        elif not _repeats(root, entry):
            yield path.relative_to(root).as_posix()


def _repeats(root: Path, entry: "os.DirEntry[str]") -> bool:
    """Whether it is a link to a folder inside the root: what is in there is read in its own place."""
    try:
        return entry.is_symlink() and entry.is_dir() and Path(entry.path).resolve().is_relative_to(root.resolve())
    except OSError:  # links in a circle; it is looked at again where that can be told
        return False


def _check(folder: Path, name: str) -> str:
    """Why a file cannot be read, "" where it seems that it can; InputError where it cannot be part of a corpus."""
    path = folder / name
    if not id_of(name).isprintable():
        what = f"the name {name!a} cannot be printed or is not UTF-8"
        raise InputError(f"{folder}: {what}; rename the file, or leave it out by `exclude`, with `?` for such a sign")
    try:
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder.resolve()):
            raise InputError(
                f"{path}: a link that leaves the folder; put the file itself there, or leave it out by `exclude`"
            )
        kind = path.stat().st_mode
        if name.endswith("/"):
            os.scandir(path).close()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not stat.S_ISREG(kind):
        raise InputError(f"{path}: neither a file nor a folder; leave it out by `exclude`")
    return ""
