"""The retriever `dense`, which returns the passages whose vectors have the largest dot product with the query."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.interfaces import Options
from kib.records import Hit, Passage, Query
from kib.support.damaged_files import name_damaged_file
from kib_dense.encoder import Encoder, EncoderOptions
from kib_dense.vector_search import (
    REMEDY,
    ApproximateSearch,
    ExactSearch,
    HnswOptions,
    IndexKind,
    IvfPqOptions,
    VectorSearch,
    build_faiss_index,
    open_vectors,
)

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Dense", "DenseOptions", "passage_text"]

VECTORS, FAISS_INDEX, METADATA = "vectors.f32", "faiss.index", "index.json"
PASSAGES_AT_ONCE = 512
"""Number of passages read and encoded at a time."""
FAISS_BIBTEX = """@misc{douze2024faiss,
  title = {The {Faiss} library},
  author = {Douze, Matthijs and Guzhva, Alexandr and Deng, Chengqi and Johnson, Jeff and Szilvasy, Gergely and
    Mazar{\\'e}, Pierre-Emmanuel and Lomeli, Maria and Hosseini, Lucas and J{\\'e}gou, Herv{\\'e}},
  year = {2024},
  eprint = {2401.08281},
  archivePrefix = {arXiv}
}"""
NAMED_IN_REMARK = 5
"""Maximum number of long passages listed in a remark."""


class DenseOptions(EncoderOptions):
    """Options of the retriever `dense`: the encoder and the kind of vector search."""

    index: IndexKind = Field(
        default="flat",
        description=(
            'Kind of index: "flat" compares every passage; the approximate FAISS indexes "hnsw" and "ivf-pq" suit '
            "large corpora."
        ),
    )
    hnsw: HnswOptions | None = Field(
        default=None, description='Options of the index "hnsw"; valid only if index = "hnsw".'
    )
    ivf_pq: IvfPqOptions | None = Field(
        default=None, description='Options of the index "ivf-pq"; valid only if index = "ivf-pq".'
    )
    exact_below: int = Field(
        default=10_000,
        ge=0,
        description="Number of passages below which a corpus is searched exactly, whatever the value of `index`.",
    )

    @model_validator(mode="after")
    def _index_options_match(self) -> Self:
        for key, kind in (("hnsw", "hnsw"), ("ivf_pq", "ivf-pq")):
            if getattr(self, key) is not None and self.index != kind:
                raise ValueError(f'`{key}` applies only to index = "{kind}", but index is "{self.index}"')
        return self


def passage_text(passage: Passage) -> str:
    """Return the text to encode, which consists of the passage's title, if any, and its text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


class Dense:
    """The retriever `dense`, which searches passages by embedding similarity."""

    Options: ClassVar[type[Options]] = DenseOptions
    revision: ClassVar[int] = 1
    reports_progress: ClassVar[bool] = True

    def __init__(self, options: DenseOptions) -> None:
        self.options = options
        self._open_index: tuple[Path, _OpenIndex] | None = None

    def fingerprint(self) -> str:
        """Return a digest of the encoder's files or its commit on the hub; raise InputError for a missing encoder."""
        return self.encoder.fingerprint()

    def online(self) -> list[str]:
        """Return the encoder's name if the encoder is loaded from the hub, otherwise an empty list."""
        return self.encoder.location.online()

    def bibtex(self) -> str:
        """Return the BibTeX entries for the encoder and, if the search is approximate, for FAISS."""
        return "\n".join([self.encoder.bibtex(), *([] if self.options.index == "flat" else [FAISS_BIBTEX])])

    def memory(self) -> str:
        """Return the name of the cache shared by all encoders that compute identical passage vectors."""
        return self.encoder.memory()

    def build(
        self,
        passages: Iterable[Passage],
        folder: Path,
        memory: Path | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        """Encode the passages missing from the embedding cache in the folder `memory`, and write the index.

        `advance` receives the number of passages with a vector since the previous call.
        The index consists of a vector file, `index.json` with the passage ids and, if the search is approximate, a
        FAISS index.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._open_index = None
        (folder / METADATA).unlink(missing_ok=True)
        ids: list[str] = []
        long: list[tuple[int, str]] = []
        dimension, limit = 0, None
        source = iter(passages)
        with (folder / VECTORS).open("wb") as file:
            while batch := list(islice(source, PASSAGES_AT_ONCE)):
                embedded = self.encoder.embed([passage_text(passage) for passage in batch], memory, advance)
                file.write(embedded.vectors.astype("<f4").tobytes())
                dimension = embedded.vectors.shape[1]
                ids += [passage.id for passage in batch]
                limit = self.encoder.max_tokens()
                pairs = zip(embedded.tokens, batch, strict=True)
                long += [(tokens, passage.id) for tokens, passage in pairs if limit and tokens > limit]
        kind = self._write_faiss_index(open_vectors(folder / VECTORS, dimension, len(ids)), folder / FAISS_INDEX)
        longest = sorted(long, key=lambda one: (-one[0], one[1]))[:NAMED_IN_REMARK]
        summary = {"count": len(long), "limit": limit, "named": longest}
        metadata = {"passages": ids, "dimension": dimension, "index": kind, "long": summary}
        (folder / METADATA).write_text(json.dumps(metadata, ensure_ascii=False), encoding="utf-8")

    def remarks(self, folder: Path) -> list[str]:
        """Return a remark about passages that exceed the encoder's token limit, if any."""
        with name_damaged_file(folder / METADATA, REMEDY):
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            long = metadata["long"]
        if not long["count"]:
            return []
        named = ", ".join(f"{passage_id} ({tokens:,})" for tokens, passage_id in long["named"])
        more = ", …" if long["count"] > NAMED_IN_REMARK else ""
        remark = (
            f"{long['count']:,} of {len(metadata['passages']):,} passages exceed the encoder's limit of "
            f"{long['limit']:,} tokens, and the encoder ignores their text beyond this limit: {named}{more}; "
            "to split documents into shorter passages, set `chunk` in the corpus table"
        )
        return [remark]

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """Return the `k` passages with the largest dot product for each query; a blank query has no hits.

        Raise InputError if a different encoder built the index, or if an approximate search considers fewer than `k`
        candidates.
        """
        index = self._open(folder)
        visible = [query for query in queries if query.text.strip()]
        if not visible or not index.ids or k < 1:
            return [[] for _ in queries]
        vectors = self.encoder.queries([query.text for query in visible])
        if vectors.shape[1] != index.dimension:
            raise InputError(
                f"{folder}: the vectors in the index have {index.dimension} components, but the encoder "
                f"{self.encoder.location} computes vectors with {vectors.shape[1]}; delete this folder and run again"
            )
        best = index.search.best(vectors, k, index.rank)
        hits = iter([[Hit(index.ids[position], score) for position, score in scored] for scored in best])
        return [next(hits) if query.text.strip() else [] for query in queries]

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder selected by the options."""
        return Encoder(self.options)

    def _write_faiss_index(self, vectors: Any, path: Path) -> IndexKind:
        """Write an approximate index if the options and vector count require one; return the kind of index."""
        o = self.options
        path.unlink(missing_ok=True)
        if o.index == "flat" or len(vectors) < max(1, o.exact_below):
            return "flat"
        build_faiss_index(vectors, path, self._index_options())
        return o.index

    def _index_options(self) -> HnswOptions | IvfPqOptions:
        o = self.options
        return (o.hnsw or HnswOptions()) if o.index == "hnsw" else (o.ivf_pq or IvfPqOptions())

    def _open(self, folder: Path) -> "_OpenIndex":
        if self._open_index is None or self._open_index[0] != folder:
            self._open_index = (folder, _OpenIndex(folder, self._index_options()))
        return self._open_index[1]


class _OpenIndex:
    """The index in a folder, opened for searches."""

    def __init__(self, folder: Path, options: HnswOptions | IvfPqOptions) -> None:
        import numpy as np

        with name_damaged_file(folder / METADATA, REMEDY):
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            self.ids = list(map(str, metadata["passages"]))
            self.dimension = int(metadata["dimension"])
            kind: str = metadata["index"]
        self.rank: npt.NDArray[np.int64] = np.empty(len(self.ids), dtype=np.int64)
        """Rank of each passage by id, which decides the order of passages with equal scores."""
        self.rank[sorted(range(len(self.ids)), key=self.ids.__getitem__)] = np.arange(len(self.ids))
        vectors = open_vectors(folder / VECTORS, self.dimension, len(self.ids))
        self.search: VectorSearch
        if kind == "flat":
            self.search = ExactSearch(vectors)
        else:
            self.search = ApproximateSearch(vectors, folder / FAISS_INDEX, options)
