"""The work folder: passages, indexes, hits, texts and weights that runs share, in one folder per finished step.

The folder of a step is `work/<kind>/<identity>/`. The file `done.json`, which is written last, marks the step as
finished.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.store.files import indented_json, read_json, write_text
from kib.support.peak_memory import peak

__all__ = ["Work"]

MARKER = "done.json"


class Work:
    """The work folder. The folder of any step can be deleted; the step is then computed again when needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def step_folder(self, kind: str, identity: str) -> Path:
        """Return the path of a step's folder."""
        return self.folder / kind / identity[:32]

    def has(self, kind: str, identity: str) -> bool:
        """Return whether a step is finished and all of its files are intact."""
        folder = self.step_folder(kind, identity)
        try:
            files: dict[str, int] = read_json(folder / MARKER)["files"]
            return all((folder / name).stat().st_size == size for name, size in files.items())
        except (OSError, KeyError, InputError, AttributeError, TypeError):
            return False

    def compute(self, kind: str, identity: str, build: Callable[[Path], Mapping[str, Any]]) -> Path:
        """Return the folder of a step; if the step is not finished, call `build(folder)` first.

        `build` returns the record of the step. An interrupted build leaves its files in the folder, where the next call
        of `build` finds them. A file lock prevents two processes from building the same step at once.
        """
        from filelock import FileLock

        folder = self.step_folder(kind, identity)
        if self.has(kind, identity):
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not self.has(kind, identity):
                (folder / MARKER).unlink(missing_ok=True)
                begun = time.perf_counter()
                with peak() as most:
                    record = dict(build(folder))
                spent = {"seconds": time.perf_counter() - begun, "peak_bytes": most.bytes}
                write_text(folder / MARKER, indented_json({"note": record, **spent, "files": _sizes(folder)}))
        return folder

    def invalidate(self, kind: str, identity: str) -> None:
        """Mark a step as unfinished but keep its files, as after an interrupted build."""
        (self.step_folder(kind, identity) / MARKER).unlink(missing_ok=True)

    def record(self, kind: str, identity: str) -> dict[str, Any]:
        """Return the record of a finished step, or an empty record if the step is not finished."""
        record: dict[str, Any] = self._marker(kind, identity).get("note", {})
        return record

    def records(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the shortened identity and the record of each finished, intact step of a kind."""
        for path in sorted((self.folder / kind).glob(f"*/{MARKER}")):
            if self.has(kind, path.parent.name):
                yield path.parent.name, self.record(kind, path.parent.name)

    def seconds(self, kind: str, identity: str) -> float:
        """Return the seconds that a step took on this machine, or 0 if the step is not finished."""
        return float(self._marker(kind, identity).get("seconds", 0.0))

    def peak_bytes(self, kind: str, identity: str) -> int:
        """Return the peak memory, in bytes, of a step on this machine, or 0 if the step is not finished."""
        return int(self._marker(kind, identity).get("peak_bytes", 0))

    def _marker(self, kind: str, identity: str) -> dict[str, Any]:
        path = self.step_folder(kind, identity) / MARKER
        value: dict[str, Any] = read_json(path) if path.is_file() else {}
        return value


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file below `folder`, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
