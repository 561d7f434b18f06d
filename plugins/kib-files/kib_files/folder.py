"""Which files of a folder are documents: by their names and kinds, in one order everywhere."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kib.errors import InputError

__all__ = ["Found", "find_files", "named"]

NAMED = 5
"""Files that a message names."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a folder by their place in it, as POSIX text, sorted: documents, other kinds, and hidden ones."""

    documents: tuple[str, ...]
    others: tuple[str, ...]
    hidden: tuple[str, ...]  # of a hidden folder its name alone


def find_files(folder: Path, include: Sequence[str], exclude: Sequence[str], kinds: Sequence[str]) -> Found:
    """What a folder holds, subfolders included. `kinds` are the endings of documents, in lower case.

    InputError where the folder cannot be read, a name cannot be an id, a link leaves the folder, or a pattern of
    `include` matches no file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: {'a file, expected a folder' if folder.exists() else 'no such folder'}")
    hidden: list[str] = []
    unused = set(include)
    documents: list[str] = []
    others: list[str] = []
    for name in sorted(_walk(folder, folder, hidden)):
        if any(fnmatchcase(name, pattern) for pattern in exclude):
            continue
        matching = {pattern for pattern in include if fnmatchcase(name, pattern)}
        unused -= matching
        if matching or not include:
            _check(folder, name)
            known = Path(name).suffix.lower() in kinds and (folder / name).is_file()
            (documents if known else others).append(name)
    if unused:
        raise InputError(f"{folder}: include: no file matches {', '.join(map(repr, sorted(unused)))}")
    return Found(tuple(documents), tuple(others), tuple(sorted(hidden)))


def named(names: Sequence[str]) -> str:
    """The first names, and how many there are besides."""
    more = f" and {len(names) - NAMED:,} more" if names[NAMED:] else ""
    return ", ".join(names[:NAMED]) + more


def _walk(root: Path, folder: Path, hidden: list[str]) -> Iterator[str]:
    """Every file below a folder; a link to a folder is a file here, so that nothing is read twice or for ever."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
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
    return entry.is_symlink() and entry.is_dir() and Path(entry.path).resolve().is_relative_to(root.resolve())


def _check(folder: Path, name: str) -> None:
    path = folder / name
    if not name.isprintable():
        raise InputError(f"{folder}: the name {name!r} cannot be printed or is not UTF-8; rename the file")
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{path}: a link that leaves the folder; put the file itself there, or leave it out by `exclude`"
        )
    try:
        kind = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(kind):
        raise InputError(f"{path}: neither a file nor a folder; leave it out by `exclude`")
