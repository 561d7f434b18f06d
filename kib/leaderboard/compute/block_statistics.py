"""Statistics within a block of arms: gains, ranks, shares of the gold passage's gain, and gains on known questions."""

from collections.abc import Sequence

from kib.leaderboard.compute.arm_statistics import ArmStatistics
from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.chosen_settings import group_of
from kib.leaderboard.compute.comparability import why_not_comparable, why_not_comparable_at_all
from kib.leaderboard.compute.ranks import rank
from kib.leaderboard.compute.row_builder import Rank, RowBuilder
from kib.leaderboard.compute.row_warnings import BlockWarnings
from kib.leaderboard.compute.unpaired_statistics import UnpairedStatistics
from kib.statistics.gains import LEVEL, Gain
from kib.statistics.paired_test import smallest_p

__all__ = [
    "Statistics",
    "add_best_on_test",
    "add_gain",
    "add_gold_shares",
    "add_knowledge_split",
    "add_ranks",
    "add_warnings",
    "separate_base",
]

Statistics = ArmStatistics | UnpairedStatistics


def add_gain(statistics: Statistics, row: RowBuilder, reference: Arm | str) -> None:
    """Add the accuracy of an arm and its gain over the reference, or the reason why a number is missing."""
    arm = row.arm
    row.reference = reference
    if arm.status != "measured":
        row.reason = arm.reason
        return
    row.measure = statistics.measure(arm)
    if reference is arm:
        row.reason = why_not_comparable_at_all(arm)
        return
    found = reference if isinstance(reference, str) else statistics.compare(arm, reference)
    if isinstance(found, Gain):
        row.gain = found
    else:
        row.reason = found


def add_ranks(statistics: Statistics, rows: Sequence[RowBuilder], base: Arm | str) -> None:
    """Rank the arms that are comparable with base or, if base has no result, with the first measured arm.

    The arms have no ranks if the number of groups is too small for any difference to be significant.
    """
    contenders = {
        row.arm: (row, row.measure.accuracy.mean)
        for row in rows
        if row.measure and row.arm.kind != "ceiling" and not why_not_comparable_at_all(row.arm)
    }
    if not contenders:
        return
    anchor = base if not isinstance(base, str) and base in contenders else next(iter(contenders))
    accuracies = []
    for arm, (row, mean) in contenders.items():
        found = None if arm is anchor else statistics.compare(arm, anchor)
        if arm is anchor or isinstance(found, Gain):
            accuracies.append((arm, mean))
        if anchor is base and isinstance(found, Gain):
            row.gain_over_base = found
    ranked = rank(accuracies, statistics.p_value)
    separable = any(_can_differ(contenders[arm][0], len(ranked)) for arm, _, _ in ranked)
    for position, (arm, number, tied) in enumerate(ranked):
        contenders[arm][0].rank = Rank(position, number if separable else None, tied and separable)


def _can_differ(row: RowBuilder, arms: int) -> bool:
    """Return whether the test of an arm against the first arm of a rank can be significant."""
    if row.measure is None or (arms == 1 and row.measure.accuracy.interval):
        return True
    if row.origin == "published":
        return row.measure.accuracy.interval is not None
    return smallest_p(row.measure.accuracy.groups) * (arms - 1) < LEVEL


def separate_base(rows: Sequence[RowBuilder]) -> None:
    """Move base to a rank of its own, with the arms below, if base shares its rank with an arm that beats base."""
    base = next((row.rank for row in rows if row.arm.kind == "base" and row.rank), None)
    if base is None or base.rank is None:
        return
    shared = [(row, row.rank) for row in rows if row.rank and row.rank.rank == base.rank]
    if not any(row.beats_base for row, _ in shared):
        return
    above = [(row, one) for row, one in shared if one.position < base.position]
    below = [(row, one) for row, one in shared if one.position >= base.position]
    for some, number in ((above, base.rank), (below, base.position + 1)):
        for row, one in some:
            row.rank = Rank(one.position, number, len(some) > 1)


def add_best_on_test(rows: Sequence[RowBuilder]) -> None:
    """Add to each chosen arm on a target task the arm that would be selected by accuracy on the test questions."""
    measured = [(row, row.measure.accuracy.mean) for row in rows if row.measure and row.arm.task.role == "target"]
    for row, mean in measured:
        if not row.chosen:
            continue
        group, _ = group_of(row.arm)
        rivals = [(other, value) for other, value in measured if group_of(other.arm)[0] == group]
        if len(rivals) > 1:
            best, highest = max([(row, mean), *rivals], key=lambda pair: pair[1])
            row.best_on_test = (best.arm.name, highest)


def add_gold_shares(rows: Sequence[RowBuilder]) -> None:
    """Add each gain as a share of the untrained model's gain from the gold passage, if this gain is significant.

    A share of a gain that may be due to chance would mean nothing.
    """
    gold = next((row for row in rows if row.arm.kind == "ceiling" and not row.arm.method.is_trained), None)
    if gold is None or gold.gain is None or gold.gain.absolute <= 0 or not gold.gain.significant:
        return
    for row in rows:
        if row.gain:
            row.gold_share = row.gain.absolute / gold.gain.absolute


def add_knowledge_split(statistics: Statistics, rows: Sequence[RowBuilder], probe: Arm | None) -> None:
    """Add the gains on known and unknown questions; `probe` is a second, comparable measurement of base."""
    if probe is None:
        return
    for row in rows:
        if row.gain and not isinstance(row.reference, str) and not why_not_comparable(probe, row.reference):
            row.split = statistics.split(row.arm, row.reference, probe)


def add_warnings(rows: Sequence[RowBuilder]) -> None:
    """Add warnings to the measured arms of a block."""
    measured = [(row, row.measure) for row in rows if row.measure]
    block = BlockWarnings((row.arm, measure.warning_facts) for row, measure in measured)
    for row, measure in measured:
        p = None if row.lowest_p is not None and row.lowest_p >= LEVEL else row.p
        row.warnings = block.of(row.arm, measure.warning_facts, measure.accuracy, row.gain, p)
