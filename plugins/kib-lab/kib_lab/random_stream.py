"""Random numbers from SHA-256 digests of a key and a counter, identical in all Python versions and on all machines."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["RandomStream"]

T = TypeVar("T")

NUMBERS_PER_BLOCK = 8
"""Number of 32-bit integers in one SHA-256 digest."""

LIMIT = 1 << 32


class RandomStream:
    """A stream of random numbers determined by its key; streams with different keys are independent."""

    def __init__(self, *key: str | int) -> None:
        self._key = hashlib.sha256("\x1f".join(str(part) for part in key).encode()).digest()
        self._counter = 0
        self._block: list[int] = []

    def _next(self) -> int:
        if not self._block:
            data = hashlib.sha256(self._key + self._counter.to_bytes(8, "big")).digest()
            self._block = [int.from_bytes(data[4 * i : 4 * i + 4], "big") for i in range(NUMBERS_PER_BLOCK)]
            self._counter += 1
        return self._block.pop()

    def below(self, n: int) -> int:
        """Return a uniformly distributed integer from 0 to n - 1; n must be at most 2**32."""
        limit = LIMIT - LIMIT % n
        while (value := self._next()) >= limit:
            pass
        return value % n

    def chance(self, percent: int) -> bool:
        """Return True with a probability of `percent` / 100."""
        return self.below(100) < percent

    def choice(self, items: Sequence[T]) -> T:
        """Return a random item from a sequence."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """Return `k` items at distinct random indices of a sequence, in random order."""
        rest = list(items)
        for i in range(k):
            j = i + self.below(len(rest) - i)
            rest[i], rest[j] = rest[j], rest[i]
        return rest[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return a list of all given items in random order."""
        return self.sample(items, len(items))
