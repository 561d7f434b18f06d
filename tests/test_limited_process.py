"""The child process that limits the time and memory of calls that process untrusted data."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from limited_functions import measure, misbehave

from kib.support.limited_process import LimitedProcess, LimitError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
"""The environment of a program that imports the functions of the tests."""


@pytest.fixture(scope="module")
def misbehaving():
    """A limited process whose function fails in the way specified by its argument."""
    return LimitedProcess(misbehave, 1024)


def test_one_process_answers_all_calls():
    """All calls use the same child process, and text printed by the function does not corrupt a reply."""
    process = LimitedProcess(measure, 1024)
    replies = [process.call(text, 60) for text in ("a", "b\ud800 💧")]
    assert [(reply["text"], reply["calls"]) for reply in replies] == [("a", 1), ("b\ud800 💧", 2)]
    assert len({reply["process"] for reply in replies} | {os.getpid()}) == 2


@pytest.mark.parametrize(
    ("kind", "seconds", "message"),
    [
        ("power", 0.5, r"^takes longer than 0\.5 seconds$"),
        pytest.param(
            "memory",
            60,
            r"^needs more than 1,024 MB of memory$",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory"),
        ),
        ("nesting", 60, r"^is nested too deeply$"),
        ("crash", 60, r"^crashes its process \(7\)$"),
    ],
)
def test_a_call_beyond_a_limit(misbehaving, kind, seconds, message):
    """A call that exceeds a limit or crashes raises LimitError, and the next call works."""
    with pytest.raises(LimitError, match=message):
        misbehaving.call(kind, seconds)
    assert misbehaving.call("fine", 60) == "fine"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_a_lower_limit_of_the_system_stays():
    """If the system allows less memory than the limit, the process works, and the error states the system's limit."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from limited_functions import misbehave\n"
        "from kib.support.limited_process import LimitedProcess\n"
        "process = LimitedProcess(misbehave, 4096)\n"
        "print(process.call('fine', 60), *process.call_each(['memory'], 60), sep='; ')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert (ran.stdout, ran.stderr) == ("fine; needs more than 1,024 MB of memory\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")
def test_a_process_ends_with_its_parent_but_not_with_the_terminal(tmp_path):
    """A process receives no Ctrl-C of the terminal, and ends silently as soon as its parent has been killed."""
    code = (
        "import sys\nfrom limited_functions import linger\nfrom kib.support.limited_process import LimitedProcess\n"
        "LimitedProcess(linger, 1024).call(sys.argv[1], 300)"
    )
    path = tmp_path / "started"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as parent:
        while not (path.exists() and path.read_text()):
            assert parent.poll() is None
            time.sleep(0.01)
        child, group = path.read_text().split()
        parent.kill()
        assert parent.stderr.read() == ""  # ends only if all processes that share this stream have ended
    assert child == group


def test_an_error_of_the_function(misbehaving):
    """An exception in the function raises RuntimeError with the type and message of the exception."""
    with pytest.raises(RuntimeError, match=r"^ValueError: no$"):
        misbehaving.call("error", 60)


def test_a_limit_stops_only_one_of_several_calls(misbehaving):
    """If one of several calls exceeds a limit, all other calls still return their results in order."""
    results = misbehaving.call_each(["a", "power", "crash", "b"], 0.5)
    assert list(map(str, results)) == ["a", "takes longer than 0.5 seconds", "crashes its process (7)", "b"]


def test_a_limit_works_outside_the_main_thread(misbehaving):
    """A call that exceeds a limit is stopped even outside the main thread."""
    raised = []

    def call():
        with pytest.raises(LimitError) as caught:
            misbehaving.call("power", 0.5)
        raised.append(str(caught.value))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert raised == ["takes longer than 0.5 seconds"]
