"""Questions of base that were asked again at the end of a run, which show whether the server of a model has changed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from kib.leaderboard.compute.arm_statistics import ArmStatistics
from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.number_format import interval, p_value, points
from kib.leaderboard.table_records import RepeatedBase
from kib.records import FINGERPRINT, SERVED_MODEL, Environment
from kib.statistics.multiple_testing import holm
from kib.support.phrases import counted, join

__all__ = ["repeated_bases", "repetition_remarks", "reported"]


def repeated_bases(arms: Sequence[Arm], statistics: ArmStatistics) -> list[RepeatedBase]:
    """Return the comparison of all repeated questions with their first answers; `arms` contains all splits."""
    first = {arm.place: arm for arm in arms if arm.status == "measured"}
    found = []
    for again in arms:
        before = first.get(again.place.removesuffix(",repeat"))
        if again.cell.split == "repeat" and again.status == "measured" and before is not None:
            found.append(_compare(before, again, statistics))
    adjusted = holm([1.0 if one.change.p is None else one.change.p for one in found])
    return [replace(one, p_adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def _compare(first: Arm, second: Arm, statistics: ArmStatistics) -> RepeatedBase:
    identical, change = statistics.repetition(first, second)
    return RepeatedBase(
        benchmark=second.benchmark,
        model=second.cell.model,
        method=second.cell.method,
        task=second.cell.task,
        shots=second.cell.shots,
        n=second.results[0].n,
        identical=identical,
        change=change,
        p_adjusted=1.0,
        first=reported(chain.from_iterable(result.environments for result in first.results)),
        second=reported(chain.from_iterable(result.environments for result in second.results)),
    )


def reported(environments: Iterable[Environment]) -> tuple[str, ...]:
    """Return what a server reported about itself in any environment, such as `served model m-2024`, in sorted order."""
    facts = (
        (name, one.packages[name])
        for one in environments
        for name in (SERVED_MODEL, FINGERPRINT)
        if name in one.packages
    )
    return tuple(sorted({f"{name} {value}" for name, value in facts}))


def repetition_remarks(repeats: Iterable[RepeatedBase]) -> Iterator[str]:
    """Yield a sentence about each set of repeated questions, with a warning if the server has changed."""
    for one in repeats:
        text = (
            f"{one.model} on {one.task}, {one.shots}-shot: {one.method} answered {counted(one.n, 'question')} again at "
            f"the end of the run: {one.identical:,} of {one.n:,} answers are identical, "
            f"{counted(one.changed_scores, 'score')} changed, mean change {points(one.change.absolute)} points "
            f"{interval(one.change.interval)}, p {p_value(one.p_adjusted)}"
        )
        if one.significant:
            text += (
                ". The change is significant: the endpoint drifted while kib measured, so gains may contain this change"
            )
        if one.first != one.second:
            before, after = join(one.first) or "nothing", join(one.second) or "nothing"
            text += (
                f". The endpoint changed while kib measured: it reported {before} with the first answers, and {after} "
                "with the repeated answers"
            )
        yield text
