"""Adjustment of p values for multiple tests."""

from collections.abc import Sequence

from kib.statistics.question_groups import rounded

__all__ = ["holm"]


def holm(values: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down method (Holm 1979), in the order of the arguments."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted = [1.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = rounded(highest)
    return adjusted
