"""Whether a model's cache can be shared along a tree of prompts, and in a sentence why not."""

from typing import Any

import numpy as np
import torch

from kib_hf.scoring.generation_cache import batch_cache
from kib_hf.scoring.prefix_trees import Grove, Row, Tree, Trunk
from kib_hf.scoring.row_layout import chain, lay_out
from kib_hf.scoring.tree_reader import FULL, SLIDING, Reader, windowed

__all__ = ["why_plain", "why_read_anew"]

WINDOW = 4
"""A window that the small texts read here are longer than."""

UNFIT = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a model raises that cannot be read so."""

LENGTHENED = {"dynamic", "longrope"}
"""Rotary embeddings whose angles depend on the longest text of a batch."""


def why_plain(model: Any) -> str | None:
    """The reason to score `model` prompt by prompt as lm-eval does; None where trees give the same numbers.

    What can be told from the configuration is told; then a small tree of made-up tokens is read both ways.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = causal.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or [FULL])
    rope = getattr(config, "rope_parameters", None) or {}
    attention = config._attn_implementation  # noqa: SLF001 - transformers has no other way
    reasons = {
        "it is an encoder-decoder model": causal.config.is_encoder_decoder,
        "its adapter puts tokens of its own before each prompt": _any_adapter(model, "is_prompt_learning"),
        "its adapter waits for a sequence of tokens": _any_adapter(model, "alora_invocation_tokens"),
        "its state is recurrent": getattr(causal, "_is_stateful", False),
        f"it has layers of other kinds ({', '.join(sorted(layers - {FULL, SLIDING}))})": layers - {FULL, SLIDING},
        "its positions change with the length of the text": LENGTHENED & set(map(str, _values(rope))),
        "its attention cannot be replaced": not getattr(causal, "_supports_attention_backend", False),
        f"its attention is {attention}, which takes no mask": attention not in {"sdpa", "eager"},
    }
    for reason, holds in reasons.items():
        if holds:
            return reason
    return _why_other(model)


def _values(rope: Any) -> list[Any]:
    return [part for value in rope.values() for part in (_values(value) if isinstance(value, dict) else [value])]


def _any_adapter(model: Any, trait: str) -> bool:
    adapters = getattr(model, "peft_config", None) or {}
    return any(getattr(adapter, trait, None) for adapter in adapters.values())


def why_read_anew(model: Any) -> str | None:
    """The reason to let transformers read prompts by itself before it generates; None where it goes on from a cache.

    Some models cache other keys and values than those that their attention gets, so a small prompt is tried.
    """
    reader = Reader(model)
    *tokens, last = _stem(model)
    layout = chain(np.array(tokens, dtype=np.int32), 0)
    with windowed(reader.config, WINDOW), torch.no_grad():
        try:
            cache = batch_cache(reader.config, layout, [0], reader.keep(layout, []), [])
            mine = model(torch.tensor([[last]], device=model.device), past_key_values=cache).logits[0, -1]
        except UNFIT as error:
            return f"it cannot go on from cached keys and values ({_first_line(error)})"
        plain = model(torch.tensor([[*tokens, last]], device=model.device)).logits[0, -1]
    return None if _same(mine, plain) else "going on from cached keys and values gave different numbers"


def _why_other(model: Any) -> str | None:
    """Read two prompts with a common trunk as a tree and one by one; a wrong mask shifts logits by a large part."""
    stem = _stem(model)
    words = int(model.get_input_embeddings().weight.shape[0])
    tails = ([1 % words, 2 % words, 3 % words], [1 % words, 5 % words, 8 % words, 4 % words])
    grove = Grove((np.array(stem + tail, dtype=np.int32), 6) for tail in tails)
    trunk = Trunk(None, grove.tokens(0)[:5], 5)
    new = int(grove.length.sum()) - int(grove.shared.sum()) - trunk.depth
    layout = lay_out(grove, Row(trunk, (Tree(0, len(grove), new),)))
    ends = np.array([layout.paths[number][-1] for number in range(len(grove))])
    found: list[torch.Tensor] = []
    try:
        reader = Reader(model)
        with windowed(reader.config, WINDOW):
            states = reader.keep(chain(trunk.tokens, 0), [])
            reader.score(layout, [states], np.sort(ends), found.append)
    except UNFIT as error:
        return f"it cannot read a tree ({_first_line(error)})"
    with windowed(reader.config, WINDOW), torch.no_grad():
        prompts = [torch.as_tensor(grove.tokens(n), device=model.device).long() for n in range(len(grove))]
        plain = torch.stack([model(prompt[None]).logits[0, -1] for prompt in prompts])
    same = _same(torch.cat(found)[np.argsort(np.argsort(ends))], plain)
    return None if same else "a small tree read both ways gave different numbers"


def _stem(model: Any) -> list[int]:
    words = int(model.get_input_embeddings().weight.shape[0])
    return [(37 * number + 11) % words for number in range(9)]


def _same(mine: torch.Tensor, plain: torch.Tensor) -> bool:
    """Within rounding of the plain numbers' spread."""
    close = 1e-3 if plain.dtype == torch.float32 else 5e-2
    one, other = mine.float(), plain.float()
    return bool((one - other).norm() <= close * (other - other.mean()).norm())


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
