"""Runs a function on untrusted data in a child process with limits on time and memory.

A Python thread cannot be stopped, and a single operation such as `9**9**9` never returns to the interpreter. The child
process terminates itself if a call takes too long, and the operating system denies memory beyond the limit.
"""

import faulthandler
import json
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import IO, Any, TypeVar
from weakref import finalize

__all__ = ["LimitError", "LimitedProcess", "batches", "is_memory_limited", "serve"]

MB = 1 << 20

START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from kib.support.limited_process import serve; serve(int(sys.argv[2]))"
)
"""The program of the child process, which imports the same modules as its parent, even from editable installs."""

HAS_TIMER = hasattr(signal, "setitimer")
"""Whether the operating system can end a process at a given time; Windows cannot."""

LATE = -signal.SIGALRM if HAS_TIMER else 1
"""The exit status of a process that is terminated because a call takes too long; without a timer, faulthandler's."""

LENGTH = struct.Struct("<Q")
"""The format of the number of bytes in a message, which precedes the message."""


Item = TypeVar("Item")


def batches(items: Iterable[Item], size: Callable[[Item], int], count: int, total: int) -> Iterator[list[Item]]:
    """Yield consecutive items in groups for `LimitedProcess.call_each`, because switching between processes is slow.

    A group ends after `count` items, or as soon as the sizes of its items add up to `total`.
    """
    batch: list[Item] = []
    filled = 0
    for item in items:
        batch.append(item)
        filled += size(item)
        if len(batch) == count or filled >= total:
            yield batch
            batch, filled = [], 0
    if batch:
        yield batch


