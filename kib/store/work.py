"""The work folder: passages, indexes, hits, texts and weights that runs share, in one folder per finished step.

The folder of a step is `work/<kind>/<identity>/`. The file `done.json`, which is written last, marks the step as
finished and records the digest of each file. The digests are verified when a step is used for the first time in a
process. A damaged step is deleted and recomputed.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from kib.errors import DamagedError
from kib.store.files import (
    delete_folder,
    flush_tree,
    make_folder,
    name_damage,
    remove_leftovers,
    remove_temporaries_of,
)
from kib.store.step_marker import (
    MARKER,
    RecordedFile,
    StepMarker,
    describe_files,
    read_marker,
    step_files,
    write_marker,
)
from kib.store.verified_files import VerifiedFiles
from kib.support.disk_errors import naming
from kib.support.peak_memory import peak

__all__ = ["Work", "reading_step"]

SLOW = 2**31
"""The number of bytes above which verifying digests takes several seconds and is therefore announced."""


class Work:
    """The work folder, in which the folder of any step may be deleted; the step is then recomputed when needed.

    `say` prints a sentence about each damaged step.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self.say = say
        self._verified = VerifiedFiles()

    def reporting_to(self, say: Callable[[str], None]) -> "Work":
        """Return this work folder with a different `say`; both objects share the list of verified files."""
        other = Work(self.folder, say)
        other._verified = self._verified
        return other

    def step_folder(self, kind: str, identity: str) -> Path:
        """Return the path of a step's folder."""
        return self.folder / kind / identity[:32]

    def is_marked(self, kind: str, identity: str) -> bool:
        """Return whether a step has been finished, even if the step is damaged."""
        return (self.step_folder(kind, identity) / MARKER).exists()

    def looks_finished(self, kind: str, identity: str) -> bool:
        """Return whether a step is finished and all of its files have the recorded sizes; no content is read.

        The result is for display only. Before the content of the step is used, `has` or `compute` must verify the step.
        """
        marker = self._marker(kind, identity)
        return marker is not None and _has_sizes(self.step_folder(kind, identity), marker)

    def has(self, kind: str, identity: str) -> bool:
        """Return whether a step is finished and all of its files have the recorded content.

        Each file is read completely once per process. After that, only the size and timestamps of the file are
        compared.
        """
        folder = self.step_folder(kind, identity)
        marker = self._marker(kind, identity)
        return marker is not None and not self._damage(folder, marker) and not _foreign_files(folder, marker)

    def compute(self, kind: str, identity: str, build: Callable[[Path], Mapping[str, Any]]) -> Path:
        """Return the folder of a step; if the step is unfinished or damaged, `build(folder)` is called first.

        `build` returns the record of the step. An interrupted build leaves its files in the folder, so that the next
        call of `build` can reuse these files. The files of a damaged step are deleted, so that its build starts from
        scratch. A file lock prevents two processes from building the same step at the same time.
        """
        from filelock import FileLock

        folder = self.step_folder(kind, identity)
        if self.has(kind, identity):
            return folder
        if folder.is_symlink() and not folder.exists():
            folder.unlink()  # the target of the link has been deleted
        make_folder(folder)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not self._is_mended(folder):
                make_folder(folder)
                begun = time.perf_counter()
                with naming(folder), peak() as most:
                    record = dict(build(folder))
                self._finish(folder, StepMarker(record, time.perf_counter() - begun, most.bytes, {}))
        return folder

    def invalidate(self, kind: str, identity: str) -> None:
        """Mark a step as unfinished but retain its files, as after an interrupted build."""
        (self.step_folder(kind, identity) / MARKER).unlink(missing_ok=True)

    def record(self, kind: str, identity: str) -> dict[str, Any]:
        """Return the record of a finished step, or {} if the step is not finished or its marker is damaged."""
        marker = self._marker(kind, identity)
        return dict(marker.note) if marker else {}

    def records(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the shortened identity and the record of each finished step of a kind, without verifying any file."""
        for path in sorted((self.folder / kind).glob(f"*/{MARKER}")):
            marker = self._marker(kind, path.parent.name)
            if marker is not None and _has_sizes(path.parent, marker):
                yield path.parent.name, dict(marker.note)

    def seconds(self, kind: str, identity: str) -> float:
        """Return the duration of a step on this machine in seconds, or 0 if the step is not finished."""
        marker = self._marker(kind, identity)
        return marker.seconds if marker else 0.0

    def peak_bytes(self, kind: str, identity: str) -> int:
        """Return the peak memory, in bytes, of a step on this machine, or 0 if the step is not finished."""
        marker = self._marker(kind, identity)
        return marker.peak_bytes if marker else 0

    def _marker(self, kind: str, identity: str) -> StepMarker | None:
        """Return the marker of a step, or None if there is no marker or the marker is damaged."""
        with suppress(FileNotFoundError, DamagedError):
            return read_marker(self.step_folder(kind, identity))
        return None

    def _finish(self, folder: Path, marker: StepMarker) -> None:
        """Flush all files of a step to disk and only then mark the step as finished."""
        remove_leftovers(folder)
        flush_tree(folder)
        files = describe_files(folder)
        write_marker(folder, replace(marker, files=files))
        for name, file in files.items():
            if file.sha256 is not None:
                self._verified.add(folder / name, file.sha256)

    def _is_mended(self, folder: Path) -> bool:
        """Return whether a step is finished and intact, after deleting unexpected files or the whole damaged step.

        Only the process that holds the lock of the step may call this method.
        """
        remove_temporaries_of(folder)
        try:
            marker = read_marker(folder)
            damage = self._damage(folder, marker)
        except FileNotFoundError:
            return False
        except DamagedError as error:
            damage = str(error)
        if damage:
            self.say(f"{damage}; kib recomputes this step")
            delete_folder(folder)
            return False
        for path in _foreign_files(folder, marker):
            self.say(f"{path}: this file does not belong to the finished step; kib deletes the file")
            path.unlink()
        return True

    def _damage(self, folder: Path, marker: StepMarker) -> str:
        """Return a sentence about the first damaged file of a step, or "" if all files are intact."""
        unread = sum(file.size for name, file in marker.files.items() if folder / name not in self._verified)
        if marker.has_digests and unread >= SLOW:
            self.say(f"{folder}: comparing the digests of {unread / 1e9:,.1f} GB")
        for name, file in marker.files.items():
            if fault := self._fault(folder / name, file):
                return f"{folder / name}: {fault}"
        if not marker.has_digests:
            self.say(f"{folder}: an earlier version of kib stored this step without digests; kib adds the digests")
            with suppress(PermissionError):
                write_marker(folder, replace(marker, files=describe_files(folder)))
        return ""

    def _fault(self, path: Path, recorded: RecordedFile) -> str:
        """Return a description of the difference between a file and its record, or "" if there is no difference."""
        size = _size(path)
        if size is None:
            return "the file is missing"
        if size != recorded.size:
            return f"the file has {size:,} bytes instead of {recorded.size:,}"
        if recorded.sha256 is not None and not self._verified.matches(path, recorded.sha256):
            return "the content of the file has changed"
        return ""


def reading_step(path: Path) -> AbstractContextManager[None]:
    """Turn errors caused by a damaged file of a step into a DamagedError that names the file and the step's folder.

    Only a step of an earlier version can contain such a file, because its marker has no digests.
    """
    return name_damage(path, f"delete {path.parent} and run the command again")


def _has_sizes(folder: Path, marker: StepMarker) -> bool:
    """Return whether all files of a step have the recorded sizes."""
    return all(_size(folder / name) == file.size for name, file in marker.files.items())


def _size(path: Path) -> int | None:
    """Return the size of a file in bytes, or None if the file does not exist."""
    return path.stat().st_size if path.is_file() else None


def _foreign_files(folder: Path, marker: StepMarker) -> list[Path]:
    """Return the files in a finished step's folder that the step did not write, except hidden files.

    Readers look for optional files by name, so a file that the step did not write could change results.
    """
    foreign = ((name, path) for name, path in step_files(folder) if name not in marker.files)
    return [path for name, path in foreign if not any(part.startswith(".") for part in name.split("/"))]
