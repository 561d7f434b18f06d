"""Progress reports."""

import io
import os
import pty
import subprocess
import sys

import pytest

from kib.progress import LineProgress, QuietProgress, SilentProgress, TerminalProgress, progress_for


class Clock:
    """A clock controlled by the test."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def lines(work):
    """Return the plain lines printed during `work`."""
    stream, clock = io.StringIO(), Clock()
    work(LineProgress(stream, clock), clock)
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
    """Progress lines of a step are several seconds apart, and the last line contains the full count."""

    def work(progress, clock):
        with progress.step("asking", 50) as advance:
            for _ in range(50):
                clock.now += 0.25
                advance(1)

    assert lines(work) == ["asking: 50", "asking: 20 of 50", "asking: 40 of 50", "asking: 50 of 50"]


def test_steps_without_a_total_print_only_the_count():
    """A step with an unknown total prints only the number of processed items."""

    def work(progress, clock):
        with progress.step("cutting") as advance:
            clock.now += 6
            advance(3)

    assert lines(work) == ["cutting", "cutting: 3"]


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
        advance(2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "outer [bold]" in err
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
