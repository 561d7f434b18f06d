"""The random retriever, a control that returns passages unrelated to the answer."""

from hypothesis import given
from hypothesis import strategies as st

from kib.interfaces import GoldRetriever
from kib.plugins.builtin.random_retriever import Random
from kib.testing import check_options, make_plugin

PASSAGES = [f"d{number}#0" for number in range(30)]


def chosen(gold=(), k=3, question="q", **options):
    return [hit.passage for hit in make_plugin(Random, options).choose(question, gold, PASSAGES, k)]


@given(st.integers(1, 40), st.sets(st.sampled_from(PASSAGES)), st.integers(), st.text())
def test_random_hits_are_distinct_and_not_gold(k, gold, seed, question):
    """The random retriever returns K distinct non-gold passages, or all of them if K is larger."""
    found = chosen(sorted(gold), k, question, seed=seed)
    assert not set(found) & gold
    assert len(found) == len(set(found)) == min(k, len(PASSAGES) - len(gold))


@given(st.integers(1, 30), st.integers(1, 30))
def test_random_hits_for_a_smaller_k_are_a_prefix(k, more):
    """The random passages for a smaller K are a prefix of the passages for a larger K."""
    assert chosen(k=k) == chosen(k=max(k, more))[:k]


def test_hits_are_best_first():
    """Scores of random hits decrease with rank."""
    scores = [hit.score for hit in make_plugin(Random).choose("q", (), PASSAGES, 4)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_random_hits_depend_on_question_and_seed():
    """A different question or a different seed yields different random passages."""
    assert len({tuple(chosen(question=name, seed=seed)) for name in "abc" for seed in range(3)}) == 9


def test_top_k_is_required():
    """A method that uses the random retriever must set `top_k`."""
    retriever = make_plugin(Random)
    assert retriever.fixed_k() is None
    assert isinstance(retriever, GoldRetriever)
    assert (retriever.role, retriever.needs_gold, retriever.fingerprint()) == ("control", True, "")


def test_options():
    """The seed of the random retriever must be an integer."""
    check_options(Random, accepts=[{}, {"seed": 7}], refuses=[{"seed": "7"}, {"seed": 0.5}])
