"""Which tokens are computed together: prompts with shared prefixes become trees, trees rows, long prefixes trunks.

Prompts are kept sorted by their tokens, so that all that share a prefix stand side by side and a tree is a range of
them. A row is what one forward pass reads: whole trees side by side, all on the same trunk, whose keys and values are
cached. All is a pure function of the prompts and the sizes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Grove", "Row", "Sizes", "Tree", "Trunk"]

SAVING = 128
"""Tokens that a cached trunk must save: each costs a forward pass of its own, which few tokens do not fill."""

AGAIN = 16
"""A tree may end where less than this part of it is computed again: attention is cheaper in small trees."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is computed at once. All are soft: what cannot be cut stays whole."""

    row: int
    """New tokens of a forward pass; a tree up to twice as large is not cut."""
    tree: int
    """New tokens from which a tree may end."""
    trunk: int
    """Tokens of all trunks on the way to a row together."""
    prompts: int | None = None
    """Prompts of a row."""


@dataclass(frozen=True, eq=False, slots=True)
class Trunk:
    """A prefix of many prompts whose keys and values are cached: `tokens` after those of `parent`, up to `depth`."""

    parent: "Trunk | None"
    tokens: "NDArray[np.int32]"
    depth: int

    @property
    def chain(self) -> "tuple[Trunk, ...]":
        """All trunks from the beginning of the text to this one."""
        return (*(self.parent.chain if self.parent else ()), self)


@dataclass(frozen=True, slots=True)
class Tree:
    """The prompts `start` to `stop` of a grove; `new` tokens are computed for them."""

    start: int
    stop: int
    new: int


@dataclass(frozen=True, slots=True)
class Row:
    """What one forward pass reads: trees on a trunk."""

    trunk: Trunk | None
    trees: tuple[Tree, ...]

    @property
    def depth(self) -> int:
        """Tokens of the trunk."""
        return self.trunk.depth if self.trunk else 0

    @property
    def new(self) -> int:
        """Tokens of the forward pass."""
        return sum(tree.new for tree in self.trees)

    @property
    def prompts(self) -> list[int]:
        """The numbers of its prompts in the grove."""
        return [number for tree in self.trees for number in range(tree.start, tree.stop)]


