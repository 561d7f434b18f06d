"""The progress display: bars on a terminal, plain lines elsewhere, and only remarks and warnings with `--quiet`.

Every bar and every plain line shows the estimated remaining time of its step, as soon as the step has a total and a
speed.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, RLock, Thread
from typing import Any, Protocol, TextIO

from kib.safe_text import visible

__all__ = [
    "Advance",
    "LineProgress",
    "Pace",
    "Progress",
    "QuietProgress",
    "SilentProgress",
    "StepProgress",
    "TerminalProgress",
    "duration",
    "progress_for",
]

SECONDS = 5.0
"""The interval between two plain lines about the same step while the step advances."""

SILENCE = 10.0
"""The interval between two plain lines about an open step that does not advance.

The interval is one minute if the elapsed time is shown in minutes, because equal lines are not repeated.
"""

INTERVAL = 1.0
"""The interval, in seconds, at which a thread looks for such a silence."""

MARKS = 32
"""The approximate number of measurements from which the speed of a step is computed."""


class Advance(Protocol):
    """Reports the progress of an open step."""

    def __call__(self, count: int, /) -> None:
        """Add newly completed units."""
        ...

    def expect(self, total: int) -> None:
        """Set the total number of units, if it becomes known only during the step."""
        ...


class Progress(Protocol):
    """Reports steps on standard error, so that standard output can be piped."""

    def step(self, title: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Report a step of `total` units; call the yielded function with the number of newly completed units."""
        ...

    def waiting(self, title: str) -> AbstractContextManager[None]:
        """Report a step that is usually over at once; plain lines show the step only if it takes several seconds."""
        ...

    def say(self, text: str) -> None:
        """Print one line."""
        ...


class Pace:
    """The recent speed of a step, from which the remaining time is estimated.

    Only the later half of the elapsed time counts. The units that a resumed step completes at once, such as the steps
    of a training run before its checkpoint, therefore soon stop affecting the estimate.
    """

    def __init__(self, now: float) -> None:
        self._begun = now
        self._marks = deque([(now, 0)])

    def add(self, done: int, now: float) -> None:
        """Record the number of completed units at the time `now`."""
        if now - self._marks[-1][0] >= (now - self._begun) / MARKS:
            self._marks.append((now, done))

    def left(self, done: int, total: int, now: float) -> float | None:
        """Return the remaining time in seconds, or None if no unit has been completed recently."""
        middle = (self._begun + now) / 2
        while len(self._marks) > 1 and self._marks[1][0] <= middle and self._marks[1][1] < done:
            self._marks.popleft()
        start, before = self._marks[0]
        if done <= before or now <= start:
            return None
        return max(0, total - done) * (now - start) / (done - before)


class StepProgress:
    """An open step with its title, its count and its pace; `changed` is called after every change.

    Calling the object adds completed units, as the protocol `Advance` requires.
    """

    def __init__(
        self,
        title: str,
        total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[["StepProgress"], None] = lambda _: None,
    ) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self.begun = clock()
        self._clock = clock
        self._changed = changed
        self._pace = Pace(self.begun)

    def __call__(self, count: int, /) -> None:
        """Add completed units."""
        self.done += count
        self._pace.add(self.done, self._clock())
        self._changed(self)

    def expect(self, total: int) -> None:
        """Set the total number of units."""
        if total != self.total:
            self.total = total
            self._changed(self)

    def time_to_go(self) -> str:
        """Return the estimated remaining time in words, or "" if the time is unknown or the step is complete."""
        if self.total is None or self.done >= self.total:
            return ""
        left = self._pace.left(self.done, self.total, self._clock())
        return "" if left is None else f"about {duration(left)} left"

    def line(self, *, elapsed: bool = False) -> str:
        """Return the title with the count, if `elapsed` is set the time since the start, and the remaining time."""
        count = f"{self.done:,}" if self.done or self.total is not None else ""
        count += f" of {self.total:,}" if self.total is not None else ""
        spent = f"{duration(self._clock() - self.begun)} so far" if elapsed else ""
        return f"{self.title}: {', '.join(part for part in (count, spent, self.time_to_go()) if part)}"


class SilentProgress:
    """A progress display that shows nothing."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Report nothing about a step."""
        yield StepProgress(title, total)

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:  # noqa: ARG002 - the protocol's name
        """Report nothing about a step."""
        yield

    def say(self, text: str) -> None:
        """Discard the text."""


