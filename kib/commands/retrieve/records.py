"""The records of `kib retrieve`: the hits, quality and cost of each retriever for each set of queries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kib.records import Hit, RenderedQuestion
from kib.run.steps.passages import Passages
from kib.statistics.gains import Accuracy

__all__ = ["Block", "By", "Line", "QuerySet", "Report"]

By = Literal["passages", "documents"]
"""The kind of judged items: passages that contain a task's gold, or documents, represented by their best passage."""


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

    `collection` contains the passages that the hits name.
    """

    corpus: str
    passages: int
    depth: int  # the maximum number of passages per query
    blocks: tuple[Block, ...]
    failures: Mapping[str, str]
    collection: Passages
