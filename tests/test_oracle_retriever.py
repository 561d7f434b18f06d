"""The oracle retriever, which returns the gold passages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.interfaces import GoldRetriever
from kib.plugins.builtin.oracle_retriever import Oracle
from kib.testing import check_options, make_plugin

PASSAGES = [f"d{number}#0" for number in range(30)]


def oracle(**options):
    return make_plugin(Oracle, options)


def chosen(retriever, gold, question="q"):
    return [hit.passage for hit in retriever.choose(question, gold, PASSAGES, 0)]


def test_without_others_only_gold_is_returned():
    """By default, the oracle returns only the gold passages of a question."""
    assert chosen(oracle(), ["d4#0"]) == ["d4#0"]


@given(st.integers(0, 40), st.sets(st.sampled_from(PASSAGES), min_size=1, max_size=8), st.integers(), st.text())
def test_gold_and_others(others, gold, seed, question):
    """The oracle returns at most five gold passages and the requested number of other passages, without duplicates."""
    ordered = sorted(gold)
    found = chosen(oracle(others=others, seed=seed), ordered, question)
    assert set(found) & gold == set(ordered[:5])
    assert len(found) == len(set(found)) == min(len(gold), 5) + min(others, len(PASSAGES) - len(gold))


def test_the_first_gold_passages_are_kept():
    """If a question has more gold passages than `most`, the oracle returns only the first `most` gold passages."""
    assert sorted(chosen(oracle(most=2), ["d7#0", "d1#0", "d9#0"])) == ["d1#0", "d7#0"]


def test_the_gold_passage_is_at_any_position():
    """Over many questions, the gold passage appears about equally often at each position."""
    places = [chosen(oracle(others=2), ["d4#0"], f"q{number}").index("d4#0") for number in range(600)]
    assert all(150 < places.count(place) < 250 for place in range(3))


def test_hits_are_best_first():
    """Scores of the oracle's hits decrease with rank."""
    scores = [hit.score for hit in oracle(others=3).choose("q", ["d1#0"], PASSAGES, 0)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_passages_depend_on_question_and_seed():
    """The returned passages depend only on the question and the seed, not on the retriever instance."""
    assert chosen(oracle(others=5), ["d1#0"]) == chosen(oracle(others=5), ["d1#0"])
    assert chosen(oracle(others=5), ["d1#0"]) != chosen(oracle(others=5, seed=1), ["d1#0"])


def test_a_question_without_gold_is_an_error():
    """The oracle raises an error for a question without a gold passage."""
    with pytest.raises(InputError, match="question q: the corpus contains no gold passage"):
        chosen(oracle(), [])


def test_top_k_is_not_needed():
    """A method that uses the oracle does not need `top_k`."""
    assert oracle(others=2).fixed_k() == 3
    assert isinstance(oracle(), GoldRetriever)
    assert (oracle().role, oracle().needs_gold, oracle().fingerprint()) == ("ceiling", True, "")


def test_options():
    """The oracle's options reject numbers below the minimum and values of the wrong type."""
    check_options(
        Oracle,
        accepts=[{}, {"others": 2, "most": 1, "seed": -3}],
        refuses=[{"others": -1}, {"others": "2"}, {"most": 0}, {"seed": 1.5}, {"others": True}],
    )
