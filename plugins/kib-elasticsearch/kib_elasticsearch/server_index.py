"""Settings, content and completeness check of one index on the server.

When a build finishes, the number and digest of the passages are recorded in the mapping's `_meta`, and the index is
made read-only. Each document also stores a checksum of its passage. Before the index is searched, the document count
and the sum of the checksums on the server must match the corpus.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from kib.errors import InputError
from kib.identity import digest
from kib.records import Passage
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.server import Server

__all__ = ["ContentCounter", "IndexContent", "IndexState", "LostIndexError", "ServerIndex"]

CHECKSUM_DIGITS = 6
"""Number of hexadecimal digits in a checksum; a double represents the sum of half a billion checksums exactly."""


class LostIndexError(InputError):
    """Raised if a finished index was deleted from the server or changed on the server."""

    def __init__(self, addresses: str, name: str) -> None:
        super().__init__(
            f"{addresses}: the index {name} was deleted or changed after the build; run the same command again to "
            "rebuild it"
        )


@dataclass(frozen=True, slots=True)
class IndexContent:
    """The number of passages, the sum of their checksums, and a digest that depends on their order.

    The field names are keys in stored files, so they must not change.
    """

    passages: int
    checks: int
    digest: str


class ContentCounter:
    """Accumulates the `IndexContent` of a stream of passages."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._passages = self._checks = 0

    def add(self, passage: Passage) -> int:
        """Add one passage to the counts, and return the checksum of the passage's id, title and text."""
        line = digest((passage.id, passage.title, passage.text))
        checksum = int(line[:CHECKSUM_DIGITS], 16)
        self._digest.update(line.encode())
        self._passages += 1
        self._checks += checksum
        return checksum

    def content(self) -> IndexContent:
        """The `IndexContent` of all passages added so far."""
        return IndexContent(self._passages, self._checks, self._digest.hexdigest())


@dataclass(frozen=True, slots=True)
class IndexState:
    """The state of an existing index; `complete` is the content that a finished build recorded in `_meta`."""

    uuid: str
    complete: IndexContent | None
    read_only: bool
    replicas: int


class ServerIndex:
    """The index `name` on `server`, which may not exist yet."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name

    def state(self) -> IndexState | None:
        """Return the state of the index, or None if it does not exist."""
        found = self.server.call_or_none(lambda client: client.indices.get(index=self.name))
        if found is None or self.name not in found:
            return None
        settings = found[self.name]["settings"]["index"]
        recorded = found[self.name]["mappings"].get("_meta", {}).get("kib")
        return IndexState(
            uuid=settings["uuid"],
            complete=IndexContent(**recorded) if recorded else None,
            read_only=settings.get("blocks", {}).get("write") == "true",
            replicas=int(settings["number_of_replicas"]),
        )

    def is_complete(self, content: IndexContent) -> bool:
        """Return whether the index exists, was recorded as complete with `content` and is unchanged since then."""
        state = self.state()
        if state is None or state.complete != content or not state.read_only:
            return False
        return self.count_documents() == (content.passages, content.checks)

    def create(self, options: ElasticsearchOptions, dimension: int | None) -> str:
        """Create the index unless a concurrent process has created it, and return its uuid."""
        from elasticsearch import BadRequestError, Elasticsearch

        settings, mappings = _settings(options), _mappings(options, dimension)

        def create_once(client: Elasticsearch) -> None:
            try:
                client.indices.create(index=self.name, settings=settings, mappings=mappings)
            except BadRequestError as error:
                if error.message != "resource_already_exists_exception":
                    raise

        self.server.call(create_once)
        state = self.state()
        if state is None:
            raise InputError(
                f"{self.server.addresses}: the index {self.name} was deleted during its creation; run the same "
                "command again"
            )
        return state.uuid

    def delete(self) -> None:
        """Delete the index from the server, if it exists."""
        self.server.call_or_none(lambda client: client.indices.delete(index=self.name))

    def refresh(self) -> None:
        """Make all indexed documents visible to searches."""
        self.server.call(lambda client: client.indices.refresh(index=self.name))

    def complete(self, content: IndexContent) -> None:
        """Make the index read-only, check its documents against `content`, and record the index as complete.

        If the documents do not match, delete the index and raise InputError.
        """
        self.server.call(lambda client: client.indices.add_block(index=self.name, block="write"))
        self.refresh()
        found = self.count_documents()
        if found != (content.passages, content.checks):
            self.delete()
            raise InputError(
                f"{self.server.addresses}: the {found[0]:,} documents of the index {self.name} did not match the "
                f"{content.passages:,} passages of the corpus; the index was deleted; run the same command again to "
                "rebuild it"
            )
        self._record(content)

    def reopen(self) -> None:
        """Make the index writable again and remove the record of its completion."""
        self._record(None)
        self._put_setting("index.blocks.write", None)

    def set_replicas(self) -> None:
        """Set the index's number of replicas to the number in the options, if any.

        If the options specify no number of replicas, leave the index unchanged.
        """
        options = self.server.options
        # Several work folders may share an index, so a default must not remove replicas requested by another folder.
        if "replicas" in options.model_fields_set:
            state = self.state()
            if state is not None and state.replicas != options.replicas:
                self._put_setting("index.number_of_replicas", options.replicas)

    def count_documents(self) -> tuple[int, int]:
        """Return the number of searchable documents and the sum of their checksums."""
        aggregations = {"checks": {"sum": {"field": "check"}}}
        found = self.server.call(
            lambda client: client.search(
                index=self.name,
                size=0,
                track_total_hits=True,
                aggregations=aggregations,
                allow_partial_search_results=False,
            )
        )
        return int(found["hits"]["total"]["value"]), int(found["aggregations"]["checks"]["value"])

    def size_in_bytes(self) -> int:
        """The size of the index on the server's disks, excluding replicas."""
        found = self.server.call(lambda client: client.indices.stats(index=self.name, metric="store"))
        return int(found["indices"][self.name]["primaries"]["store"]["size_in_bytes"])

    def _put_setting(self, key: str, value: int | None) -> None:
        self.server.call(lambda client: client.indices.put_settings(index=self.name, settings={key: value}))

    def _record(self, content: IndexContent | None) -> None:
        meta = {} if content is None else {"kib": asdict(content)}
        self.server.call(lambda client: client.indices.put_mapping(index=self.name, meta=meta))


def _settings(options: ElasticsearchOptions) -> dict[str, Any]:
    similarity = {"default": {"type": "BM25", "k1": options.k1, "b": options.b}}
    return {
        "number_of_shards": options.shards,
        "number_of_replicas": options.replicas,
        "refresh_interval": "-1",
        "similarity": similarity,
        "analysis": options.analysis,
    }


def _mappings(options: ElasticsearchOptions, dimension: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "passage": {"type": "keyword", "index": False},
        "check": {"type": "integer", "index": False},
    }
    if options.mode == "bm25":
        # Only phrase queries need positions; kib sends no phrase queries, and BM25 scores do not depend on positions.
        fields["text"] = {"type": "text", "analyzer": options.analyzer, "index_options": "freqs"}
        return {"dynamic": "strict", "properties": fields}
    fields["vector"] = {"type": "dense_vector", "dims": dimension, "index": options.index != "exact"}
    if options.index != "exact":
        graph = {"type": options.index, "m": options.m, "ef_construction": options.ef_construction}
        fields["vector"] |= {"similarity": "max_inner_product", "index_options": graph}
    return {"dynamic": "strict", "properties": fields, "_source": {"excludes": ["vector"]}}
