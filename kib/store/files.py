"""Atomic writes of files and folders, JSON, and JSON lines.

A new file or folder is written under a temporary name next to its final path, flushed to disk and then renamed. The
folder that contains the new name is flushed as well, so that a killed process or a power failure leaves either the
complete old version or the complete new version.
"""

import errno
import glob
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kib.errors import DamagedError, InputError
from kib.identity import canonical
from kib.support.disk_errors import naming

__all__ = [
    "delete_folder",
    "file_status",
    "flush_folder",
    "flush_tree",
    "indented_json",
    "make_folder",
    "name_damage",
    "new_folder",
    "read_lines",
    "remove",
    "remove_leftovers",
    "remove_temporaries_of",
    "write_bytes",
    "write_lines",
    "write_output",
    "write_text",
]

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""The pattern of the names of temporary files and folders, which a killed process leaves behind."""

ABANDONED = 60.0
"""The number of seconds after which a temporary file without changes belongs to a killed process."""


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, so that a power failure cannot undo the creation or renaming of a file."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush folders
            raise
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush all files below a folder to disk, including the names of all files and folders."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            with path.open("rb" if os.name != "nt" else "r+b") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            flush_folder(path)
    flush_folder(folder)


def make_folder(path: Path) -> None:
    """Create a folder with its parents, and flush the names of the new folders to disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        flush_folder(folder.parent)


def delete_folder(path: Path) -> None:
    """Delete a folder so that, after a killed process or a power failure, the folder is either complete or absent."""
    temporary = _temporary(path)
    path.rename(temporary)
    flush_folder(path.parent)
    remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically and flush it to disk; a link is followed.

    Raises InputError if `path` is a folder, a device or a named pipe, which must not be replaced.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, as `write_text` does."""
    path = _replaceable(path)
    make_folder(path.parent)
    temporary = _temporary(path)
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_output(path: Path, content: str | bytes) -> None:
    """Write a file outside the folders that runs tidy up, and delete its abandoned temporary files.

    This function lists the parent folder, so use `write_text` for files in large folders. Raises InputError as
    `write_text` does.
    """
    path = _replaceable(path)
    remove_temporaries_of(path, older_than=ABANDONED)
    write_bytes(path, content.encode("utf-8") if isinstance(content, str) else content)


def _replaceable(path: Path) -> Path:
    """Return the path of the file to write, after following a link; raise InputError if it is not a regular file."""
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: this is not a regular file, so kib does not replace it; choose a different path")
    return path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder, then rename the folder to `path`; after an error, delete the folder."""
    make_folder(path.parent)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        flush_tree(temporary)
        if path.exists():
            delete_folder(path)
        temporary.rename(path)
        flush_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of killed processes; no other process may be writing to `folder`."""
    for path in sorted(folder.rglob(".*")):
        if TEMPORARY.fullmatch(path.name):
            remove(path)


def remove_temporaries_of(path: Path, older_than: float = 0.0) -> None:
    """Delete the temporary files and folders of `path` that have not changed for `older_than` seconds.

    Without `older_than`, no other process may be writing to `path`.
    """
    latest = time.time() - older_than
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if TEMPORARY.fullmatch(left.name) and (not older_than or left.stat().st_mtime < latest):
            remove(left)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def indented_json(value: Any) -> str:
    """Return JSON that is easy to read and to diff, with sorted keys, two spaces per level and a final newline."""
    return json.dumps(json.loads(canonical(value)), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_lines(path: Path, values: Iterable[Any]) -> int:
    """Write values as JSON lines and return their number; the write is atomic only if the caller renames the folder."""
    count = 0
    with naming(path), path.open("w", encoding="utf-8", newline="\n") as file:
        for value in values:
            file.write(canonical(value) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def file_status(path: Path) -> os.stat_result:
    """Return the size and timestamps of a regular file.

    Raises FileNotFoundError for a missing file, and ValueError for a folder, pipe, socket or device: opening a pipe
    would block until a different process writes to the pipe.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ValueError("expected a file, got a folder")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("expected a file, got a pipe, a socket or a device")
    return found


def read_lines(path: Path) -> Iterator[Any]:
    """Yield the values in a JSON-lines file.

    Raises InputError with path and line number for invalid JSON, and ValueError if the path is not a regular file.
    """
    file_status(path)
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise InputError(f"{path}:{number}: invalid JSON ({problem})") from error


@contextmanager
def name_damage(path: Path, remedy: str) -> Iterator[None]:
    """Turn errors caused by a damaged or missing file into a DamagedError that names the file and the remedy.

    A file that exists but cannot be read, for example because of its permissions, is not damaged: the OSError is raised
    unchanged.
    """
    try:
        yield
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = _first_fault(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise DamagedError(f"{path}: the file is damaged or missing ({cause}); {remedy}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, fault["loc"]))
    return f"{key}: {fault['msg']}" if key else str(fault["msg"])
