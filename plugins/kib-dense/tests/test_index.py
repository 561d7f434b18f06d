from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kib.errors import InputError
from kib_dense import index
from kib_dense.index import Approximate, Exact, HnswOptions, IvfPqOptions, build, open_vectors

Vectors = npt.NDArray[np.float32]
COUNT, WIDTH = 4000, 32


def drawn(count: int, width: int = WIDTH, seed: int = 0) -> Vectors:
    """Vectors around a few centres, of length 1."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(50, width))
    vectors = centres[random.integers(50, size=count)] + 0.6 * random.normal(size=(count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def by_hand(vectors: Vectors, query: Vectors, k: int, rank: npt.NDArray[np.int64]) -> list[int]:
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    return [int(place) for place in np.lexsort((rank, -scores))[:k]]


def places(found: list[tuple[int, float]]) -> list[int]:
    return [place for place, _ in found]


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a few thousand vectors are many of them."""
    monkeypatch.setattr(index, "BLOCK", 700)


def test_exact(blocks: None) -> None:
    """The exact search gives what comparing with every vector gives, over all blocks, and scores are dot products."""
    vectors, queries, rank = drawn(COUNT), drawn(30, seed=1), np.arange(COUNT)
    for query, found in zip(queries, Exact(vectors).best(queries, 10, rank), strict=True):
        assert places(found) == by_hand(vectors, query, 10, rank)
        assert [score for _, score in found] == pytest.approx(
            [float(vectors[p] @ query) for p in places(found)], abs=1e-6
        )


def test_exact_ties(blocks: None) -> None:
    """Of a thousand equal vectors over several blocks those are taken that come first by rank."""
    vectors = np.concatenate([drawn(1500), np.repeat(drawn(1, seed=9), 1000, axis=0), drawn(500, seed=2)])
    rank = np.random.default_rng(3).permutation(3000)
    [found] = Exact(vectors).best(drawn(1, seed=9), 7, rank)
    assert places(found) == sorted(range(1500, 2500), key=lambda place: rank[place])[:7]
    assert len({score for _, score in found}) == 1


def test_exact_beyond_rounding() -> None:
    """Vectors that float32 sums cannot tell apart come in the order of their exact products."""
    vectors = np.full((500, 300), 0.1, dtype=np.float32)
    vectors[:, 0] += np.float32(1e-7) * np.arange(500, dtype=np.float32)
    query, rank = np.ones((1, 300), np.float32), np.arange(500)
    [found] = Exact(vectors).best(query, 20, rank)
    assert places(found) == by_hand(vectors, query[0], 20, rank)
    assert places(found)[0] > 480


def test_a_query_by_itself() -> None:
    """A query's places and scores are the same to the bit alone, among others, and for every number asked for."""
    vectors, queries, rank = drawn(COUNT), drawn(64, seed=1), np.arange(COUNT)
    searcher = Exact(vectors)
    whole = searcher.best(queries, 50, rank)
    for number in (0, 31, 63):
        for k in (1, 10, 50):
            assert searcher.best(queries[number : number + 1], k, rank) == [whole[number][:k]]


def test_all_there_is() -> None:
    """Asked for more than there is, it gives all of them."""
    vectors = drawn(5)
    [found] = Exact(vectors).best(drawn(1, seed=1), 9, np.arange(5))
    assert sorted(places(found)) == [0, 1, 2, 3, 4]


SETTINGS = {
    "hnsw": HnswOptions(),
    "ivf-pq": IvfPqOptions(lists=32, probes=16, code_bytes=16, candidates=128),
}


def approximate(vectors: Vectors, path: Path, options: HnswOptions | IvfPqOptions) -> Approximate:
    build(vectors, path, options)
    if isinstance(options, HnswOptions):
        return Approximate(vectors, path, options.ef_search, None)
    return Approximate(vectors, path, options.candidates, options.probes)


@pytest.mark.parametrize("kind", SETTINGS)
def test_recall(tmp_path: Path, kind: str) -> None:
    """An approximate index finds nearly all that the exact one finds, with the same scores in the same order."""
    vectors, queries, rank = drawn(COUNT), drawn(100, seed=1), np.arange(COUNT)
    whole = Exact(vectors).best(queries, 10, rank)
    found = approximate(vectors, tmp_path / "index", SETTINGS[kind]).best(queries, 10, rank)
    shared = sum(len(set(one) & set(other)) for one, other in zip(whole, found, strict=True))
    assert shared >= 0.95 * 10 * len(queries)
    assert all(scores == sorted(scores, reverse=True) for scores in ([score for _, score in one] for one in found))


