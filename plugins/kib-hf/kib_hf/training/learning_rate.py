"""The learning rate schedule."""

import math
from typing import Literal

__all__ = ["Schedule", "rate_factor"]

Schedule = Literal["cosine", "linear", "constant"]


def rate_factor(step: int, steps: int, warmup: int, schedule: Schedule) -> float:
    """Return the factor by which the peak learning rate is multiplied in a step.

    `step` is the zero-based index of the step.

    The factor rises linearly during the `warmup` steps, then stays at 1 or falls towards 0. The learning rate is never
    0, even in the first and last steps, because a step with a rate of 0 would learn nothing from its text.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return max(0.0, 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2)
