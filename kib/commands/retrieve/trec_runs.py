"""What was found in TREC's format of a run, for trec_eval and its like."""

from collections.abc import Iterator

from kib.commands.retrieve.records import Block, Line, Report
from kib.commands.retrieve.search import ids_of
from kib.errors import InputError

__all__ = ["trec_runs"]


def trec_runs(report: Report) -> dict[str, str]:
    """By retriever, lines of query, Q0, passage or document, rank, score and the retriever's name.

    Documents where these are judged, each at its best passage, else passages. InputError for several sets of queries,
    and for an id with a blank, which the format cannot hold.
    """
    if len(report.blocks) > 1:
        names = ", ".join(block.title for block in report.blocks)
        raise InputError(f"a run holds one set of queries, here are {len(report.blocks)} ({names}); choose by --task")
    [block] = report.blocks
    return {line.retriever: "".join(_lines(block, line)) for line in block.lines}


def _lines(block: Block, line: Line) -> Iterator[str]:
    for query, hits in line.hits.items():
        for rank, (one, score) in enumerate(ids_of(hits, block.by).items(), 1):
            for name in (query, one):
                if not name or any(letter.isspace() for letter in name):
                    raise InputError(f"the id {name!r} holds a blank; lines of a TREC run are separated by blanks")
            yield f"{query} Q0 {one} {rank} {score!r} {line.retriever}\n"
