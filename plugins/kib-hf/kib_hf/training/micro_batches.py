"""How the rows of a step go through the model: in which parts, so that little of the work is filler."""

from collections.abc import Iterator, Sequence

from kib_hf.training.packing import Row

__all__ = ["apart", "best_count", "divide", "lay_out", "share_out"]

PART = 100
"""What a part costs beside its tokens, in tokens: calling every layer forth and back."""

TRIED = 20
"""Steps by which the number of parts is chosen."""


def lay_out(
    steps: Sequence[Sequence[Row]], lengths: Sequence[int], *, packed: bool, rows: int, block: int, processes: int
) -> tuple[list[Sequence[Row]], int]:
    """The parts of all steps one after the other, and how many of them each process has in a step.

    A part is about as large as `rows` rows of `block` tokens at most; part n goes to process n modulo `processes`.
    Packed rows stay as they are, else each piece gets a row among others of its length.
    """
    parts: list[Sequence[Row]] = []
    if packed:
        rounds = -(-max(map(len, steps)) // (rows * processes))
        for step in steps:
            parts += share_out(step, rows, processes, rounds)
    else:
        rounds = -(-best_count(steps, lengths, rows * block) // processes)
        for step in steps:
            parts += divide(apart(step, lengths), lengths, rounds * processes)
    return parts, rounds


def apart(rows: Sequence[Row], lengths: Sequence[int]) -> list[Row]:
    """The pieces of the rows, each in a row of its own, the longest first."""
    return sorted(((number,) for row in rows for number in row), key=lambda row: -lengths[row[0]])


def divide(rows: Sequence[Row], lengths: Sequence[int], count: int) -> Iterator[Sequence[Row]]:
    """Rows of one piece each, the longest first, in `count` parts of about as many tokens; parts may be empty."""
    total, seen, start, part = sum(lengths[row[0]] for row in rows), 0, 0, 1
    for end, row in enumerate(rows, 1):
        seen += lengths[row[0]]
        while part <= count and seen * count >= total * part:
            yield rows[start:end]
            start, part = end, part + 1
    for _ in range(part, count + 1):
        yield ()


def best_count(steps: Sequence[Sequence[Row]], lengths: Sequence[int], most: int) -> int:
    """The number of parts a step with the least work in all, none of more than `most` tokens with its filler.

    Fewer parts have more filler, as short rows stand beside long ones; each part costs something of its own.
    """
    some = [apart(step, lengths) for step in steps[:TRIED]]
    first = max(-(-sum(lengths[row[0]] for row in step) // most) for step in some)
    best, least = 0, float("inf")
    for count in range(first, max(map(len, some)) + 1):
        sizes = [_size(part, lengths) for step in some for part in divide(step, lengths, count)]
        work = sum(sizes) + PART * count * len(some)
        if max(sizes) <= most and work < least:
            best, least = count, work
        if best and count >= best + 4:
            break
    return best or max(map(len, some))


def _size(part: Sequence[Row], lengths: Sequence[int]) -> int:
    return len(part) * lengths[part[0][0]] if part else 0


def share_out(rows: Sequence[Row], size: int, processes: int, rounds: int) -> Iterator[Sequence[Row]]:
    """A step's rows in `rounds` x `processes` parts of at most `size` rows; what is left over is empty.

    Part n goes to process n modulo `processes`: all have as many rows, or one more than another.
    """
    used = -(-len(rows) // size)
    used = min(rounds, -(-used // processes)) * processes
    for part in range(rounds * processes):
        yield rows[part * len(rows) // used : (part + 1) * len(rows) // used] if part < used else ()
