from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kib.errors import InputError
from kib_dense import vector_search
from kib_dense.vector_search import (
    ApproximateSearch,
    ExactSearch,
    HnswOptions,
    IvfPqOptions,
    build_faiss_index,
    open_vectors,
)

Vectors = npt.NDArray[np.float32]
COUNT, DIMENSION = 2000, 32
RANK = np.arange(COUNT)


def clustered(count: int, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    """Return unit-length vectors that form a few clusters."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(50, dimension))
    vectors = centres[random.integers(50, size=count)] + 0.6 * random.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def whole_numbers(count: int, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    """Return vectors of small integers, so that dot products are exact in any order of summation."""
    return np.random.default_rng(seed).integers(-9, 10, size=(count, dimension)).astype(np.float32)


def best_of_all(vectors: Vectors, query: Vectors, k: int, rank: npt.NDArray[np.int64]) -> list[int]:
    """Return the indices of the best vectors, found by comparing each query with every vector."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    return [int(position) for position in np.lexsort((rank, -scores))[:k]]


def positions(found: list[tuple[int, float]]) -> list[int]:
    return [position for position, _ in found]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the block size so that two thousand vectors fill several blocks."""
    monkeypatch.setattr(vector_search, "BLOCK", 700)


def test_exact_search(small_blocks: None) -> None:
    """Exact search finds the best vectors in all blocks, scored by dot product, with ties ordered by rank."""
    vectors, queries, rank = (
        whole_numbers(COUNT),
        whole_numbers(20, seed=1),
        np.random.default_rng(2).permutation(COUNT),
    )
    for query, found in zip(queries, ExactSearch(vectors).best(queries, 10, rank), strict=True):
        assert positions(found) == best_of_all(vectors, query, 10, rank)
        assert [score for _, score in found] == [float(vectors[p] @ query) for p in positions(found)]


def test_many_ties(small_blocks: None) -> None:
    """Among a thousand equal vectors in several blocks, exact search returns the first vectors by rank."""
    same = np.repeat(whole_numbers(1, seed=9), 1000, axis=0)
    vectors = np.concatenate([whole_numbers(1500) // 2, same, whole_numbers(500, seed=2) // 2])
    rank = np.random.default_rng(3).permutation(3000)
    [found] = ExactSearch(vectors).best(same[:1], 7, rank)
    assert positions(found) == sorted(range(1500, 2500), key=lambda position: rank[position])[:7]
    assert len({score for _, score in found}) == 1


def test_differences_below_float32() -> None:
    """Vectors with dot products that are equal in float32 are ordered by their exact dot products."""
    vectors = np.full((500, 300), 0.125, dtype=np.float32)
    vectors[:, 0] += np.float32(2.0**-23) * np.arange(500, dtype=np.float32)
    query = np.ones((1, 300), np.float32)
    [found] = ExactSearch(vectors).best(query, 20, np.arange(500))
    assert positions(found) == list(range(499, 479, -1))


def test_queries_do_not_affect_each_other() -> None:
    """A query has the same hits alone and together with other queries, and a lower `k` returns the first hits."""
    vectors, queries = whole_numbers(COUNT), whole_numbers(64, seed=1)
    search = ExactSearch(vectors)
    found = search.best(queries, 50, RANK)
    for number in (0, 31, 63):
        for k in (1, 10, 50):
            assert search.best(queries[number : number + 1], k, RANK) == [found[number][:k]]


def test_more_hits_than_vectors() -> None:
    """If more hits are requested than vectors exist, all vectors are returned."""
    [found] = ExactSearch(clustered(5)).best(clustered(1, seed=1), 9, np.arange(5))
    assert sorted(positions(found)) == [0, 1, 2, 3, 4]


OPTIONS = {
    "hnsw": HnswOptions(ef_construction=64, ef_search=128),
    "ivf-pq": IvfPqOptions(lists=16, probes=8, code_bytes=8, candidates=256),
}


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ApproximateSearch]:
    """Approximate searches over the same clustered vectors, keyed by the kind of index."""
    folder = tmp_path_factory.mktemp("indexes")
    return {kind: approximate(clustered(COUNT), folder / kind, options) for kind, options in OPTIONS.items()}


def approximate(vectors: Vectors, path: Path, options: HnswOptions | IvfPqOptions) -> ApproximateSearch:
    build_faiss_index(vectors, path, options)
    return ApproximateSearch(vectors, path, options)


@pytest.mark.parametrize("kind", OPTIONS)
def test_recall(indexes: dict[str, ApproximateSearch], kind: str) -> None:
    """An approximate search finds most of the hits from an exact search, best first, with exact scores."""
    vectors, queries = clustered(COUNT), clustered(50, seed=1)
    exact = ExactSearch(vectors).best(queries, 10, RANK)
    found = indexes[kind].best(queries, 10, RANK)
    common = sum(len(set(positions(one)) & set(positions(other))) for one, other in zip(exact, found, strict=True))
    assert common > 0.7 * 10 * len(queries)
    for query, hits in zip(queries, found, strict=True):
        scores = [score for _, score in hits]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([float(vectors[p] @ query) for p in positions(hits)], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", OPTIONS)
def test_fewer_hits_are_the_first_of_more(indexes: dict[str, ApproximateSearch], kind: str) -> None:
    """An approximate search returns the same hits for a query, whether alone or together with other queries."""
    queries = clustered(20, seed=1)
    found = indexes[kind].best(queries, 50, RANK)
    for k in (1, 10):
        assert indexes[kind].best(queries[7:8], k, RANK) == [found[7][:k]]


def test_more_hits_than_candidates(indexes: dict[str, ApproximateSearch]) -> None:
    """A search for more hits than the index has candidates raises an error that names the option `ef_search`."""
    query = clustered(1, seed=1)
    with pytest.raises(
        InputError, match=r"129 hits per query were requested, .* considers only 128 candidates; raise `ef_search`"
    ):
        indexes["hnsw"].best(query, 129, RANK)


def test_as_many_candidates_as_vectors(tmp_path: Path) -> None:
    """With as many candidates as vectors, a graph search finds every vector, even vectors without incoming links."""
    lengths = np.exp(3 * np.random.default_rng(0).normal(size=(200, 1))).astype(np.float32)
    search = approximate(clustered(200) * lengths, tmp_path / "index", HnswOptions(links=4))
    for found in search.best(clustered(20, seed=1), 200, np.arange(200)):
        assert sorted(positions(found)) == list(range(200))


def test_too_few_vectors_in_the_lists(tmp_path: Path) -> None:
    """A search for more hits than the searched lists contain raises an error that names the option `probes`."""
    options = IvfPqOptions(lists=100, probes=1, code_bytes=1)
    search = approximate(clustered(COUNT), tmp_path / "index", options)
    with pytest.raises(InputError, match=r"200 hits were requested, but the index found only \d+; raise .*`probes`"):
        search.best(clustered(20, seed=1), 200, RANK)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (
            COUNT,
            IvfPqOptions(lists=16, code_bytes=7),
            r"code_bytes = 7: expected a divisor of the vector dimension, 32",
        ),
        (200, IvfPqOptions(), "200 passages are too few for 5 lists and 256 centroids"),
        (300, IvfPqOptions(lists=1000), "300 passages are too few for 1000 lists"),
    ],
)
def test_unsuitable_options(tmp_path: Path, count: int, options: IvfPqOptions, message: str) -> None:
    """Index options that are incompatible with the vectors raise an error that suggests valid values."""
    with pytest.raises(InputError, match=message):
        build_faiss_index(clustered(count), tmp_path / "index", options)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-4])])
def test_damaged_vectors(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    """A missing or truncated vector file raises an error that names the file."""
    path = tmp_path / "vectors.f32"
    path.write_bytes(clustered(10).tobytes())
    assert np.array_equal(open_vectors(path, DIMENSION, 10), clustered(10))
    damage(path)
    with pytest.raises(
        InputError, match=r"vectors\.f32: the vector file is damaged or missing; delete the folder of the index"
    ):
        open_vectors(path, DIMENSION, 10)


def test_threads_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index is built in a single thread, and the number of FAISS threads is restored after the build."""
    import faiss

    during, real = [], vector_search._blocks

    def recorded(vectors: Vectors) -> Any:
        during.append(faiss.omp_get_max_threads())
        return real(vectors)

    monkeypatch.setattr(vector_search, "_blocks", recorded)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        build_faiss_index(clustered(100), tmp_path / "index", HnswOptions(links=4))
        assert (during, faiss.omp_get_max_threads()) == ([1], 2)
    finally:
        faiss.omp_set_num_threads(before)


def test_training_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Training an approximate index with the default options on enough vectors prints no warning."""
    build_faiss_index(clustered(10_000, 8), tmp_path / "index", IvfPqOptions())
    assert capfd.readouterr() == ("", "")
