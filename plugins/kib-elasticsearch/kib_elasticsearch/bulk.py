"""Passages on their way to the server: several bulks at once, each repeated until it is in, in constant memory."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.identity import canonical, digest
from kib.records import Passage
from kib_elasticsearch.index import Content, Tally
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.server import AGAIN, Patience, Server, answered, says

if TYPE_CHECKING:
    from elastic_transport import ObjectApiResponse
    from elasticsearch import Elasticsearch

__all__ = ["Bulk", "Entry", "Vectors", "bulks", "send_all", "write_vector"]

ID_BYTES = 512
"""What Elasticsearch takes as a document's id."""

EXISTS = 409

BLOCKED = "cluster_block_exception"

BUSY, TOO_LARGE = 429, 413

PRESSURE = re.compile(r"_operation_bytes=(\d+), max\w*=(\d+)")
"""In what a server says that takes no more: the bytes it was sent, and the most it takes while it does nothing else."""

Vectors = Callable[[Sequence[str]], Iterable[Iterable[float]]]
"""From texts to a row of numbers each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One document as the server reads it, two lines of JSON: what to do, and the document."""

    passage: str
    action: bytes
    document: bytes


@dataclass(frozen=True, slots=True)
class Bulk:
    """Documents that are sent together, and what the index holds once they and all before them are in."""

    entries: tuple[Entry, ...]
    content: Content


def bulks(
    passages: Iterable[Passage], tally: Tally, options: ElasticsearchOptions, vectors: Vectors | None
) -> Iterator[Bulk]:
    """The passages in pieces, `tally` going on; a passage that is larger than a bulk goes alone."""
    some: list[tuple[Passage, int]] = []
    size = 0
    content = tally.content()
    for passage in passages:
        length = len(passage.title.encode()) + len(passage.text.encode())
        if some and (len(some) == options.bulk_passages or size + length > options.bulk_bytes):
            yield Bulk(_entries(some, vectors), content)
            some, size = [], 0
        some.append((passage, tally.add(passage)))
        size += length
        content = tally.content()
    if some:
        yield Bulk(_entries(some, vectors), content)


def write_vector(row: Iterable[float]) -> str:
    """Numbers as JSON, exact for 32 bits."""
    return "[" + ",".join(f"{number:.9g}" for number in row) + "]"


def _entries(some: Sequence[tuple[Passage, int]], vectors: Vectors | None) -> tuple[Entry, ...]:
    texts = [f"{p.title}\n{p.text}" if p.title else p.text for p, _ in some]
    if vectors is None:
        fields = [f'"text":{canonical(text)}' for text in texts]
    else:
        fields = [f'"vector":{write_vector(row)}' for row in vectors(texts)]
    return tuple(_entry(passage, check, more) for (passage, check), more in zip(some, fields, strict=True))


def _entry(passage: Passage, check: int, more: str) -> Entry:
    # Created, never replaced: an index without deleted documents has the same scores whatever happened on the way.
    action = canonical({"create": {"_id": _id_of(passage)}})
    document = f'{{"passage":{canonical(passage.id)},"check":{check},{more}}}'
    return Entry(passage.id, action.encode(), document.encode())


def _id_of(passage: Passage) -> str:
    return passage.id if len(passage.id.encode()) <= ID_BYTES else digest(passage.id)


def send_all(some: Iterable[Bulk], server: Server, name: str, keep: Callable[[Content], None]) -> None:
    """Send bulks, `concurrency` at a time; `keep` hears what is in without a gap, in order."""
    width = server.options.concurrency
    waiting: deque[tuple[Bulk, Future[None]]] = deque()
    try:
        with ThreadPoolExecutor(width) as pool:
            try:
                for bulk in some:
                    if len(waiting) == width:
                        _settle(waiting, keep)
                    waiting.append((bulk, pool.submit(_send, bulk.entries, server, name)))
                while waiting:
                    _settle(waiting, keep)
            except BaseException:
                server.stopped.set()  # what nobody waits for any more is not repeated
                raise
    finally:
        server.stopped.clear()


def _settle(waiting: deque[tuple[Bulk, Future[None]]], keep: Callable[[Content], None]) -> None:
    bulk, future = waiting.popleft()
    future.result()
    keep(bulk.content)


def _send(entries: Sequence[Entry], server: Server, name: str) -> None:
    """Send documents until all are in; those that the server was too busy for again, after a while."""
    # A server that waits for a lost copy longer than the client waits for the server would never be heard.
    most = f"{max(1, round(server.options.timeout / 2))}s"
    patience = None
    while entries:
        answer = server.call(partial(_bulk, entries, server, name, most))
        items = [item["create"] for item in answer["items"]] if answer["errors"] else []
        pairs = zip(entries, items, strict=bool(items))
        again = [(entry, item) for entry, item in pairs if _must_repeat(entry, item, server)]
        if again:
            if patience is None or len(again) < len(entries):  # some went in: it is slow, not stuck
                patience = Patience(server)
            status, said = int(again[0][1]["status"]), says(again[0][1]["error"])
            _check_size(entries, server, status, said)
            patience.wait(f"the server takes no more documents ({status}: {server.clean(said)})")
        entries = [entry for entry, _ in again]


def _bulk(
    entries: Sequence[Entry], server: Server, name: str, most: str, client: "Elasticsearch"
) -> "ObjectApiResponse[Any]":
    from elasticsearch import ApiError

    lines: list[Any] = [line for entry in entries for line in (entry.action, entry.document)]
    try:
        return client.bulk(index=name, operations=lines, timeout=most)
    except ApiError as error:
        _check_size(entries, server, error.meta.status, says(answered(error)))
        raise


def _check_size(entries: Sequence[Entry], server: Server, status: int, said: str) -> None:
    """InputError where the server would not take as much even if it did nothing else: repeating cannot help."""
    sizes = PRESSURE.search(said) if status == BUSY else None
    if status != TOO_LARGE and not (sizes and int(sizes[1]) > int(sizes[2])):
        return
    setting = "http.max_content_length" if status == TOO_LARGE else "indexing_pressure.memory.limit"
    answer = f"more than the server takes at once ({status}: {server.clean(said)})"
    if len(entries) > 1:
        raise InputError(
            f"{server.place}: {len(entries):,} passages are {answer}; lower `bulk_bytes`, or raise `{setting}` on the "
            "server"
        ) from None
    raise InputError(
        f"passage {entries[0].passage!r}: {server.place}: {answer}; let `chunk` of the corpus cut it, or raise "
        f"`{setting}` on the server"
    ) from None


def _must_repeat(entry: Entry, item: dict[str, Any], server: Server) -> bool:
    """Whether a document is not in yet; InputError where it never will be."""
    status = int(item["status"])
    # A document that is there is the same one: its bulk was in, but the answer got lost.
    if status < 300 or status == EXISTS:
        return False
    error = item["error"]
    if error.get("type") == BLOCKED and status != 503:
        raise server.refuse(status, error)
    if status not in AGAIN:
        raise InputError(f"passage {entry.passage!r}: {server.refuse(status, error)}")
    return True
