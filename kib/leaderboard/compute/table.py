"""Results folders become a table."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from kib.errors import InputError
from kib.leaderboard.compute.arm_statistics import Judge
from kib.leaderboard.compute.benchmark_section import Section
from kib.leaderboard.compute.cross_origin_ranking import compare_origins
from kib.leaderboard.compute.environments import Environments
from kib.leaderboard.compute.headlines import heading_sentences
from kib.leaderboard.compute.published_results import PublishedResults, UnpairedJudge
from kib.leaderboard.compute.reference_arms import check_name
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import BenchmarkLine, Table
from kib.progress import Progress, SilentProgress
from kib.store.result_records import BenchmarkPlan
from kib.store.results import Results

__all__ = ["make_table"]

MANY = 100
"""So many arms without statistics take about a second."""


def make_table(
    results: Sequence[Results | PublishedResults],
    *,
    against: str | None = None,
    progress: Progress | None = None,
    cost: bool = False,
    times: bool = False,
    retrieval: bool = False,
) -> Table:
    """The leaderboard of results folders, from these alone; gains are over base, or over the method or arm `against`.

    Rows of different folders are never compared, but for published ones with measured ones of the same questions.
    Statistics that are not stored yet are computed and stored; `progress` shows them where there are many. `cost` adds
    what each arm costs, `times` to this what was measured on the machine: the only numbers that differ from run to run.
    `retrieval` adds how well passages were found. InputError for a folder without results, two folders of one
    benchmark, a wrong name, files changed since they were measured.
    """
    plans = [one.plan() for one in results]
    _check_names(results, plans)
    sections = [Section(one, plan) for one, plan in zip(results, plans, strict=True)]
    if against is not None:
        check_name(against, [arm for section in sections for arm in section.arms])
    judges = [UnpairedJudge(one) if isinstance(one, PublishedResults) else Judge(one, against or "") for one in results]
    fresh = sum(judge.count_fresh(section.arms) for judge, section in zip(judges, sections, strict=True))
    shown = progress if progress and fresh >= MANY else SilentProgress()
    with shown.step("statistics", fresh) as advance:
        for judge, section in zip(judges, sections, strict=True):
            section.compute(judge, against, advance)
    if cost or times:
        for section in sections:
            section.count_costs(times=times)
    if retrieval:
        for section in sections:
            section.judge_retrieval(times=times)
    environments = Environments()
    rows = [tuple(section.rows(environments)) for section in sections]
    headings = [
        heading_sentences(some, section.targets, len(sections) > 1)
        for some, section in zip(rows, sections, strict=True)
    ]
    every = tuple(row for some in rows for row in some)
    said = dict(chain.from_iterable(section.statements() for section in sections))
    across, apart = compare_origins(every, said)
    return Table(
        benchmarks=tuple(
            BenchmarkLine(
                section.plan.name, one_line(section.plan.title), section.family, section.no_probe, section.origin
            )
            for section in sections
        ),
        against=against,
        headings=tuple(one_line(sentence) for some in headings for sentence in some),
        rows=every,
        averages=tuple(row for section in sections for row in section.averages),
        cells=sum(len(plan.cells) for plan in plans),
        missing=tuple(one for section in sections for arm in section.all_arms for one in arm.missing),
        environments=environments.all(),
        cost=cost or (times and not retrieval),
        times=times,
        retrieval=retrieval,
        remarks=tuple(
            one_line(f"{f'{section.plan.name}: ' * (len(sections) > 1)}{sentence}")
            for section in sections
            for sentence in section.remarks
        ),
        duels=tuple(duel for section in sections for duel in section.duels()),
        across=across,
        apart=tuple(map(one_line, apart)),
    )


def _check_names(results: Sequence[Results | PublishedResults], plans: Sequence[BenchmarkPlan]) -> None:
    if not results:
        raise InputError("no results folder given; `kib run SPEC` makes one")
    twice = [name for name, count in Counter(plan.name for plan in plans).items() if count > 1]
    if twice:
        same = [one for one, plan in zip(results, plans, strict=True) if plan.name == twice[0]]
        where = ", ".join(str(one.folder) for one in same)
        if len({isinstance(one, PublishedResults) for one in same}) > 1:
            hint = "a published and a measured one need other names: change `name` in one file"
            raise InputError(f"benchmark {twice[0]!r} is both published and measured: {where}; {hint}")
        raise InputError(f"benchmark {twice[0]!r} stands in several folders: {where}; give one of them")
