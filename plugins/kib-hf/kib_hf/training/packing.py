"""Plan a training run by assigning examples to rows, and rows to steps.

The seed determines the complete plan before training starts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Row", "StepPlan", "pack", "plan_steps"]

Row = tuple[int, ...]
"""The indices of the examples in a row, in order."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The rows of every step, and the one-based number of the last step in each epoch."""

    steps: tuple[tuple[Row, ...], ...]
    epoch_ends: tuple[int, ...]


def plan_steps(lengths: Sequence[int], *, epochs: int, batch_size: int, block: int | None, seed: int) -> StepPlan:
    """Schedule every example once per epoch, in a new random order for each epoch.

    Examples are packed in rows of up to `block` tokens, or one per row if `block` is None. The last step of an epoch
    may have fewer than `batch_size` rows.
    """
    steps: list[tuple[Row, ...]] = []
    epoch_ends = []
    for epoch in range(epochs):
        order = _shuffled(len(lengths), f"pieces {seed} {epoch}")  # this string determines the order: do not change it
        rows = [(index,) for index in order] if block is None else pack(lengths, block, order)
        shuffled_rows = [rows[index] for index in _shuffled(len(rows), f"rows {seed} {epoch}")]
        steps += [tuple(shuffled_rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
        epoch_ends.append(len(steps))
    return StepPlan(tuple(steps), tuple(epoch_ends))


def _shuffled(count: int, name: str) -> list[int]:
    """Return the integers from 0 to `count` - 1 in an order that depends only on `name` and is the same everywhere."""
    return sorted(range(count), key=lambda number: hashlib.sha256(f"{name} {number}".encode()).digest())


def pack(lengths: Sequence[int], block: int, order: Sequence[int]) -> list[Row]:
    """Pack the examples in `order` into rows of at most `block` tokens with the best-fit decreasing algorithm.

    Examples of equal length are packed in the given order. Within a row, examples appear in packing order.
    """
    rows: list[list[int]] = []
    rows_by_space: dict[int, list[int]] = {}
    spaces = 0  # bit n is set if some row has room for exactly n more tokens
    for index in sorted(order, key=lambda index: -lengths[index]):
        fitting = spaces >> lengths[index]
        if fitting:
            space = lengths[index] + (fitting & -fitting).bit_length() - 1
            row = rows_by_space[space].pop()
            if not rows_by_space[space]:
                spaces &= ~(1 << space)
        else:
            space, row = block, len(rows)
            rows.append([])
        rows[row].append(index)
        space -= lengths[index]
        rows_by_space.setdefault(space, []).append(row)
        spaces |= 1 << space
    return [tuple(row) for row in rows]
