"""Functions that the tests run in a limited process."""

import os
import time
from pathlib import Path
from typing import Any

CALLS: list[Any] = []


def measure(text: str) -> dict[str, Any]:
    """Return a text, the number of calls so far, and the process id."""
    CALLS.append(text)
    print("noise")  # noqa: T201 - the process must tolerate functions that print
    return {"text": text, "calls": len(CALLS), "process": os.getpid()}


def linger(path: str) -> int:
    """Write the process id to a file, and then take a minute."""
    Path(path).write_text(f"{os.getpid()} {os.getpgid(0)}", encoding="utf-8")
    time.sleep(60)
    return 0


def misbehave(kind: str) -> str:
    """Fail in the way that the argument specifies."""
    if kind == "power":
        return str(9**9**9)
    if kind == "memory":
        return "a" * 10**11
    if kind == "nesting":
        return misbehave(kind)
    if kind == "crash":
        os._exit(7)
    if kind == "error":
        raise ValueError("no")
    return kind
