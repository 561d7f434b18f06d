import pytest

from kib.testing import check_options, check_plugin, check_retriever, make_plugin
from kib_bm25 import BM25


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("retrievers", "bm25") is BM25


@pytest.mark.parametrize("method", ["lucene", "bm25+"])
def test_contract(method: str) -> None:
    """The plugin `bm25` satisfies the contract for retrievers with the variants `lucene` and `bm25+`."""
    check_retriever(lambda: make_plugin(BM25, {"method": method}))


def test_options() -> None:
    """Every option has a description, and invalid values are rejected."""
    check_options(
        BM25,
        accepts=[{}, {"stop_words": ["the"], "k1": 1}, {"stemmer": "none", "stop_words": "none", "b": 0.0}],
        refuses=[
            {"stemmer": "klingon"},
            {"stop_words": "klingon"},
            {"stop_words": [1]},
            {"token_pattern": "("},
            {"token_pattern": r"(\w)(\w)"},
            {"token_pattern": r"\w*"},
            {"k1": 0},
            {"k1": "0.9"},
            {"b": 1.1},
            {"b": True},
            {"delta": -1},
            {"method": "bm26"},
        ],
    )
