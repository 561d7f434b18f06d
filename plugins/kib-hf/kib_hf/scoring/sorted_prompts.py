"""A sorted list of distinct prompts, represented as token sequences."""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SortedPrompts"]


class SortedPrompts:
    """Distinct prompts, sorted by their tokens and identified by their index in the sorted order.

    Prompts with a common prefix are neighbours, so the prompts of a prefix tree form a range of indices. `lengths`
    contains each prompt's number of tokens; `first_scored` contains the position of each prompt's first scored token.
    """

    def __init__(self, prompts: "Iterable[tuple[NDArray[np.int32], int]]") -> None:
        """Sort pairs of (tokens, first scored position).

        The token at the first scored position and all later tokens are scored.
        """
        import numpy as np

        first_scored: dict[bytes, int] = {}
        for tokens, position in prompts:
            key = _sort_key(tokens)
            first_scored[key] = min(first_scored.get(key, len(tokens)), position)
        self._keys = sorted(first_scored)
        self.first_scored = np.array([first_scored[key] for key in self._keys], dtype=np.int64)
        self.lengths = np.array([len(key) // 4 for key in self._keys], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def tokens(self, index: int) -> "NDArray[np.int32]":
        """Return the tokens of a prompt."""
        import numpy as np

        return np.frombuffer(self._keys[index], dtype=">u4").astype(np.int32)

    @cached_property
    def _indices(self) -> dict[bytes, int]:
        return {key: index for index, key in enumerate(self._keys)}

    def index_of(self, tokens: "NDArray[np.int32]") -> int:
        """Return the index of the prompt with the given tokens."""
        return self._indices[_sort_key(tokens)]

    @cached_property
    def shared(self) -> "NDArray[np.int64]":
        """The length of each prompt's common prefix with the previous prompt; 0 for the first prompt."""
        import numpy as np

        found = np.zeros(len(self), dtype=np.int64)
        for index in range(1, len(self)):
            previous, own = (np.frombuffer(key, dtype=np.uint32) for key in self._keys[index - 1 : index + 1])
            length = min(len(previous), len(own))
            differ = previous[:length] != own[:length]
            found[index] = differ.argmax() if differ.any() else length
        return found

    def new_tokens(self, start: int, stop: int, cached: int) -> int:
        """Count the tokens in the prefix tree of the prompts `start` to `stop`, excluding the first `cached` tokens."""
        import numpy as np

        saved = np.maximum(self.shared[start + 1 : stop], cached).sum() + cached
        return int(self.lengths[start:stop].sum() - saved)


def _sort_key(tokens: "NDArray[np.int32]") -> bytes:
    """Return bytes that sort in the same order as the tokens."""
    return tokens.astype(">u4").tobytes()
