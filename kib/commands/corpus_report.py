"""The part of `kib check` that describes corpora: passage lengths, the longest passages, duplicates and headings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kib.commands.show import corpus_remarks
from kib.support.phrases import counted

__all__ = ["describe_corpus"]

BAR = 40
"""The number of characters of the longest bar in a histogram."""


def describe_corpus(record: Mapping[str, Any], *, histogram: bool) -> Iterator[str]:
    """Yield lines about a corpus from its record, which may be the record of an earlier version."""
    documents, passages = counted(record["documents"], "document"), counted(record["passages"], "passage")
    lengths = record.get("lengths")
    size = ""
    if lengths:
        size = f" of {lengths['minimum']:,} / {lengths['median']:,.0f} / {lengths['maximum']:,} {lengths['unit']}"
        size += " (minimum / median / maximum)"
    yield f"corpus {record['corpus']}: {documents}, {passages}{size}"
    if lengths and histogram:
        yield from _histogram(lengths["histogram"], lengths["unit"])
        yield "  longest passages: " + ", ".join(f"{name} ({length:,})" for name, length in record["longest"])
    if (copies := record.get("duplicates", {})).get("passages"):
        more = sum(len(ids) - 1 for ids in copies["named"]) < copies["passages"]
        named = "; ".join([*(" = ".join(_first(ids, 4)) for ids in copies["named"]), *(["…"] if more else [])])
        yield f"  {counted(copies['passages'], 'passage')} with the same text as an earlier passage: {named}"
    if (headings := record.get("headings", {})).get("passages"):
        named = ", ".join([*headings["named"], *(["…"] if headings["passages"] > len(headings["named"]) else [])])
        yield f"  {counted(headings['passages'], 'passage')} of headings only, because no text follows: {named}"
    yield from (f"  {line}" for line in corpus_remarks(record))


def _first(names: Sequence[str], most: int) -> list[str]:
    return [*names[:most], *(["…"] if names[most:] else [])]


def _histogram(classes: Sequence[tuple[int, int, int]], unit: str) -> Iterator[str]:
    """Yield one line per class of lengths, with a bar in proportion to the number of passages."""
    most = max(count for _, _, count in classes)
    one = unit.removesuffix("s")
    ranges = [counted(low, one) if low == high else f"{low:,}–{high:,} {unit}" for low, high, _ in classes]
    width = max(map(len, ranges))
    for text, (_, _, count) in zip(ranges, classes, strict=True):
        bar = "█" * -(-count * BAR // most)
        yield f"  {text:>{width}}  {count:>7,}  {bar}".rstrip()
