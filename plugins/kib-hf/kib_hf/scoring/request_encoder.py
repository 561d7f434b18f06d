"""Tokenize texts in batches, and split and truncate the texts as lm-eval does."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.models.utils import has_bos_prefix

from kib.errors import StepError
from kib_hf.scoring.request_plan import EncodedRequest

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from numpy.typing import NDArray

__all__ = ["RequestEncoder"]

LOGGER = logging.getLogger(__name__)

BATCH = 2048
"""Number of requests per tokenizer call."""


class RequestEncoder:
    """Wraps an HFLM's tokenizer and applies the HFLM's rules for special tokens, contexts and lengths."""

    def __init__(self, lm: "HFLM") -> None:
        self._lm = lm

    def encode_texts(self, texts: Sequence[str]) -> "list[NDArray[np.int32]]":
        """Return the tokens that HFLM's `tok_encode` returns for each text."""
        lm = self._lm
        bos = lm.tokenizer.decode(lm.prefix_token_id)
        default = {} if lm.add_bos_token is None else {"add_special_tokens": lm.add_bos_token}
        tokens: dict[int, NDArray[np.int32]] = {}
        for begins_with_bos, special in ((False, default), (True, {"add_special_tokens": False})):
            chosen = [number for number, text in enumerate(texts) if has_bos_prefix(text, bos) == begins_with_bos]
            if chosen:
                encoded = lm.tokenizer([texts[number] for number in chosen], verbose=False, **special)["input_ids"]
                tokens |= {number: np.array(ids, dtype=np.int32) for number, ids in zip(chosen, encoded, strict=True)}
        return [tokens[number] for number in range(len(texts))]

    def encode_pairs(self, pairs: Iterable[tuple[str, str]]) -> Iterator[EncodedRequest]:
        """Encode contexts and continuations as HFLM's `_encode_pair` does, but encode each distinct text only once."""
        remaining = iter(pairs)
        while batch := [_move_spaces(*pair) for pair in islice(remaining, BATCH)]:
            texts = {text for context, continuation in batch if context for text in (context, context + continuation)}
            tokens_of = dict(zip(texts, self.encode_texts(list(texts)), strict=True))
            for context, continuation in batch:
                if context:
                    tokens = tokens_of[context]
                    yield self.encoded_request(tokens, tokens_of[context + continuation][len(tokens) :])
                else:
                    yield self.encoded_request(*self._without_context(continuation))

    def _without_context(self, continuation: str) -> tuple[list[int], list[int]]:
        prefix = self._lm.prefix_token_id
        tokens = self._lm.tok_encode(continuation, add_special_tokens=False)
        return ([prefix], tokens[1:]) if tokens[:1] == [prefix] else ([prefix], tokens)

    def encoded_request(self, context: "Sequence[int] | NDArray[np.int32]", continuation: Any) -> EncodedRequest:
        """Join a context and a continuation; like lm-eval, truncate the result on the left to the context length.

        Raise StepError if the continuation is empty or longer than the model's context length.
        """
        limit = self._lm.max_length
        if not 0 < len(continuation) <= limit:
            raise StepError(f"a continuation consists of {len(continuation)} tokens; expected 1 to {limit}")
        tokens = np.concatenate([context, continuation]).astype(np.int32)
        if len(tokens) > limit + 1:
            LOGGER.warning("a prompt of %d tokens was truncated on the left to %d tokens", len(tokens) - 1, limit)
        return EncodedRequest(tokens[-(limit + 1) :][:-1], np.asarray(continuation, dtype=np.int32))


def _move_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Move trailing spaces from the context to the start of the continuation, as lm-eval does."""
    spaces = len(context) - len(context.rstrip()) if context else 0
    return (context[:-spaces], context[-spaces:] + continuation) if spaces else (context, continuation)
