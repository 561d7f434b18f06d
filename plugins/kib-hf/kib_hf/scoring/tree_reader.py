"""One forward pass over a row: the model's own attention, tree by tree, on cached trunks.

transformers lets attention be replaced by name (`AttentionInterface`); the function registered here gets queries, keys
and values after the rotation and hands each tree of the row to the implementation that the model had, with the trunk's
keys in front and a mask that follows the tree. Positions are depths. In the last layer and the output layer only the
scored positions are computed, where the model's layers have the usual form.
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

from kib_hf.scoring.row_layout import Layout, Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FULL", "SLIDING", "Reader", "States", "windowed"]

FULL, SLIDING = "full_attention", "sliding_attention"
NAME = "kib_tree"
CHUNK = 128
"""Positions that the output layer is asked for at once."""
PLAIN_LAYER = {"hidden_states", "attention_mask", "position_ids", "past_key_values", "use_cache", "position_embeddings"}
"""What a decoder layer of the usual form takes; only such a layer is asked for some positions alone."""

States = Mapping[int, tuple[Tensor, Tensor]]
"""Keys and values by layer, each of shape [1, heads, tokens, head size]."""


class _NotedError(Exception):
    """The keys and values that were asked for are noted; nothing more of the layer is needed."""


_reading: "list[_Reading]" = []


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> tuple[Tensor, None]:
    if attention_mask is not None:  # transformers makes none for an attention of this name
        raise NotImplementedError("the model makes a mask of its own")
    return _reading[-1].attend(module, query, key, value, options), None


AttentionInterface.register(NAME, _attend)


class Reader:
    """A causal model of transformers that reads rows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.decoder = self.causal.get_decoder()
        self.config = self.causal.config.get_text_config()
        self.implementation: str = self.config._attn_implementation  # noqa: SLF001 - transformers has no other way
        configs = [part.config for part in self.causal.modules() if hasattr(part, "config")]
        self._configs = list({id(config): config for config in configs}.values())
        layers = getattr(self.decoder, "layers", None)
        self._last = layers[-1] if layers is not None and _is_plain(layers[-1]) else None
        self._slides = self._is_slid()

    @property
    def window(self) -> int | None:
        """Tokens that a sliding layer sees, itself included; None where all layers see everything."""
        found: int | None = getattr(self.config, "sliding_window", None)
        return found if self._slides else None

    def _is_slid(self) -> bool:
        """Whether the model's code looks at the window that its configuration names; a Llama's, say, does not."""
        if not getattr(self.config, "sliding_window", None):
            return False
        words = int(self.model.get_input_embeddings().weight.shape[0])
        tokens = (torch.arange(8, device=self.model.device) % words)[None]
        with torch.no_grad():
            with windowed(self.config, 2):
                some = self.model(tokens).logits
            with windowed(self.config, 8):
                return not torch.equal(some, self.model(tokens).logits)

    def kind(self, layer: int) -> str:
        """Whether a layer sees everything before a token or a window of it."""
        kinds = getattr(self.config, "layer_types", None)
        if kinds:
            return str(kinds[layer])
        return SLIDING if self.window else FULL

    def stock(self, module: Any) -> Callable[..., Any]:
        """The attention that the model had."""
        eager: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        found: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(self.implementation, eager)
        return found

    def score(
        self, layout: Layout, trunk: Sequence[States], places: "NDArray[np.int64]", use: Callable[[Tensor], None]
    ) -> None:
        """Hand over what the model predicts after the tokens at sorted `places` of a row: logits [some, vocabulary].

        They come in order, `CHUNK` places at a time, since each needs a value for every word of the vocabulary.
        """
        reading = _Reading(self, layout, trunk, places)
        rows = torch.as_tensor(places, device=self.model.device)
        with self._reads(reading), _narrowed(self._last, reading, rows), _in_chunks(self.decoder, rows) as chunks:
            use(self._call(layout)[0])
            while chunks:
                use(self._call(layout)[0])

    def keep(self, layout: Layout, trunk: Sequence[States]) -> States:
        """The keys and values of all tokens of a row."""
        reading = _Reading(self, layout, trunk, None)
        with self._reads(reading), suppress(_NotedError):
            self._call(layout)
        return reading.noted

    def _call(self, layout: Layout) -> Tensor:
        device = self.model.device
        logits: Tensor = self.model(
            input_ids=torch.as_tensor(layout.tokens, device=device)[None],
            position_ids=torch.as_tensor(layout.depths, device=device)[None],
            use_cache=False,
        ).logits
        return logits

    @contextmanager
    def _reads(self, reading: "_Reading") -> Iterator[None]:
        _reading.append(reading)
        for config in self._configs:
            config._attn_implementation = NAME  # noqa: SLF001 - transformers has no other way
        try:
            with torch.no_grad():
                yield
        finally:
            _reading.pop()
            for config in self._configs:
                config._attn_implementation = self.implementation  # noqa: SLF001 - as above


@contextmanager
def windowed(config: Any, window: int) -> Iterator[None]:
    """Let a model whose configuration names a window have one of so many tokens for a while."""
    own = getattr(config, "sliding_window", None)
    if own:
        config.sliding_window = window
    try:
        yield
    finally:
        if own:
            config.sliding_window = own


