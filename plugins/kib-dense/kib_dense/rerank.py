"""The retriever `rerank`, which scores the hits of other retrievers with a cross-encoder."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from kib.errors import InputError
from kib.interfaces import Options
from kib.records import Hit, Passage, Query
from kib.support.literature import of_model
from kib_dense.batching import batch_tokens, split_into_batches
from kib_dense.dense import passage_text
from kib_dense.encoder import SENTENCE_TRANSFORMERS
from kib_dense.encoder_location import EncoderLocation
from kib_dense.model_loading import load_model, run_quietly
from kib_dense.model_options import ModelOptions

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = ["Rerank", "RerankOptions"]


class RerankOptions(ModelOptions):
    """Options of `rerank`: the cross-encoder, and the retrievers that supply the hits to rerank."""

    of: tuple[str, ...] = Field(
        min_length=1, description="Names of the retrievers in the same benchmark file that supply the hits to rerank."
    )
    depth: int = Field(default=50, ge=1, description="Number of hits to rerank from each retriever.")

    @field_validator("of")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(
                f"the retriever {twice[0]!r} is listed {names.count(twice[0])} times; list each retriever once"
            )
        return names

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError(
                "expected either `path` (a folder) or `hub` (the name of a model on the hub), but not both"
            )
        if self.revision is not None and self.hub is None:
            raise ValueError(
                "`revision` applies only to `hub`; a model folder is identified by the digest of its files"
            )
        return self


class Rerank:
    """The retriever `rerank`, which reorders the hits from the retrievers in `of`."""

    Options: ClassVar[type[Options]] = RerankOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: RerankOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return a digest of the model's files or its commit on the hub; raise InputError if the model is missing."""
        return self._location.fingerprint()

    def online(self) -> list[str]:
        """Return the cross-encoder's name if the cross-encoder is loaded from the hub, otherwise an empty list."""
        return self._location.online()

    def bibtex(self) -> str:
        """Return the BibTeX entries for the library and, if the model's hub id is known, for the model."""
        return "\n".join([*of_model(self.options.hub or ""), SENTENCE_TRANSFORMERS])

    def sources(self) -> Mapping[str, int]:
        """Return the retrievers in `of` and the number of hits to read from each retriever."""
        return dict.fromkeys(self.options.of, self.options.depth)

    def rerank(
        self, query: Query, hits: Mapping[str, Sequence[Hit]], passages: Mapping[str, Passage], k: int
    ) -> list[Hit]:
        """Return the `k` hits with the highest raw cross-encoder scores; order ties by passage id.

        A blank query has no hits.
        """
        if not query.text.strip():
            return []
        found = sorted({hit.passage for name in self.options.of for hit in hits[name][: self.options.depth]})
        texts = [passage_text(passages[passage]) for passage in found]
        scores = self._scores(query.text, texts)
        scored = (Hit(passage, score) for passage, score in zip(found, scores, strict=True))
        return sorted(scored, key=lambda hit: (-hit.score, hit.passage))[:k]

    def _scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one raw score per text; a sigmoid would round the scores of many good passages to 1.0."""
        import torch

        if not texts:
            return []
        pairs = [(query, text) for text in texts]
        lengths = [len(ids) for ids in self._model.tokenizer(pairs, truncation=True, verbose=False)["input_ids"]]
        scores = [0.0] * len(texts)
        for batch in split_into_batches(lengths, batch_tokens(self._model, self.options)):
            with run_quietly(self._location):
                values = self._model.predict(
                    [pairs[position] for position in batch],
                    batch_size=len(batch),
                    show_progress_bar=False,
                    activation_fn=torch.nn.Identity(),
                )
            for position, value in zip(batch, values, strict=True):
                scores[position] = float(value)
        if not all(map(isfinite, scores)):
            raise InputError(
                f'{self._location}: a score computed in {self.options.dtype} is not finite; set dtype = "float32", or '
                "check the weights"
            )
        return scores

    @cached_property
    def _location(self) -> EncoderLocation:
        return EncoderLocation("CrossEncoder", self.options.path, self.options.hub, self.options.revision)

    @cached_property
    def _model(self) -> "CrossEncoder":
        model: CrossEncoder = load_model(self._location, self.options)
        if model.num_labels != 1:
            raise InputError(
                f"{self._location}: the model computes {model.num_labels} scores per pair; expected a cross-encoder "
                "with one score"
            )
        return model
