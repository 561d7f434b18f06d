"""The records of `kib retrieve`: the hits, quality and cost of each retriever for each set of queries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kib.records import Hit, RenderedQuestion
from kib.run.steps.passages import Passages
from kib.statistics.gains import Accuracy
from kib.support.phrases import counted, first_names

__all__ = ["Block", "By", "Line", "QuerySet", "Report"]

By = Literal["passages", "documents"]
"""The kind of judged items: passages that contain a task's gold, or documents, represented by their best passage."""


NAMED = 3
"""The maximum number of queries that a remark names."""


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Queries that are searched together; `relevance` maps each judged query to the grades of items by item id.

    `task` is None if the queries do not come from a task. `left_out` maps a query to the documents that do not count as
    its hits.
    """

    title: str
    asked: Sequence[RenderedQuestion]
    by: By
    relevance: Mapping[str, Mapping[str, int]]
    task: str | None = None
    left_out: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def own_gold(self) -> list[str]:
        """The queries for which a relevant document is left out, so that this document can never be found."""
        return [
            query
            for query, names in self.left_out.items()
            if any(self.relevance.get(query, {}).get(name, 0) > 0 for name in names)
        ]

    def left_out_remarks(self) -> list[str]:
        """Return sentences about the documents that do not count as hits, and about the relevant ones among them."""
        if not self.left_out:
            return []
        total = counted(len(self.asked), "query", "queries")
        remarks = [f"Documents with the id of the query are left out of the hits: {len(self.left_out):,} of {total}."]
        if own := self.own_gold:
            count, named = counted(len(own), "query", "queries"), first_names(own, NAMED)
            remarks.append(
                f"The document left out is relevant to {count} ({named}); as in BEIR, this document counts as not "
                "found, so recall stays below 1."
            )
        return remarks


@dataclass(frozen=True, slots=True)
class Line:
    """The result of one retriever on one set of queries: measures with intervals, and the cost on this machine."""

    retriever: str
    measures: Mapping[str, Accuracy]
    index_bytes: int
    indexing: float  # seconds
    searching: float  # seconds per query
    hits: Mapping[str, Sequence[Hit]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """The results for one set of queries; measures are means over the `judged` queries with a relevant item."""

    title: str
    queries: int
    judged: int
    by: By
    lines: tuple[Line, ...]
    source: QuerySet


@dataclass(frozen=True, slots=True)
class Report:
    """All results for a corpus; `failures` contains the reason for each retriever that failed.

    `collection` contains the passages that the hits name. `awaits_server` states whether retrievers failed only because
    a server did not answer.
    """

    corpus: str
    passages: int
    depth: int  # the maximum number of passages per query
    blocks: tuple[Block, ...]
    failures: Mapping[str, str]
    collection: Passages
    awaits_server: bool = False
