"""Run forward passes over the rows of a plan, and split the rows if memory runs out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from traceback import clear_frames
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]
from lm_eval.models.utils_hf import clear_torch_cache
from torch import Tensor

from kib.errors import StepError
from kib_hf.scoring.generation_cache import generation_cache
from kib_hf.scoring.log_likelihoods import Answer, LogLikelihoods, index_targets
from kib_hf.scoring.prefix_cache import PrefixCache, byte_size
from kib_hf.scoring.prefix_trees import SharedPrefix, TreeRow, split_row
from kib_hf.scoring.request_plan import RequestPlan
from kib_hf.scoring.row_layout import RowLayout, lay_out_row, lay_out_text
from kib_hf.scoring.tree_reader import KeyValues, TreeReader

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

__all__ = ["Prefill", "RowRunner"]


@dataclass(frozen=True, slots=True)
class Prefill:
    """The keys and values of a row of prompts and of the shared prefixes before the row."""

    plan: RequestPlan
    layout: RowLayout
    row: KeyValues
    prefix: list[KeyValues]

    def cache_for(self, prompts: Sequence[Tensor], config: Any) -> Any:
        """Return a cache that transformers can use to generate text for the given prompts."""
        indices = [self.plan.prompts.index_of(tokens.cpu().numpy()) for tokens in prompts]
        return generation_cache(config, self.layout, indices, self.row, self.prefix)


class RowRunner:
    """Runs rows through an HFLM's model and caches shared prefixes.

    After memory has run out, rows are split, and the function `note` receives a message about the split. `token_limit`
    is the maximum number of tokens per forward pass, or None until memory runs out. `read_tokens` counts the tokens of
    all forward passes.
    """

    def __init__(self, lm: "HFLM", row_tokens: int, prefix_bytes: int, note: Callable[[str], None]) -> None:
        self._lm = lm
        self._row_tokens = row_tokens
        self._note = note
        self.reader = TreeReader(lm.model)
        self._prefixes = PrefixCache(self._prefix_key_values, prefix_bytes)
        self.token_limit: int | None = None
        self.read_tokens = 0
        self._tokens_tried = 0

    def token_bytes(self) -> int:
        """Return the size in bytes of one token's keys and values in all layers, measured with two tokens.

        The size is measured because model configurations have no uniform field that contains it.
        """
        layout = lay_out_text(np.zeros(2, dtype=np.int32), 0)
        return max(1, byte_size(self.reader.key_values(layout, [])) // 2)

    def answers(self, plan: RequestPlan, row: TreeRow) -> dict[int, Answer]:
        """Return the answers to all requests in a row, keyed by request index."""
        found: dict[int, Answer] = {}
        waiting = [row]
        while waiting:
            part = waiting.pop()
            if halves := self.halves(plan, part):
                waiting += reversed(halves)
                continue
            try:
                found |= self._score(plan, part)
            except RuntimeError as error:
                self.lower_limit(error, can_split=bool(split_row(plan.prompts, part)))
                waiting.append(part)
        return found

    def halves(self, plan: RequestPlan, row: TreeRow) -> list[TreeRow]:
        """Split a row that exceeds the token limit into two rows.

        Return an empty list if the row needs no split or cannot be split.
        """
        too_large = self.token_limit is not None and row.new_tokens > self.token_limit
        return split_row(plan.prompts, row) if too_large else []

    def _score(self, plan: RequestPlan, row: TreeRow) -> dict[int, Answer]:
        requests = plan.requests(row)
        prefix = self._prefixes.get(row.prefix)
        layout = lay_out_row(plan.prompts, row)
        index = index_targets(plan, layout, requests)
        log_likelihoods = LogLikelihoods(index, self._lm.softmax_dtype)
        with self._forward_pass(len(layout.tokens)):
            self.reader.logits(layout, prefix, index.scored, log_likelihoods.add)
        return dict(zip(requests, log_likelihoods.answers(), strict=True))

    def prefill(self, plan: RequestPlan, row: TreeRow) -> Prefill:
        """Compute the keys and values of a row."""
        prefix = self._prefixes.get(row.prefix)
        layout = lay_out_row(plan.prompts, row)
        with self._forward_pass(len(layout.tokens)):
            return Prefill(plan, layout, self.reader.key_values(layout, prefix), prefix)

    def _prefix_key_values(self, prefix: SharedPrefix, parents: Sequence[KeyValues]) -> KeyValues:
        """Compute the keys and values of a shared prefix in chunks; reduce the chunk size if memory runs out."""
        while True:
            try:
                return _joined(self._prefix_chunks(prefix, parents))
            except RuntimeError as error:
                self.lower_limit(error, can_split=True)

    def _prefix_chunks(self, prefix: SharedPrefix, parents: Sequence[KeyValues]) -> list[KeyValues]:
        chunks: list[KeyValues] = []
        size = min(self._row_tokens, self.token_limit or self._row_tokens)
        for start in range(0, len(prefix.tokens), size):
            tokens = prefix.tokens[start : start + size]
            layout = lay_out_text(tokens, prefix.length - len(prefix.tokens) + start)
            with self._forward_pass(len(tokens)):
                chunks.append(self.reader.key_values(layout, [*parents, *chunks]))
        return chunks

    def _forward_pass(self, tokens: int) -> torch.autocast:
        """Count the tokens of a forward pass; return a context manager for mixed precision, if the HFLM uses it."""
        self._tokens_tried = tokens
        self.read_tokens += tokens
        mixed = self._lm.mixed_precision_dtype
        return torch.autocast(self._lm.device.type, dtype=mixed, enabled=mixed is not None)

    def lower_limit(self, error: RuntimeError, *, can_split: bool) -> None:
        """Halve the token limit after an out-of-memory error; re-raise any other error.

        Raise StepError if the row that ran out of memory cannot be split.
        """
        self.free_memory(error)
        tried = self._tokens_tried
        if not can_split or tried < 2:
            raise StepError(f"out of memory with {tried} tokens in a forward pass that cannot be split") from error
        self.token_limit = tried // 2
        self._note(f"out of memory with {tried} tokens per forward pass; scoring continued with {self.token_limit}")

    def free_memory(self, error: RuntimeError) -> None:
        """After an out-of-memory error, free all memory that holds recomputable data; re-raise any other error."""
        if not should_reduce_batch_size(error):
            raise error
        clear_frames(error.__traceback__)  # frames hold the tensors of the failed pass
        self.clear()
        clear_torch_cache()

    def clear(self) -> None:
        """Clear the cache of shared prefixes."""
        self._prefixes.clear()


def _joined(chunks: Sequence[KeyValues]) -> KeyValues:
    if len(chunks) == 1:
        return chunks[0]
    return {layer: (_side(chunks, layer, 0), _side(chunks, layer, 1)) for layer in chunks[0]}


def _side(chunks: Sequence[KeyValues], layer: int, side: int) -> Tensor:
    return torch.cat([chunk[layer][side] for chunk in chunks], dim=2)
