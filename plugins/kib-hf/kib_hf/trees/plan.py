"""Requests in the rows that answer them, and their answers from what a model predicts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kib_hf.trees.layout import Layout
from kib_hf.trees.rows import Grove, Row, Sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Places", "Plan", "Wanted", "places", "summed"]

CHUNK = 256
"""Positions whose log-probabilities over the vocabulary are held at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as tokens: the model reads `tokens`, and at the last of them should predict `targets`, one each."""

    tokens: "NDArray[np.int32]"
    targets: "NDArray[np.int32]"


class Plan:
    """Requests by the row of their prompt; requests with the same prompt share it."""

    def __init__(self, wanted: Iterable[Wanted], sizes: Sizes) -> None:
        """Sort them into rows; a pure function of the requests and the sizes."""
        given = list(wanted)
        self.grove = Grove((one.tokens, len(one.tokens) - len(one.targets)) for one in given)
        self.numbers = [self.grove.number(one.tokens) for one in given]
        self.targets = [one.targets for one in given]
        self.rows = list(self.grove.rows(sizes))
        self._asked: dict[int, list[int]] = {}
        for request, number in enumerate(self.numbers):
            self._asked.setdefault(number, []).append(request)
        self.batches = [self.requests(row) for row in self.rows]
        self.row_of = {request: row for row, batch in enumerate(self.batches) for request in batch}

    def requests(self, row: Row) -> list[int]:
        """The requests that a row answers."""
        return [request for number in row.prompts for request in self._asked[number]]


@dataclass(frozen=True, slots=True)
class Places:
    """The scored positions of a row, sorted, and for the targets of each request in turn which of them predicts it."""

    rows: "NDArray[np.int64]"
    index: "NDArray[np.int64]"
    targets: "NDArray[np.int64]"
    lengths: tuple[int, ...]


def places(plan: Plan, layout: Layout, requests: Sequence[int]) -> Places:
    """Where the answers to some requests of a row are predicted."""
    targets = [plan.targets[request] for request in requests]
    found = [layout.paths[plan.numbers[request]][-len(plan.targets[request]) :] for request in requests]
    rows, index = np.unique(np.concatenate(found), return_inverse=True)
    return Places(rows, index, np.concatenate(targets).astype(np.int64), tuple(map(len, targets)))


def summed(logits: Tensor, where: Places, dtype: torch.dtype | None) -> list[tuple[float, bool]]:
    """Each request's log-probability and whether greedy decoding would give it, rounded as lm-eval's HFLM rounds.

    `logits` [positions, vocabulary]; `dtype` is that of the softmax, None the model's own.
    """
    index, targets = (torch.as_tensor(array, device=logits.device) for array in (where.index, where.targets))
    values: Tensor | None = None
    best = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    for start in range(0, len(logits), CHUNK):
        some = torch.log_softmax(logits[start : start + CHUNK], dim=-1, dtype=dtype)
        best[start : start + CHUNK] = some.argmax(dim=-1)
        here = ((index >= start) & (index < start + CHUNK)).nonzero()[:, 0]
        values = some.new_empty(len(index)) if values is None else values
        values[here] = some[index[here] - start, targets[here]]
    assert values is not None  # noqa: S101 - a row answers at least one request
    ends = np.cumsum(where.lengths)
    hits = (best[index] == targets).cpu()
    values = values.cpu()
    spans = [slice(int(end) - length, int(end)) for end, length in zip(ends, where.lengths, strict=True)]
    return [(float(values[span].sum()), bool(hits[span].all())) for span in spans]
