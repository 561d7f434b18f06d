"""Exact and approximate search for the vectors with the largest dot product with a query.

FAISS is used only to find candidates. Scores and ranks are computed from float64 dot products, one vector at a time, so
a score depends only on the query and the passage.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from kib.errors import DamagedError, InputError
from kib.interfaces import Options
from kib.support.damaged_files import name_damaged_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]
    Scored = list[tuple[int, float]]

__all__ = [
    "ApproximateSearch",
    "ExactSearch",
    "HnswOptions",
    "IndexKind",
    "IvfPqOptions",
    "VectorSearch",
    "build_faiss_index",
    "open_vectors",
]

REMEDY = "delete the folder of the index and run the command again"
IndexKind = Literal["flat", "hnsw", "ivf-pq"]
BLOCK = 1 << 18
"""Number of vectors read from disk at a time."""
EXTRA_CANDIDATES = 64
"""Number of extra candidates per query, because rounding to float32 may change the order of candidates."""
CENTROIDS = 256
"""Number of centroids in a product quantizer with one byte per code."""


class HnswOptions(Options):
    """Options of an HNSW index, a graph of neighbours that is fast but holds all vectors in memory."""

    links: int = Field(
        default=32,
        ge=2,
        le=512,
        description="Number of links from each vector to its neighbours in the graph (HNSW's parameter M).",
    )
    ef_construction: int = Field(
        default=200,
        ge=2,
        description="Number of candidate neighbours considered for each vector that is added to the graph.",
    )
    ef_search: int = Field(
        default=256, ge=1, description="Number of candidates per query, and thus the maximum number of hits."
    )


class IvfPqOptions(Options):
    """Options of an IVF-PQ index, which stores a few bytes per vector, for vectors that do not fit in memory."""

    lists: int | None = Field(
        default=None,
        ge=1,
        description="Number of inverted lists (default: four times the square root of the number of passages).",
    )
    probes: int = Field(default=32, ge=1, description="Number of inverted lists searched per query.")
    code_bytes: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Bytes per vector in memory, a divisor of the vector dimension (default: an eighth of the vector "
            "dimension)."
        ),
    )
    candidates: int = Field(
        default=256,
        ge=1,
        description="Number of candidates per query that are rescored exactly, and thus the maximum number of hits.",
    )


class VectorSearch(Protocol):
    """A search for the vectors in a file that have the highest scores for a query."""

    def best(self, queries: "Vectors", k: int, rank: "npt.NDArray[np.int64]") -> "list[Scored]":
        """Return the indices and scores of the `k` best vectors for each query.

        `queries` has the shape (queries, dimension). `rank` gives the order of vectors with equal scores.
        """
        ...


def open_vectors(path: Path, dimension: int, count: int) -> "Vectors":
    """Memory-map the vectors in a raw float32 file; raise InputError if the file has the wrong size."""
    import numpy as np

    if not path.is_file() or path.stat().st_size != 4 * dimension * count:
        raise DamagedError(f"{path}: the vector file is damaged or missing; {REMEDY}")
    if not count:
        return np.zeros((0, dimension), np.float32)
    return np.memmap(path, dtype="<f4", mode="r", shape=(count, dimension))


def _exact_scores(
    query: "Vectors", vectors: "Vectors", positions: "npt.NDArray[np.int64]"
) -> "npt.NDArray[np.float64]":
    """Return the dot products of a query and vectors; the summation order depends only on the dimension."""
    import numpy as np

    rows = vectors[positions].astype(np.float64)
    scores: npt.NDArray[np.float64] = (rows * query.astype(np.float64)).sum(axis=1)
    return scores


def _best(
    positions: "npt.NDArray[np.int64]", scores: "npt.NDArray[np.float64]", rank: "npt.NDArray[np.int64]", k: int
) -> "Scored":
    import numpy as np

    order: Any = np.lexsort((rank[positions], -scores))[:k]
    return [(int(positions[i]), float(scores[i])) for i in order]


class ExactSearch:
    """An exact search that compares a query with all vectors, block by block."""

    def __init__(self, vectors: "Vectors") -> None:
        self.vectors = vectors

    def best(self, queries: "Vectors", k: int, rank: "npt.NDArray[np.int64]") -> "list[Scored]":
        """Return the exact `k` best vectors for each query.

        FAISS rounds scores to float32, so the number of candidates is increased until no other vector can be among the
        `k` best.
        """
        found: dict[int, Scored] = {}
        left, wanted = list(range(len(queries))), 2 * k + EXTRA_CANDIDATES
        while left:
            candidates = self._candidates(queries[left], min(wanted, len(self.vectors)))
            for number, (positions, rough) in zip(left, candidates, strict=True):
                scores = _exact_scores(queries[number], self.vectors, positions)
                if self._is_complete(queries[number], scores, rough, k):
                    found[number] = _best(positions, scores, rank, k)
            left, wanted = [number for number in left if number not in found], 4 * wanted
        return [found[number] for number in range(len(queries))]

    def _is_complete(self, query: "Vectors", scores: "npt.NDArray[np.float64]", rough: "Vectors", k: int) -> bool:
        """Return whether all other vectors are certain to score below the `k` best candidates."""
        import numpy as np

        if len(scores) == len(self.vectors):
            return True
        rounding = 2.0**-22 * len(query) * float(np.linalg.norm(query)) * self._longest_norm
        return bool(rough.min() + rounding < np.partition(scores, -k)[-k])

    def _candidates(
        self, queries: "Vectors", wanted: int
    ) -> "list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]":
        """Return the indices and rounded scores of the `wanted` best vectors for each query."""
        import faiss
        import numpy as np

        found: list[Any] = []
        for first, block in _blocks(self.vectors):
            scores, positions = faiss.knn(queries, block, min(wanted, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            found.append((scores, positions + first))
        all_scores = np.concatenate([scores for scores, _ in found], axis=1)
        all_positions = np.concatenate([positions for _, positions in found], axis=1)
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, :wanted]
        pairs = np.take_along_axis(all_positions, best, 1), np.take_along_axis(all_scores, best, 1)
        return list(zip(*pairs, strict=True))

    @cached_property
    def _longest_norm(self) -> float:
        """The largest norm among all vectors in the file."""
        import numpy as np

        return max(float(np.linalg.norm(block, axis=1).max()) for _, block in _blocks(self.vectors))


class ApproximateSearch:
    """A search that finds a fixed number of candidates with a FAISS index and ranks them by their exact scores."""

    def __init__(self, vectors: "Vectors", path: Path, options: HnswOptions | IvfPqOptions) -> None:
        import faiss

        self.vectors = vectors
        read: Callable[[str], Any] = faiss.read_index  # FAISS's stubs lack the attributes of each kind of index
        with name_damaged_file(path, REMEDY):
            self.index = read(str(path))
            shape = (self.index.ntotal, self.index.d)
        if shape != vectors.shape:
            raise DamagedError(
                f"{path}: the index is damaged (expected vectors of shape {vectors.shape}, got {shape}); {REMEDY}"
            )
        if isinstance(options, HnswOptions):
            self.candidates = self.index.hnsw.efSearch = options.ef_search
        else:
            self.candidates, self.index.nprobe = options.candidates, options.probes

    def best(self, queries: "Vectors", k: int, rank: "npt.NDArray[np.int64]") -> "list[Scored]":
        """Return the `k` best candidates for each query; raise InputError if a query has fewer than `k` candidates."""
        wanted = min(k, len(self.vectors))
        if wanted > self.candidates:
            raise InputError(
                f"{k} hits per query were requested, but the index considers only {self.candidates} candidates; raise "
                "`ef_search` of `hnsw` or `candidates` of `ivf_pq`"
            )
        found = []
        for query in queries:  # one by one, because FAISS rounds differently if it computes several queries at once
            positions = self._candidates(query)
            if len(positions) < wanted:
                raise InputError(
                    f"{k} hits were requested, but the index found only {len(positions)}; raise `links` of `hnsw` or "
                    "`probes` of `ivf_pq`"
                )
            found.append(_best(positions, _exact_scores(query, self.vectors, positions), rank, k))
        return found

    def _candidates(self, query: "Vectors") -> "npt.NDArray[np.int64]":
        import numpy as np

        if len(self.vectors) <= self.candidates:  # because a graph search may not reach every vector
            return np.arange(len(self.vectors))
        positions: npt.NDArray[np.int64] = self.index.search(query[None], self.candidates)[1][0]
        return positions[positions >= 0]


def build_faiss_index(vectors: "Vectors", path: Path, options: HnswOptions | IvfPqOptions) -> None:
    """Build an approximate FAISS index and write it to a file."""
    import faiss

    if isinstance(options, IvfPqOptions):
        index = _train_ivf_pq(vectors, options)
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], options.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = options.ef_construction
    with _one_thread():  # with several threads, the graph would depend on their timing
        for _, block in _blocks(vectors):
            index.add(block)
    faiss.write_index(index, str(path))


def _train_ivf_pq(vectors: "Vectors", options: IvfPqOptions) -> Any:
    import faiss
    import numpy as np

    count, dimension = vectors.shape
    lists = options.lists or max(1, min(round(4 * count**0.5), count // 39))
    parts = options.code_bytes or max(part for part in range(1, max(2, dimension // 8 + 1)) if dimension % part == 0)
    if dimension % parts:
        raise InputError(f"ivf_pq.code_bytes = {parts}: expected a divisor of the vector dimension, {dimension}")
    if count < max(lists, CENTROIDS):
        raise InputError(
            f"ivf_pq: {count} passages are too few for {lists} lists and {CENTROIDS} centroids; "
            'keep the default value of `exact_below`, or set index = "flat"'
        )
    quantizer: Any = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFPQ(quantizer, dimension, lists, parts, 8, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    quantizer.this.disown()
    sample = max(256 * lists, 256 * CENTROIDS)
    step = max(1, count // sample)
    with _one_thread():
        index.train(np.ascontiguousarray(vectors[::step][:sample], np.float32))
    return index


def _blocks(vectors: "Vectors") -> "Iterator[tuple[int, Vectors]]":
    """Yield blocks of vectors; each block comes with the index of its first vector."""
    import numpy as np

    for first in range(0, len(vectors), BLOCK):
        yield first, np.ascontiguousarray(vectors[first : first + BLOCK], np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
