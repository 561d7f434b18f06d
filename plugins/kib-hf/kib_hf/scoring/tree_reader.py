"""Run one forward pass over a row, and apply the model's own attention to each tree after a cached shared prefix.

In transformers, the attention function can be replaced by name (`AttentionInterface`). The function registered here
receives queries, keys and values after rotation. For each tree in the row, this function prepends the keys and values
of the shared prefix and calls the model's original attention with a mask that restricts each token to its own text.
Each token's position id is its position in its own text. If the layers have the usual structure, the last layer and the
output layer are computed only at the scored positions.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from kib_hf.scoring.row_layout import RowLayout, TreeSpan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FULL", "SLIDING", "KeyValues", "TreeReader", "replaced", "sliding_window"]

FULL, SLIDING = "full_attention", "sliding_attention"
ATTENTION_NAME = "kib_tree"
CHUNK = 128
"""Number of positions per call of the output layer."""
USUAL_ARGUMENTS = {
    "hidden_states",
    "attention_mask",
    "position_ids",
    "past_key_values",
    "use_cache",
    "position_embeddings",
}
"""Arguments of a decoder layer with the usual structure; other decoder layers are computed at all positions."""

KeyValues = Mapping[int, tuple[Tensor, Tensor]]
"""A mapping from each layer's index to its keys and values, both of shape [1, heads, tokens, head size]."""


class _KeyValuesStored(Exception):  # noqa: N818 - it ends a forward pass early and is not an error
    """Raised when the required keys and values have been stored, to skip the rest of the forward pass."""


_passes: "list[_ForwardPass]" = []
"""A stack of forward passes; the last one is the current pass."""


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> tuple[Tensor, None]:
    if attention_mask is not None:  # transformers creates no mask for an attention function with this name
        raise NotImplementedError("the model creates its own attention mask")
    return _passes[-1].attend(module, query, key, value, options), None


AttentionInterface.register(ATTENTION_NAME, _attend)


class TreeReader:
    """Runs rows through a causal language model from transformers."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.decoder = self.causal.get_decoder()
        self.config = self.causal.config.get_text_config()
        self.implementation: str = self.config._attn_implementation  # noqa: SLF001 - transformers has no public way
        configs = [part.config for part in self.causal.modules() if hasattr(part, "config")]
        self._configs = list({id(config): config for config in configs}.values())
        layers = getattr(self.decoder, "layers", None)
        self._last_layer = layers[-1] if layers is not None and _has_usual_form(layers[-1]) else None
        self._uses_window = self._window_matters()

    @property
    def window(self) -> int | None:
        """The sliding window size in tokens, including the current token; None if every layer attends to all tokens."""
        found: int | None = getattr(self.config, "sliding_window", None)
        return found if self._uses_window else None

    def _window_matters(self) -> bool:
        """Return whether the model's code uses the window from the configuration; Llama's code ignores the window."""
        if not getattr(self.config, "sliding_window", None):
            return False
        vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        tokens = (torch.arange(8, device=self.model.device) % vocabulary)[None]
        with torch.no_grad():
            with sliding_window(self.config, 2):
                narrow = self.model(tokens).logits
            with sliding_window(self.config, 8):
                return not torch.equal(narrow, self.model(tokens).logits)

    def layer_type(self, layer: int) -> str:
        """Return `FULL` if a layer attends to all previous tokens, or `SLIDING` if it attends only to a window."""
        types = getattr(self.config, "layer_types", None)
        if types:
            return str(types[layer])
        return SLIDING if self.window else FULL

    def original_attention(self, module: Any) -> Callable[..., Any]:
        """Return the attention function with which the model was loaded."""
        eager: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        found: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(self.implementation, eager)
        return found

    def logits(
        self,
        layout: RowLayout,
        prefix: Sequence[KeyValues],
        scored: "NDArray[np.int64]",
        use: Callable[[Tensor], None],
    ) -> None:
        """Pass logits of shape [positions, vocabulary], computed at the sorted row indices `scored`, to `use`.

        To limit memory, the logits are passed in order in chunks of `CHUNK` positions.
        """
        forward_pass = _ForwardPass(self, layout, prefix, scored)
        rows = torch.as_tensor(scored, device=self.model.device)
        with (
            self._tree_attention(forward_pass),
            _last_layer_at(rows, self._last_layer, forward_pass),
            _output_in_chunks(rows, self.decoder) as remaining,
        ):
            use(self._call(layout)[0])
            while remaining:
                use(self._call(layout)[0])

    def key_values(self, layout: RowLayout, prefix: Sequence[KeyValues]) -> KeyValues:
        """Compute the keys and values of all tokens in a row."""
        forward_pass = _ForwardPass(self, layout, prefix, None)
        with self._tree_attention(forward_pass), suppress(_KeyValuesStored):
            self._call(layout)
        return forward_pass.stored

    def _call(self, layout: RowLayout) -> Tensor:
        device = self.model.device
        logits: Tensor = self.model(
            input_ids=torch.as_tensor(layout.tokens, device=device)[None],
            position_ids=torch.as_tensor(layout.positions, device=device)[None],
            use_cache=False,
        ).logits
        return logits

    @contextmanager
    def _tree_attention(self, forward_pass: "_ForwardPass") -> Iterator[None]:
        """Replace the model's attention function during a forward pass."""
        _passes.append(forward_pass)
        for config in self._configs:
            config._attn_implementation = ATTENTION_NAME  # noqa: SLF001 - transformers has no public way
        try:
            with torch.no_grad():
                yield
        finally:
            _passes.pop()
            for config in self._configs:
                config._attn_implementation = self.implementation  # noqa: SLF001 - as above


