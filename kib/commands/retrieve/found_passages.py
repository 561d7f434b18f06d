"""The passages that each retriever found for each query, as text and as records."""

from collections.abc import Iterator
from typing import Any

from kib.commands.retrieve.records import Block, Line, Report
from kib.records import RenderedQuestion
from kib.safe_text import one_line, visible

__all__ = ["found_passages", "found_records"]


def found_records(report: Report, block: Block, line: Line, show: int) -> Iterator[dict[str, Any]]:
    """Yield each query with the first `show` passages of a retriever."""
    for query in block.source.asked:
        yield {"query": query.question_id, "text": query.query, "passages": _passages(report, block, line, query, show)}


def _passages(report: Report, block: Block, line: Line, query: RenderedQuestion, show: int) -> list[dict[str, Any]]:
    """Return the first passages of a query with their grades; the grade is None if the query has no judgments."""
    hits = line.hits[query.question_id][:show]
    grades = block.source.relevance.get(query.question_id)
    return [
        {
            "passage": passage.id,
            "document": passage.document,
            "start": passage.start,
            "end": passage.end,
            "score": hit.score,
            "grade": None if grades is None else grades.get(getattr(passage, UNITS[block.by]), 0),
            "title": passage.title,
            "text": passage.text,
        }
        for hit, passage in zip(hits, report.collection.get(hit.passage for hit in hits), strict=True)
    ]


UNITS = {"passages": "id", "documents": "document"}
"""The attribute of a passage that names the judged item."""


def found_passages(report: Report, block: Block, show: int) -> Iterator[str]:
    """Yield lines with each query and the first `show` passages of each retriever."""
    for query in block.source.asked if show else ():
        yield f"{one_line(query.question_id)}: {one_line(query.query)}"
        for line in block.lines:
            passages = _passages(report, block, line, query, show)
            if not passages:
                yield f"  {line.retriever}: no passage found"
            for rank, one in enumerate(passages, 1):
                mark = f"  (grade {one['grade']})" if block.by == "documents" else "  (gold)"
                mark = mark if one["grade"] else ""
                title = f"  {one_line(one['title'])}" if one["title"] else ""
                yield f"  {line.retriever} {rank}. {one_line(one['passage'])}  {one['score']:.4g}{mark}{title}"
                yield from (f"      {text}".rstrip() for text in visible(one["text"]).splitlines())
        yield ""
