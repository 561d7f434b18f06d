"""Computes the statistics of a large table in several processes at once; each process computes those of some models."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

from kib.leaderboard.compute.arm_statistics import ArmStatistics
from kib.leaderboard.compute.benchmark_section import BenchmarkSection
from kib.store.result_records import BenchmarkPlan
from kib.store.results import Results
from kib.support.limited_pool import worker_count
from kib.support.limited_process import LimitedProcess, LimitError, is_memory_limited

__all__ = ["ParallelStatistics", "parallel_statistics"]

PARALLEL_FROM = 3_000
"""The number of cells from which several processes are used; to start a process takes as long as about 800 cells."""

OTHER_WORK = 0.1
"""The other work of this process as a share of a child's work: this process also reads the cells of all models."""

EXPECTED_MB, MEMORY_MB = 500, 16_384
"""The expected memory of a process, and the limit; libraries reserve much more memory than they use."""

SECONDS = 24 * 3600.0
"""The limit on the time of a process, which no table reaches."""


class ParallelStatistics:
    """Child processes that compute the statistics of some models, while this process computes those of the others."""

    def __init__(self, folder: Path, against: str | None, shares: Sequence[Sequence[str]]) -> None:
        self._processes = [LimitedProcess(_statistics_of, MEMORY_MB) for _ in shares]
        self._results: dict[LimitedProcess, dict[str, Any]] = {}
        self._waiting: dict[str, tuple[LimitedProcess, Thread]] = {}
        for process, models in zip(self._processes, shares, strict=True):
            request = (str(folder), against, tuple(models))
            thread = Thread(target=self._call, args=(process, request), name="kib-statistics", daemon=True)
            self._waiting |= dict.fromkeys(models, (process, thread))
            thread.start()

    def of_model(self, model: str) -> dict[str, Any]:
        """Wait for the process that computes the statistics of a model; return the statistics of all its models.

        Statistics are returned only once. If a process failed, there are none: the caller computes them and meets the
        same error.
        """
        if model not in self._waiting:
            return {}
        process, thread = self._waiting[model]
        thread.join()
        self._waiting = {name: one for name, one in self._waiting.items() if one[0] is not process}
        return self._results.pop(process, {})

    def close(self) -> None:
        """Terminate all processes."""
        for process in self._processes:
            process.close()

    def _call(self, process: LimitedProcess, request: tuple[str, str | None, tuple[str, ...]]) -> None:
        with suppress(LimitError, RuntimeError, OSError):
            self._results[process] = process.call(request, SECONDS)


@contextmanager
def parallel_statistics(
    results: Results, plan: BenchmarkPlan, statistics: ArmStatistics, against: str | None
) -> Iterator[ParallelStatistics]:
    """Start the processes for a table.

    There are none if the table is small or has been computed before, or if the system limits the memory of a process.
    """
    needed = len(plan.cells) >= PARALLEL_FROM and not statistics.any_stored and not is_memory_limited()
    shares = _shares(plan, worker_count(EXPECTED_MB)) if needed else []
    parallel = ParallelStatistics(results.folder, against, shares)
    try:
        yield parallel
    finally:
        parallel.close()


def _shares(plan: BenchmarkPlan, count: int) -> list[list[str]]:
    """Return the models of each child process: equal parts of the plan, after a smaller part for this process."""
    shares: list[list[str]] = [[] for _ in range(count)]
    before = 0.0
    for model, cells in Counter(cell.model for cell in plan.cells).items():
        shares[int(OTHER_WORK + before * (count - OTHER_WORK))].append(model)
        before += cells / len(plan.cells)
    return [share for share in shares[1:] if share]


def _statistics_of(request: tuple[str, str | None, tuple[str, ...]]) -> dict[str, Any]:
    """Return the statistics of some models; this function runs in a child process."""
    folder, against, models = request
    results = Results(Path(folder))
    plan = results.plan()
    cells = tuple(cell for cell in plan.cells if cell.model in models)
    section, statistics = BenchmarkSection(results, replace(plan, cells=cells)), ArmStatistics(results, against or "")
    section.compute(statistics, against, lambda _: None)
    return statistics.used
