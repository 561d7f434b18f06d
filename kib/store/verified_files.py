"""Remembers which files have been verified in this process, so that a large file is not read completely twice."""

from pathlib import Path

from kib.identity import digest_file
from kib.store.files import file_status

__all__ = ["VerifiedFiles"]

FileState = tuple[int, ...]
"""The device, inode, size and timestamps of a file; if these values are unchanged, the content is unchanged."""


class VerifiedFiles:
    """The files whose content matched a SHA-256. A file with a changed state is read and verified again."""

    def __init__(self) -> None:
        self._verified: dict[Path, tuple[str, FileState]] = {}

    def __contains__(self, path: Path) -> bool:
        """Return whether a file has been verified and has not changed since."""
        try:
            return path in self._verified and self._verified[path][1] == _state(path)
        except (OSError, ValueError):
            return False

    def matches(self, path: Path, sha256: str) -> bool:
        """Return whether a file has a SHA-256; the file is read completely only if it is not yet verified.

        Raises FileNotFoundError for a missing file, and ValueError if the path is not a regular file.
        """
        found = (sha256, _state(path))
        if self._verified.get(path) == found:
            return True
        if digest_file(path) != sha256:
            return False
        self._verified[path] = found
        return True

    def add(self, path: Path, sha256: str) -> None:
        """Record a file whose SHA-256 has just been computed."""
        self._verified[path] = (sha256, _state(path))


def _state(path: Path) -> FileState:
    found = file_status(path)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
