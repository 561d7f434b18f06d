"""Requests as tokens, grouped by the row that answers them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kib_hf.scoring.prefix_trees import RowLimits, TreeRow, plan_rows
from kib_hf.scoring.sorted_prompts import SortedPrompts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EncodedRequest", "RequestPlan"]


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """The prompt `tokens` of a request, and the `targets` to predict, one after each of the last prompt tokens."""

    tokens: "NDArray[np.int32]"
    targets: "NDArray[np.int32]"


class RequestPlan:
    """Requests by row. Requests are identified by their index; requests with the same prompt share it."""

    def __init__(self, requests: Iterable[EncodedRequest], limits: RowLimits) -> None:
        """Sort requests into rows: a pure function of the requests and the limits."""
        given = list(requests)
        self.prompts = SortedPrompts((one.tokens, len(one.tokens) - len(one.targets)) for one in given)
        self.prompt_of = [self.prompts.index_of(one.tokens) for one in given]
        self.targets = [one.targets for one in given]
        self.rows = list(plan_rows(self.prompts, limits))
        self._requests_of: dict[int, list[int]] = {}
        for request, prompt in enumerate(self.prompt_of):
            self._requests_of.setdefault(prompt, []).append(request)
        self.batches = [self.requests(row) for row in self.rows]
        self.row_of = {request: row for row, batch in enumerate(self.batches) for request in batch}

    def requests(self, row: TreeRow) -> list[int]:
        """Return the indices of the requests that a row answers."""
        return [request for prompt in row.prompts for request in self._requests_of[prompt]]