class _Reading:
    """A forward pass that goes on: `places` are the scored positions, None where keys and values are wanted."""

    def __init__(
        self, reader: Reader, layout: Layout, trunk: Sequence[States], places: "NDArray[np.int64] | None"
    ) -> None:
        self.reader = reader
        self.layout = layout
        self.trunk = trunk
        self.places = places
        self.narrow = False
        self.last_layer = int(reader.config.num_hidden_layers) - 1
        self.noted: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[tuple[str, bool, int], Tensor | None] = {}

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Attention [1, queries, heads, head size] of a layer, tree by tree."""
        layer = int(module.layer_idx)
        if self.places is None:
            self.noted[layer] = (key.contiguous(), value.contiguous())
            if layer == self.last_layer:
                raise _NotedError
        elif self.narrow:
            key, value = self.noted.pop(layer)
        stock = self.reader.stock(module)
        room = _Room([states[layer] for states in self.trunk], key, value, self.layout)
        parts = []
        for number, span in enumerate(self.layout.spans):
            queries = self._queries(span)
            if queries.start == queries.stop:
                continue
            keys, values = room.of(span)
            mask = self._mask(number, layer, key)
            parts.append(stock(module, query[:, :, queries], keys, values, mask, **options)[0])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _queries(self, span: Span) -> slice:
        if not self.narrow or self.places is None:
            return slice(span.start, span.stop)
        return slice(*self.places.searchsorted([span.start, span.stop]).tolist())

    def _mask(self, number: int, layer: int, like: Tensor) -> Tensor | None:
        """What a tree's queries see, [1, 1, queries, trunk and tree]: 0 or minus infinity; None: plain causal."""
        kind = self.reader.kind(layer)
        key = (kind, self.narrow, number)
        if key not in self._masks:
            self._masks[key] = self._made_mask(self.layout.spans[number], kind, like)
        mask = self._masks[key]
        return mask if mask is None else mask.to(like.device)

    def _made_mask(self, span: Span, kind: str, like: Tensor) -> Tensor | None:
        import numpy as np

        depth, size = self.layout.depth, span.stop - span.start
        depths = self.layout.depths[span.start : span.stop]
        window = (self.reader.window or 0) if kind == SLIDING else 0
        slides = 0 < window <= depths.max()
        if span.sees is None and not depth and not slides and not self.narrow and self.reader.implementation == "sdpa":
            return None
        sees = np.ones((size, depth + size), dtype=np.bool_)
        sees[:, depth:] = np.tri(size, dtype=np.bool_) if span.sees is None else span.sees
        if slides:
            sees &= np.concatenate([np.arange(depth), depths]) > depths[:, None] - window
        if self.narrow and self.places is not None:
            sees = sees[self.places[self._queries(span)] - span.start]
        mask = torch.zeros(sees.shape, dtype=like.dtype, device=like.device)
        hidden = torch.as_tensor(~sees, device=like.device)
        return mask.masked_fill_(hidden, torch.finfo(like.dtype).min)[None, None]


class _Room:
    """Keys and values of trunk and tree in one piece: the trunk's are copied once, each tree's over the last one's."""

    def __init__(self, trunk: Sequence[tuple[Tensor, Tensor]], key: Tensor, value: Tensor, layout: Layout) -> None:
        self.depth = layout.depth
        self.new = (key, value)
        self.room: list[Tensor] = []
        if not trunk:
            return
        longest = max(span.stop - span.start for span in layout.spans)
        for which, new in enumerate(self.new):
            room = new.new_empty(*new.shape[:2], self.depth + longest, new.shape[3])
            at = 0
            for states in trunk:
                length = states[which].shape[2]
                room[:, :, at : at + length] = states[which]
                at += length
            self.room.append(room)

    def of(self, span: Span) -> tuple[Tensor, Tensor]:
        """Keys and values that a tree's queries may see."""
        if not self.room:
            key, value = (new[:, :, span.start : span.stop] for new in self.new)
            return key, value
        end = self.depth + span.stop - span.start
        for room, new in zip(self.room, self.new, strict=True):
            room[:, :, self.depth : end] = new[:, :, span.start : span.stop]
        key, value = (room[:, :, :end] for room in self.room)
        return key, value


def _is_plain(layer: Any) -> bool:
    names = set(signature(layer.forward).parameters) - {"kwargs"}
    return "position_embeddings" in names and names <= PLAIN_LAYER and hasattr(layer, "self_attn")


@contextmanager
def _replaced(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module compute something else for a while."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


@contextmanager
def _narrowed(layer: Any, reading: _Reading, rows: Tensor) -> Iterator[None]:
    """Let a layer take keys and values from all positions, and compute the rest of itself at `rows` alone."""
    if layer is None:
        yield
        return
    own = layer.forward
    length = len(reading.layout.tokens)

    def some(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(some(part) for part in value)
        if isinstance(value, Tensor) and value.ndim >= 2 and value.shape[1] == length:
            return value.index_select(1, rows.to(value.device))
        return value

    def forward(hidden_states: Tensor, **options: Any) -> Any:
        places, reading.places = reading.places, None
        with suppress(_NotedError):
            own(hidden_states, **options)
        reading.places, reading.narrow = places, True
        return own(some(hidden_states), **{name: some(value) for name, value in options.items()})

    with _replaced(layer, forward):
        yield


@contextmanager
def _in_chunks(decoder: Any, rows: Tensor) -> Iterator[list[Tensor]]:
    """Let a decoder give what it computed at `rows` piece by piece, call after call; the list holds what is left."""
    own = decoder.forward
    outputs: list[Any] = []
    left: list[Tensor] = []

    def forward(*args: Any, **options: Any) -> Any:
        if not outputs:
            outputs.append(own(*args, **options))
            hidden = outputs[0].last_hidden_state
            if hidden.shape[1] != len(rows):
                hidden = hidden.index_select(1, rows.to(hidden.device))
            left.extend(hidden.split(CHUNK, dim=1))
        outputs[0].last_hidden_state = left.pop(0)
        return outputs[0]

    with _replaced(decoder, forward):
        yield left
