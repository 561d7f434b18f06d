"""The retriever `hybrid`, which fuses the recorded hits of several retrievers with reciprocal rank fusion.

A passage's score is the sum of weight / (constant + rank) over the retrievers that returned the passage. Source:
Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods, SIGIR
2009.
"""

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from kib.interfaces import Options
from kib.records import Hit, Passage, Query

__all__ = ["Hybrid", "HybridOptions"]

DEFAULT_DEPTH = 100

CORMACK = """@inproceedings{cormack2009rrf,
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
    """Options of `hybrid`: the retrievers to fuse, their weights and depths, and the constant in the formula."""

    of: tuple[str, ...] = Field(min_length=2, description="names of the retrievers to fuse, at least two")
    weights: Mapping[str, Weight] = Field(
        default={},
        description="weight of each retriever, by retriever name (default: 1); a weight of 0 excludes the retriever",
    )
    constant: int = Field(
        default=60,
        ge=0,
        description="constant added to each rank; the larger the constant, the less the top ranks dominate",
    )
    depth: Depth | Mapping[str, Depth] = Field(
        default=DEFAULT_DEPTH,
        description=(
            "number of hits read per retriever: one number for all retrievers, or a number per retriever name "
            "(default: 100)"
        ),
    )

    @field_validator("of")
    @classmethod
    def _is_unique(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed twice; list each retriever once and set its weight in `weights`")
        return names

    @model_validator(mode="after")
    def _is_consistent(self) -> "HybridOptions":
        for key in ("weights", "depth"):
            by_name = getattr(self, key)
            for name in by_name if isinstance(by_name, Mapping) else ():
                if name not in self.of:
                    raise ValueError(
                        f"`{key}` names the retriever {name!r}, which is not listed in `of`; expected "
                        f"{' or '.join(self.of)}"
                    )
        if not any(self.weights.get(name, 1) for name in self.of):
            raise ValueError("all weights are 0; at least one weight must be greater than 0")
        return self


class Hybrid:
    """The retriever `hybrid`, which reranks the hits from the retrievers in `of`."""

    Options: ClassVar[type[Options]] = HybridOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: HybridOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty string because no option refers to a file."""
        return ""

    def bibtex(self) -> str:
        """Return the BibTeX entry for reciprocal rank fusion."""
        return CORMACK

    def sources(self) -> Mapping[str, int]:
        """Return the retrievers in `of` and the number of hits to read from each retriever."""
        depth = self.options.depth
        return {name: depth if isinstance(depth, int) else depth.get(name, DEFAULT_DEPTH) for name in self.options.of}

    def rerank(
        self,
        query: Query,  # noqa: ARG002 - the score depends only on ranks
        hits: Mapping[str, Sequence[Hit]],
        passages: Mapping[str, Passage],  # noqa: ARG002
        k: int,
    ) -> list[Hit]:
        """Return the `k` passages with the largest sums of weight / (constant + rank); order ties by passage id."""
        terms: dict[str, list[float]] = {}
        for name, depth in self.sources().items():
            weight = self.options.weights.get(name, 1.0)
            for rank, hit in enumerate(hits[name][:depth] if weight else (), 1):
                terms.setdefault(hit.passage, []).append(weight / (self.options.constant + rank))
        # fsum rounds only once, so the order of the retrievers does not affect the sum.
        fused = (Hit(passage, fsum(values)) for passage, values in terms.items())
        return sorted(fused, key=lambda hit: (-hit.score, hit.passage))[:k]
