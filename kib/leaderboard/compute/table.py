"""The computation of the leaderboard table from results folders and published files."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any, Literal

from kib.errors import InputError
from kib.leaderboard.compute.arm_statistics import ArmStatistics
from kib.leaderboard.compute.benchmark_section import BenchmarkSection
from kib.leaderboard.compute.block_statistics import Statistics
from kib.leaderboard.compute.cross_origin_ranking import rank_across_origins
from kib.leaderboard.compute.environments import Environments
from kib.leaderboard.compute.headlines import headlines
from kib.leaderboard.compute.parallel_statistics import parallel_statistics
from kib.leaderboard.compute.probe_gains import generalisation
from kib.leaderboard.compute.reference_arms import check_name
from kib.leaderboard.compute.unpaired_statistics import UnpairedStatistics
from kib.leaderboard.table_records import Table
from kib.progress import Progress, SilentProgress
from kib.published.results import PublishedResults
from kib.safe_text import one_line
from kib.store.result_records import BenchmarkPlan
from kib.store.results import Results

__all__ = ["make_table"]

PROGRESS_FROM = 100
"""The number of uncached arms from which progress is shown; computing this number of arms takes about a second."""


def make_table(
    results: Sequence[Results | PublishedResults],
    *,
    against: str | None = None,
    progress: Progress | None = None,
    cost: bool = False,
    times: bool = False,
    retrieval: bool = False,
    by: Literal["probe"] | None = None,
) -> Table:
    """Return the leaderboard; gains are measured against base, or against the method or arm named in `against`.

    The table depends only on the results. Rows of different benchmarks are never compared, except for published and
    measured rows with the same questions. Missing statistics are computed and stored; `progress` displays the progress
    of long computations. `cost` adds the costs of each arm; `times` adds measured seconds and memory, which are the
    only numbers that differ between runs; `retrieval` adds the retrieval quality; `by` adds the gains on the
    questions of each probe. Raises InputError for a folder
    without results, two folders of the same benchmark, an unknown name in `against`, or question files that have
    changed since they were written.
    """
    plans = [one.plan() for one in results]
    _check_benchmark_names(results, plans)
    statistics = [
        UnpairedStatistics(one) if isinstance(one, PublishedResults) else ArmStatistics(one, against or "")
        for one in results
    ]
    with ExitStack() as processes:
        elsewhere = [
            processes.enter_context(parallel_statistics(one, plan, found, against)).of_model
            if isinstance(one, Results) and isinstance(found, ArmStatistics)
            else lambda _: {}
            for one, plan, found in zip(results, plans, statistics, strict=True)
        ]
        sections = [BenchmarkSection(one, plan) for one, plan in zip(results, plans, strict=True)]
        if against is not None:
            check_name(against, [arm for section in sections for arm in section.arms])
        _compute(list(zip(sections, statistics, elsewhere, strict=True)), against, progress)
    for section in sections:
        if cost or times:
            section.add_costs(times=times)
        if retrieval:
            section.add_retrieval(times=times)
        if by:
            section.add_probes()
        section.add_labels()
    shown = {"cost": cost or (times and not retrieval), "times": times, "retrieval": retrieval, "by_probe": bool(by)}
    return _assemble(sections, against, shown)


def _compute(
    sections: Sequence[tuple[BenchmarkSection, Statistics, Callable[[str], Mapping[str, Any]]]],
    against: str | None,
    progress: Progress | None,
) -> None:
    """Compute and store the statistics of all sections."""
    uncached = sum(statistics.count_uncached(section.arms) for section, statistics, _ in sections)
    shown = progress if progress and uncached >= PROGRESS_FROM else SilentProgress()
    with shown.step("statistics", uncached) as advance, _collector_paused():
        for section, statistics, elsewhere in sections:
            section.compute(statistics, against, advance, elsewhere)
            section.save(statistics)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the cyclic garbage collector, which would examine a million question scores again and again.

    Scores and statistics do not refer to each other in cycles, so their memory is released without the collector.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _assemble(sections: Sequence[BenchmarkSection], against: str | None, shown: Mapping[str, bool]) -> Table:
    """Assemble the table from the computed sections; `shown` contains the flags of the requested parts of the table."""
    several = len(sections) > 1
    environments = Environments()
    by_section = [tuple(section.rows(environments)) for section in sections]
    rows = tuple(chain.from_iterable(by_section))
    sentences = [headlines(some, one.targets, several) for some, one in zip(by_section, sections, strict=True)]
    sentences += [tuple(generalisation(some, several)) for some in by_section]
    conditions = dict(chain.from_iterable(section.conditions() for section in sections))
    rankings, not_ranked = rank_across_origins(rows, conditions)
    return Table(
        benchmarks=tuple(section.line for section in sections),
        against=against,
        headlines=tuple(map(one_line, chain.from_iterable(sentences))),
        rows=rows,
        averages=tuple(row for section in sections for row in section.averages),
        cells=sum(len(section.plan.cells) for section in sections),
        missing=tuple(one for section in sections for arm in section.all_arms for one in arm.missing),
        environments=environments.all(),
        trained_elsewhere=any(row.trained_as for row in rows),
        systems=any(row.system is not None for row in rows),
        **shown,
        remarks=tuple(
            one_line(f"{f'{section.plan.name}: ' * several}{sentence}")
            for section in sections
            for sentence in section.remarks
        ),
        repeats=tuple(one for section in sections for one in section.repeats),
        pairwise=tuple(one for section in sections for one in section.pairwise_comparisons()),
        cross_origin=rankings,
        labelled=tuple(chain.from_iterable(section.labelled for section in sections)),
        not_ranked_together=tuple(map(one_line, not_ranked)),
    )


def _check_benchmark_names(results: Sequence[Results | PublishedResults], plans: Sequence[BenchmarkPlan]) -> None:
    """Raise InputError if there are no results or if two folders contain the same benchmark."""
    if not results:
        raise InputError("no results folder given; create a results folder with `kib run SPEC`")
    twice = [name for name, count in Counter(plan.name for plan in plans).items() if count > 1]
    if twice:
        same = [one for one, plan in zip(results, plans, strict=True) if plan.name == twice[0]]
        folders = ", ".join(str(one.folder) for one in same)
        if len({isinstance(one, PublishedResults) for one in same}) > 1:
            hint = "change `name` in one of the files"
            raise InputError(f"benchmark {twice[0]!r} is both published and measured: {folders}; {hint}")
        raise InputError(
            f"benchmark {twice[0]!r} appears in several folders: {folders}; name only one of these folders"
        )
