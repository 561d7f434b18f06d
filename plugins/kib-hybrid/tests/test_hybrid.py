from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import SpecError
from kib.plan.planner import make_plan
from kib.plugins.resolve import open_spec
from kib.progress import SilentProgress
from kib.records import Hit, Query
from kib.run.loop import run
from kib.store.folders import Results, Work
from kib.testing import make_plugin
from kib_hybrid import Hybrid

QUERY = Query("q", "a question")
IDS = [f"p{number}" for number in range(12)]
RANKINGS = st.lists(st.sampled_from(IDS), unique=True)
HITS = st.fixed_dictionaries({"a": RANKINGS, "b": RANKINGS, "c": RANKINGS})


def ranked(ids: Sequence[str]) -> list[Hit]:
    return [Hit(passage, float(-place)) for place, passage in enumerate(ids)]


def fuse(rankings: Mapping[str, Sequence[str]], k: int = 100, **options: Any) -> list[Hit]:
    names = options.pop("of", list(rankings))
    hits = {name: ranked(ids) for name, ids in rankings.items()}
    found: list[Hit] = make_plugin(Hybrid, {"of": names, **options}).rerank(QUERY, hits, {}, k)
    return found


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage for hit in hits]


def test_formula() -> None:
    """The score is the sum of weight / (constant + rank) over the retrievers that found a passage."""
    hits = fuse({"a": ["x", "y"], "b": ["y", "z"]}, weights={"b": 2.0})
    expected = {"x": 1 / 61, "y": 1 / 62 + 2 / 61, "z": 2 / 62}
    assert {hit.passage: hit.score for hit in hits} == pytest.approx(expected)
    assert ids(hits) == ["y", "z", "x"]


def test_ties_by_passage_id() -> None:
    """Equal sums stand in the order of their passages' ids."""
    assert ids(fuse({"a": ["z", "y"], "b": ["y", "z"]})) == ["y", "z"]


def test_depth() -> None:
    """Of each retriever only the first hits are read, as many as `depth` says for it."""
    rankings = {"a": ["u", "v", "w"], "b": ["x", "y", "z"]}
    assert sorted(ids(fuse(rankings, depth=1))) == ["u", "x"]
    assert sorted(ids(fuse(rankings, depth={"a": 1}))) == ["u", "x", "y", "z"]
    assert make_plugin(Hybrid, {"of": ["a", "b"], "depth": {"b": 7}}).sources() == {"a": 100, "b": 7}


def test_nothing_found() -> None:
    """Where no retriever found anything there is nothing to fuse."""
    assert fuse({"a": [], "b": []}) == []


@given(HITS, st.permutations(["a", "b", "c"]), st.lists(st.floats(0.1, 9), min_size=3, max_size=3))
def test_order_makes_no_difference(rankings: dict[str, list[str]], names: list[str], numbers: list[float]) -> None:
    """The order in which retrievers are named changes neither ranks nor scores."""
    weights = dict(zip("abc", numbers, strict=True))
    assert fuse(rankings, of=names, weights=weights) == fuse(rankings, of=["a", "b", "c"], weights=weights)


@given(HITS)
def test_weight_zero(rankings: dict[str, list[str]]) -> None:
    """A retriever with weight 0 counts as if it were not there."""
    two = {name: rankings[name] for name in ("a", "b")}
    assert fuse(rankings, weights={"c": 0}) == fuse(two)


@given(HITS, st.sampled_from("abc"), st.integers(1, 11))
def test_a_better_rank_never_harms(rankings: dict[str, list[str]], name: str, place: int) -> None:
    """A passage that one retriever ranks one place higher stands no lower in the fusion."""
    order = rankings[name]
    if place >= len(order):
        return
    raised = [*order[: place - 1], order[place], order[place - 1], *order[place + 1 :]]
    before, after = ids(fuse(rankings)), ids(fuse({**rankings, name: raised}))
    assert after.index(order[place]) <= before.index(order[place])


@given(HITS, st.integers(0, 80))
def test_scores_are_exact(rankings: dict[str, list[str]], constant: int) -> None:
    """Scores are the exact sums, rounded once."""
    for hit in fuse(rankings, constant=constant):
        places = [order.index(hit.passage) + 1 for order in rankings.values() if hit.passage in order]
        # Each share is rounded before it is added, the sum once more.
        exact = sum((Fraction(1 / (constant + place)) for place in places), Fraction())
        assert hit.score == float(exact)


@given(RANKINGS)
def test_the_same_twice(order: list[str]) -> None:
    """Two retrievers that agree give their common order."""
    assert ids(fuse({"a": order, "b": order})) == order


SPEC = """schema = 1
name = "fused"

[models.m]
plugin = "lab"

[corpora.c]
plugin = "lab"
people = "new"
count = 40

[retrievers.words]
plugin = "bm25"

[retrievers.exact]
plugin = "bm25"
stemmer = "none"
b = 1.0

[retrievers.both]
plugin = "hybrid"
of = ["words", "exact"]
depth = 5

[retrievers.again]
plugin = "hybrid"
of = ["both", "words"]
weights = { both = 2.0 }

[tasks.t]
plugin = "lab"
people = "new"
count = 40
corpus = "c"
limit = 10

[methods.base]

[methods.words]
retrieve = "words"
top_k = [1]

[methods.both]
retrieve = "both"
top_k = [1, 2]

[methods.again]
retrieve = "again"
top_k = [2]
"""


def test_run(tmp_path: Path) -> None:
    """A benchmark with fused retrievers, one of them over another, runs, and what both find stands first."""
    (tmp_path / "bench.toml").write_text(SPEC, encoding="utf-8")
    plan = make_plan(*open_spec(tmp_path / "bench.toml"))
    results, work = Results(tmp_path / "results"), Work(tmp_path / "work")
    assert run(plan, results, work, SilentProgress()) == {}
    cells = {cell.arm: results.scores(cell) for cell in results.plan().cells if cell.split == "test"}
    assert set(cells) == {"base", "words,k=1", "both,k=1", "both,k=2", "again,k=2"}
    for one, two in zip(cells["both,k=1"], cells["both,k=2"], strict=True):
        assert one.passages == two.passages[:1]
        assert len(two.passages) == 2
    # Both ways of counting words agree on the person that is asked about.
    found = [any(score.gold or ()) for score in cells["both,k=1"]]
    assert sum(found) == len(found) == 10


def test_names_that_are_not_there(tmp_path: Path) -> None:
    """A retriever that the file does not have, and a circle, are told with their line before anything runs."""
    spec = tmp_path / "bench.toml"
    spec.write_text(SPEC.replace('of = ["words", "exact"]', 'of = ["words", "exct"]'), encoding="utf-8")
    with pytest.raises(SpecError, match=r"retrievers\.both\.of\[1\]: expected another retriever .* exact"):
        open_spec(spec)
    spec.write_text(SPEC.replace('of = ["words", "exact"]', 'of = ["words", "again"]'), encoding="utf-8")
    with pytest.raises(SpecError, match="expected a retriever that does not stand on this one"):
        open_spec(spec)
