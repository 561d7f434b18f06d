"""Converts hits to TREC runs, for trec_eval and similar tools."""

from collections.abc import Iterator, Mapping
from typing import Literal

from kib.commands.retrieve.records import Line, Report
from kib.commands.retrieve.search import ids_of
from kib.errors import InputError

__all__ = ["UNITS", "Unit", "trec_runs"]

Unit = Literal["documents", "passages", "ranges"]
"""What the lines of a run name: documents, passage ids (`pump#3`), or documents with ranges (`pump:120-480`)."""

UNITS: tuple[Unit, ...] = ("documents", "passages", "ranges")


def trec_runs(report: Report, unit: Unit | None = None) -> dict[str, str]:
    """Return one TREC run per retriever, whose lines contain query, Q0, passage or document, rank, score and retriever.

    A run of documents lists each document with its best passage. By default, a run lists documents if documents are
    judged, else passages. Raises InputError if there are several sets of queries or if an id contains white space,
    because the TREC format does not support either.
    """
    if len(report.blocks) > 1:
        names = ", ".join(block.title for block in report.blocks)
        raise InputError(
            f"a TREC run needs exactly one set of queries, got {len(report.blocks)} ({names}); choose one with --task"
        )
    [block] = report.blocks
    return {line.retriever: "".join(_lines(report, line, unit or block.by)) for line in block.lines}


def _ranges(report: Report, line: Line) -> Mapping[str, str]:
    """Return the document and the character range of each passage among the hits of a retriever."""
    ids = dict.fromkeys(hit.passage for hits in line.hits.values() for hit in hits)
    return {one.id: f"{one.document}:{one.start}-{one.end}" for one in report.collection.get(ids)}


def _lines(report: Report, line: Line, unit: Unit) -> Iterator[str]:
    names = _ranges(report, line) if unit == "ranges" else {}
    by: Literal["documents", "passages"] = "documents" if unit == "documents" else "passages"
    for query, hits in line.hits.items():
        for rank, (found, score) in enumerate(ids_of(hits, by).items(), 1):
            one = names.get(found, found)
            for name in (query, one):
                if not name or any(letter.isspace() for letter in name):
                    raise InputError(f"the id {name!r} contains white space, which separates the columns of a TREC run")
            yield f"{query} Q0 {one} {rank} {score!r} {line.retriever}\n"
