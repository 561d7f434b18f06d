"""Runs kib's commands in forked children of a process that has imported everything, and kills them at chosen moments.

A fork saves the seconds that importing torch takes. The child runs the command as the `kib` script does.
"""

import gc
import importlib
import mmap
import os
import signal
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

SLOW = 180
"""Seconds after which a command counts as hanging."""

CAUGHT = (signal.SIGINT, signal.SIGTERM)

PHASES = ("start", "passages", "index", "hits", "asked", "text", "weights", "answers", "results", "end")
SEAMS = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")
"""Functions of `os`: a command can be killed immediately before and after each call."""


@dataclass(frozen=True)
class Stop:
    """The moment of a signal: at the interruption point with this number, or after a number of seconds."""

    kind: signal.Signals
    seam: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Ended:
    """The result of a command; a negative `code` is the number of the signal that killed the command."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    seams: int
    phase: str

    @property
    def traceback(self) -> bool:
        """Whether the command printed a traceback or stored the traceback of an unexpected error in a file."""
        return "Traceback" in self.stderr or "(traceback in errors/" in self.stdout + self.stderr


class Shared:
    """The number of seams that a child has passed and its phase, in memory shared with the parent process."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.write(0, 0)

    def write(self, seams: int, phase: int) -> None:
        self.memory[:8] = struct.pack("<ii", seams, phase)

    def read(self) -> tuple[int, int]:
        seams, phase = struct.unpack("<ii", self.memory[:8])
        return seams, phase


class _Seams:
    """Counts the seams (interruption points) that a child passes, and sends the signal at the chosen seam."""

    def __init__(self, shared: Shared, stop: Stop | None) -> None:
        self.shared = shared
        self.stop = stop
        self.count = 0
        self.phase = 0

    def reach(self) -> None:
        self.count += 1
        self.shared.write(self.count, self.phase)
        if self.stop and self.stop.seam == self.count:
            os.kill(os.getpid(), self.stop.kind)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a seam before and after each call."""

        @wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            self.reach()
            value = function(*arguments, **options)
            self.reach()
            return value

        return called

    def during(self, phase: str | None, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a record of its phase, which is `phase` or each call's second argument."""

        @wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            before, name = self.phase, phase or arguments[1]
            self.phase = PHASES.index(name) if name in PHASES else before
            self.reach()
            try:
                return function(*arguments, **options)
            finally:
                self.phase = before
                self.shared.write(self.count, self.phase)

        return called

    def install(self) -> None:
        """Replace functions in this process with functions that have seams."""
        import numpy as np

        from kib.run.loop import _Run
        from kib.store.results import Results
        from kib.store.work import Work

        for name in SEAMS:
            setattr(os, name, self.around(getattr(os, name)))
        np.save = self.around(np.save)
        Work.compute = self.during(None, Work.compute)  # type: ignore[method-assign]
        Results.save_cell = self.during("results", Results.save_cell)  # type: ignore[method-assign]
        _Run._ask = self.during("answers", _Run._ask)  # type: ignore[method-assign]
        seams = self

        class Connection(sqlite3.Connection):
            def __exit__(self, *error: object) -> Any:
                seams.reach()
                value = super().__exit__(*error)
                seams.reach()
                return value

        sqlite3.connect = partial(sqlite3.connect, factory=Connection)


class Runner:
    """Runs commands in forked children; `folder` receives their output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = Shared()

    def preload(self, folder: Path, *commands: Sequence[str]) -> None:
        """Import every module that the given commands import in a child."""
        names = self.folder / "modules"
        for command in commands:
            pid = os.fork()
            if not pid:
                self._run(command, folder, None, names)
            os.waitpid(pid, 0)
            for name in names.read_text(encoding="utf-8").split("\n"):
                if name not in sys.modules and "." + name.rpartition(".")[2] != ".__main__":
                    with suppress(Exception):  # a module that exists in the child only
                        importlib.import_module(name)
        gc.freeze()  # so that children do not search the imported modules for garbage

    def __call__(self, command: Sequence[str], folder: Path, stop: Stop | None = None) -> Ended:
        """Run `kib` with these arguments in a folder, send the signal of `stop`, and wait until the command ends."""
        self.shared.write(0, 0)
        begun = time.monotonic()
        signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)  # until the child can handle them
        pid = os.fork()
        if not pid:
            self._run(command, folder, stop, None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
        if stop and stop.seconds is not None:
            self._signal_after(pid, stop.seconds, stop.kind)
        status = self._wait(pid, begun)
        seams, phase = self.shared.read()
        said = [(self.folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err")]
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, *said, time.monotonic() - begun, seams, PHASES[phase])

    @staticmethod
    def _signal_after(pid: int, seconds: float, kind: signal.Signals) -> None:
        time.sleep(seconds)
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            os.kill(pid, kind)

    @staticmethod
    def _wait(pid: int, begun: float) -> int:
        """Wait for a child; a child that hangs is killed with SIGABRT, which no attack sends."""
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            if time.monotonic() - begun > SLOW:
                os.kill(pid, signal.SIGABRT)
            time.sleep(0.002)

    def _run(self, command: Sequence[str], folder: Path, stop: Stop | None, names: Path | None) -> None:
        """Run a command as the `kib` script does, and end this process; the output is stored in two files."""
        code = 70
        try:
            for number, name in ((1, "out"), (2, "err")):
                file = os.open(self.folder / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
                os.dup2(file, number)
            os.chdir(folder)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process may ignore it
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
            _Seams(self.shared, stop).install()
            code = _call(command)
            sys.stdout.flush()
            sys.stderr.flush()
            if names:
                names.write_text("\n".join(sys.modules), encoding="utf-8")
        except KeyboardInterrupt:
            code = 130  # before and after kib handles signals, Python itself does
        finally:
            os._exit(code)


def _call(command: Sequence[str]) -> int:
    """Call the command line interface and return its exit code."""
    import traceback

    from kib.cli import main

    try:
        main(list(command), prog_name="kib")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - any error that kib lets through is a finding
        traceback.print_exc()
    return 1
