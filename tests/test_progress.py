"""Progress reports."""

import io
import os
import pty
import subprocess
import sys
from threading import Event

import pytest

from kib.progress import (
    LineProgress,
    Pace,
    QuietProgress,
    SilentProgress,
    TerminalProgress,
    duration,
    progress_for,
)


class Clock:
    """A clock controlled by the test."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def lines(work):
    """Return the plain lines printed during `work`."""
    stream, clock = io.StringIO(), Clock()
    work(LineProgress(stream, clock, interval=None), clock)
    return stream.getvalue().splitlines()


def test_a_step_says_its_title_and_number():
    """A step starts with a line that contains its title and, if known, its total."""

    def work(progress, clock):
        with progress.step("reading"):
            pass
        with progress.step("asking", 12345):
            pass
        progress.say("a word")

    assert lines(work) == ["reading", "asking: 12,345", "a word"]


def test_progress_lines_are_seconds_apart():
    """Progress lines are seconds apart and state the time to go, and the last line contains the full count."""

    def work(progress, clock):
        with progress.step("asking", 50) as advance:
            for _ in range(50):
                clock.now += 0.25
                advance(1)

    counts = ["asking: 20 of 50, about 8 s left", "asking: 40 of 50, about 2 s left", "asking: 50 of 50"]
    assert lines(work) == ["asking: 50", *counts]


def test_steps_without_a_total_print_only_the_count():
    """A step with an unknown total prints only the number of processed items."""

    def work(progress, clock):
        with progress.step("cutting") as advance:
            clock.now += 6
            advance(3)

    assert lines(work) == ["cutting", "cutting: 3"]


def test_a_total_may_become_known_during_a_step():
    """A step that learns its total only after it has started then states the total and the time to go."""

    def work(progress, clock):
        with progress.step("training") as advance:
            clock.now += 6
            advance(3)
            clock.now += 6
            advance.expect(12)
            advance(3)

    assert lines(work) == ["training", "training: 3", "training: 6 of 12, about 12 s left"]


def test_a_silent_step_reports_the_elapsed_time():
    """If a step does not advance, a line with its count and the elapsed time is printed every ten seconds."""

    def work(progress, clock):
        with progress.step("preparing", 4) as advance, progress.step("loading"):
            for _ in range(24):
                clock.now += 1
                progress.report_silence()
            advance(2)
        clock.now += 60
        progress.report_silence()

    assert lines(work) == [
        "preparing: 4",
        "loading",
        "loading: 10 s so far",
        "loading: 20 s so far",
        "preparing: 2 of 4, about 24 s left",
    ]


def test_a_long_wait_reports_each_elapsed_minute_once():
    """If the elapsed time is shown in minutes, a line is printed once per minute, and no line is repeated."""

    def work(progress, clock):
        with progress.waiting("loading"):
            for _ in range(209):
                clock.now += 1
                progress.report_silence()

    seconds = [f"loading: {seconds} s so far" for seconds in range(10, 90, 10)]
    assert lines(work) == [*seconds, "loading: 2 min so far", "loading: 3 min so far"]


def test_a_slow_batch_reports_its_count_and_the_time_to_go():
    """The line about a step that does not advance contains the count, the elapsed time and the time to go."""

    def work(progress, clock):
        with progress.step("asking", 4) as advance:
            clock.now += 4
            advance(1)
            clock.now += 11
            progress.report_silence()

    assert lines(work) == ["asking: 4", "asking: 1 of 4, 15 s so far, about 45 s left"]


def test_a_short_wait_prints_nothing():
    """A wait is reported only after ten seconds, whatever the time since the previous line."""

    def work(progress, clock):
        clock.now += 100
        with progress.waiting("reading"):
            progress.report_silence()
            clock.now += 9
            progress.report_silence()
        with progress.waiting("verifying"):
            clock.now += 10
            progress.report_silence()

    assert lines(work) == ["verifying: 10 s so far"]


class EventStream(io.StringIO):
    """A stream that sets an event when a given text is printed."""

    def __init__(self, text):
        super().__init__()
        self.text, self.printed = text, Event()

    def write(self, text):
        if self.text in text:
            self.printed.set()
        return super().write(text)


def test_a_thread_reports_a_silent_step():
    """While a step blocks its own thread, a different thread reports the step; the thread ends with the step."""
    stream, clock = EventStream("loading: 30 s so far"), Clock()
    progress = LineProgress(stream, clock, interval=0.001)
    with progress.step("loading"):
        clock.now += 30
        assert stream.printed.wait(60)
    assert stream.getvalue().splitlines() == ["loading", "loading: 30 s so far"]


def test_units_that_were_already_done_do_not_distort_the_time_to_go():
    """A step that resumes with most of its units done estimates the time to go from its later speed."""
    pace = Pace(0.0)
    for second, done in enumerate((900, 910, 920, 930, 940), 1):
        pace.add(done, float(second))
    assert pace.left(940, 1000, 5.0) == pytest.approx(6.0)


def test_the_time_to_go_is_unknown_before_the_first_unit():
    """Without any completed unit there is no time to go, and the time to go of a stalled step grows."""
    pace = Pace(0.0)
    assert pace.left(0, 10, 5.0) is None
    pace.add(5, 10.0)
    assert pace.left(5, 10, 10.0) == pytest.approx(10.0)
    assert pace.left(5, 10, 100.0) == pytest.approx(100.0)


def test_a_long_step_keeps_few_measurements():
    """The number of stored measurements does not grow with the number of units."""
    pace = Pace(0.0)
    for unit in range(1, 20_001):
        pace.add(unit, unit / 100)
        pace.left(unit, 20_000, unit / 100)
    assert len(pace._marks) <= 64
    assert pace.left(10_000, 20_000, 200.0) is not None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5300, "88 min"), (7800, "2 h 10 min"), (3 * 86400, "3 days")],
)
def test_durations_are_rounded(seconds, words):
    """A duration is rounded to seconds, minutes, hours with minutes, or days."""
    assert duration(seconds) == words


def test_a_quick_step_is_one_line():
    """A step that finishes quickly prints only its title."""

    def work(progress, clock):
        with progress.step("cutting", 3) as advance:
            advance(3)

    assert lines(work) == ["cutting: 3"]


@pytest.mark.parametrize("make", [lambda: LineProgress(io.StringIO()), SilentProgress, TerminalProgress])
def test_an_error_inside_a_step_reaches_the_caller(make, capsys):
    """An error inside a step reaches the caller, and the next step works normally."""
    progress = make()
    with pytest.raises(ZeroDivisionError), progress.step("outer", 2), progress.step("inner"):
        raise ZeroDivisionError
    with progress.step("next", 1) as advance:
        advance(1)
    progress.say("done")


def test_silent_progress_prints_nothing(capsys):
    """The silent progress display prints nothing."""
    progress = SilentProgress()
    with progress.step("asking", 3) as advance:
        advance(3)
    progress.say("a word")
    assert capsys.readouterr() == ("", "")


def test_a_quiet_display_prints_warnings():
    """With `--quiet`, remarks and warnings are printed, but steps are not."""
    stream = io.StringIO()
    progress = progress_for(stream, quiet=True)
    with progress.step("asking", 3) as advance:
        progress.say("passages.jsonl: the content of the file has changed")
        advance(3)
    assert stream.getvalue() == "passages.jsonl: the content of the file has changed\n"
    assert isinstance(progress, QuietProgress)


def test_bars_go_to_standard_error(capsys):
    """Progress bars and messages are written to standard error, so that a table can be piped."""
    progress = TerminalProgress()
    with progress.step("outer [bold]", 2) as advance:
        progress.say("a [word]")
        with progress.step("inner") as more:
            more(3)
            more.expect(7)
        with progress.waiting("a short wait"):
            pass
        advance(2)
    with progress.waiting("a wait outside of all steps"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert "outer [bold]" in err
    assert "3/7" in err
    assert "wait" not in err
    assert "a [word]" in err


def test_a_stream_that_is_no_terminal_gets_lines():
    """Progress is printed as plain lines if the stream is not a terminal."""
    assert isinstance(progress_for(io.StringIO()), LineProgress)


def test_a_terminal_gets_bars(bench):
    """A terminal shows progress bars with counts instead of plain lines."""
    bench.write_toy()
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        bench.command("run", bench.spec),
        cwd=bench.folder,
        env={**bench.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait() == 0
    text = shown.decode(errors="replace")
    assert "asking m" in text
    assert "312/312" in text
    assert "\x1b[" in text
    assert "asking m: 312" not in text


def test_progress_imports_no_slow_package():
    """The progress module imports no slow package before it draws a bar."""
    code = "import sys, kib.progress; assert not {'rich', 'torch', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_step_finishes_after_the_stream_closes():
    """A step finishes its work even if the reader has closed the progress stream."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        progress = LineProgress(stream)
        with progress.step("counting", 3) as advance:
            advance(3)
        progress.say("done")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # the unwritten line must not fail when the stream closes
