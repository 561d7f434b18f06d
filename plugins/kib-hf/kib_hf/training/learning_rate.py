"""The learning rate of each step."""

import math
from typing import Literal

__all__ = ["Schedule", "rate_factor"]

Schedule = Literal["cosine", "linear", "constant"]


def rate_factor(step: int, steps: int, warmup: int, schedule: Schedule) -> float:
    """The factor applied to the peak learning rate in a step, counting steps from 0.

    The factor rises linearly during the `warmup` steps, then stays at 1 or falls towards 0. The rate is never 0,
    neither in the first step nor in the last: a step with a rate of 0 would learn nothing from its text.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return max(0.0, 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2)
