"""Check whether a loaded model supports prefix trees and generation from a precomputed cache."""

from typing import Any

import numpy as np
import torch

from kib_hf.scoring.generation_cache import generation_cache
from kib_hf.scoring.prefix_trees import PrefixTree, SharedPrefix, TreeRow
from kib_hf.scoring.row_layout import lay_out_row, lay_out_text
from kib_hf.scoring.sorted_prompts import SortedPrompts
from kib_hf.scoring.tree_reader import FULL, SLIDING, TreeReader, sliding_window

__all__ = ["UNSUPPORTED", "agree", "first_line", "probe_tokens", "why_no_prefill", "why_no_trees"]

WINDOW = 4
"""Size in tokens of the sliding window for the checks, which is shorter than the test prompts."""

UNSUPPORTED = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""Errors that a model may raise if its parts do not have the usual structure."""

LENGTH_DEPENDENT = {"dynamic", "longrope"}
"""Types of rotary embeddings whose angles depend on the longest text in a batch."""


def why_no_trees(model: Any) -> str | None:
    """Return the reason to score `model` prompt by prompt as in lm-eval, or None if prefix trees give the same results.

    The model's configuration is checked first. Then the logits for a small tree of arbitrary tokens are compared with
    the logits for each of its prompts alone.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = causal.config.get_text_config()
    layer_types = set(getattr(config, "layer_types", None) or [FULL])
    rope = getattr(config, "rope_parameters", None) or {}
    attention = config._attn_implementation  # noqa: SLF001 - transformers has no public way
    other_types = ", ".join(sorted(layer_types - {FULL, SLIDING}))
    reasons = {
        "the model is an encoder-decoder model": causal.config.is_encoder_decoder,
        "the model's adapter prepends its own tokens to each prompt": _any_adapter(model, "is_prompt_learning"),
        "the model's adapter takes effect only after a certain sequence of tokens": _any_adapter(
            model, "alora_invocation_tokens"
        ),
        "the model has a recurrent state": getattr(causal, "_is_stateful", False),
        f"the model has layers of unsupported types ({other_types})": other_types,
        "the model's position embeddings depend on the length of the text": LENGTH_DEPENDENT
        & set(map(str, _values(rope))),
        "the model's attention function cannot be replaced": not getattr(causal, "_supports_attention_backend", False),
        f"the model's attention function ({attention}) does not accept a mask": attention not in {"sdpa", "eager"},
    }
    for reason, holds in reasons.items():
        if holds:
            return reason
    return _why_trees_differ(model)


def _values(rope: Any) -> list[Any]:
    return [part for value in rope.values() for part in (_values(value) if isinstance(value, dict) else [value])]


def _any_adapter(model: Any, attribute: str) -> bool:
    adapters = getattr(model, "peft_config", None) or {}
    return any(getattr(adapter, attribute, None) for adapter in adapters.values())


def why_no_prefill(model: Any) -> str | None:
    """Return the reason why transformers must process prompts itself, or None if it can use a precomputed cache.

    Some models cache keys and values that differ from the attention inputs, so a small prompt is processed both with
    and without a precomputed cache, and the logits are compared.
    """
    reader = TreeReader(model)
    *tokens, last = probe_tokens(model)
    layout = lay_out_text(np.array(tokens, dtype=np.int32), 0)
    with sliding_window(reader.config, WINDOW), torch.no_grad():
        try:
            cache = generation_cache(reader.config, layout, [0], reader.key_values(layout, []), [])
            continued = model(torch.tensor([[last]], device=model.device), past_key_values=cache).logits[0, -1]
        except UNSUPPORTED as error:
            return f"the model cannot continue from cached keys and values ({first_line(error)})"
        plain = model(torch.tensor([[*tokens, last]], device=model.device)).logits[0, -1]
    return (
        None
        if agree(continued, plain)
        else "the logits computed from cached keys and values differ from the logits computed without a cache"
    )


def _why_trees_differ(model: Any) -> str | None:
    """Compare two prompts' logits, computed as a tree and one by one; an incorrect mask causes large differences."""
    stem = probe_tokens(model)
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ends = [[token % vocabulary for token in end] for end in ([1, 2, 3], [1, 5, 8, 4])]
    prompts = SortedPrompts((np.array(stem + end, dtype=np.int32), 6) for end in ends)
    prefix = SharedPrefix(None, prompts.tokens(0)[:5], 5)
    tree = PrefixTree(0, len(prompts), prompts.new_tokens(0, len(prompts), prefix.length))
    layout = lay_out_row(prompts, TreeRow(prefix, (tree,)))
    last = np.array([layout.paths[index][-1] for index in range(len(prompts))])
    found: list[torch.Tensor] = []
    try:
        reader = TreeReader(model)
        with sliding_window(reader.config, WINDOW):
            key_values = reader.key_values(lay_out_text(prefix.tokens, 0), [])
            reader.logits(layout, [key_values], np.sort(last), found.append)
    except UNSUPPORTED as error:
        return f"the model cannot read a prefix tree ({first_line(error)})"
    with sliding_window(reader.config, WINDOW), torch.no_grad():
        texts = [torch.as_tensor(prompts.tokens(index), device=model.device).long() for index in range(len(prompts))]
        plain = torch.stack([model(text[None]).logits[0, -1] for text in texts])
    same = agree(torch.cat(found)[np.argsort(np.argsort(last))], plain)
    return (
        None
        if same
        else "the logits of a small prefix tree differ from the logits of the same prompts computed separately"
    )


def probe_tokens(model: Any) -> list[int]:
    """Return nine arbitrary token ids of a model's vocabulary."""
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    return [(37 * number + 11) % vocabulary for number in range(9)]


def agree(logits: torch.Tensor, plain: torch.Tensor) -> bool:
    """Return whether two sets of logits differ only by rounding errors, relative to the spread of the plain logits."""
    tolerance = 1e-3 if plain.dtype == torch.float32 else 5e-2
    found, expected = logits.float(), plain.float()
    return bool((found - expected).norm() <= tolerance * (expected - expected.mean()).norm())


def first_line(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
