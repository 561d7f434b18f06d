"""Measures the peak memory of the CUDA device if torch uses a CUDA device, or else of this process."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Peak", "held", "peak", "resident"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""The text that makes Linux reset the peak resident set size of the process when written to `CLEAR` (see proc(5))."""


@dataclass
class Peak:
    """A memory peak in bytes, which is known after the measured block has ended."""

    bytes: int = 0


_open: list[Peak] = []


@contextmanager
def peak() -> Iterator[Peak]:
    """Measure the peak memory of a block, including nested blocks.

    If the system cannot reset its memory counter, the result is the peak since the start of the process.
    """
    _update_open_peaks()
    _reset()
    mine = Peak()
    _open.append(mine)
    try:
        yield mine
    finally:
        _update_open_peaks()
        _open.pop()


def _update_open_peaks() -> None:
    """Update the peak of every open block from the current counter."""
    now = held()
    for one in _open:
        one.bytes = max(one.bytes, now)


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def held() -> int:
    """Return the peak, in bytes, since the last reset."""
    if (cuda := _cuda()) is not None:
        return int(cuda.max_memory_allocated())
    found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text("utf-8"), re.MULTILINE) if STATUS.is_file() else None
    if found:
        return int(found[1]) * 1024
    import resource  # available only on Unix

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident() -> int:
    """Return the memory that this process uses now, in bytes, or 0 if the system does not report it."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", STATUS.read_text("utf-8"), re.MULTILINE) if STATUS.is_file() else None
    return int(found[1]) * 1024 if found else 0


def _reset() -> None:
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()
    elif CLEAR.exists():
        with suppress(OSError):
            CLEAR.write_text(RESET_PEAK, encoding="ascii")
