"""The accuracy and the gain of each arm by probe, and sentences about gains that do not extend to every probe."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import compress

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.comparability import align
from kib.leaderboard.compute.headlines import representatives, start_of
from kib.leaderboard.compute.question_scores import QuestionScores, QuestionScoresReader, seed_gains, seed_means
from kib.leaderboard.number_format import interval, p_value, points
from kib.leaderboard.table_records import ArmRow, ProbeGain
from kib.statistics.gains import LEVEL
from kib.statistics.multiple_testing import holm
from kib.statistics.paired_gains import accuracy, gain
from kib.statistics.paired_test import smallest_p
from kib.support.phrases import join

__all__ = ["LOCALITY", "adjusted", "generalisation", "probe_gains"]

LOCALITY = "locality"
"""The probe with questions whose answers the method must not change; no gain is expected on this probe."""


def probe_gains(reader: QuestionScoresReader, arm: Arm, reference: Arm | None) -> tuple[ProbeGain, ...]:
    """Return the gains of a measured arm by probe, in the order in which the questions first name the probes.

    Without a comparable reference, the records contain accuracies only. The result is empty if no question has a probe.
    """
    scores = reader.read(arm)
    if not any(scores.probes):
        return ()
    other = None if reference is None else align(scores, reader.read(reference))
    aligned = other if isinstance(other, QuestionScores) else None
    return tuple(_gain_on(probe, scores, aligned) for probe in dict.fromkeys(scores.probes))


def _gain_on(probe: str | None, scores: QuestionScores, reference: QuestionScores | None) -> ProbeGain:
    asked = [one == probe for one in scores.probes]
    ours, groups = list(compress(scores.scores, asked)), list(compress(scores.groups, asked))
    found = None
    if reference is not None:
        found = gain(list(compress(reference.scores, asked)), ours, groups, seed_gains(scores, reference, asked))
    return ProbeGain(probe, accuracy(ours, groups, seed_means(scores, asked)), found)


def adjusted(gains: Sequence[Sequence[ProbeGain]]) -> list[tuple[ProbeGain, ...]]:
    """Return the gains of several arms with p values adjusted by Holm's method over all arms and probes."""
    family = [one.gain.p for some in gains for one in some if one.gain and one.gain.p is not None]
    lowest = [smallest_p(one.accuracy.groups) for some in gains for one in some if one.gain]
    pairs = iter(zip(holm(family), holm(lowest), strict=True))
    return [tuple(_with_p(one, *next(pairs)) if one.gain else one for one in some) for some in gains]


def _with_p(one: ProbeGain, p: float, lowest: float) -> ProbeGain:
    return replace(one, p_adjusted=p, lowest_p=lowest)


def generalisation(rows: Sequence[ArmRow], several: bool) -> Iterator[str]:
    """Yield a sentence for each method with a significant gain that does not extend to every probe.

    Each method is represented as in the headlines. A probe does not count if its number of groups is too small for any
    gain to be significant. On the probe "locality", only a significant loss is reported.
    """
    blocks: dict[tuple[str, str, int], list[ArmRow]] = {}
    for row in rows:
        if row.role == "target":
            blocks.setdefault((row.model, row.task, row.shots), []).append(row)
    for block in blocks.values():
        for row in representatives(block):
            sentence = _sentence(row)
            if sentence:
                yield f"{start_of(row, several)}{sentence}"


def _sentence(row: ArmRow) -> str:
    best = next((one for one in row.probes if _is_gain(one)), None)
    overall = row.gain is not None and row.gain.absolute > 0 and row.p is not None and row.p < LEVEL
    lost = [one for one in row.probes if one.gain and one.gain.absolute < 0 and one.significant]
    absent = [one for one in row.probes if _is_absent(one) and one not in lost]
    parts = []
    if absent and (overall or best):
        where = "" if overall or best is None else f" on {best.name}"
        parts.append(f"the gain of {row.arm}{where} does not generalise to {_list(absent)}")
    if lost:
        parts.append(f"{row.arm} lowers the score on {_list(lost)}")
    return "; ".join(parts)


def _is_gain(one: ProbeGain) -> bool:
    return one.gain is not None and one.gain.absolute > 0 and one.significant


def _is_absent(one: ProbeGain) -> bool:
    """Return whether a gain on a probe is not significant although the number of groups would allow it."""
    testable = one.gain is not None and one.lowest_p is not None and one.lowest_p < LEVEL
    return testable and one.probe not in (None, LOCALITY) and not _is_gain(one)


def _list(probes: Sequence[ProbeGain]) -> str:
    return join([f"{one.name} ({points(one.gain.absolute)} points {_evidence(one)})" for one in probes if one.gain])


def _evidence(one: ProbeGain) -> str:
    return f"{interval(one.gain.interval if one.gain else None)}, p {p_value(one.p)}"
