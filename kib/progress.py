"""What a user sees while kib works: bars on a terminal, plain lines elsewhere, nothing where nothing is asked for."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TextIO

__all__ = ["LineProgress", "Progress", "SilentProgress", "TerminalProgress", "progress_for"]

SECONDS = 5.0
"""Between two plain lines of one step."""

Advance = Callable[[int], None]


class Progress(Protocol):
    """Shows steps as they go; everything goes to standard error, so that output can be piped."""

    def step(self, title: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """A step of `total` units; the function given takes how many more are done."""
        ...

    def say(self, text: str) -> None:
        """One line."""
        ...


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:  # noqa: ARG002 - the protocol's names
        """A step that shows nothing."""
        yield lambda _: None

    def say(self, text: str) -> None:
        """Show nothing."""


class LineProgress:
    """Plain lines for logs: a step's beginning, its count every few seconds, and its end where it took long."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.clock = clock

    def say(self, text: str) -> None:
        """One line."""
        print(text, file=self.stream, flush=True)

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """A step; `title` stands before each count."""
        self.say(title if total is None else f"{title}: {total:,}")
        done, said, last = 0, 0, self.clock()

        def tell() -> None:
            nonlocal said, last
            said, last = done, self.clock()
            self.say(f"{title}: {done:,}" + (f" of {total:,}" if total is not None else ""))

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self.clock() - last >= SECONDS:
                tell()

        yield advance
        if said and said < done:
            tell()


class TerminalProgress:
    """Bars with counts and the time left, steps within steps below each other; a finished step leaves its line."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._open = 0

    def say(self, text: str) -> None:
        """One line."""
        from rich.console import Console

        console = self._bars.console if self._bars else Console(stderr=True)
        console.print(text, highlight=False, markup=False)

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """A bar for a step."""
        from rich.markup import escape

        bars = self._started()
        task = bars.add_task(escape(title), total=total)
        self._open += 1
        try:
            yield lambda count: bars.update(task, advance=count)
            if total is None:
                done = max(1, int(bars.tasks[task].completed))
                bars.update(task, total=done, completed=done)
        finally:
            self._open -= 1
            if not self._open:  # one live display at a time: it ends with the outermost step
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


def progress_for(stream: TextIO | None = None) -> Progress:
    """Bars where `stream`, standard error by default, is a terminal, lines elsewhere."""
    stream = sys.stderr if stream is None else stream
    return TerminalProgress() if stream.isatty() else LineProgress(stream)
