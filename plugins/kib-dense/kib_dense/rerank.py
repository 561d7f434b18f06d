"""The retriever `rerank`: a cross-encoder reads the query and each of another retriever's hits together."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from kib.errors import InputError
from kib.interfaces import Options
from kib.records import Hit, Passage, Query
from kib.support.literature import of_model
from kib_dense.dense import passage_text
from kib_dense.encoder import SENTENCE_TRANSFORMERS
from kib_dense.loading import batch_tokens, batches, by_itself, load
from kib_dense.source import ModelOptions, Source

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = ["Rerank", "RerankOptions"]


class RerankOptions(ModelOptions):
    """Which cross-encoder, and whose hits it reads."""

    of: tuple[str, ...] = Field(
        min_length=1, description="The retrievers whose hits are read, by their names in the file."
    )
    depth: int = Field(default=50, ge=1, description="How many hits of each are read.")

    @field_validator("of")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"expected each retriever once, but {twice[0]!r} stands {names.count(twice[0])} times")
        return names

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("expected either `path` (a folder) or `hub` (a name on the hub), exactly one of them")
        if self.revision is not None and self.hub is None:
            raise ValueError("`revision` belongs to `hub`; a folder's weights are known by their bytes")
        return self


class Rerank:
    """The retriever `rerank`: a reranker over the hits of those in `of`."""

    Options: ClassVar[type[Options]] = RerankOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: RerankOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Digest of the model's files, or its commit on the hub; InputError where it is not there."""
        return self._source.fingerprint()

    def online(self) -> list[str]:
        """The cross-encoder on the hub, where it is no folder."""
        return self._source.online()

    def bibtex(self) -> str:
        """The model, where kib knows its id on the hub, and the library that runs it."""
        return "\n".join([*of_model(self.options.hub or ""), SENTENCE_TRANSFORMERS])

    def sources(self) -> Mapping[str, int]:
        """The retrievers in `of`, and how many hits of each are read."""
        return dict.fromkeys(self.options.of, self.options.depth)

    def rerank(
        self, query: Query, hits: Mapping[str, Sequence[Hit]], passages: Mapping[str, Passage], k: int
    ) -> list[Hit]:
        """The best `k` by the cross-encoder's raw score, equal scores by passage id; none for a blank query."""
        if not query.text.strip():
            return []
        found = sorted({hit.passage for name in self.options.of for hit in hits[name][: self.options.depth]})
        texts = [passage_text(passages[passage]) for passage in found]
        scores = self._scores(query.text, texts)
        scored = (Hit(passage, score) for passage, score in zip(found, scores, strict=True))
        return sorted(scored, key=lambda hit: (-hit.score, hit.passage))[:k]

    def _scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """A score for each text; raw, because a sigmoid rounds many good passages to the same 1.0."""
        import torch

        if not texts:
            return []
        pairs = [(query, text) for text in texts]
        lengths = [len(ids) for ids in self._model.tokenizer(pairs, truncation=True, verbose=False)["input_ids"]]
        scores = [0.0] * len(texts)
        for places in batches(lengths, batch_tokens(self._model, self.options)):
            with by_itself(self._source):
                values = self._model.predict(
                    [pairs[place] for place in places],
                    batch_size=len(places),
                    show_progress_bar=False,
                    activation_fn=torch.nn.Identity(),
                )
            for place, value in zip(places, values, strict=True):
                scores[place] = float(value)
        if not all(map(isfinite, scores)):
            raise InputError(f"{self._source}: gave a score that is not finite in {self.options.dtype}; try float32")
        return scores

    @cached_property
    def _source(self) -> Source:
        return Source("CrossEncoder", self.options.path, self.options.hub, self.options.revision)

    @cached_property
    def _model(self) -> "CrossEncoder":
        model: CrossEncoder = load(self._source, self.options)
        if model.num_labels != 1:
            raise InputError(
                f"{self._source}: gives {model.num_labels} numbers for a pair; expected a cross-encoder with one score"
            )
        return model
