"""Ranking measures match worked examples that follow the definitions."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.records import Score
from kib.statistics.ranking_measures import is_judged, measure, measures_by_question

IDS = [f"d{number}" for number in range(12)]


def one(name, grades, ranked):
    """Return the value of a single measure for a single query."""
    return measure([name], {"q": grades}, {"q": ranked})[name]["q"]


@pytest.mark.parametrize(
    ("name", "grades", "ranked", "expected"),
    [
        ("R@2", {"a": 1, "b": 1, "c": 0}, ["a", "c", "b"], 1 / 2),
        ("R@3", {"a": 1, "b": 1, "c": 0}, ["a", "c", "b"], 1),
        ("Success@1", {"a": 1, "b": 1}, ["c", "a", "b"], 0),
        ("Success@2", {"a": 1, "b": 1}, ["c", "a", "b"], 1),
        ("RR@10", {"a": 1, "b": 2}, ["c", "x", "b", "a"], 1 / 3),
        ("RR@10", {"a": 1}, [f"x{n}" for n in range(10)] + ["a"], 0),
        ("AP", {"a": 1, "b": 1, "c": 1}, ["a", "x", "b"], (1 + 2 / 3) / 3),
        ("nDCG@10", {"a": 1, "b": 2}, ["a", "b"], (1 + 2 / log2(3)) / (2 + 1 / log2(3))),
        ("nDCG@1", {"a": 1, "b": 2}, ["a", "b"], 1 / 2),
        ("nDCG@10", {"a": 1}, [], 0),
    ],
)
def test_values_worked_out_by_hand(name, grades, ranked, expected):
    """Each ranking measure equals its formula, with relevance grades as gains."""
    assert one(name, grades, ranked) == pytest.approx(expected)


def test_ranking_order_is_the_list_order():
    """A ranking follows the order of the list, regardless of the document ids."""
    assert one("RR@10", {"z": 1}, ["z", "a"]) == 1
    assert one("RR@10", {"a": 1}, ["z", "a"]) == 1 / 2


def test_every_judged_query_has_a_value():
    """A judged query without results scores 0, and a query without judgments has no score."""
    values = measure(["R@5", "AP"], {"q1": {"a": 1}, "q2": {"b": 1}}, {"q1": ["a"], "q3": ["a"]})
    assert values == {"R@5": {"q1": 1.0, "q2": 0.0}, "AP": {"q1": 1.0, "q2": 0.0}}


@given(st.permutations(IDS), st.sets(st.sampled_from(IDS), min_size=1), st.integers(1, 12))
def test_measures_of_any_ranking(ranked, relevant, k):
    """Recall is the proportion of the relevant documents found; MRR depends only on the first relevant document."""
    grades = dict.fromkeys(relevant, 1)
    places = [place for place, name in enumerate(ranked, 1) if name in relevant]
    assert one(f"R@{k}", grades, ranked) == pytest.approx(sum(p <= k for p in places) / len(relevant))
    assert one(f"Success@{k}", grades, ranked) == (places[0] <= k)
    assert one("RR", grades, ranked) == pytest.approx(1 / places[0])
    ideal = sum(1 / log2(place + 1) for place in range(1, min(k, len(relevant)) + 1))
    gained = sum(1 / log2(place + 1) for place in places if place <= k)
    assert one(f"nDCG@{k}", grades, ranked) == pytest.approx(gained / ideal)


def line(question, gold, relevant, passages=None):
    """Return a question record of a cell."""
    found = tuple(f"{question}-{n}" for n in range(len(gold or ()))) if passages is None else passages
    return Score(question, None, 1, 0, 0, passages=found, gold=gold, relevant=relevant)


def test_cell_measures_use_all_gold_passages():
    """Recall, reciprocal rank and nDCG of a cell take all gold passages in the corpus into account."""
    lines = [line("a", (False, True), 1), line("b", (True, True), 4), line("c", None, 2, ()), line("d", (False,), 1)]
    values = measures_by_question(lines)
    assert values["recall"] == [1, 1, 0, 0]
    assert values["mrr"] == [1 / 2, 1, 0, 0]
    assert values["ndcg"] == pytest.approx([1 / log2(3), 1, 0, 0])


def test_records_without_a_gold_count_have_only_recall():
    """If the number of gold passages is not recorded, only recall is available."""
    assert measures_by_question([line("a", (False, True), None), line("b", (True,), 1)]) == {"recall": [1, 1]}


@pytest.mark.parametrize(
    ("gold", "relevant", "expected"),
    [((True,), None, True), ((False,), None, True), (None, None, False), ((False,), 0, False), (None, 1, True)],
)
def test_a_judged_question_has_gold_in_the_corpus(gold, relevant, expected):
    """A question is judged if the corpus contains one of its gold passages, even if no gold passage was retrieved."""
    assert is_judged(line("a", gold, relevant, ())) == expected
