"""A batch for transformers' `generate` whose prompts were read as a tree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from kib_hf.scoring.row_layout import Layout
from kib_hf.scoring.tree_reader import States

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["batch_cache"]


def batch_cache(config: Any, layout: Layout, numbers: Sequence[int], row: States, trunk: Sequence[States]) -> Any:
    """The cache of some prompts of a row, padded on the left to the longest."""
    cache = DynamicCache(config=config)
    paths = [layout.paths[number] for number in numbers]
    for layer in sorted(row):
        sides = [[states[layer][side] for states in trunk] for side in (0, 1)]
        keys, values = (_padded(before, row[layer][side], paths) for side, before in enumerate(sides))
        cache.update(keys, values, layer)
    return cache


def _padded(trunk: Sequence[torch.Tensor], new: torch.Tensor, paths: "Sequence[NDArray[np.int64]]") -> torch.Tensor:
    """[prompts, heads, tokens, head size] from the trunk's and the row's [1, heads, tokens, head size]."""
    depth = sum(part.shape[2] for part in trunk)
    length = depth + max(map(len, paths))
    made = new.new_zeros(len(paths), new.shape[1], length, new.shape[3])
    for number, path in enumerate(paths):
        at = length - depth - len(path)
        for part in [*(piece[0] for piece in trunk), new[0][:, torch.as_tensor(path, device=new.device)]]:
            made[number, :, at : at + part.shape[1]] = part
            at += part.shape[1]
    return made
