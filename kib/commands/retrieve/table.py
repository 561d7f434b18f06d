"""Renders the report of `kib retrieve` for the terminal or as Markdown, CSV or JSON."""

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

from kib.commands.retrieve.found_passages import found_passages, found_records
from kib.commands.retrieve.records import Block, Line, Report
from kib.errors import InputError
from kib.leaderboard.number_format import DASH, byte_size, three_digits
from kib.safe_text import one_line
from kib.statistics.gains import bounds
from kib.support.phrases import counted

__all__ = ["FORMATS", "render"]

FORMATS = ("terminal", "markdown", "csv", "json")
SCHEMA = 1
INTERVAL = "nDCG@10"
"""The measure that is shown with its confidence interval; CSV and JSON contain the intervals of all measures."""

LEGENDS = {
    "passages": (
        "recall@K: share of questions with a gold passage among the first K hits. MRR, nDCG and MAP depend on the "
        "ranks of the gold passages."
    ),
    "documents": (
        "recall@K: share of a query's relevant documents among the first K documents, averaged over queries. A "
        "document has the rank of its best passage."
    ),
}
UNJUDGED = "No query has a relevance judgment, so only times are measured."


def render(report: Report, form: str, show: int = 0) -> str:
    """Return the report in one of `FORMATS`, with a final line break, and the first `show` passages of each query.

    Raises InputError for any other format.
    """
    forms = {"terminal": _terminal, "markdown": _markdown, "csv": _csv, "json": _json}
    if form not in forms:
        raise InputError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    return forms[form](report, show)


def _title(report: Report, block: Block) -> str:
    judged = "" if block.judged == block.queries else f", {block.judged:,} of them judged"
    depth = min(report.depth, report.passages)
    found = f"the first {depth:,} of {counted(report.passages, 'passage')} of corpus {report.corpus}"
    asked = counted(block.queries, "query", "queries")
    return one_line(f"{block.title} · {asked}{judged} · {found}")


def _header(block: Block) -> list[str]:
    shown = [part for name in block.lines[0].measures for part in ([name, "interval"] if name == INTERVAL else [name])]
    return ["retriever", *shown, "index", "indexing s", "ms/query"]


def _texts(line: Line) -> list[str]:
    parts = [line.retriever]
    for name, one in line.measures.items():
        parts.append(f"{one.mean:.4f}")
        if name == INTERVAL and one.interval:
            parts.append(f"[{one.interval.low:.3f}, {one.interval.high:.3f}]")
    index = byte_size(line.index_bytes) if line.index_bytes else DASH
    indexing = three_digits(line.indexing) if line.index_bytes else DASH
    return [*parts, index, indexing, three_digits(1000 * line.searching)]


def _legend(block: Block) -> str:
    legend = LEGENDS[block.by] if block.judged else UNJUDGED
    return one_line(" ".join([legend, *block.source.left_out_remarks()]))


def _measured(report: Report) -> list[Block]:
    """Return the blocks in which at least one retriever succeeded."""
    return [block for block in report.blocks if block.lines]


def _terminal(report: Report, show: int) -> str:
    parts = []
    for block in _measured(report):
        rows = [_header(block), *map(_texts, block.lines)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        parts += [_title(report, block), *(_row(row, widths) for row in rows), _legend(block), ""]
        parts += found_passages(report, block, show)
    return "\n".join(parts)


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        text.ljust(width) if place == 0 else text.rjust(width)
        for place, (text, width) in enumerate(zip(texts, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _markdown(report: Report, show: int) -> str:
    parts = []
    for block in _measured(report):
        header = _header(block)
        rows = [header, [":--", *["--:"] * (len(header) - 1)], *map(_texts, block.lines)]
        parts += [f"### {_title(report, block)}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
        parts += [_legend(block), ""]
        if texts := list(found_passages(report, block, show)):
            parts += ["```text", *texts, "```", ""]
    return "\n".join(parts)


def _shared_fields(report: Report, block: Block) -> dict[str, Any]:
    """Return the fields that are identical on all lines of a block."""
    return {
        "corpus": report.corpus,
        "passages": report.passages,
        "queries": block.title,
        "n": block.queries,
        "judged": block.judged,
        "by": block.by,
        "depth": report.depth,
        "own_documents_left_out": len(block.source.left_out),
        "own_documents_relevant": len(block.source.own_gold),
    }


def _costs(line: Line) -> dict[str, Any]:
    searching = {"seconds_query": line.searching}
    return {"index_bytes": line.index_bytes, "seconds_indexing": line.indexing, **searching}


def _csv(report: Report, _: int) -> str:
    """Return one row per retriever and set of queries; each measure has three columns: mean, low and high.

    CSV has no place for passages.
    """
    rows = list(_rows(report))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    for block in report.blocks:
        for line in block.lines:
            row = {"retriever": line.retriever, **_shared_fields(report, block)}
            for name, one in line.measures.items():
                low, high = bounds(one.interval)
                row |= {name: one.mean, f"{name} low": low, f"{name} high": high}
            yield {**row, **_costs(line)}


def _json(report: Report, show: int) -> str:
    blocks = []
    for block in report.blocks:
        lines = []
        for line in block.lines:
            measures = {
                name: dict(zip(("mean", "low", "high"), (one.mean, *bounds(one.interval)), strict=True))
                for name, one in line.measures.items()
            }
            found = {"found": list(found_records(report, block, line, show))} if show else {}
            lines.append({"retriever": line.retriever, "measures": measures, **_costs(line), **found})
        blocks.append({**_shared_fields(report, block), "retrievers": lines})
    value = {"schema": SCHEMA, "blocks": blocks, "failures": dict(report.failures)}
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
