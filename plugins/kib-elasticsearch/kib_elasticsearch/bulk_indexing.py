"""Indexing of passages with concurrent bulk requests, in constant memory.

The bulk helpers in the Elasticsearch client are not suitable for building an index. The helper `parallel_bulk` fails if
a connection is lost. It also ignores interrupts, because it reads the passages in a separate thread. The helper
`streaming_bulk` sends only one request at a time.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.identity import digest
from kib.records import Passage
from kib_elasticsearch.error_messages import error_body, error_text, is_blocked, is_retryable
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.server import RetryTimer, Server
from kib_elasticsearch.server_index import ContentCounter, IndexContent

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

__all__ = ["Bulk", "Encode", "send_bulks", "split_into_bulks", "vector_numbers"]

LONGEST_ID = 512
"""Maximum length of a document id in Elasticsearch, in bytes."""

ALREADY_EXISTS, TOO_LARGE, BUSY = 409, 413, 429
"""HTTP statuses in the response to a bulk request."""

MEMORY_PRESSURE = re.compile(r"_operation_bytes=(\d+), max\w*=(\d+)")
"""Matches, in a 429 response, the sizes in bytes of the rejected request and of the largest acceptable request."""

Document = dict[str, Any]
"""The fields of one passage in the index."""

Encode = Callable[[Sequence[str]], Iterable[Iterable[float]]]
"""Returns one vector per text."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """The documents in one bulk request, and the content of the index after this request and all earlier requests."""

    documents: tuple[Document, ...]
    content: IndexContent


def split_into_bulks(
    passages: Iterable[Passage], counter: ContentCounter, options: ElasticsearchOptions, encode: Encode | None
) -> Iterator[Bulk]:
    """Group passages into bulk requests and count the passages; a passage larger than `bulk_bytes` is sent alone."""
    batch: list[Passage] = []
    size = 0
    for passage in passages:
        length = len(passage.title.encode()) + len(passage.text.encode())
        if batch and (len(batch) == options.bulk_passages or size + length > options.bulk_bytes):
            yield _create_bulk(batch, counter, encode)
            batch, size = [], 0
        batch.append(passage)
        size += length
    if batch:
        yield _create_bulk(batch, counter, encode)


def _create_bulk(batch: Sequence[Passage], counter: ContentCounter, encode: Encode | None) -> Bulk:
    texts = [f"{passage.title}\n{passage.text}" if passage.title else passage.text for passage in batch]
    fields: list[Document] = [{"text": text} for text in texts]
    if encode is not None:
        fields = [{"vector": vector_numbers(row)} for row in encode(texts)]
    documents = [
        {"passage": passage.id, "check": counter.add(passage), **field}
        for passage, field in zip(batch, fields, strict=True)
    ]
    return Bulk(tuple(documents), counter.content())


def vector_numbers(row: Iterable[float]) -> list[float]:
    """Round components to nine significant digits, which identify a 32-bit float exactly and halve its size in JSON."""
    return [float(f"{number:.9g}") for number in row]


def send_bulks(
    bulks: Iterable[Bulk], server: Server, index_name: str, on_indexed: Callable[[IndexContent], None]
) -> None:
    """Send up to `concurrency` bulk requests at a time, and call `on_indexed` for each completed request, in order."""
    pending: deque[tuple[Bulk, Future[None]]] = deque()

    def finish_oldest() -> None:
        bulk, future = pending.popleft()
        future.result()
        on_indexed(bulk.content)

    try:
        with ThreadPoolExecutor(server.options.concurrency) as pool:
            try:
                for bulk in bulks:
                    if len(pending) == server.options.concurrency:
                        finish_oldest()
                    pending.append((bulk, pool.submit(_send, bulk.documents, server, index_name)))
                while pending:
                    finish_oldest()
            except BaseException:
                server.stop_retrying.set()  # otherwise, the pool would wait for unnecessary retries
                raise
    finally:
        server.stop_retrying.clear()


def _send(documents: Sequence[Document], server: Server, index_name: str) -> None:
    """Send documents until all are indexed; after a pause, resend documents rejected by a busy server."""
    timer = None
    while documents:
        results = server.call(partial(_send_once, documents, server, index_name))
        pairs = zip(documents, results, strict=True)
        rejected = [(document, result) for document, result in pairs if _must_resend(document, result, server)]
        if rejected:
            if timer is None or len(rejected) < len(documents):  # some were indexed, so the server is only slow
                timer = RetryTimer(server)
            status, text = int(rejected[0][1]["status"]), error_text(rejected[0][1]["error"])
            _check_size(documents, server, status, text)
            timer.wait(f"the server is temporarily rejecting new documents ({status}: {server.redact(text)})")
        documents = [document for document, _ in rejected]


def _send_once(
    documents: Sequence[Document], server: Server, index_name: str, client: "Elasticsearch"
) -> list[dict[str, Any]]:
    """Send one bulk request, and return the server's result for each document in the request."""
    from elasticsearch import ApiError

    operations: list[dict[str, Any]] = []
    for document in documents:
        # Documents are never replaced, because replaced documents remain in the index for a while and change scores.
        operations += [{"create": {"_id": _document_id(document["passage"])}}, document]
    # The server may wait for a lost replica, so the server's timeout must be shorter than the client's.
    timeout = f"{max(1, round(server.options.timeout / 2))}s"
    try:
        answer = client.bulk(index=index_name, operations=operations, timeout=timeout)
    except ApiError as error:
        _check_size(documents, server, error.meta.status, error_text(error_body(error)))
        raise
    return [item["create"] for item in answer["items"]]


def _document_id(passage_id: str) -> str:
    return passage_id if len(passage_id.encode()) <= LONGEST_ID else digest(passage_id)


def _check_size(documents: Sequence[Document], server: Server, status: int, text: str) -> None:
    """Raise InputError if the request is too large even for an idle server, because resending would not help."""
    sizes = MEMORY_PRESSURE.search(text) if status == BUSY else None
    if status != TOO_LARGE and not (sizes and int(sizes[1]) > int(sizes[2])):
        return
    setting = "http.max_content_length" if status == TOO_LARGE else "indexing_pressure.memory.limit"
    answer = f"({status}: {server.redact(text)})"
    if len(documents) > 1:
        raise InputError(
            f"{server.addresses}: a bulk request with {len(documents):,} passages is too large {answer}; lower "
            f"`bulk_bytes`, or raise `{setting}` on the server"
        ) from None
    raise InputError(
        f"passage {documents[0]['passage']!r} is too large for the server at {server.addresses} {answer}; split "
        f"passages with the corpus option `chunk`, or raise `{setting}` on the server"
    ) from None


def _must_resend(document: Document, result: dict[str, Any], server: Server) -> bool:
    """Return whether a rejected document must be sent again; raise InputError if resending the document cannot help."""
    status = int(result["status"])
    # A document already exists if an earlier request indexed the document but the response was lost.
    if status < 300 or status == ALREADY_EXISTS:
        return False
    error = result["error"]
    if is_retryable(status, error):
        return True
    rejection = server.rejection(status, error)
    raise rejection if is_blocked(error) else InputError(f"passage {document['passage']!r}: {rejection}")
