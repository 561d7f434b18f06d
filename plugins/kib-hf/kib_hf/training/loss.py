"""Rows as tensors, the loss of a batch, and the mean loss over text."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kib_hf.training.examples import IGNORED, Piece
from kib_hf.training.packing import Row

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Batches", "collate", "mean_loss", "summed_loss"]


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


def mean_loss(model: Any, parts: Iterable[Sequence[Sequence[Piece]]], filler: int) -> float:
    """Nats a token over parts of rows, a part at once, without dropout."""
    import torch

    was_training, total, count = model.training, 0.0, 0
    model.eval()
    try:
        with torch.inference_mode():
            for rows in parts:
                batch = {name: part.to(model.device) for name, part in collate(rows, filler).items()}
                labels = batch.pop("labels")
                total += float(summed_loss(model(**batch, use_cache=False).logits, labels))
                count += int((labels != IGNORED).sum())
    finally:
        model.train(was_training)
    return total / count


@dataclass(frozen=True, slots=True)
class Batches:
    """The parts of all steps one after the other, as PyTorch's DataLoader takes them: indexed, with a length."""

    parts: Sequence[Sequence[Row]]
    pieces: Sequence[Piece]
    filler: int

    def __len__(self) -> int:
        return len(self.parts)

    def rows(self, place: int) -> list[list[Piece]]:
        """The pieces of a part, row by row; a piece without a loss where the part is empty."""
        found = [[self.pieces[number] for number in row] for row in self.parts[place]]
        return found or [[Piece(array("i", [self.filler] * 2), array("i", [IGNORED] * 2))]]

    def __getitem__(self, place: int) -> "dict[str, Tensor]":
        return collate(self.rows(place), self.filler)
