"""Keys and values of trunks, held within a budget of bytes; what is cheapest to compute again goes first."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kib_hf.scoring.prefix_trees import Trunk

if TYPE_CHECKING:
    from kib_hf.scoring.tree_reader import States

__all__ = ["Trunks", "byte_size"]


class Trunks:
    """The states of trunks; `read(trunk, states of its parents)` computes what is not held."""

    def __init__(self, read: "Callable[[Trunk, Sequence[States]], States]", budget: int) -> None:
        self._read = read
        self._budget = budget
        self._held: dict[tuple[bytes, ...], tuple[int, States]] = {}
        self.read_tokens = 0

    def get(self, trunk: Trunk | None) -> "list[States]":
        """The states along the whole way to a trunk, its own last; none for None."""
        found: list[States] = []
        keys: list[tuple[bytes, ...]] = []
        for part in trunk.chain if trunk else ():
            keys.append((*(keys[-1] if keys else ()), part.tokens.tobytes()))
            if keys[-1] not in self._held:
                self._held[keys[-1]] = (len(part.tokens), self._read(part, found))
                self.read_tokens += len(part.tokens)
                self._evict(set(keys))
            found.append(self._held[keys[-1]][1])
        return found

    def _evict(self, needed: set[tuple[bytes, ...]]) -> None:
        """Let go of what is not needed now, the fewest tokens first, until the rest is within the budget."""
        sizes = {key: byte_size(states) for key, (_, states) in self._held.items()}
        others = sorted(self._held.keys() - needed, key=lambda key: (self._held[key][0], key))
        while others and sum(sizes.values()) > self._budget:
            key = others.pop(0)
            del self._held[key], sizes[key]

    def bytes(self) -> int:
        """What is held now."""
        return sum(byte_size(states) for _, states in self._held.values())

    def clear(self) -> None:
        """Let go of everything."""
        self._held.clear()


def byte_size(states: "States") -> int:
    """What keys and values take."""
    return sum(tensor.nbytes for pair in states.values() for tensor in pair)
