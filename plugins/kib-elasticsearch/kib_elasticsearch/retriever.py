"""The retriever `elasticsearch`, which runs BM25 or vector search on a server, with one index per build step."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from kib.errors import InputError
from kib.identity import digest
from kib.interfaces import Options
from kib.records import Hit, Passage, Query, Recipient
from kib.spec.options import identity_options
from kib.support.literature import BM25
from kib_elasticsearch.bulk_indexing import Encode, send_bulks, split_into_bulks
from kib_elasticsearch.connection_settings import find_recipients
from kib_elasticsearch.index_metadata import IndexMetadata, delete_metadata, read_metadata, write_metadata
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.search_requests import search_all, vector_query, word_query
from kib_elasticsearch.server import Server
from kib_elasticsearch.server_index import ContentCounter, IndexContent, LostIndexError, ServerIndex

if TYPE_CHECKING:
    from kib_dense.encoder import Encoder, EncoderOptions

__all__ = ["Elasticsearch"]

IDENTITY = re.compile(r"[0-9a-f]{32}")
NO_CONTENT = ContentCounter().content()


class Elasticsearch:
    """The retriever `elasticsearch`, which searches an index on a server."""

    Options: ClassVar[type[Options]] = ElasticsearchOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: ElasticsearchOptions) -> None:
        self.options = options
        self._checked: set[IndexMetadata] = set()
        """Metadata of the indexes that this instance has checked on the server."""

    def fingerprint(self) -> str:
        """Return the encoder's fingerprint, or "" for BM25, without sending a request to the server."""
        return self._encoder.fingerprint() if self._encoder else ""

    def online(self) -> list[str]:
        """Return the encoder's name if it is loaded from the hub, otherwise an empty list; omit the search server."""
        return self._encoder.location.online() if self._encoder else []

    def recipients(self) -> list[Recipient]:
        """Return the server's addresses, which receive the passages, the queries and the credentials."""
        return find_recipients(self.options)

    def bibtex(self) -> str:
        """Return the BibTeX entries for the encoder or for BM25."""
        return self._encoder.bibtex() if self._encoder else BM25

    def memory(self) -> str:
        """Return the name of the embedding cache, which is shared with kib-dense; BM25 caches no embeddings."""
        return self._encoder.memory() if self._encoder else "nothing"

    def build(self, passages: Iterable[Passage], folder: Path, memory: Path | None = None) -> None:
        """Fill an index on the server, or resume an interrupted build.

        `folder` stores the index metadata, and `memory` the embedding cache. Raise InputError if the server is
        unavailable for too long, rejects a request or has lost documents.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._checked.clear()
        index = ServerIndex(self._server, self._index_name(folder))
        uuid, indexed, complete = self._open_or_create(index, folder)
        index.set_replicas()
        remaining = iter(passages)
        counter = ContentCounter()
        for passage in islice(remaining, indexed.passages):
            counter.add(passage)
        if counter.content() != indexed:
            index.delete()
            raise InputError(
                f"{self._server.addresses}: the index {index.name} did not match the passages of the corpus and was "
                "deleted; run the same command again to rebuild it"
            )

        def save_progress(content: IndexContent, *, whole: bool = False) -> None:
            write_metadata(folder, IndexMetadata(index.name, uuid, self._server.version, content, whole))

        first = list(islice(remaining, 1))
        if first and complete:
            index.reopen()
        bulks = split_into_bulks(chain(first, remaining), counter, self.options, self._encode_function(memory))
        send_bulks(bulks, self._server, index.name, save_progress)
        if first or not complete:
            index.complete(counter.content())
        save_progress(counter.content(), whole=True)

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """Return the `k` best passages for each query, with ties ordered by passage id; the index must be complete."""
        if self.options.index != "exact" and k > self.options.candidates:
            raise InputError(
                f"{k} hits per query were requested, but the graph search considers only {self.options.candidates} "
                "candidates; raise `candidates`"
            )
        index_name = self._require_complete_index(folder).index
        texts = [query.text for query in queries]
        if self._encoder:
            searches = [vector_query(row, self.options) for row in self._encoder.queries(texts)]
        else:
            searches = [word_query(text) for text in texts]
        try:
            return search_all(self._server, index_name, searches, k)
        except LostIndexError:
            delete_metadata(folder)
            raise

    def holds(self, folder: Path) -> bool:
        """Return whether the server still has the complete, unchanged index built for `folder`."""
        metadata = read_metadata(folder)
        if metadata is None or not metadata.whole:
            return False
        index = ServerIndex(self._server, metadata.index)
        if not index.is_complete(metadata.sent):
            return False
        index.set_replicas()
        return True

    def index_bytes(self, folder: Path) -> int:
        """Return the size of the index on the server's disks, excluding replicas."""
        return ServerIndex(self._server, self._require_complete_index(folder).index).size_in_bytes()

    def _open_or_create(self, index: ServerIndex, folder: Path) -> tuple[str, IndexContent, bool]:
        """Prepare the index; return its uuid, the content indexed so far and its completion status."""
        state = index.state()
        if state and state.complete:
            if index.is_complete(state.complete):
                return state.uuid, state.complete, True
            index.delete()  # the index has changed since it was completed
            state = None
        if state is None:
            dimension = self._encoder.dimension() if self._encoder else None
            return index.create(self.options, dimension), NO_CONTENT, False
        if state.read_only:
            index.reopen()  # the previous build was interrupted just before it recorded the index as complete
        metadata = read_metadata(folder)
        if metadata is None or metadata.index != index.name or metadata.uuid != state.uuid:
            return state.uuid, NO_CONTENT, False
        index.refresh()
        lost = index.count_documents()[0] < metadata.sent.passages
        return state.uuid, NO_CONTENT if lost else metadata.sent, False

    def _require_complete_index(self, folder: Path) -> IndexMetadata:
        """Return a finished index's metadata; raise InputError if it is incomplete or has changed on the server."""
        metadata = read_metadata(folder)
        if metadata is None or not metadata.whole:
            raise InputError(f"{folder}: the index is incomplete or missing; run the same command again to build it")
        if metadata not in self._checked:
            index = ServerIndex(self._server, metadata.index)
            if not index.is_complete(metadata.sent):
                delete_metadata(folder)
                raise LostIndexError(self._server.addresses, metadata.index)
            index.set_replicas()
            self._checked.add(metadata)
        return metadata

    def _index_name(self, folder: Path) -> str:
        """Return an index name made of the prefix, the mode, and the step's identity or, outside a step, a digest."""
        identity = folder.parent.name
        if not IDENTITY.fullmatch(identity):
            identity = digest([folder.resolve(), identity_options(self.options)])[:32]
        return f"{self.options.prefix}{self.options.mode}-{identity}"

    @cached_property
    def _server(self) -> Server:
        return Server(self.options)

    @cached_property
    def _encoder(self) -> "Encoder | None":
        if self.options.encoder is None:
            return None
        from kib_dense.encoder import Encoder

        return Encoder(cast("EncoderOptions", self.options.encoder))

    def _encode_function(self, memory: Path | None) -> Encode | None:
        encoder = self._encoder
        return None if encoder is None else lambda texts: encoder.passages(texts, memory)
