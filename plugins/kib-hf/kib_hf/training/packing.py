"""Which pieces stand together in a row, and which rows in a step: decided by the seed before the training begins."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Course", "Row", "make_course", "pack"]

Row = tuple[int, ...]
"""Numbers of the pieces in a row, in order."""


@dataclass(frozen=True, slots=True)
class Course:
    """The rows of every step, and the step with which each epoch ends (counted from 1)."""

    steps: tuple[tuple[Row, ...], ...]
    epoch_ends: tuple[int, ...]


def make_course(lengths: Sequence[int], *, epochs: int, batch_size: int, block: int | None, seed: int) -> Course:
    """Every piece once an epoch, in an order drawn for the epoch; the last step of an epoch may have fewer rows.

    With a `block` (tokens), pieces are packed into rows that long; without one each is a row.
    """
    steps: list[tuple[Row, ...]] = []
    ends = []
    for epoch in range(epochs):
        order = _shuffled(len(lengths), f"pieces {seed} {epoch}")
        rows = [(number,) for number in order] if block is None else pack(lengths, block, order)
        drawn = [rows[place] for place in _shuffled(len(rows), f"rows {seed} {epoch}")]
        steps += [tuple(drawn[start : start + batch_size]) for start in range(0, len(drawn), batch_size)]
        ends.append(len(steps))
    return Course(tuple(steps), tuple(ends))


def _shuffled(count: int, name: str) -> list[int]:
    """0 to `count` - 1 in an order that depends on `name` alone, on every machine and in every version of Python."""
    return sorted(range(count), key=lambda number: hashlib.sha256(f"{name} {number}".encode()).digest())


def pack(lengths: Sequence[int], block: int, order: Sequence[int]) -> list[Row]:
    """Rows of at most `block` tokens with every piece of `order` once: best fit, the longest first.

    Among pieces of one length the order given decides. A row's pieces come in the order they were put in.
    """
    rows: list[list[int]] = []
    free: dict[int, list[int]] = {}  # rows by the tokens that still fit
    some = 0  # its bit n is set where a row has n tokens free
    for number in sorted(order, key=lambda number: -lengths[number]):
        fitting = some >> lengths[number]
        if fitting:
            left = lengths[number] + (fitting & -fitting).bit_length() - 1
            row = free[left].pop()
            if not free[left]:
                some &= ~(1 << left)
        else:
            left, row = block, len(rows)
            rows.append([])
        rows[row].append(number)
        left -= lengths[number]
        free.setdefault(left, []).append(row)
        some |= 1 << left
    return [tuple(row) for row in rows]
