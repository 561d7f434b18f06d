"""The records of `kib retrieve`: what each retriever found for each set of queries, and what it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kib.records import Hit, RenderedQuestion
from kib.statistics.gains import Accuracy

__all__ = ["Block", "By", "Line", "QuerySet", "Report"]

By = Literal["passages", "documents"]
"""What is judged: passages by a task's gold, or documents, each at the place of its best passage."""


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Queries that are searched for together; `relevance` gives, of those that have any, the grades by id.

    `task` is None where they are of none. In `relevance` stands no query without a relevant passage or document.
    """

    title: str
    asked: Sequence[RenderedQuestion]
    by: By
    relevance: Mapping[str, Mapping[str, int]]
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A retriever on one set of queries: measures by name with their intervals, and what it took on this machine."""

    retriever: str
    measures: Mapping[str, Accuracy]
    index_bytes: int
    indexing: float  # seconds
    searching: float  # seconds a query
    hits: Mapping[str, Sequence[Hit]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """One set of queries; `judged` of them have something relevant, and the measures are means over these."""

    title: str
    queries: int
    judged: int
    by: By
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that was searched in a corpus; `failures` say by retriever why it found nothing."""

    corpus: str
    passages: int
    depth: int  # passages found a query, at most
    blocks: tuple[Block, ...]
    failures: Mapping[str, str]