class LineProgress:
    """Plain lines for logs: the start of a step, its count every few seconds, and the end of a long step.

    If an open step does not advance, a thread prints a line about the innermost step after `SILENCE` seconds without
    any other line. The thread looks every `interval` seconds, or does not run if `interval` is None.
    """

    def __init__(
        self, stream: TextIO, clock: Callable[[], float] = time.monotonic, interval: float | None = INTERVAL
    ) -> None:
        self.stream = stream
        self.clock = clock
        self._interval = interval
        self._lost = False
        self._lock = RLock()
        self._steps: list[StepProgress] = []
        self._last_line = clock()
        self._last_text = ""

    def say(self, text: str) -> None:
        """Print one line, or nothing if the stream has failed, as in `kib run 2>&1 | head`."""
        with self._lock:
            self._last_line, self._last_text = self.clock(), text
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
        said, last = 0, self.clock()

        def report(step: StepProgress) -> None:
            nonlocal said, last
            if self.clock() - last >= SECONDS and step.done > said:
                said, last = step.done, self.clock()
                self.say(step.line())

        step = StepProgress(title, total, self.clock, report)
        with self._open(step):
            yield step
        if said and said < step.done:
            self.say(step.line())

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """Report a step only if it takes longer than `SILENCE` seconds."""
        self._last_line = self.clock()
        with self._open(StepProgress(title, clock=self.clock)):
            yield

    def report_silence(self) -> None:
        """Print a new line about the innermost open step if no line has been printed for `SILENCE` seconds."""
        with self._lock:
            if self._steps and self.clock() - self._last_line >= SILENCE:
                line = self._steps[-1].line(elapsed=True)
                if line != self._last_text:
                    self.say(line)

    @contextmanager
    def _open(self, step: StepProgress) -> Iterator[None]:
        """Keep a step on the stack of open steps; the thread runs as long as any step is open."""
        closed = Event() if self._interval is not None and not self._steps else None
        self._steps.append(step)
        if closed:
            Thread(target=self._watch, args=(closed,), daemon=True).start()
        try:
            yield
        finally:
            if closed:
                closed.set()
            with self._lock:
                self._steps.remove(step)

    def _watch(self, closed: Event) -> None:
        while not closed.wait(self._interval):
            self.report_silence()


class QuietProgress(LineProgress):
    """Remarks and warnings as plain lines, without any progress: the display for `--quiet`."""

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Report nothing about a step."""
        yield StepProgress(title, total)

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:  # noqa: ARG002 - the protocol's name
        """Report nothing about a step."""
        yield


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
        with self._bar(title, total) as (bars, task, step):
            yield step
            if step.total is None:
                done = max(1, step.done)
                bars.update(task, total=done, completed=done)

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """Show a bar that disappears when the step ends."""
        with self._bar(title, None) as (bars, task, _):
            try:
                yield
            finally:
                bars.remove_task(task)

    @contextmanager
    def _bar(self, title: str, total: int | None) -> Iterator[tuple[Any, Any, StepProgress]]:
        from rich.markup import escape

        bars = self._started()
        step = StepProgress(title, total, changed=lambda step: bars.update(task, completed=step.done, total=step.total))
        task = bars.add_task(escape(visible(title)), total=total, step=step)
        self._open += 1
        try:
            yield bars, task, step
        finally:
            self._open -= 1
            if not self._open:  # rich allows one live display at a time, which ends with the outermost step
                bars.stop()
                self._bars = None

    def _started(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        if self._bars is None:
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
            self._bars = Bars(*columns, _time_to_go_column(), console=Console(stderr=True))
            self._bars.start()
        return self._bars


def _time_to_go_column() -> Any:
    """Return a column of a bar with the remaining time, which rich's own column shows only for fast steps."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class TimeToGo(ProgressColumn):
        """The remaining time of a step in words."""

        def render(self, task: Task) -> Text:
            """Return the remaining time, or an empty text if it is unknown."""
            step: StepProgress = task.fields["step"]
            return Text(step.time_to_go(), style="progress.remaining")

    return TimeToGo()


def duration(seconds: float) -> str:
    """Return a duration rounded for readers, such as `8 s`, `3 min`, `2 h 10 min` or `3 days`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{round(hours / 24):,} days"


def progress_for(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
    """Return progress bars if `stream` (default: standard error) is a terminal, else plain lines.

    If `quiet` is true, only remarks and warnings are printed.
    """
    stream = sys.stderr if stream is None else stream
    if quiet:
        return QuietProgress(stream)
    return TerminalProgress() if stream.isatty() else LineProgress(stream)
