"""Results folders become a table."""

from collections import Counter
from collections.abc import Sequence

from kib.errors import InputError
from kib.leaderboard.arm import one_line
from kib.leaderboard.heading import heading_sentences
from kib.leaderboard.reference import check_name
from kib.leaderboard.row import BenchmarkLine, Table
from kib.leaderboard.section import Environments, Section
from kib.store import BenchmarkPlan, Results

__all__ = ["make_table"]


def make_table(results: Sequence[Results], *, against: str | None = None) -> Table:
    """The leaderboard of results folders, from these alone; gains are over base, or over the method or arm `against`.

    Rows of different folders are never compared. Statistics that are not stored yet are computed and stored. InputError
    for a folder without results, two folders of one benchmark, a wrong name, files changed since they were measured.
    """
    plans = [one.plan() for one in results]
    _check_names(results, plans)
    sections = [Section(one, plan) for one, plan in zip(results, plans, strict=True)]
    if against is not None:
        check_name(against, [arm for section in sections for arm in section.arms])
    for section in sections:
        section.compute(against)
    environments = Environments()
    rows = [tuple(section.rows(environments)) for section in sections]
    headings = [
        heading_sentences(some, section.targets, len(sections) > 1)
        for some, section in zip(rows, sections, strict=True)
    ]
    return Table(
        benchmarks=tuple(
            BenchmarkLine(section.plan.name, one_line(section.plan.title), section.family) for section in sections
        ),
        against=against,
        headings=tuple(sentence for some in headings for sentence in some),
        rows=tuple(row for some in rows for row in some),
        averages=tuple(row for section in sections for row in section.averages),
        cells=sum(len(plan.cells) for plan in plans),
        missing=tuple(one for section in sections for arm in section.arms for one in arm.missing),
        environments=environments.all(),
    )


def _check_names(results: Sequence[Results], plans: Sequence[BenchmarkPlan]) -> None:
    if not results:
        raise InputError("no results folder given; `kib run SPEC` makes one")
    twice = [name for name, count in Counter(plan.name for plan in plans).items() if count > 1]
    if twice:
        folders = [str(one.folder) for one, plan in zip(results, plans, strict=True) if plan.name == twice[0]]
        raise InputError(f"benchmark {twice[0]!r} stands in several folders: {', '.join(folders)}; give one of them")
