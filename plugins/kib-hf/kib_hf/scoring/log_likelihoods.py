"""Log-likelihoods of requests, computed from the logits at the scored positions of a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kib_hf.scoring.request_plan import RequestPlan
from kib_hf.scoring.row_layout import RowLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Answer", "LogLikelihoods", "TargetIndex", "index_targets"]

Answer = tuple[float, bool]
"""A continuation's log-likelihood, and whether greedy decoding would produce this continuation."""


@dataclass(frozen=True, slots=True)
class TargetIndex:
    """The row positions that predict the target tokens of several requests.

    `scored` lists the sorted row indices of all scored positions. `targets` lists the targets of all requests, one
    request after another. `lengths` contains the number of targets per request, and `positions` contains the index in
    `scored` of each target.
    """

    scored: "NDArray[np.int64]"
    positions: "NDArray[np.int64]"
    targets: "NDArray[np.int64]"
    lengths: tuple[int, ...]


def index_targets(plan: RequestPlan, layout: RowLayout, requests: Sequence[int]) -> TargetIndex:
    """Find the row positions that predict the target tokens of several requests."""
    targets = [plan.targets[request] for request in requests]
    found = [layout.paths[plan.prompt_of[request]][-len(plan.targets[request]) :] for request in requests]
    scored, positions = np.unique(np.concatenate(found), return_inverse=True)
    return TargetIndex(scored, positions, np.concatenate(targets).astype(np.int64), tuple(map(len, targets)))


class LogLikelihoods:
    """Sums log-probabilities as logits arrive, with the same rounding as lm-eval's HFLM.

    `dtype` is the data type in which the softmax is computed; None means the data type of the logits.
    """

    def __init__(self, index: TargetIndex, dtype: torch.dtype | None) -> None:
        self._index = index
        self._dtype = dtype
        self._positions_done = 0
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, logits: Tensor) -> None:
        """Add the log-probabilities at the next scored positions, given logits of shape [positions, vocabulary]."""
        positions, done = self._index.positions, self._positions_done
        chosen = np.flatnonzero((positions >= done) & (positions < done + len(logits)))
        rows = torch.as_tensor(positions[chosen] - done, device=logits.device)
        targets = torch.as_tensor(self._index.targets[chosen], device=logits.device)
        self._positions_done += len(logits)
        log_probabilities = torch.log_softmax(logits, dim=-1, dtype=self._dtype)
        greedy = log_probabilities.argmax(dim=-1)[rows] == targets
        self._found.append((torch.as_tensor(chosen), log_probabilities[rows, targets].cpu(), greedy.cpu()))

    def answers(self) -> list[Answer]:
        """Return each request's log-likelihood, and whether greedy decoding would produce the request's targets."""
        chosen, values, greedy = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        order = chosen.argsort()
        lengths = list(self._index.lengths)
        parts = zip(torch.split(values[order], lengths), torch.split(greedy[order], lengths), strict=True)
        return [(float(value.sum()), bool(flags.all())) for value, flags in parts]