@contextmanager
def sliding_window(config: Any, window: int) -> Iterator[None]:
    """Temporarily change a configuration's sliding window size; do not add a window to a configuration without one."""
    original = getattr(config, "sliding_window", None)
    if original:
        config.sliding_window = window
    try:
        yield
    finally:
        if original:
            config.sliding_window = original


class _ForwardPass:
    """The state of a forward pass; `scored` contains the scored row indices, or is None to store keys and values."""

    def __init__(
        self, reader: TreeReader, layout: RowLayout, prefix: Sequence[KeyValues], scored: "NDArray[np.int64] | None"
    ) -> None:
        self.reader = reader
        self.layout = layout
        self.prefix = prefix
        self.scored = scored
        self.only_scored = False
        """Whether the current layer's queries cover only the scored positions."""
        self.last_layer = int(reader.config.num_hidden_layers) - 1
        self.stored: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[tuple[str, bool, int], Tensor | None] = {}

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Compute a layer's attention output of shape [1, queries, heads, head size] tree by tree."""
        layer = int(module.layer_idx)
        if self.scored is None:
            self.stored[layer] = (key.contiguous(), value.contiguous())
            if layer == self.last_layer:
                raise _KeyValuesStored
        elif self.only_scored:
            key, value = self.stored.pop(layer)
        attention = self.reader.original_attention(module)
        buffer = _KeyValueBuffer([key_values[layer] for key_values in self.prefix], key, value, self.layout)
        parts = []
        for number, span in enumerate(self.layout.spans):
            queries = self._queries(span)
            if queries.start == queries.stop:
                continue
            keys, values = buffer.of(span)
            mask = self._mask(number, layer, key)
            parts.append(attention(module, query[:, :, queries], keys, values, mask, **options)[0])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _queries(self, span: TreeSpan) -> slice:
        if not self.only_scored or self.scored is None:
            return slice(span.start, span.stop)
        return slice(*self.scored.searchsorted([span.start, span.stop]).tolist())

    def _mask(self, number: int, layer: int, like: Tensor) -> Tensor | None:
        """Return a tree's mask of shape [1, 1, queries, prefix tokens + tree tokens].

        Return None if plain causal attention needs no mask.
        """
        layer_type = self.reader.layer_type(layer)
        mask_id = (layer_type, self.only_scored, number)
        if mask_id not in self._masks:
            self._masks[mask_id] = self._new_mask(self.layout.spans[number], layer_type, like)
        mask = self._masks[mask_id]
        return mask if mask is None else mask.to(like.device)

    def _new_mask(self, span: TreeSpan, layer_type: str, like: Tensor) -> Tensor | None:
        import numpy as np

        cached, size = self.layout.prefix_length, span.stop - span.start
        positions = self.layout.positions[span.start : span.stop]
        window = (self.reader.window or 0) if layer_type == SLIDING else 0
        slides = 0 < window <= positions.max()
        is_sdpa = self.reader.implementation == "sdpa"  # causal SDPA attention needs no mask
        if span.visible is None and not cached and not slides and not self.only_scored and is_sdpa:
            return None
        visible = np.ones((size, cached + size), dtype=np.bool_)
        visible[:, cached:] = np.tri(size, dtype=np.bool_) if span.visible is None else span.visible
        if slides:
            visible &= np.concatenate([np.arange(cached), positions]) > positions[:, None] - window
        if self.only_scored and self.scored is not None:
            visible = visible[self.scored[self._queries(span)] - span.start]
        mask = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
        hidden = torch.as_tensor(~visible, device=like.device)
        return mask.masked_fill_(hidden, torch.finfo(like.dtype).min)[None, None]


