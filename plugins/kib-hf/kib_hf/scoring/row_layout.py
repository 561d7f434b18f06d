"""Where the tokens of a row stand and which of them each may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kib_hf.scoring.prefix_trees import Grove, Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Layout", "Span", "chain", "lay_out"]


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens `start` to `stop` of a row, which see each other and the trunk alone.

    `sees` is a square of booleans: which of them (column) each (row) reads; None: all before itself.
    """

    start: int
    stop: int
    sees: "NDArray[np.bool_] | None"


@dataclass(frozen=True, slots=True)
class Layout:
    """A row, token by token: `tokens` and their `depths` in the text, on a trunk of `depth` tokens.

    `paths` gives for each prompt of the row where its tokens stand, from `depth` on.
    """

    tokens: "NDArray[np.int64]"
    depths: "NDArray[np.int64]"
    depth: int
    spans: tuple[Span, ...]
    paths: "Mapping[int, NDArray[np.int64]]"


def chain(tokens: "NDArray[np.int32]", depth: int) -> Layout:
    """The layout of plain text after `depth` tokens."""
    import numpy as np

    places = np.arange(len(tokens))
    return Layout(tokens.astype(np.int64), places + depth, depth, (Span(0, len(tokens), None),), {0: places})


def lay_out(grove: Grove, row: Row) -> Layout:
    """A row's trees side by side, each distinct prefix within a tree once."""
    import numpy as np

    tokens: list[NDArray[np.int32]] = []
    depths: list[NDArray[np.int64]] = []
    paths: dict[int, NDArray[np.int64]] = {}
    spans: list[Span] = []
    for tree in row.trees:
        start = spans[-1].stop if spans else 0
        sees = np.zeros((tree.new, tree.new), dtype=np.bool_) if tree.stop - tree.start > 1 else None
        path, end = np.zeros(0, dtype=np.int64), 0
        for number in range(tree.start, tree.stop):
            text = grove.tokens(number)[row.depth :]
            kept = max(int(grove.shared[number]) - row.depth, 0) if number > tree.start else 0
            stop = end + len(text) - kept
            path = np.concatenate([path[:kept], np.arange(end, stop)])
            if sees is not None:
                sees[end:stop, path] = np.tri(stop - end, len(path), kept, dtype=np.bool_)
            tokens.append(text[kept:])
            depths.append(np.arange(kept, len(text)) + row.depth)
            paths[number] = path + start
            end = stop
        spans.append(Span(start, start + end, sees))
    return Layout(np.concatenate(tokens).astype(np.int64), np.concatenate(depths), row.depth, tuple(spans), paths)
