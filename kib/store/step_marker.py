"""The file `done.json`, which marks a step as finished and records the size and the digest of each of its files.

The marker also contains a digest of its own content, because results are computed from the records in the marker.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kib.errors import DamagedError
from kib.identity import digest_file
from kib.store.files import indented_json, write_text
from kib.store.sealed_json import read_and_tell_sealed, sealed

__all__ = ["MARKER", "RecordedFile", "StepMarker", "describe_files", "read_marker", "step_files", "write_marker"]

MARKER = "done.json"


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """The size of a file in bytes and the SHA-256 of its content; markers of earlier versions have no SHA-256."""

    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StepMarker:
    """The record, duration, peak memory and files of a finished step; paths are relative to the step's folder."""

    note: Mapping[str, Any]
    seconds: float
    peak_bytes: int
    files: Mapping[str, RecordedFile]

    @property
    def has_digests(self) -> bool:
        """Whether the marker records the digest of each file."""
        return all(file.sha256 is not None for file in self.files.values())


def step_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each file below a step's folder, except the marker, with its path relative to the folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (name := path.relative_to(folder).as_posix()) != MARKER:
            yield name, path


def describe_files(folder: Path) -> dict[str, RecordedFile]:
    """Return the size and the digest of each file below a step's folder, except the marker."""
    return {name: RecordedFile(path.stat().st_size, digest_file(path)) for name, path in step_files(folder)}


def read_marker(folder: Path) -> StepMarker:
    """Return the marker of a step.

    Raises FileNotFoundError if there is no marker, and DamagedError if the marker is damaged.
    """
    path = folder / MARKER
    try:
        return _parse(*read_and_tell_sealed(path), folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path}: damaged ({error})") from error


def _parse(value: dict[str, Any], has_digest: bool, folder: Path) -> StepMarker:
    if not has_digest:  # written by an earlier version, which recorded only sizes
        files = {name: RecordedFile(int(size)) for name, size in value["files"].items()}
    elif value["step"] != _name(folder):
        raise ValueError(f"the marker belongs to the step {value['step']}")
    else:
        files = {name: RecordedFile(**file) for name, file in value["files"].items()}
    return StepMarker(value.get("note", {}), float(value.get("seconds", 0.0)), int(value.get("peak_bytes", 0)), files)


def _name(folder: Path) -> str:
    """Return the step name stored in a marker, so that a folder moved to the path of a different step is detected."""
    return f"{folder.parent.name}/{folder.name}"


def write_marker(folder: Path, marker: StepMarker) -> None:
    """Write the marker of a step atomically, with the digest of its own content."""
    fields = {name: getattr(marker, name) for name in StepMarker.__slots__}
    write_text(folder / MARKER, indented_json(sealed({**fields, "step": _name(folder)})))
