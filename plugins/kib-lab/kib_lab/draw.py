"""Random draws that are the same on every Python and machine: SHA-256 of a key and a counter."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Draw"]

T = TypeVar("T")

WORDS = 8
"""32-bit numbers in one SHA-256 block."""

TOP = 1 << 32


class Draw:
    """A stream of draws fixed by its key; streams of different keys are independent of each other."""

    def __init__(self, *key: str | int) -> None:
        self._key = hashlib.sha256("\x1f".join(str(part) for part in key).encode()).digest()
        self._counter = 0
        self._block: list[int] = []

    def _next(self) -> int:
        if not self._block:
            data = hashlib.sha256(self._key + self._counter.to_bytes(8, "big")).digest()
            self._block = [int.from_bytes(data[4 * i : 4 * i + 4], "big") for i in range(WORDS)]
            self._counter += 1
        return self._block.pop()

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1, each equally likely; n at most 2**32."""
        limit = TOP - TOP % n
        while (value := self._next()) >= limit:
            pass
        return value % n

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 draws."""
        return self.below(100) < percent

    def choice(self, items: Sequence[T]) -> T:
        """One item."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` different places of `items`, in random order."""
        rest = list(items)
        for i in range(k):
            j = i + self.below(len(rest) - i)
            rest[i], rest[j] = rest[j], rest[i]
        return rest[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in random order."""
        return self.sample(items, len(items))
