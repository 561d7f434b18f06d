"""The token budget of a prompt: limits the prompt with its longest answer to the model's maximum length."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from kib.errors import InputError
from kib.records import Request

__all__ = ["DEFAULT_ANSWER_TOKENS", "TokenBudget", "generates_text"]

DEFAULT_ANSWER_TOKENS = 256
"""lm-eval's default limit for the length of a generated answer."""

TAIL = 64
"""The number of characters at the end of a context that determine how this end is tokenized."""


def generates_text(request: Request) -> bool:
    """Return whether a model generates text for a request instead of scoring an answer."""
    return request.kind == "generate_until"


class TokenBudget:
    """A model's tokenizer, and the token limit for prompt and answer: the smaller of context length and spec budget.

    `generated` is the maximum number of tokens to generate if a request does not set this number.
    """

    def __init__(
        self,
        tokens: Callable[[str], list[int]] | None,
        length: int | None,
        budget: int | None,
        generated: int = DEFAULT_ANSWER_TOKENS,
    ) -> None:
        limits = [limit for limit in (length, budget) if limit is not None]
        self.tokens = tokens
        self.limit = min(limits) if limits and tokens else None
        self._generated = generated
        self._checked_joins: set[tuple[str, str]] = set()
        self._special = len(tokens("")) if tokens else 0
        self._answer = lru_cache(maxsize=65536)(self._answer_tokens)

    def _answer_tokens(self, text: str) -> int:
        return len(self.tokens(text)) - self._special if self.tokens else 0

    def counter(self, requests: Sequence[Request]) -> Callable[[str], int] | None:
        """Return a function that counts the tokens that the model reads: a prompt and the longest answer to score.

        The result is None if the model has no tokenizer. Tokens to generate are not read; `reserve` returns their
        number.
        """
        tokens = self.tokens
        if tokens is None:
            return None
        longest = max(0 if generates_text(request) else self.answer_tokens(request) for request in requests)
        return lambda text: len(tokens(text)) + longest

    def reserve(self, requests: Sequence[Request]) -> int:
        """Return the maximum number of tokens to generate for any of `requests`, or 0 if no text is generated."""
        return max(self.answer_tokens(request) if generates_text(request) else 0 for request in requests)

    def answer_tokens(self, request: Request) -> int:
        """Return the number of tokens in the answer to score, or the maximum number of tokens to generate."""
        if generates_text(request):
            return int(request.arguments[1].get("max_gen_toks", self._generated))
        return self._answer(request.arguments[-1])

    def check_joins(self, question_id: str, requests: Sequence[Request]) -> None:
        """Raise InputError if an answer has no tokens of its own because a token spans the prompt-answer boundary."""
        if self.tokens is None:
            return
        for request in requests:
            if request.kind != "loglikelihood" or not request.arguments[0]:
                continue
            context, continuation = request.arguments[0][-TAIL:], request.arguments[1]
            if (context, continuation) in self._checked_joins:
                continue
            if len(self.tokens(context + continuation)) <= len(self.tokens(context.rstrip())):
                raise InputError(
                    f"question {question_id}: the tokenizer merges the answer {continuation!r} with the end of the "
                    f"prompt, {context[-16:]!r}, so the answer has no separate token"
                )
            self._checked_joins.add((context, continuation))
