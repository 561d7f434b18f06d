"""An Elasticsearch server as a retriever: BM25 or vectors, in an index that is named by the step it belongs to."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from kib.errors import InputError
from kib.identity import digest
from kib.interfaces import Options
from kib.records import Hit, Passage, Query
from kib.spec.options import identity_options
from kib.support.literature import BM25
from kib_elasticsearch.bulk import Vectors, bulks, send_all
from kib_elasticsearch.index import Content, Index, Tally
from kib_elasticsearch.note import Note, drop_note, read_note, write_note
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.search import LostIndexError, search_all, vector_query, word_query
from kib_elasticsearch.server import Server

if TYPE_CHECKING:
    from kib_dense.encoder import Encoder, EncoderOptions

__all__ = ["Elasticsearch", "ElasticsearchOptions"]

IDENTITY = re.compile(r"[0-9a-f]{32}")


class Elasticsearch:
    """The retriever `elasticsearch`."""

    Options: ClassVar[type[Options]] = ElasticsearchOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: ElasticsearchOptions) -> None:
        self.options = options
        self._reached: Server | None = None
        self._loaded: Encoder | None = None
        self._proved: set[Note] = set()

    def fingerprint(self) -> str:
        """The encoder's, where there is one; no server is asked."""
        return self._encoder().fingerprint() if self.options.encoder else ""

    def online(self) -> list[str]:
        """The encoder on the hub, where there is one and it is no folder; the server is asked, not taken from."""
        return self._encoder().source.online() if self.options.encoder else []

    def bibtex(self) -> str:
        """The encoder's works, or BM25."""
        return self._encoder().bibtex() if self.options.encoder else BM25

    def memory(self) -> str:
        """The name of what is remembered of passages: their vectors, if any, shared with kib-dense."""
        return self._encoder().memory() if self.options.encoder else "nothing"

    def build(self, passages: Iterable[Passage], folder: Path, memory: Path | None = None) -> None:
        """Fill an index on the server, or go on with the one that an interrupted build left there.

        What `folder` keeps is a note, `memory` vectors. InputError where the server is away for too long, refuses, or
        lost documents.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._proved.clear()
        server = self._server()
        index = Index(server, self._name(folder))
        uuid, there, sealed = self._begin(index, folder)
        index.spread()
        tally, stream = Tally(), iter(passages)
        for passage in islice(stream, there.passages):
            tally.add(passage)
        if tally.content() != there:
            index.delete()
            raise InputError(
                f"{server.place}: the index {index.name} held other passages than the corpus has; it was deleted, run "
                "the same command again"
            )

        def keep(content: Content, *, whole: bool = False) -> None:
            write_note(folder, Note(index.name, uuid, server.version, content, whole))

        more = list(islice(stream, 1))
        if more and sealed:
            index.reopen()
        send_all(bulks(chain(more, stream), tally, self.options, self._vectors(memory)), server, index.name, keep)
        if more or not sealed:
            index.complete(tally.content())
        keep(tally.content(), whole=True)

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query, equal scores by passage id; only from an index proved to be whole."""
        if self.options.index != "exact" and k > self.options.candidates:
            raise InputError(f"{k} hits a query, but a graph looks at {self.options.candidates}; raise `candidates`")
        name = self._prove(folder).index
        texts = [query.text for query in queries]
        if self.options.mode == "bm25":
            bodies = [word_query(text) for text in texts]
        else:
            bodies = [vector_query(row, self.options) for row in self._encoder().queries(texts)]
        try:
            return search_all(self._server(), name, bodies, k)
        except LostIndexError:
            drop_note(folder)
            raise

    def holds(self, folder: Path) -> bool:
        """Whether the server still has the index that was built for `folder`, whole and unchanged."""
        note = read_note(folder)
        if note is None or not note.whole:
            return False
        index = Index(self._server(), note.index)
        if not index.holds(note.sent):
            return False
        index.spread()
        return True

    def index_bytes(self, folder: Path) -> int:
        """The size of the index on the server's disks, copies not counted."""
        return Index(self._server(), self._prove(folder).index).bytes()

    def _begin(self, index: Index, folder: Path) -> tuple[str, Content, bool]:
        """The index to fill: its uuid, what is in it for sure, and whether it is whole as it is."""
        nothing, state = Tally().content(), index.state()
        if state and state.marked:
            if index.holds(state.marked):
                return state.uuid, state.marked, True
            index.delete()  # changed since it was whole
            state = None
        if state is None:
            return (
                index.create(self.options, self._encoder().dimension() if self.options.encoder else None),
                nothing,
                False,
            )
        if state.sealed:
            index.reopen()  # ended just before it was marked as whole
        note = read_note(folder)
        if note is None or note.index != index.name or note.uuid != state.uuid:
            return state.uuid, nothing, False
        index.refresh()
        return state.uuid, note.sent if index.found()[0] >= note.sent.passages else nothing, False

    def _prove(self, folder: Path) -> Note:
        """The note of a whole index, held against the server once; InputError where there is none."""
        note = read_note(folder)
        if note is None or not note.whole:
            raise InputError(f"{folder}: no index was finished here; run the same command again, it makes one")
        if note not in self._proved:
            server = self._server()
            index = Index(server, note.index)
            if not index.holds(note.sent):
                drop_note(folder)
                raise LostIndexError(server.place, note.index)
            index.spread()
            self._proved.add(note)
        return note

    def _name(self, folder: Path) -> str:
        """`kib-bm25-` and the identity of the step; for a folder of no step, what tells it from all others."""
        identity = folder.parent.name
        if not IDENTITY.fullmatch(identity):
            identity = digest([folder.resolve(), identity_options(self.options)])[:32]
        return f"{self.options.prefix}{self.options.mode}-{identity}"

    def _server(self) -> Server:
        if self._reached is None:
            self._reached = Server(self.options)
        return self._reached

    def _encoder(self) -> "Encoder":
        if self._loaded is None:
            from kib_dense.encoder import Encoder

            self._loaded = Encoder(cast("EncoderOptions", self.options.encoder))
        return self._loaded

    def _vectors(self, memory: Path | None) -> Vectors | None:
        encoder = self._encoder() if self.options.encoder else None
        return None if encoder is None else lambda texts: encoder.passages(texts, memory)