class LimitError(Exception):
    """A limit was exceeded; the message completes a sentence that starts with the name of the data.

    `limit` is "seconds", "memory", "depth" (of nesting) or "crash" (of the process), or a caller's name for a different
    limit, or "" for a limit that cannot be changed.
    """

    def __init__(self, message: str, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit

    def advice(self, purpose: str, options: Mapping[str, str]) -> str:
        """Return a clause such as "; to convert the file, increase `max_seconds`", or state that the limit is fixed.

        `options` contains the option for each limit that users can set. After a crash, the clause is empty.
        """
        if self.limit in options:
            return f"; {purpose}, increase `{options[self.limit]}`"
        return "" if self.limit == "crash" else "; this limit is fixed"


class LimitedProcess:
    """A child process that is reused for all calls of one function of a module.

    The function accepts one picklable value and returns a value that JSON can represent. The process starts with the
    first call, and starts again after a call that exceeded a limit. `prepare` is called whenever the process starts,
    for example to import packages, and the time for `prepare` is not limited. On Windows and macOS, memory is not
    limited.
    """

    def __init__(
        self, function: Callable[[Any], Any], memory_mb: int, prepare: Callable[[], object] | None = None
    ) -> None:
        self.function = function
        self.prepare = prepare
        self.memory_mb = memory_mb
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._closed = False

    def call(self, value: Any, seconds: float) -> Any:
        """Return the result of the function.

        Raise LimitError if a limit is exceeded or the process crashes, and RuntimeError if the function fails.
        """
        [result] = self.call_each([value], seconds)
        if isinstance(result, LimitError):
            raise result
        return result

    def call_each(self, values: Sequence[Any], seconds: float) -> list[Any]:
        """Return the result of the function for each value; `seconds` is the limit of one call.

        If a call exceeds a limit, its result is a LimitError. Sending several values per call saves switches between
        processes.
        """
        results: list[Any] = []
        with self._lock:
            while len(results) < len(values):
                results += self._answers(values[len(results) :], seconds)
        return results

    def close(self) -> None:
        """Terminate the process for good; a call in a different thread raises RuntimeError."""
        self._closed = True
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()

    def _answers(self, values: Sequence[Any], seconds: float) -> Iterator[Any]:
        """Yield the result for each value; if the process ends, the last result is a LimitError."""
        process = self._started()
        try:
            _send(process.stdin, pickle.dumps((seconds, values)))
            for _ in values:
                yield _result(json.loads(_receive(process.stdout)))
        except (EOFError, OSError):
            self._stop()
            if self._closed:
                raise RuntimeError("the process has been closed") from None
            late = process.returncode == LATE
            reason = f"takes longer than {seconds:g} seconds" if late else f"crashes its process ({process.returncode})"
            yield LimitError(reason, "seconds" if late else "crash")
        except BaseException:  # without all replies, the next call would read a reply of this call
            self._stop()
            raise

    def _started(self) -> "subprocess.Popen[bytes]":
        """Return the running process; after a fork, the forked process starts its own child process."""
        if self._closed:
            raise RuntimeError("the process has been closed")
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            command = [sys.executable, "-P", "-c", START, json.dumps(sys.path), str(self.memory_mb)]
            # In a group of its own, the process does not receive the Ctrl-C of a terminal while it starts.
            self._process = subprocess.Popen(  # noqa: S603 - the command is kib's own
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
            )
            self._owner = os.getpid()
            _send(self._process.stdin, pickle.dumps((self.function, self.prepare)))
            finalize(self, _end, self._process, self._owner)
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            _end(self._process, self._owner)
            self._process = None


def _end(process: "subprocess.Popen[bytes]", owner: int) -> None:
    """Terminate a process and wait until it has exited; a forked child does not terminate its parent's process."""
    if owner != os.getpid():
        return
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # the last message was not sent completely
                stream.close()


def _result(reply: dict[str, Any]) -> Any:
    """Return the result contained in a reply, which may be a LimitError; raise RuntimeError if the function failed."""
    if "error" in reply:
        raise RuntimeError(reply["error"])
    return LimitError(*reply["limit"]) if "limit" in reply else reply["value"]


def _send(stream: IO[bytes] | None, message: bytes) -> None:
    assert stream is not None  # noqa: S101 - the process was started with pipes
    stream.write(LENGTH.pack(len(message)) + message)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> bytes:
    """Return the next message; raise EOFError if the other process has ended."""
    assert stream is not None  # noqa: S101 - the process was started with pipes
    (length,) = LENGTH.unpack(_read(stream, LENGTH.size))
    return _read(stream, length)


def _read(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def serve(memory_mb: int) -> None:
    """Answer the calls of the parent process until it closes the connection; the child process runs this function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows, which has no process groups of this kind
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    if hasattr(select, "poll"):  # not on Windows
        Thread(target=_end_with_parent, args=(requests.fileno(),), name="kib-parent", daemon=True).start()
    nowhere = os.fdopen(os.open(os.devnull, os.O_RDWR), "r+b")
    os.dup2(nowhere.fileno(), 0)
    os.dup2(nowhere.fileno(), 1)  # a library that prints must not damage a reply
    called, prepare = pickle.loads(_receive(requests))  # noqa: S301 - from the parent process, like all messages
    if prepare:
        prepare()
    allowed_mb = _limit_memory(memory_mb)
    if HAS_TIMER:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, even while C code is running
    while True:
        try:
            message = _receive(requests)
        except EOFError:
            return
        seconds, values = pickle.loads(message)  # noqa: S301
        for value in values:
            with _time_limit(seconds, nowhere):
                reply = json.dumps(_answer(called, value, allowed_mb)).encode()
            _send(replies, reply)


def _end_with_parent(requests: int) -> None:
    """Wait until the parent process has ended and has thereby closed its end of a pipe, then end this process."""
    poller = select.poll()
    poller.register(requests, 0)  # requests themselves are of no interest
    poller.poll()
    os._exit(1)


@contextmanager
def _time_limit(seconds: float, nowhere: IO[bytes]) -> Iterator[None]:
    """Terminate this process if the block takes longer than `seconds`, even while C code is running."""
    if HAS_TIMER:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
    else:  # not everywhere: reading the stack of a running thread for the traceback can crash the process
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        yield
        faulthandler.cancel_dump_traceback_later()


def is_memory_limited() -> bool:
    """Return whether the system limits the memory of this process, as after `ulimit -v`."""
    if sys.platform != "linux":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _limit_memory(memory_mb: int) -> int:
    """Limit the memory of this process, write no core dumps, and return the limit in MB.

    A lower limit that the process already has stays. Only Linux supports such a limit.
    """
    if sys.platform != "linux":
        return memory_mb
    import resource

    present = resource.getrlimit(resource.RLIMIT_AS)
    allowed = min([memory_mb * MB, *(limit for limit in present if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (allowed, present[1]))
    return allowed // MB


def _answer(called: Callable[[Any], Any], value: Any, memory_mb: int) -> dict[str, Any]:
    try:
        return {"value": called(value)}
    except LimitError as error:
        return {"limit": [str(error), error.limit]}
    except MemoryError:
        return {"limit": [f"needs more than {memory_mb:,} MB of memory", "memory"]}
    except RecursionError:
        return {"limit": ["is nested too deeply", "depth"]}
    except Exception as error:  # noqa: BLE001 - the parent process reports the error
        return {"error": f"{type(error).__name__}: {error}"}
