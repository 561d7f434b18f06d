"""The progress display: bars on a terminal, plain lines elsewhere, and only remarks and warnings with `--quiet`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TextIO

from kib.safe_text import visible

__all__ = ["LineProgress", "Progress", "QuietProgress", "SilentProgress", "TerminalProgress", "progress_for"]

SECONDS = 5.0
"""The interval between two plain lines about the same step."""

Advance = Callable[[int], None]


class Progress(Protocol):
    """Reports steps on standard error, so that standard output can be piped."""

    def step(self, title: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Report a step of `total` units; call the yielded function with the number of newly completed units."""
        ...

    def say(self, text: str) -> None:
        """Print one line."""
        ...


class SilentProgress:
    """A progress display that shows nothing."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:  # noqa: ARG002 - the protocol's names
        """Report nothing about a step."""
        yield lambda _: None

    def say(self, text: str) -> None:
        """Discard the text."""


class LineProgress:
    """Plain lines for logs: the start of a step, its count every few seconds, and the end of a long step."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.clock = clock
        self._lost = False

    def say(self, text: str) -> None:
        """Print one line, or nothing if the stream has failed, as in `kib run 2>&1 | head`."""
        if self._lost:
            return
        try:
            print(visible(text), file=self.stream, flush=True)
        except (OSError, ValueError):  # no reader, a full disk, a closed stream or a narrow encoding
            self._lost = True

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Report the progress of a step; `title` precedes every count."""
        self.say(title if total is None else f"{title}: {total:,}")
        done, said, last = 0, 0, self.clock()

        def report() -> None:
            nonlocal said, last
            said, last = done, self.clock()
            self.say(f"{title}: {done:,}" + (f" of {total:,}" if total is not None else ""))

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self.clock() - last >= SECONDS:
                report()

        yield advance
        if said and said < done:
            report()


class QuietProgress(LineProgress):
    """Remarks and warnings as plain lines, without any progress: the display for `--quiet`."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:  # noqa: ARG002 - the protocol's names
        """Report nothing about a step."""
        yield lambda _: None


class TerminalProgress:
    """Progress bars with counts and remaining time; nested steps are stacked, and finished steps remain visible."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._open = 0

    def say(self, text: str) -> None:
        """Print one line."""
        from rich.console import Console

        console = self._bars.console if self._bars else Console(stderr=True)
        console.print(visible(text), highlight=False, markup=False)

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Show a progress bar for a step."""
        from rich.markup import escape

        bars = self._started()
        task = bars.add_task(escape(visible(title)), total=total)
        self._open += 1
        try:
            yield lambda count: bars.update(task, advance=count)
            if total is None:
                done = max(1, int(bars.tasks[task].completed))
                bars.update(task, total=done, completed=done)
        finally:
            self._open -= 1
            if not self._open:  # rich allows one live display at a time, which ends with the outermost step
                bars.stop()
                self._bars = None

    def _started(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        if self._bars is None:
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
            self._bars = Bars(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True))
            self._bars.start()
        return self._bars


def progress_for(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
    """Return progress bars if `stream` (default: standard error) is a terminal, else plain lines.

    If `quiet` is true, only remarks and warnings are printed.
    """
    stream = sys.stderr if stream is None else stream
    if quiet:
        return QuietProgress(stream)
    return TerminalProgress() if stream.isatty() else LineProgress(stream)
