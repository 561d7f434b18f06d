"""An index on the server: its settings, and the proof that it is whole.

An index counts only once `_meta` of its mapping says so, with the number of its passages and their digest, and once it
takes no more writes. Each document also carries a small number drawn from its passage; the server's own sum of these
numbers is held against that of the passages, so that what is searched is what was sent.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from kib.errors import InputError
from kib.identity import digest
from kib.records import Passage
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.server import Server

__all__ = ["Content", "Index", "State", "Tally"]

CHECK_DIGITS = 6
"""Hexadecimal digits of a passage's own number: sums of half a billion of them are exact in a double."""


@dataclass(frozen=True, slots=True)
class Content:
    """What an index holds: how many passages, the sum of their numbers, and a digest of all of them in their order."""

    passages: int
    checks: int
    digest: str


class Tally:
    """The content of passages that come one by one."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        self._passages = self._checks = 0

    def add(self, passage: Passage) -> int:
        """Count a passage; its own number, drawn from all that is indexed of it."""
        line = digest((passage.id, passage.title, passage.text))
        check = int(line[:CHECK_DIGITS], 16)
        self._total.update(line.encode())
        self._passages += 1
        self._checks += check
        return check

    def content(self) -> Content:
        """What was counted so far."""
        return Content(self._passages, self._checks, self._total.hexdigest())


@dataclass(frozen=True, slots=True)
class State:
    """An index on the server: `marked` is what its mark says it holds, `sealed` that it takes no writes."""

    uuid: str
    marked: Content | None
    sealed: bool
    replicas: int


class Index:
    """One index by its name."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name

    def state(self) -> State | None:
        """What there is; None where there is no index of the name."""
        found = self.server.find(lambda client: client.indices.get(index=self.name))
        if found is None or self.name not in found:
            return None
        settings, mark = found[self.name]["settings"]["index"], found[self.name]["mappings"].get("_meta", {}).get("kib")
        sealed = settings.get("blocks", {}).get("write") == "true"
        replicas = int(settings["number_of_replicas"])
        return State(settings["uuid"], Content(**mark) if mark else None, sealed, replicas)

    def holds(self, content: Content) -> bool:
        """Whether the index is there, says that it is whole with this content, and was not changed since."""
        state = self.state()
        if state is None or state.marked != content or not state.sealed:
            return False
        return self.found() == (content.passages, content.checks)

    def create(self, options: ElasticsearchOptions, dimension: int | None) -> str:
        """A new index, empty, or the one that somebody else made just now; its uuid."""
        from elasticsearch import BadRequestError, Elasticsearch

        settings, mappings = _settings(options), _mappings(options, dimension)

        def ask(client: Elasticsearch) -> None:
            try:
                client.indices.create(index=self.name, settings=settings, mappings=mappings)
            except BadRequestError as error:
                if error.message != "resource_already_exists_exception":
                    raise

        self.server.call(ask)
        state = self.state()
        if state is None:
            raise InputError(f"{self.server.place}: the index {self.name} was deleted while it was made; run again")
        return state.uuid

    def delete(self) -> None:
        """Take the index off the server."""
        self.server.find(lambda client: client.indices.delete(index=self.name))

    def refresh(self) -> None:
        """Let searches see what was written."""
        self.server.call(lambda client: client.indices.refresh(index=self.name))

    def complete(self, content: Content) -> None:
        """Take no more writes, hold what is there against what was sent, and say that it is whole.

        InputError, and no index any more, where the server holds something else.
        """
        self.server.call(lambda client: client.indices.add_block(index=self.name, block="write"))
        self.refresh()
        found = self.found()
        if found != (content.passages, content.checks):
            self.delete()
            raise InputError(
                f"{self.server.place}: the index {self.name} held {found[0]:,} documents that are not the "
                f"{content.passages:,} passages of the corpus; it was deleted, run the same command again"
            )
        self._mark(content)

    def reopen(self) -> None:
        """Take writes again: no longer whole."""
        self._mark(None)
        self._set("index.blocks.write", None)

    def spread(self) -> None:
        """Further copies as many as the options name; what they do not name is left as it is."""
        options = self.server.options
        # Work folders share an index: one that asks for no number takes nobody's copies away.
        if "replicas" in options.model_fields_set:
            state = self.state()
            if state is not None and state.replicas != options.replicas:
                self._set("index.number_of_replicas", options.replicas)

    def found(self) -> tuple[int, int]:
        """How many documents the server finds, and the sum of their numbers."""
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

    def bytes(self) -> int:
        """Size on the server's disks, copies not counted."""
        found = self.server.call(lambda client: client.indices.stats(index=self.name, metric="store"))
        return int(found["indices"][self.name]["primaries"]["store"]["size_in_bytes"])

    def _set(self, key: str, value: int | None) -> None:
        self.server.call(lambda client: client.indices.put_settings(index=self.name, settings={key: value}))

    def _mark(self, content: Content | None) -> None:
        kept = {} if content is None else {"kib": asdict(content)}
        self.server.call(lambda client: client.indices.put_mapping(index=self.name, meta=kept))


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
        # Without positions: no phrase is searched for, and scores are the same.
        fields["text"] = {"type": "text", "analyzer": options.analyzer, "index_options": "freqs"}
        return {"dynamic": "strict", "properties": fields}
    fields["vector"] = {"type": "dense_vector", "dims": dimension, "index": options.index != "exact"}
    if options.index != "exact":
        graph = {"type": options.index, "m": options.m, "ef_construction": options.ef_construction}
        fields["vector"] |= {"similarity": "max_inner_product", "index_options": graph}
    return {"dynamic": "strict", "properties": fields, "_source": {"excludes": ["vector"]}}