class _KeyValueBuffer:
    """Buffers for the keys and values of a prefix and one tree; the prefix is copied only once for all trees."""

    def __init__(self, prefix: Sequence[tuple[Tensor, Tensor]], key: Tensor, value: Tensor, layout: RowLayout) -> None:
        self._prefix_length = layout.prefix_length
        self._row = (key, value)
        self._joined: list[Tensor] = []
        if not prefix:
            return
        longest = max(span.stop - span.start for span in layout.spans)
        for side, new in enumerate(self._row):
            joined = new.new_empty(*new.shape[:2], self._prefix_length + longest, new.shape[3])
            start = 0
            for key_values in prefix:
                stop = start + key_values[side].shape[2]
                joined[:, :, start:stop] = key_values[side]
                start = stop
            self._joined.append(joined)

    def of(self, span: TreeSpan) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the prefix, followed by the keys and values of a tree."""
        if not self._joined:
            key, value = (new[:, :, span.start : span.stop] for new in self._row)
            return key, value
        end = self._prefix_length + span.stop - span.start
        for joined, new in zip(self._joined, self._row, strict=True):
            joined[:, :, self._prefix_length : end] = new[:, :, span.start : span.stop]
        key, value = (joined[:, :, :end] for joined in self._joined)
        return key, value


def _has_usual_form(layer: Any) -> bool:
    names = set(signature(layer.forward).parameters) - {"kwargs"}
    return "position_embeddings" in names and names <= USUAL_ARGUMENTS and hasattr(layer, "self_attn")


@contextmanager
def replaced(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Temporarily replace a module's forward method."""
    original = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if original is not None:
            module.forward = original


@contextmanager
def _last_layer_at(rows: Tensor, layer: Any, forward_pass: _ForwardPass) -> Iterator[None]:
    """Make the last layer compute keys and values at all positions, but its output only at the positions `rows`."""
    if layer is None:
        yield
        return
    original = layer.forward
    length = len(forward_pass.layout.tokens)

    def at_rows(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(at_rows(part) for part in value)
        if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[1] == length:
            return value.index_select(1, rows.to(value.device))
        return value

    def forward(hidden_states: Tensor, **options: Any) -> Any:
        scored, forward_pass.scored = forward_pass.scored, None
        with suppress(_KeyValuesStored):
            original(hidden_states, **options)
        forward_pass.scored, forward_pass.only_scored = scored, True
        return original(at_rows(hidden_states), **{name: at_rows(value) for name, value in options.items()})

    with replaced(layer, forward):
        yield


@contextmanager
def _output_in_chunks(rows: Tensor, decoder: Any) -> Iterator[list[Tensor]]:
    """Make a decoder return its output at the positions `rows` in chunks, one chunk per call.

    Yield the list of remaining chunks.
    """
    original = decoder.forward
    outputs: list[Any] = []
    remaining: list[Tensor] = []

    def forward(*args: Any, **options: Any) -> Any:
        if not outputs:
            outputs.append(original(*args, **options))
            hidden = outputs[0].last_hidden_state
            if hidden.shape[1] != len(rows):
                hidden = hidden.index_select(1, rows.to(hidden.device))
            remaining.extend(hidden.split(CHUNK, dim=1))
        outputs[0].last_hidden_state = remaining.pop(0)
        return outputs[0]

    with replaced(decoder, forward):
        yield remaining
