"""Runs a function on untrusted data in several child processes at once; results keep the order of the calls."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from kib.support.limited_process import LimitedProcess

__all__ = ["LimitedPool", "worker_count"]

MOST_WORKERS = 8
"""The maximum number of processes; more processes mostly wait for the disk."""

GROUPS_PER_WORKER = 2
"""The number of groups of calls per process that are running or finished but not yet returned."""


def worker_count(memory_mb: int) -> int:
    """Return the number of processes that fit the processors and the memory if each process uses `memory_mb` MB."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        total_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        total_mb = memory_mb
    return max(1, min(processors, total_mb // memory_mb, MOST_WORKERS))


class LimitedPool:
    """Several limited processes for the calls of one function; a process starts when it is first needed."""

    def __init__(self, function: Callable[[Any], Any], memory_mb: int, workers: int | None = None) -> None:
        self.workers = workers or worker_count(memory_mb)
        self._processes = [LimitedProcess(function, memory_mb) for _ in range(self.workers)]

    def call_each(self, groups: Iterable[Sequence[Any]], seconds: float) -> Iterator[list[Any]]:
        """Yield the results of each group of values, as returned by `LimitedProcess.call_each`, in order.

        The groups are read while earlier groups are running, but only a few groups ahead of the results. If the caller
        stops reading, running calls are terminated.
        """
        idle: SimpleQueue[LimitedProcess] = SimpleQueue()
        for process in self._processes:
            idle.put(process)

        def run(group: Sequence[Any]) -> list[Any]:
            process = idle.get()
            try:
                return process.call_each(group, seconds)
            finally:
                idle.put(process)

        pending: deque[Future[list[Any]]] = deque()
        executor = ThreadPoolExecutor(self.workers)
        try:
            for group in groups:
                pending.append(executor.submit(run, group))
                while pending and (len(pending) >= GROUPS_PER_WORKER * self.workers or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            if not all(future.done() for future in pending):
                for process in self._processes:
                    process.close()
            executor.shutdown()
