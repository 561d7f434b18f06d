"""Rows as tensors, the loss of a batch, and the mean loss over text."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kib_hf.packing import Course, Row
from kib_hf.pieces import IGNORED, Piece

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Batches", "collate", "mean_loss", "share_out", "summed_loss"]


def collate(rows: Sequence[Sequence[Piece]], filler: int) -> "dict[str, Tensor]":
    """Tensors of shape (rows, longest row): `input_ids`, `labels`, and `position_ids` where a row has several pieces.

    A piece's positions begin at 0, from which transformers tells the pieces of a row apart. Rows are filled up on the
    right, where a causal model sees it from nowhere; no piece needs a mask beyond that.
    """
    import torch

    longest = max(sum(map(len, row)) for row in rows)
    shape = (len(rows), longest)
    tokens = torch.full(shape, filler)
    labels = torch.full(shape, IGNORED)
    positions = torch.arange(longest).repeat(len(rows), 1)
    for place, row in enumerate(rows):
        start = 0
        for piece in row:
            end = start + len(piece)
            tokens[place, start:end] = torch.frombuffer(piece.tokens, dtype=torch.int32)
            labels[place, start:end] = torch.frombuffer(piece.labels, dtype=torch.int32)
            positions[place, start:] = torch.arange(longest - start)
            start = end
    batch = {"input_ids": tokens, "labels": labels}
    return {**batch, "position_ids": positions} if any(len(row) > 1 for row in rows) else batch


def summed_loss(logits: "Tensor", labels: "Tensor") -> "Tensor":
    """Sum over the labels of their negative log-likelihood, in nats, computed in float32."""
    from torch.nn.functional import cross_entropy, pad

    following = pad(labels[:, 1:], (0, 1), value=IGNORED).reshape(-1)
    return cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), following, ignore_index=IGNORED, reduction="sum")


def mean_loss(model: Any, rows: Sequence[Sequence[Piece]], filler: int, size: int) -> float:
    """Nats a token over the rows, `size` of them at once, without dropout."""
    import torch

    was_training, total, count = model.training, 0.0, 0
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), size):
                batch = {
                    name: part.to(model.device) for name, part in collate(rows[start : start + size], filler).items()
                }
                labels = batch.pop("labels")
                total += float(summed_loss(model(**batch, use_cache=False).logits, labels))
                count += int((labels != IGNORED).sum())
    finally:
        model.train(was_training)
    return total / count


def share_out(rows: Sequence[Row], size: int, processes: int, rounds: int) -> Iterator[Sequence[Row]]:
    """A step's rows in `rounds` x `processes` parts of at most `size` rows; what is left over is empty.

    Part n goes to process n modulo `processes`: all have as many rows, or one more than another.
    """
    used = -(-len(rows) // size)
    used = min(rounds, -(-used // processes)) * processes
    for part in range(rounds * processes):
        yield rows[part * len(rows) // used : (part + 1) * len(rows) // used] if part < used else ()


@dataclass(frozen=True, slots=True)
class Batches:
    """The parts of all steps one after the other, as PyTorch's DataLoader takes them: indexed, with a length."""

    parts: Sequence[Sequence[Row]]
    pieces: Sequence[Piece]
    filler: int

    @classmethod
    def of(
        cls, course: Course, pieces: Sequence[Piece], filler: int, *, size: int, processes: int, rounds: int
    ) -> "Batches":
        """Every step's rows, the longest first, so that those of a length stand together."""
        parts: list[Sequence[Row]] = []
        for step in course.steps:
            sorted_rows = sorted(step, key=lambda row: -sum(len(pieces[number]) for number in row))
            parts += share_out(sorted_rows, size, processes, rounds)
        return cls(parts, pieces, filler)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> "dict[str, Tensor]":
        rows = [[self.pieces[number] for number in row] for row in self.parts[place]]
        return collate(rows or [[self._nothing()]], self.filler)

    def _nothing(self) -> Piece:
        """A piece without a loss, so that every process has as many batches as the others."""
        return Piece(array("i", [self.filler] * 2), array("i", [IGNORED] * 2))
