"""A cache for the keys and values of shared prefixes, limited by a budget in bytes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kib_hf.scoring.prefix_trees import SharedPrefix

if TYPE_CHECKING:
    from kib_hf.scoring.tree_reader import KeyValues

__all__ = ["PrefixCache", "byte_size"]

PrefixId = tuple[bytes, ...]


class PrefixCache:
    """A cache of keys and values; if it exceeds the budget, the unused prefix with the fewest tokens is evicted first.

    `compute(prefix, key_values)` computes a missing prefix from the keys and values of its parents.
    """

    def __init__(self, compute: "Callable[[SharedPrefix, Sequence[KeyValues]], KeyValues]", budget: int) -> None:
        self._compute = compute
        self._budget = budget
        self._held: dict[PrefixId, tuple[int, KeyValues]] = {}

    def get(self, prefix: SharedPrefix | None) -> "list[KeyValues]":
        """Return the keys and values of a prefix and its parents, parents first.

        Return an empty list if the prefix is None.
        """
        found: list[KeyValues] = []
        needed: list[PrefixId] = []
        for part in prefix.lineage if prefix else ():
            part_id = (*(needed[-1] if needed else ()), part.tokens.tobytes())
            needed.append(part_id)
            if part_id not in self._held:
                self._held[part_id] = (len(part.tokens), self._compute(part, found))
                self._evict(set(needed))
            found.append(self._held[part_id][1])
        return found

    def _evict(self, needed: set[PrefixId]) -> None:
        """Evict unused prefixes in ascending order of their number of tokens until the cache fits in the budget."""
        others = sorted(self._held.keys() - needed, key=lambda prefix_id: (self._held[prefix_id][0], prefix_id))
        while others and self.bytes() > self._budget:
            del self._held[others.pop(0)]

    def bytes(self) -> int:
        """Return the total size of the cached keys and values in bytes."""
        return sum(byte_size(key_values) for _, key_values in self._held.values())

    def clear(self) -> None:
        """Remove all keys and values from the cache."""
        self._held.clear()


def byte_size(key_values: "KeyValues") -> int:
    """Return the size of keys and values in bytes."""
    return sum(tensor.nbytes for pair in key_values.values() for tensor in pair)
