"""One ranking of several: reciprocal rank fusion of the frozen hits of other retrievers.

Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods,
SIGIR 2009. A passage's score is the sum, over the retrievers that found it, of weight / (constant + rank).
"""

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from kib.interfaces import Options
from kib.records import Hit, Passage, Query

__all__ = ["Hybrid", "HybridOptions"]

DEPTH = 100

FUSION = """@inproceedings{cormack2009rrf,
  title = {Reciprocal Rank Fusion outperforms {Condorcet} and individual Rank Learning Methods},
  author = {Cormack, Gordon V. and Clarke, Charles L. A. and B{\\"u}ttcher, Stefan},
  booktitle = {Proceedings of the 32nd International {ACM} {SIGIR} Conference on Research and Development in
    Information Retrieval},
  pages = {758--759},
  year = {2009},
  doi = {10.1145/1571941.1572114}
}"""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Depth = Annotated[int, Field(ge=1)]


class HybridOptions(Options):
    """Which retrievers, and how much each counts."""

    of: tuple[str, ...] = Field(min_length=2, description="The retrievers that are fused, by their names in the file.")
    weights: Mapping[str, Weight] = Field(
        default={}, description="How much a retriever counts, by name; 1 where it is not named, 0 leaves it out."
    )
    constant: int = Field(
        default=60, ge=0, description="Added to each rank: the larger, the less the first places are worth."
    )
    depth: Depth | Mapping[str, Depth] = Field(
        default=DEPTH, description="How many hits of each retriever are read: one number, or one by name (else 100)."
    )

    @field_validator("of")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"expected each retriever once, but {name!r} stands twice; `weights` says what counts")
        return names

    @model_validator(mode="after")
    def _fits(self) -> "HybridOptions":
        for key in ("weights", "depth"):
            named = getattr(self, key)
            for name in named if isinstance(named, Mapping) else ():
                if name not in self.of:
                    raise ValueError(f"`{key}` names {name!r}, which is none of `of`: {', '.join(self.of)}")
        if not any(self.weights.get(name, 1) for name in self.of):
            raise ValueError("every weight is 0; expected at least one above")
        return self


class Hybrid:
    """The retriever `hybrid`: a reranker over the hits of those in `of`."""

    Options: ClassVar[type[Options]] = HybridOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: HybridOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """The options point at nothing."""
        return ""

    def bibtex(self) -> str:
        """Reciprocal rank fusion."""
        return FUSION

    def sources(self) -> Mapping[str, int]:
        """The retrievers in `of`, and how many hits of each are read."""
        depth = self.options.depth
        return {name: depth if isinstance(depth, int) else depth.get(name, DEPTH) for name in self.options.of}

    def rerank(
        self,
        query: Query,  # noqa: ARG002 - a fusion looks at ranks alone
        hits: Mapping[str, Sequence[Hit]],
        passages: Mapping[str, Passage],  # noqa: ARG002
        k: int,
    ) -> list[Hit]:
        """The best `k` by the sum of weight / (constant + rank), ranks from 1; equal sums by passage id."""
        shares: dict[str, list[float]] = {}
        for name, depth in self.sources().items():
            weight = self.options.weights.get(name, 1.0)
            for rank, hit in enumerate(hits[name][:depth] if weight else (), 1):
                shares.setdefault(hit.passage, []).append(weight / (self.options.constant + rank))
        # fsum rounds once, so that the order of the retrievers cannot matter.
        fused = (Hit(passage, fsum(some)) for passage, some in shares.items())
        return sorted(fused, key=lambda hit: (-hit.score, hit.passage))[:k]
