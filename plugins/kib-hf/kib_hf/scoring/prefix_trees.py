"""Plan forward passes, each of which processes several prompts together.

Prompts with a common prefix form a *prefix tree*. Several trees form a *row*, which is the input to one forward pass.
All trees in a row continue the same *shared prefix*, which is a cached prefix of many prompts. The plan is a pure
function of the prompts and the limits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from kib_hf.scoring.sorted_prompts import SortedPrompts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PrefixTree", "RowLimits", "SharedPrefix", "TreeRow", "plan_rows", "split_row"]

MIN_SAVED_TOKENS = 128
"""Minimum number of tokens saved by a cached shared prefix, because computing it needs an extra forward pass."""

REPEATED_SHARE = 1 / 16
"""A tree may end if the next tree repeats at most this fraction of its tokens; attention is cheaper in small trees."""


@dataclass(frozen=True, slots=True)
class RowLimits:
    """Limits on the size of a row; a tree or prompt that cannot be split may exceed the limits."""

    row_tokens: int
    """Maximum number of new tokens per row; a tree with up to twice as many tokens is not split."""
    tree_tokens: int
    """Number of new tokens after which a tree may end if the next tree repeats few tokens."""
    prefix_tokens: int
    """Maximum length of a shared prefix in tokens, including its parents."""
    prompts: int | None = None
    """Maximum number of prompts per row; None means no limit."""


@dataclass(frozen=True, eq=False, slots=True)
class SharedPrefix:
    """A common prefix of many prompts, whose keys and values are cached.

    `tokens` follow the tokens of `parent`; `length` is the number of tokens from the start of the prompt.
    """

    parent: "SharedPrefix | None"
    tokens: "NDArray[np.int32]"
    length: int

    @property
    def lineage(self) -> "tuple[SharedPrefix, ...]":
        """The chain of shared prefixes from the beginning of the text up to and including this prefix."""
        return (*(self.parent.lineage if self.parent else ()), self)


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The prefix tree for the prompts `start` to `stop`, with `new_tokens` tokens after the shared prefix."""

    start: int
    stop: int
    new_tokens: int

    @property
    def prompts(self) -> range:
        """The indices of the prompts in the prefix tree."""
        return range(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class TreeRow:
    """The input to one forward pass, consisting of trees that continue a shared prefix."""

    prefix: SharedPrefix | None
    trees: tuple[PrefixTree, ...]

    @property
    def prefix_length(self) -> int:
        """The number of cached tokens before each tree in the row."""
        return self.prefix.length if self.prefix else 0

    @property
    def new_tokens(self) -> int:
        """The number of tokens to compute in the row's forward pass."""
        return sum(tree.new_tokens for tree in self.trees)

    @property
    def prompts(self) -> list[int]:
        """The indices of the prompts in all trees of the row."""
        return [index for tree in self.trees for index in tree.prompts]


def plan_rows(prompts: SortedPrompts, limits: RowLimits) -> Iterator[TreeRow]:
    """Yield rows that together contain each prompt exactly once; rows with the same shared prefix are consecutive."""
    return _RowPlanner(prompts, limits).rows()


class _Range(NamedTuple):
    """The range of prompts `start` to `stop`, which all begin with `prefix`; `divide` allows splitting the range."""

    start: int
    stop: int
    prefix: SharedPrefix | None
    divide: bool


@dataclass(frozen=True, slots=True)
class _RowPlanner:
    prompts: SortedPrompts
    limits: RowLimits

    def rows(self) -> Iterator[TreeRow]:
        waiting = [_Range(0, len(self.prompts), None, divide=True)] if len(self.prompts) else []
        while waiting:
            part = waiting.pop()
            if part.divide and part.stop - part.start > 1 and self._is_large(*part[:3]):
                prefix = self._longer_prefix(*part[:3])
                waiting += reversed(list(self._parts(part.start, part.stop, prefix)))
            else:
                yield from self._fill(part.prefix, self._trees(*part[:3]))

    def _is_large(self, start: int, stop: int, prefix: SharedPrefix | None) -> bool:
        return self.prompts.new_tokens(start, stop, _length(prefix)) > 2 * self.limits.row_tokens

    def _longer_prefix(self, start: int, stop: int, parent: SharedPrefix | None) -> SharedPrefix | None:
        """Extend `parent` by the prompts' common tokens if this saves enough work and respects the length limit."""
        cached = _length(parent)
        common = int(min(self.prompts.shared[start + 1 : stop].min(), self.prompts.first_scored[start:stop].min()))
        repetitions = -(-self.prompts.new_tokens(start, stop, cached) // self.limits.row_tokens) - 1
        if common > self.limits.prefix_tokens or (common - cached) * repetitions < MIN_SAVED_TOKENS:
            return parent
        return SharedPrefix(parent, self.prompts.tokens(start)[cached:common], common)

    def _parts(self, start: int, stop: int, prefix: SharedPrefix | None) -> Iterator[_Range]:
        """Split a range at the token where its prompts first differ.

        Divide large parts further and merge adjacent small parts.
        """
        inner = self.prompts.shared[start + 1 : stop]
        edges = [start, *(start + 1 + (inner == inner.min()).nonzero()[0]).tolist(), stop]
        small_from = start
        for left, right in pairwise(edges):
            if self._is_large(left, right, prefix):
                if small_from < left:
                    yield _Range(small_from, left, prefix, divide=False)
                yield _Range(left, right, prefix, divide=True)
                small_from = right
        if small_from < stop:
            yield _Range(small_from, stop, prefix, divide=False)

    def _trees(self, start: int, stop: int, prefix: SharedPrefix | None) -> Iterator[PrefixTree]:
        """Split a range into trees where few tokens must be repeated or a tree would otherwise become too large."""
        left = start
        while left < stop:
            right = self._tree_end(left, stop, _length(prefix))
            yield _tree(self.prompts, left, right, _length(prefix))
            left = right

    def _tree_end(self, start: int, stop: int, cached: int) -> int:
        limits, lengths, shared = self.limits, self.prompts.lengths, self.prompts.shared
        size = int(lengths[start]) - cached
        for end in range(start + 1, stop):
            repeated = int(shared[end]) - cached
            full = limits.prompts is not None and end - start >= limits.prompts
            if full or (size >= limits.tree_tokens and repeated <= size * REPEATED_SHARE):
                return end
            size += int(lengths[end] - shared[end])
            if size > 2 * limits.row_tokens:
                return min(range(start + 1, end + 1), key=lambda index: (shared[index], -index))
        return stop

    def _fill(self, prefix: SharedPrefix | None, trees: Iterable[PrefixTree]) -> Iterator[TreeRow]:
        """Fill rows with trees up to the limits, largest trees first, so that out-of-memory errors occur early."""
        row: list[PrefixTree] = []
        for tree in sorted(trees, key=lambda tree: -tree.new_tokens):
            if row and not self._fits([*row, tree]):
                yield TreeRow(prefix, tuple(row))
                row = []
            row.append(tree)
        if row:
            yield TreeRow(prefix, tuple(row))

    def _fits(self, trees: Sequence[PrefixTree]) -> bool:
        limits = self.limits
        if sum(tree.new_tokens for tree in trees) > limits.row_tokens:
            return False
        return limits.prompts is None or sum(len(tree.prompts) for tree in trees) <= limits.prompts


def split_row(prompts: SortedPrompts, row: TreeRow) -> list[TreeRow]:
    """Divide a row's prompts between two smaller rows, or move part of a single prompt into a shared prefix.

    The result is empty if the row cannot be split.
    """
    if len(row.trees) > 1:
        middle = len(row.trees) // 2
        return [TreeRow(row.prefix, row.trees[:middle]), TreeRow(row.prefix, row.trees[middle:])]
    (tree,) = row.trees
    middle = (tree.start + tree.stop) // 2
    if middle > tree.start:
        halves = ((tree.start, middle), (middle, tree.stop))
        return [TreeRow(row.prefix, (_tree(prompts, *half, row.prefix_length),)) for half in halves]
    length = row.prefix_length + tree.new_tokens // 2
    if row.prefix_length < length <= prompts.first_scored[tree.start]:
        prefix = SharedPrefix(row.prefix, prompts.tokens(tree.start)[row.prefix_length : length], length)
        return [TreeRow(prefix, (_tree(prompts, tree.start, tree.stop, length),))]
    return []


def _length(prefix: SharedPrefix | None) -> int:
    return prefix.length if prefix else 0


def _tree(prompts: SortedPrompts, start: int, stop: int, cached: int) -> PrefixTree:
    return PrefixTree(start, stop, prompts.new_tokens(start, stop, cached))
