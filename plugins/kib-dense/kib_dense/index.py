"""Vectors on the disk and the best of them for a query: exact, or by an approximation of FAISS and then exactly.

Candidates come from FAISS, scores and order from float64 dot products of each vector by itself: a score depends on
query and passage alone, whatever was searched for beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import Options

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]
    Scored = list[tuple[int, float]]

__all__ = ["Approximate", "Exact", "HnswOptions", "IvfPqOptions", "Kind", "Searcher", "build", "open_vectors"]

Kind = Literal["flat", "hnsw", "ivf-pq"]
FILE = "faiss.index"
BLOCK = 1 << 18
"""Vectors that are read from the disk at once."""
MORE = 64
"""Candidates beyond those asked for, so that rounding cannot keep one out."""
CENTROIDS = 256
"""Of a product quantizer with a byte for each part."""


class HnswOptions(Options):
    """A graph of neighbours: fast, and as large in memory as the vectors."""

    links: int = Field(default=32, ge=2, le=512, description="Neighbours of a vector in the graph (M).")
    ef_construction: int = Field(default=200, ge=2, description="Candidates that are looked at for each vector added.")
    ef_search: int = Field(
        default=256, ge=1, description="Candidates that are looked at for a query; no more hits are found than these."
    )


class IvfPqOptions(Options):
    """Lists around centroids, vectors in a few bytes: for corpora whose vectors do not fit into memory."""

    lists: int | None = Field(
        default=None, ge=1, description="Lists; by default four times the square root of the corpus."
    )
    probes: int = Field(default=32, ge=1, description="Lists that are looked into for a query.")
    code_bytes: int | None = Field(
        default=None, ge=1, description="Bytes of a vector in memory, a divisor of the dimension; by default an eighth."
    )
    candidates: int = Field(
        default=256, ge=1, description="Best of the lists, whose scores are computed exactly; no more hits are found."
    )


class Searcher(Protocol):
    """Finds the best vectors of a file."""

    def best(self, queries: "Vectors", k: int, rank: "npt.NDArray[np.int64]") -> "list[Scored]":
        """Place and score of the best `k` for each query, (queries, dimension); equal scores in the order of `rank`."""
        ...


def open_vectors(path: Path, dimension: int, count: int) -> "Vectors":
    """The vectors of a raw float32 file, read as they are needed; InputError where the file has another size."""
    import numpy as np

    if not path.is_file() or path.stat().st_size != 4 * dimension * count:
        raise InputError(f"{path}: damaged or lost; delete its folder and run again")
    if not count:
        return np.zeros((0, dimension), np.float32)
    return np.memmap(path, dtype="<f4", mode="r", shape=(count, dimension))


def _exactly(query: "Vectors", vectors: "Vectors", places: "npt.NDArray[np.int64]") -> "npt.NDArray[np.float64]":
    """Dot products, each summed by itself in an order that depends on the dimension alone."""
    import numpy as np

    rows = vectors[places].astype(np.float64)
    found: npt.NDArray[np.float64] = (rows * query.astype(np.float64)).sum(axis=1)
    return found


def _ordered(
    places: "npt.NDArray[np.int64]", scores: "npt.NDArray[np.float64]", rank: "npt.NDArray[np.int64]", k: int
) -> "Scored":
    import numpy as np

    order: Any = np.lexsort((rank[places], -scores))[:k]
    return [(int(places[i]), float(scores[i])) for i in order]


class Exact:
    """Every vector is compared, block by block."""

    def __init__(self, vectors: "Vectors") -> None:
        self.vectors = vectors
        self._longest = 0.0

    def best(self, queries: "Vectors", k: int, rank: "npt.NDArray[np.int64]") -> "list[Scored]":
        """The best `k` of all, exactly: candidates are widened until rounding and ties cannot hide one."""
        found: dict[int, Scored] = {}
        left, wanted = list(range(len(queries))), 2 * k + MORE
        while left:
            candidates = self._candidates(queries[left], min(wanted, len(self.vectors)))
            for number, (places, rough) in zip(left, candidates, strict=True):
                scores = _exactly(queries[number], self.vectors, places)
                if self._settled(queries[number], scores, rough, k):
                    found[number] = _ordered(places, scores, rank, k)
            left, wanted = [number for number in left if number not in found], 4 * wanted
        return [found[number] for number in range(len(queries))]

    def _settled(self, query: "Vectors", scores: "npt.NDArray[np.float64]", rough: "Vectors", k: int) -> bool:
        """Whether no vector beside the candidates can be as good as the last of the best `k` of them."""
        import numpy as np

        if len(scores) == len(self.vectors):
            return True
        rounding = 2.0**-22 * len(query) * float(np.linalg.norm(query)) * self._norm()
        return bool(rough.min() + rounding < np.partition(scores, -k)[-k])

    def _candidates(
        self, queries: "Vectors", wanted: int
    ) -> "list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]":
        """For each query the places and rounded scores of the best vectors, `wanted` of them."""
        import faiss
        import numpy as np

        found: list[Any] = []
        for first, block in _blocks(self.vectors):
            some = min(wanted, len(block))
            scores, places = faiss.knn(queries, block, some, metric=faiss.METRIC_INNER_PRODUCT)
            found.append((scores, places + first))
        rough = np.concatenate([scores for scores, _ in found], axis=1)
        every = np.concatenate([places for _, places in found], axis=1)
        kept = np.argsort(-rough, axis=1, kind="stable")[:, :wanted]
        return list(zip(np.take_along_axis(every, kept, 1), np.take_along_axis(rough, kept, 1), strict=True))

    def _norm(self) -> float:
        """The length of the longest vector."""
        import numpy as np

        if not self._longest:
            self._longest = max(float(np.linalg.norm(block, axis=1).max()) for _, block in _blocks(self.vectors))
        return self._longest


class Approximate:
    """Candidates from an index of FAISS, as many whatever is asked for, then ordered by their exact scores."""

    def __init__(self, vectors: "Vectors", path: Path, candidates: int, probes: int | None) -> None:
        import faiss

        if not path.is_file():
            raise InputError(f"{path}: lost; delete its folder and run again")
        self.vectors = vectors
        self.candidates = candidates
        read: Callable[[str], Any] = faiss.read_index  # its stubs know only what all indexes have
        self.index = read(str(path))
        if probes is None:
            self.index.hnsw.efSearch = candidates
        else:
            self.index.nprobe = probes

    def best(self, queries: "Vectors", k: int, rank: "npt.NDArray[np.int64]") -> "list[Scored]":
        """The best `k` of the candidates; InputError where more are wanted than are looked at, or than are found."""
        import numpy as np

        count = len(self.vectors)
        wanted = min(k, count)
        if wanted > self.candidates:
            raise InputError(
                f"{k} hits are asked for, but the index looks at {self.candidates} candidates; raise `ef_search` of "
                "`hnsw` or `candidates` of `ivf_pq`"
            )
        found = []
        for query in queries:  # FAISS rounds otherwise where it computes many at once
            if count <= self.candidates:  # then all are: a graph does not reach every vector
                known = np.arange(count)
            else:
                _, places = self.index.search(query[None], self.candidates)
                known = places[0][places[0] >= 0]
            if len(known) < wanted:
                raise InputError(
                    f"{k} hits are asked for, but the index found {len(known)}; raise `links` of `hnsw` or `probes` of "
                    "`ivf_pq`"
                )
            found.append(_ordered(known, _exactly(query, self.vectors, known), rank, k))
        return found


def build(vectors: "Vectors", path: Path, options: HnswOptions | IvfPqOptions) -> None:
    """Write an index of FAISS over vectors; the same vectors give the same bytes."""
    import faiss

    if isinstance(options, IvfPqOptions):
        index = _trained(vectors, options)
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], options.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = options.ef_construction
    with _one_thread():  # threads would link neighbours in the order of their luck
        for _, block in _blocks(vectors):
            index.add(block)
    faiss.write_index(index, str(path))


def _trained(vectors: "Vectors", options: IvfPqOptions) -> Any:
    import faiss
    import numpy as np

    count, dimension = vectors.shape
    lists = options.lists or max(1, min(round(4 * count**0.5), count // 39))
    parts = options.code_bytes or max(part for part in range(1, max(2, dimension // 8 + 1)) if dimension % part == 0)
    if dimension % parts:
        raise InputError(f"ivf_pq.code_bytes = {parts}: expected a divisor of the vectors' dimension, {dimension}")
    if count < max(lists, CENTROIDS):
        raise InputError(
            f"ivf_pq: {count} passages are too few for {lists} lists and {CENTROIDS} centroids; "
            'leave `exact_below` as it is, or take index = "flat"'
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
    """Parts of a file of vectors in memory, each with the place of its first one."""
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
