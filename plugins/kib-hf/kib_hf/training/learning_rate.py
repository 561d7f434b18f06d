"""The learning rate of each step."""

import math
from typing import Literal

__all__ = ["Schedule", "factor"]

Schedule = Literal["cosine", "linear", "constant"]


def factor(step: int, steps: int, warmup: int, schedule: Schedule) -> float:
    """What the highest rate is multiplied with in a step, counted from 0.

    In the warm-up it rises in even parts, and no step, the first included, has a rate of 0: its text would be lost.
    Afterwards it stays, or falls towards 0, which it would reach one step after the last.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return max(0.0, 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2)
