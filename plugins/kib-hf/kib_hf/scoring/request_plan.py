"""Tokenized requests, grouped by the row in which their answers are computed."""

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
    """A request's prompt `tokens`, and its `targets`, each of which is predicted at one of the last prompt tokens."""

    tokens: "NDArray[np.int32]"
    targets: "NDArray[np.int32]"


class RequestPlan:
    """Requests grouped by row and identified by their index; requests with the same prompt are computed only once."""

    def __init__(self, requests: Iterable[EncodedRequest], limits: RowLimits) -> None:
        """Assign requests to rows; the assignment is a pure function of the requests and the limits."""
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
        """Return the indices of the requests answered by a row."""
        return [request for prompt in row.prompts for request in self._requests_of[prompt]]
