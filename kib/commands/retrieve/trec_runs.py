"""Converts hits to TREC runs, for trec_eval and similar tools."""

from collections.abc import Iterator

from kib.commands.retrieve.records import Block, Line, Report
from kib.commands.retrieve.search import ids_of
from kib.errors import InputError

__all__ = ["trec_runs"]


def trec_runs(report: Report) -> dict[str, str]:
    """Return one TREC run per retriever, whose lines contain query, Q0, passage or document, rank, score and retriever.

    If documents are judged, a run lists documents, each represented by its best passage; otherwise, a run lists
    passages. Raises InputError if there are several sets of queries or if an id contains white space, because the TREC
    format does not support either.
    """
    if len(report.blocks) > 1:
        names = ", ".join(block.title for block in report.blocks)
        raise InputError(
            f"a TREC run needs exactly one set of queries, got {len(report.blocks)} ({names}); choose one with --task"
        )
    [block] = report.blocks
    return {line.retriever: "".join(_lines(block, line)) for line in block.lines}


def _lines(block: Block, line: Line) -> Iterator[str]:
    for query, hits in line.hits.items():
        for rank, (one, score) in enumerate(ids_of(hits, block.by).items(), 1):
            for name in (query, one):
                if not name or any(letter.isspace() for letter in name):
                    raise InputError(f"the id {name!r} contains white space, which separates the columns of a TREC run")
            yield f"{query} Q0 {one} {rank} {score!r} {line.retriever}\n"
