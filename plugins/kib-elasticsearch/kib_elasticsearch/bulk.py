"""Passages on their way to the server: several bulks at once, each repeated until it is in, in constant memory."""

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
from kib_elasticsearch.server import AGAIN, Patience, Server, says

if TYPE_CHECKING:
    from elastic_transport import ObjectApiResponse
    from elasticsearch import Elasticsearch

__all__ = ["Bulk", "Entry", "Vectors", "bulks", "send_all", "write_vector"]

ID_BYTES = 512
"""What Elasticsearch takes as a document's id."""

EXISTS = 409

BLOCKED = "cluster_block_exception"

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
        lines: list[Any] = [line for entry in entries for line in (entry.action, entry.document)]
        answer = server.call(partial(_bulk, name, lines, most))
        items = [item["create"] for item in answer["items"]] if answer["errors"] else []
        pairs = zip(entries, items, strict=bool(items))
        again = [(entry, item) for entry, item in pairs if _must_repeat(entry, item, server)]
        if again:
            if patience is None or len(again) < len(entries):  # some went in: it is slow, not stuck
                patience = Patience(server)
            said = server.clean(says(again[0][1]["error"]))
            patience.wait(f"the server takes no more documents ({again[0][1]['status']}: {said})")
        entries = [entry for entry, _ in again]


def _bulk(name: str, lines: Sequence[Any], most: str, client: "Elasticsearch") -> "ObjectApiResponse[Any]":
    return client.bulk(index=name, operations=lines, timeout=most)


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