@pytest.mark.parametrize("kind", SETTINGS)
def test_same_bytes(tmp_path: Path, kind: str) -> None:
    """An approximate index has the same bytes whenever it is built over the same vectors."""
    for name in ("one", "two"):
        build(drawn(COUNT), tmp_path / name, SETTINGS[kind])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_approximate_query_by_itself(tmp_path: Path, kind: str) -> None:
    """A query finds the same in an approximate index, alone or among others, and fewer hits are the first of more."""
    vectors, queries, rank = drawn(COUNT), drawn(64, seed=1), np.arange(COUNT)
    searcher = approximate(vectors, tmp_path / "index", SETTINGS[kind])
    whole = searcher.best(queries, 50, rank)
    for number in (0, 31, 63):
        for k in (1, 10, 50):
            assert searcher.best(queries[number : number + 1], k, rank) == [whole[number][:k]]


def test_more_hits_than_candidates(tmp_path: Path) -> None:
    """More hits than an approximate index looks at are an error that names the option, not a shorter list."""
    searcher = approximate(drawn(500), tmp_path / "index", HnswOptions(ef_search=20))
    assert len(searcher.best(drawn(1, seed=1), 20, np.arange(500))[0]) == 20
    with pytest.raises(InputError, match=r"21 hits are asked for, .* looks at 20 candidates; raise"):
        searcher.best(drawn(1, seed=1), 21, np.arange(500))


def test_all_are_candidates(tmp_path: Path) -> None:
    """Where as many candidates are looked at as there are vectors, each is found, whether a link leads to it or not."""
    lengths = np.exp(3 * np.random.default_rng(0).normal(size=(200, 1))).astype(np.float32)
    searcher = approximate(drawn(200) * lengths, tmp_path / "index", HnswOptions(links=4))
    for found in searcher.best(drawn(20, seed=1), 200, np.arange(200)):
        assert sorted(places(found)) == list(range(200))


def test_too_few_found(tmp_path: Path) -> None:
    """Lists that hold fewer vectors than the hits asked for are an error that names the option, not a shorter list."""
    searcher = approximate(drawn(4000), tmp_path / "index", IvfPqOptions(lists=100, probes=1, code_bytes=16))
    with pytest.raises(InputError, match=r"200 hits are asked for, but the index found \d+; raise .*`probes`"):
        searcher.best(drawn(20, seed=1), 200, np.arange(4000))


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (4000, IvfPqOptions(lists=16, code_bytes=7), r"code_bytes = 7: expected a divisor of the .* dimension, 32"),
        (200, IvfPqOptions(), "200 passages are too few for 5 lists and 256 centroids"),
        (300, IvfPqOptions(lists=1000), "300 passages are too few for 1000 lists"),
    ],
)
def test_what_cannot_be_built(tmp_path: Path, count: int, options: IvfPqOptions, message: str) -> None:
    """Settings that do not fit the vectors are told with what would."""
    with pytest.raises(InputError, match=message):
        build(drawn(count), tmp_path / "index", options)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-4])])
def test_lost_vectors(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    """A file of vectors that is gone or cut short is named."""
    path = tmp_path / "vectors.f32"
    path.write_bytes(drawn(10).tobytes())
    assert np.array_equal(open_vectors(path, WIDTH, 10), drawn(10))
    spoil(path)
    with pytest.raises(InputError, match=r"vectors\.f32: damaged or lost; delete its folder and run again"):
        open_vectors(path, WIDTH, 10)


def test_threads_are_given_back(tmp_path: Path) -> None:
    """Building in one thread leaves FAISS with as many as it had."""
    import faiss

    before = faiss.omp_get_max_threads()
    build(drawn(500), tmp_path / "index", HnswOptions(links=4))
    assert faiss.omp_get_max_threads() == before


def test_no_warning_on_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Training on as many vectors as the defaults ask for prints nothing."""
    build(drawn(10_000, 16), tmp_path / "index", IvfPqOptions())
    assert capfd.readouterr() == ("", "")
