"""The order of the tokens in a row, their positions in the texts, and the tokens visible to each token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kib_hf.scoring.prefix_trees import PrefixTree, TreeRow
from kib_hf.scoring.sorted_prompts import SortedPrompts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RowLayout", "TreeSpan", "lay_out_row", "lay_out_text"]


@dataclass(frozen=True, slots=True)
class TreeSpan:
    """The tokens `start` to `stop` in a row, which attend only to each other and to the shared prefix.

    `visible` is a square matrix: the entry in row i and column j is True if token i attends to token j. None means
    causal attention, in which each token attends to itself and to all preceding tokens.
    """

    start: int
    stop: int
    visible: "NDArray[np.bool_] | None"


@dataclass(frozen=True, slots=True)
class RowLayout:
    """A row's `tokens` and their `positions` in the text, after a shared prefix of `prefix_length` tokens.

    `paths` maps each prompt in the row to the row indices of the prompt's tokens after the shared prefix.
    """

    tokens: "NDArray[np.int64]"
    positions: "NDArray[np.int64]"
    prefix_length: int
    spans: tuple[TreeSpan, ...]
    paths: "Mapping[int, NDArray[np.int64]]"


def lay_out_text(tokens: "NDArray[np.int32]", prefix_length: int) -> RowLayout:
    """Lay out the tokens of a single text after `prefix_length` cached tokens."""
    import numpy as np

    indices = np.arange(len(tokens))
    span = TreeSpan(0, len(tokens), None)
    return RowLayout(tokens.astype(np.int64), indices + prefix_length, prefix_length, (span,), {0: indices})


def lay_out_row(prompts: SortedPrompts, row: TreeRow) -> RowLayout:
    """Lay out the trees of a row one after another; each distinct prefix in a tree occurs only once."""
    import numpy as np

    tokens: list[NDArray[np.int64]] = []
    positions: list[NDArray[np.int64]] = []
    paths: dict[int, NDArray[np.int64]] = {}
    spans: list[TreeSpan] = []
    for tree in row.trees:
        start = spans[-1].stop if spans else 0
        laid_out = _lay_out_tree(prompts, tree, row.prefix_length)
        tokens.append(laid_out.tokens)
        positions.append(laid_out.positions)
        paths |= {prompt: path + start for prompt, path in laid_out.paths.items()}
        (span,) = laid_out.spans
        spans.append(TreeSpan(start, start + span.stop, span.visible))
    return RowLayout(np.concatenate(tokens), np.concatenate(positions), row.prefix_length, tuple(spans), paths)


def _lay_out_tree(prompts: SortedPrompts, tree: PrefixTree, prefix_length: int) -> RowLayout:
    """Lay out a tree's prompts depth first, omitting the tokens that a prompt shares with the previous prompt."""
    import numpy as np

    size = tree.new_tokens
    visible = np.zeros((size, size), dtype=np.bool_) if len(tree.prompts) > 1 else None
    tokens = np.zeros(size, dtype=np.int64)
    positions = np.zeros(size, dtype=np.int64)
    paths: dict[int, NDArray[np.int64]] = {}
    path, end = np.zeros(0, dtype=np.int64), 0
    for prompt in tree.prompts:
        text = prompts.tokens(prompt)[prefix_length:]
        shared = max(int(prompts.shared[prompt]) - prefix_length, 0) if prompt > tree.start else 0
        stop = end + len(text) - shared
        path = np.concatenate([path[:shared], np.arange(end, stop)])
        if visible is not None:
            visible[end:stop, path] = np.tri(stop - end, len(path), shared, dtype=np.bool_)
        tokens[end:stop] = text[shared:]
        positions[end:stop] = np.arange(shared, len(text)) + prefix_length
        paths[prompt] = path
        end = stop
    return RowLayout(tokens, positions, prefix_length, (TreeSpan(0, size, visible),), paths)