class Grove:
    """Prompts as tokens, each once, sorted; `first` is the depth of each one's first scored position."""

    def __init__(self, prompts: "Iterable[tuple[NDArray[np.int32], int]]") -> None:
        """Take pairs of tokens and first scored depth, where all of the rest is scored; at least one position is."""
        import numpy as np

        first: dict[bytes, int] = {}
        for tokens, depth in prompts:
            key = tokens.astype(">u4").tobytes()  # sorts as the tokens do
            first[key] = min(first.get(key, len(tokens)), depth)
        self._keys = sorted(first)
        self.first = np.array([first[key] for key in self._keys], dtype=np.int64)
        self.length = np.array([len(key) // 4 for key in self._keys], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def tokens(self, number: int) -> "NDArray[np.int32]":
        """The tokens of a prompt."""
        import numpy as np

        return np.frombuffer(self._keys[number], dtype=">u4").astype(np.int32)

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        return {key: number for number, key in enumerate(self._keys)}

    def number(self, tokens: "NDArray[np.int32]") -> int:
        """Where a prompt stands."""
        return self._numbers[tokens.astype(">u4").tobytes()]

    @cached_property
    def shared(self) -> "NDArray[np.int64]":
        """How many tokens each prompt begins with as the one before it; 0 for the first."""
        import numpy as np

        found = np.zeros(len(self), dtype=np.int64)
        for number in range(1, len(self)):
            one, two = (np.frombuffer(key, dtype=np.uint32) for key in self._keys[number - 1 : number + 1])
            length = min(len(one), len(two))
            differ = one[:length] != two[:length]
            found[number] = differ.argmax() if differ.any() else length
        return found

    def rows(self, sizes: Sizes) -> Iterator[Row]:
        """All prompts in rows; rows on the same trunk follow each other."""
        waiting: list[tuple[int, int, Trunk | None, bool]] = [(0, len(self), None, False)] if len(self) else []
        while waiting:
            start, stop, trunk, small = waiting.pop()
            depth = trunk.depth if trunk else 0
            if small or stop - start == 1 or self._new(start, stop, depth) <= 2 * sizes.row:
                yield from _fill(trunk, self._trees(start, stop, depth, sizes), sizes)
                continue
            trunk = self._trunk(start, stop, trunk, sizes)
            parts = list(self._parts(start, stop, trunk, sizes))
            waiting += [(*part[:2], trunk, part[2]) for part in reversed(parts)]

    def _new(self, start: int, stop: int, depth: int) -> int:
        """Tokens of a tree of these prompts that a trunk of `depth` leaves to compute."""
        import numpy as np

        kept = np.maximum(self.shared[start + 1 : stop], depth).sum() + depth
        return int(self.length[start:stop].sum() - kept)

    def _trunk(self, start: int, stop: int, parent: Trunk | None, sizes: Sizes) -> Trunk | None:
        """The trunk grown by what all these prompts share, where caching that saves enough and it fits."""
        done = parent.depth if parent else 0
        common = int(min(self.shared[start + 1 : stop].min(), self.first[start:stop].min()))
        again = -(-self._new(start, stop, done) // sizes.row) - 1
        if common > sizes.trunk or (common - done) * again < SAVING:
            return parent
        return Trunk(parent, self.tokens(start)[done:common], common)

    def _parts(self, start: int, stop: int, trunk: Trunk | None, sizes: Sizes) -> Iterator[tuple[int, int, bool]]:
        """Cut where the prompts part; large parts stand alone, runs of small ones together (`True`)."""
        depth = trunk.depth if trunk else 0
        inner = self.shared[start + 1 : stop]
        edges = [start, *(start + 1 + (inner == inner.min()).nonzero()[0]).tolist(), stop]
        run = start
        for left, right in pairwise(edges):
            if self._new(left, right, depth) > 2 * sizes.row:
                if run < left:
                    yield run, left, True
                yield left, right, False
                run = right
        if run < stop:
            yield run, stop, True

    def _trees(self, start: int, stop: int, depth: int, sizes: Sizes) -> Iterator[Tree]:
        """Cut a range where little would be computed again, or where it must be, at the best place."""
        left = start
        while left < stop:
            right = self._end(left, stop, depth, sizes)
            yield self._tree(left, right, depth)
            left = right

    def _end(self, start: int, stop: int, depth: int, sizes: Sizes) -> int:
        size = int(self.length[start]) - depth
        for right in range(start + 1, stop):
            again = int(self.shared[right]) - depth
            full = sizes.prompts is not None and right - start >= sizes.prompts
            if full or (size >= sizes.tree and again * AGAIN <= size):
                return right
            size += int(self.length[right] - self.shared[right])
            if size > 2 * sizes.row:
                return min(range(start + 1, right + 1), key=lambda cut: (self.shared[cut], -cut))
        return stop

    def halves(self, row: Row) -> list[Row]:
        """A row as smaller ones with the same prompts, the first to be read first; nothing where it cannot be cut."""
        if len(row.trees) > 1:
            middle = len(row.trees) // 2
            return [Row(row.trunk, row.trees[:middle]), Row(row.trunk, row.trees[middle:])]
        tree = row.trees[0]
        middle = (tree.start + tree.stop) // 2
        if middle > tree.start:
            return [
                Row(row.trunk, (self._tree(*part, row.depth),)) for part in ((tree.start, middle), (middle, tree.stop))
            ]
        depth = row.depth + tree.new // 2
        if row.depth < depth <= self.first[tree.start]:
            trunk = Trunk(row.trunk, self.tokens(tree.start)[row.depth : depth], depth)
            return [Row(trunk, (self._tree(tree.start, tree.stop, depth),))]
        return []

    def _tree(self, start: int, stop: int, depth: int) -> Tree:
        return Tree(start, stop, self._new(start, stop, depth))


def _fill(trunk: Trunk | None, trees: Iterable[Tree], sizes: Sizes) -> Iterator[Row]:
    """Trees side by side, as many as a row takes; the largest come first, so that a lack of memory shows at once."""
    row: list[Tree] = []
    for tree in sorted(trees, key=lambda tree: -tree.new):
        if row and not _fits([*row, tree], sizes):
            yield Row(trunk, tuple(row))
            row = []
        row.append(tree)
    if row:
        yield Row(trunk, tuple(row))


def _fits(trees: Sequence[Tree], sizes: Sizes) -> bool:
    return sum(tree.new for tree in trees) <= sizes.row and (
        sizes.prompts is None or sum(tree.stop - tree.start for tree in trees) <= sizes.prompts
    )
