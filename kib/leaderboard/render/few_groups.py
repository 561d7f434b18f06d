"""Sentences about blocks with so few groups of questions that intervals are rough and p values cannot be small."""

from collections.abc import Sequence

from kib.leaderboard.number_format import p_value
from kib.leaderboard.table_records import ArmRow
from kib.statistics.gains import FEW_GROUPS
from kib.statistics.paired_test import smallest_p

__all__ = ["few_groups"]


def few_groups(rows: Sequence[ArmRow]) -> str:
    """Return the consequences of few groups for the measured rows of one block, or "" if there are enough groups."""
    counts = [(row.accuracy.groups, row.accuracy.n) for row in rows if row.accuracy and row.origin == "measured"]
    groups, questions = min(counts, default=(FEW_GROUPS, FEW_GROUPS))
    if groups >= FEW_GROUPS:
        return ""
    unit = "question" if groups == questions else "group of questions" if groups == 1 else "groups of questions"
    plural = "s" if groups == questions != 1 else ""
    text = (
        f"only {groups} {unit}{plural}: intervals are rough, and p cannot be smaller than {p_value(smallest_p(groups))}"
    )
    adjusted = max((row.lowest_p for row in rows if row.lowest_p is not None), default=0.0)
    if p_value(adjusted) != p_value(max(adjusted and smallest_p(groups), 0.0)):
        text += f" ({p_value(adjusted)} after Holm's adjustment)"
    if any(row.undecidable for row in rows):
        text += ", so the test cannot show that a gain is more than chance"
    if any(row.compared and row.rank is None for row in rows):
        text += "; the arms have no ranks, because no two arms can differ significantly"
    return text
