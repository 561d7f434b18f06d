"""The key-value cache for `generate`, assembled from a batch of prompts that were computed as prefix trees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from kib_hf.scoring.row_layout import RowLayout
from kib_hf.scoring.tree_reader import KeyValues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["generation_cache"]


def generation_cache(
    config: Any, layout: RowLayout, prompts: Sequence[int], row: KeyValues, prefix: Sequence[KeyValues]
) -> Any:
    """Collect the keys and values of some of a row's prompts, left-padded to the length of the longest prompt.

    `row` contains the row's keys and values; `prefix` contains the keys and values of the row's shared prefixes.
    """
    cache = DynamicCache(config=config)
    paths = [layout.paths[prompt] for prompt in prompts]
    for layer in sorted(row):
        keys, values = (_padded([part[layer][side] for part in prefix], row[layer][side], paths) for side in (0, 1))
        cache.update(keys, values, layer)
    return cache


def _padded(prefix: Sequence[torch.Tensor], new: torch.Tensor, paths: "Sequence[NDArray[np.int64]]") -> torch.Tensor:
    """Combine tensors of shape [1, heads, tokens, head size] into one of shape [prompts, heads, tokens, head size]."""
    prefix_length = sum(part.shape[2] for part in prefix)
    length = prefix_length + max(map(len, paths))
    padded = new.new_zeros(len(paths), new.shape[1], length, new.shape[3])
    for number, path in enumerate(paths):
        start = length - prefix_length - len(path)
        for part in [*(piece[0] for piece in prefix), new[0][:, torch.as_tensor(path, device=new.device)]]:
            padded[number, :, start : start + part.shape[1]] = part
            start += part.shape[1]
    return padded
