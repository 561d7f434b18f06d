"""Micro-batches, which are the parts of a step that the model processes one at a time, with minimal padding."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kib_hf.training.examples import IGNORED, Example
from kib_hf.training.packing import Row

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MicroBatches", "best_count", "collate", "plan_micro_batches", "share_packed", "single_rows", "split_sorted"]

OVERHEAD = 100
"""The fixed cost of a micro-batch, in tokens, for the forward and backward calls of every layer."""

SAMPLED_STEPS = 20
"""The number of steps used to choose the number of micro-batches per step."""


def plan_micro_batches(
    steps: Sequence[Sequence[Row]], lengths: Sequence[int], *, packed: bool, rows: int, block: int, processes: int
) -> tuple[list[Sequence[Row]], int]:
    """Split all steps into micro-batches; return the micro-batches in order, and their number per step and process.

    A micro-batch has approximately `rows` x `block` tokens or fewer. Micro-batch n is assigned to process n modulo
    `processes`. If `packed` is true, rows are not changed; otherwise each example gets its own row, and examples of
    similar length are grouped together.
    """
    planned: list[Sequence[Row]] = []
    if packed:
        per_process = -(-max(map(len, steps)) // (rows * processes))
        for step in steps:
            planned += share_packed(step, rows, processes, per_process)
    else:
        per_process = -(-best_count(steps, lengths, rows * block) // processes)
        for step in steps:
            planned += split_sorted(single_rows(step, lengths), lengths, per_process * processes)
    return planned, per_process


def single_rows(rows: Sequence[Row], lengths: Sequence[int]) -> list[Row]:
    """Put every example in its own row, longest examples first."""
    return sorted(((index,) for row in rows for index in row), key=lambda row: -lengths[row[0]])


def split_sorted(rows: Sequence[Row], lengths: Sequence[int], count: int) -> Iterator[Sequence[Row]]:
    """Split rows of one example each into `count` parts with similar numbers of tokens; parts may be empty."""
    total, seen, start, part = sum(lengths[row[0]] for row in rows), 0, 0, 1
    for end, row in enumerate(rows, 1):
        seen += lengths[row[0]]
        while part <= count and seen * count >= total * part:
            yield rows[start:end]
            start, part = end, part + 1


def best_count(steps: Sequence[Sequence[Row]], lengths: Sequence[int], limit: int) -> int:
    """Return the cheapest number of micro-batches per step, with at most `limit` tokens each, including padding.

    Fewer micro-batches need more padding, because short rows are batched with long rows. More micro-batches add more
    fixed overhead.
    """
    sampled = [single_rows(step, lengths) for step in steps[:SAMPLED_STEPS]]
    fewest = max(-(-sum(lengths[row[0]] for row in step) // limit) for step in sampled)
    best, least_work = 0, float("inf")
    for count in range(fewest, max(map(len, sampled)) + 1):
        sizes = [_padded_size(part, lengths) for step in sampled for part in split_sorted(step, lengths, count)]
        work = sum(sizes) + OVERHEAD * count * len(sampled)
        if max(sizes) <= limit and work < least_work:
            best, least_work = count, work
        if best and count >= best + 4:
            break
    return best or max(map(len, sampled))


def _padded_size(rows: Sequence[Row], lengths: Sequence[int]) -> int:
    """Return the number of tokens in a part, including padding; the part's first row must be the longest."""
    return len(rows) * lengths[rows[0][0]] if rows else 0


def share_packed(rows: Sequence[Row], size: int, processes: int, per_process: int) -> Iterator[Sequence[Row]]:
    """Split a step's packed rows into `per_process` x `processes` parts of at most `size` rows; parts may be empty.

    Part n is assigned to process n modulo `processes`. The sizes of non-empty parts differ by at most one row.
    """
    used = -(-len(rows) // size)
    used = min(per_process, -(-used // processes)) * processes
    for part in range(per_process * processes):
        yield rows[part * len(rows) // used : (part + 1) * len(rows) // used] if part < used else ()


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """The micro-batches of all steps as tensors, in the form of a map-style dataset for PyTorch's DataLoader."""

    planned: Sequence[Sequence[Row]]
    examples: Sequence[Example]
    padding: int

    def __len__(self) -> int:
        return len(self.planned)

    def rows(self, index: int) -> list[list[Example]]:
        """Return the examples in a micro-batch, row by row; an empty micro-batch gets one example that has no loss."""
        found = [[self.examples[number] for number in row] for row in self.planned[index]]
        return found or [[Example(array("i", [self.padding] * 2), array("i", [IGNORED] * 2))]]

    def __getitem__(self, index: int) -> "dict[str, Tensor]":
        """Return a micro-batch; the transformers Trainer counts and removes `labels`, and the model reads `targets`."""
        batch = collate(self.rows(index), self.padding)
        return {**batch, "targets": batch["labels"]}


def collate(rows: Sequence[Sequence[Example]], padding: int) -> "dict[str, Tensor]":
    """Convert rows to the tensors `input_ids`, `labels` and, if needed, `position_ids`, of shape (rows, longest row).

    Positions are needed if a row contains several examples: positions restart at 0 for each example, and transformers
    uses them to isolate the examples. Rows are padded on the right; a causal model never attends to tokens on the
    right, so no mask is needed for the padding.
    """
    import torch

    longest = max(sum(map(len, row)) for row in rows)
    shape = (len(rows), longest)
    tokens = torch.full(shape, padding)
    labels = torch.full(shape, IGNORED)
    positions = torch.arange(longest).repeat(len(rows), 1)
    for index, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example)
            tokens[index, start:end] = torch.frombuffer(example.tokens, dtype=torch.int32)
            labels[index, start:end] = torch.frombuffer(example.labels, dtype=torch.int32)
            positions[index, start:] = torch.arange(longest - start)
            start = end
    batch = {"input_ids": tokens, "labels": labels}
    return {**batch, "position_ids": positions} if any(len(row) > 1 for row in rows) else batch
