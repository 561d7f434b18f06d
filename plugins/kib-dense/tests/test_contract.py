import pytest

from kib.testing import check_options, check_plugin, check_retriever, make_plugin
from kib_dense.dense import Dense
from kib_dense.rerank import Rerank


@pytest.mark.parametrize(("name", "cls"), [("dense", Dense), ("rerank", Rerank)])
def test_installed(name: str, cls: type) -> None:
    """Both retrievers are found by their names, well formed and light to import."""
    assert check_plugin("retrievers", name) is cls


@pytest.mark.parametrize(
    "options",
    [{}, {"index": "hnsw", "exact_below": 0, "hnsw": {"links": 4}}, {"query_prompt": "query: ", "normalize": True}],
    ids=["flat", "hnsw", "prompts"],
)
def test_contract(options: dict[str, object]) -> None:
    """Exact or by a graph, with prompts or without, it keeps what a retriever promises, with no network."""
    check_retriever(lambda: make_plugin(Dense, {"device": "cpu", **options}))


def test_options_of_dense() -> None:
    """Options are described, and values that could not work are refused."""
    check_options(
        Dense,
        accepts=[
            {},
            {"path": "models/mine", "query_prompt": "query: ", "passage_prompt": ""},
            {"hub": "intfloat/e5-small-v2", "revision": "main"},
            {"preset": "paper"},
            {"preset": "paper", "path": "models/bge-large-en"},
            {"index": "hnsw", "hnsw": {"links": 16}},
            {"index": "ivf-pq", "ivf_pq": {"lists": 4096, "probes": 64, "code_bytes": 48}, "exact_below": 0},
        ],
        refuses=[
            {"path": "models/mine", "hub": "intfloat/e5-small-v2"},
            {"preset": "paper", "hub": "intfloat/e5-small-v2"},
            {"preset": "newspaper"},
            {"revision": "main"},
            {"hub": "https://huggingface.co/intfloat/e5-small-v2"},
            {"dtype": "float64"},
            {"device": "gpu"},
            {"max_tokens": 0},
            {"batch_tokens": 0},
            {"index": "annoy"},
            {"hnsw": {"links": 16}},
            {"index": "hnsw", "ivf_pq": {}},
            {"index": "hnsw", "hnsw": {"links": 1}},
            {"index": "hnsw", "hnsw": {"ef_serach": 10}},
            {"index": "ivf-pq", "ivf_pq": {"lists": "many"}},
            {"exact_below": -1},
        ],
    )


def test_options_of_rerank() -> None:
    """A cross-encoder and the retrievers that it reads must be named, each once."""
    check_options(
        Rerank,
        accepts=[{"path": "models/cross", "of": ["bm25"]}, {"hub": "a/b", "of": ["bm25", "dense"], "depth": 20}],
        refuses=[
            {"of": ["bm25"]},
            {"path": "models/cross"},
            {"path": "models/cross", "of": []},
            {"path": "models/cross", "of": ["bm25", "bm25"]},
            {"path": "models/cross", "hub": "a/b", "of": ["bm25"]},
            {"path": "models/cross", "of": ["bm25"], "depth": 0},
            {"path": "models/cross", "of": ["bm25"], "revision": "main"},
        ],
    )
