from kib.testing import check_options, check_plugin, check_reranker, make_plugin
from kib_hybrid import Hybrid


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("retrievers", "hybrid") is Hybrid


def test_contract() -> None:
    """The plugin `hybrid` satisfies the contract for rerankers, with equal and with unequal weights and depths."""
    check_reranker(lambda: make_plugin(Hybrid, {"of": ["a", "b"]}))
    check_reranker(lambda: make_plugin(Hybrid, {"of": ["a", "b", "c"], "weights": {"b": 2.5}, "depth": {"c": 2}}))


def test_options() -> None:
    """Every option has a description, and invalid values are rejected."""
    check_options(
        Hybrid,
        accepts=[
            {"of": ["a", "b"]},
            {"of": ["a", "b"], "weights": {"a": 0}, "constant": 0, "depth": 3},
            {"of": ["a", "b", "c"], "depth": {"a": 3}},
        ],
        refuses=[
            {},
            {"of": ["a"]},
            {"of": ["a", "a"]},
            {"of": "ab"},
            {"of": ["a", "b"], "weights": {"c": 1}},
            {"of": ["a", "b"], "weights": {"a": -1}},
            {"of": ["a", "b"], "weights": {"a": 0, "b": 0}},
            {"of": ["a", "b"], "weights": [1, 2]},
            {"of": ["a", "b"], "constant": -1},
            {"of": ["a", "b"], "constant": "60"},
            {"of": ["a", "b"], "depth": 0},
            {"of": ["a", "b"], "depth": {"c": 1}},
            {"of": ["a", "b"], "depth": {"a": 0}},
        ],
    )
