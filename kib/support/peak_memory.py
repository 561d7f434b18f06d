"""The most memory that a part of the work holds: of the CUDA device where torch uses one, else of this process."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Peak", "held", "peak"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"
"""Written there, it makes Linux forget the process's largest resident size so far (proc(5))."""


@dataclass
class Peak:
    """Bytes; known when the block has ended."""

    bytes: int = 0


_open: list[Peak] = []


@contextmanager
def peak() -> Iterator[Peak]:
    """The most that is held in a block, that of blocks within it included.

    Where the system cannot forget what was held before, it is the most of the process so far.
    """
    _note()
    _forget()
    mine = Peak()
    _open.append(mine)
    try:
        yield mine
    finally:
        _note()
        _open.pop()


def _note() -> None:
    """Let every open block know what was held until now."""
    now = held()
    for one in _open:
        one.bytes = max(one.bytes, now)


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def held() -> int:
    """The most since it was last forgotten, in bytes."""
    if (cuda := _cuda()) is not None:
        return int(cuda.max_memory_allocated())
    found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text("utf-8"), re.MULTILINE) if STATUS.is_file() else None
    if found:
        return int(found[1]) * 1024
    import resource  # Unix only

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _forget() -> None:
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()
    elif CLEAR.exists():
        with suppress(OSError):
            CLEAR.write_text(FORGET_PEAK, encoding="ascii")
