"""Requests in the rows that answer them, and their answers from what a model predicts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kib_hf.scoring.prefix_trees import Grove, Row, Sizes
from kib_hf.scoring.row_layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Places", "Plan", "Tally", "Wanted", "places"]


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


class Tally:
    """Adds up log-probabilities while logits come, rounded as lm-eval's HFLM rounds them.

    `dtype` is that of the softmax; None: the model's own.
    """

    def __init__(self, where: Places, dtype: torch.dtype | None) -> None:
        self._where = where
        self._dtype = dtype
        self._seen = 0
        self._values: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, logits: Tensor) -> None:
        """Take the logits [some, vocabulary] of the next scored positions."""
        where = self._where
        here = np.flatnonzero((where.index >= self._seen) & (where.index < self._seen + len(logits)))
        index = torch.as_tensor(where.index[here] - self._seen, device=logits.device)
        targets = torch.as_tensor(where.targets[here], device=logits.device)
        self._seen += len(logits)
        some = torch.log_softmax(logits, dim=-1, dtype=self._dtype)
        hits = some.argmax(dim=-1)[index] == targets
        self._values.append((torch.as_tensor(here), some[index, targets].cpu(), hits.cpu()))

    def answers(self) -> list[tuple[float, bool]]:
        """Each request's log-probability, and whether greedy decoding would give its tokens."""
        places, values, hits = (torch.cat(parts) for parts in zip(*self._values, strict=True))
        order = places.argsort()
        lengths = list(self._where.lengths)
        parts = zip(torch.split(values[order], lengths), torch.split(hits[order], lengths), strict=True)
        return [(float(value.sum()), bool(hit.all())) for value, hit in parts]
