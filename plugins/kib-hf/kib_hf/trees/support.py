"""Whether a model's cache can be shared along a tree of prompts, and in a sentence why not."""

from typing import Any

import torch

from kib_hf.trees.layout import chain, lay_out
from kib_hf.trees.reading import FULL, SLIDING, Reader
from kib_hf.trees.rows import Grove, Row, Tree, Trunk

__all__ = ["why_plain"]

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
        "its adapter puts tokens of its own before each prompt": _learns_prompts(model),
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


def _learns_prompts(model: Any) -> bool:
    adapters = getattr(model, "peft_config", None) or {}
    return any(getattr(adapter, "is_prompt_learning", False) for adapter in adapters.values())


def _why_other(model: Any) -> str | None:
    """Read two prompts with a common trunk as a tree and one by one; a wrong mask shifts logits by a large part."""
    import numpy as np

    words = int(model.get_input_embeddings().weight.shape[0])
    stem = [(37 * number + 11) % words for number in range(9)]
    tails = ([1 % words, 2 % words, 3 % words], [1 % words, 5 % words, 8 % words, 4 % words])
    grove = Grove((np.array(stem + tail, dtype=np.int32), 6) for tail in tails)
    trunk = Trunk(None, grove.tokens(0)[:5], 5)
    new = int(grove.length.sum()) - int(grove.shared.sum()) - trunk.depth
    layout = lay_out(grove, Row(trunk, (Tree(0, len(grove), new),)))
    try:
        reader = Reader(model)
        states = reader.keep(chain(trunk.tokens, 0), [])
        ends = np.array([layout.paths[number][-1] for number in range(len(grove))])
        found: list[torch.Tensor] = []
        reader.score(layout, [states], np.sort(ends), found.append)
        mine = torch.cat(found)[np.argsort(np.argsort(ends))].float()
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"it cannot read a tree ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"
    with torch.no_grad():
        prompts = [torch.as_tensor(grove.tokens(n), device=model.device).long() for n in range(len(grove))]
        plain = torch.stack([model(prompt[None]).logits[0, -1] for prompt in prompts]).float()
    close = 1e-3 if plain.dtype == model.dtype else 5e-2
    same = bool((mine - plain).norm() <= close * (plain - plain.mean()).norm())
    return None if same else "a small tree read both ways gave different numbers"
