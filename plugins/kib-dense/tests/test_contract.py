from pathlib import Path

import pytest

from kib.testing import check_options, check_plugin, check_retriever, make_plugin
from kib_dense.dense import Dense
from kib_dense.rerank import Rerank


@pytest.mark.parametrize(("name", "cls"), [("dense", Dense), ("rerank", Rerank)])
def test_installed(name: str, cls: type) -> None:
    """The entry points `dense` and `rerank` load well-formed retrievers that import no large packages."""
    assert check_plugin("retrievers", name) is cls


def test_contract(tiny_encoder: Path) -> None:
    """Exact vector search satisfies the contract for retrievers."""
    options = {"device": "cpu", "path": tiny_encoder, "query_prompt": "query: ", "normalize": True}
    check_retriever(lambda: make_plugin(Dense, options))


def test_options_of_dense() -> None:
    """Every option has a description, and invalid values are rejected."""
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
    """The options of `rerank` must specify a cross-encoder and a list of different retrievers."""
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
