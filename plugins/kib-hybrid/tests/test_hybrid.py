from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kib.cli import main
from kib.errors import SpecError
from kib.plugins.resolve import open_spec
from kib.records import Hit, Query
from kib.testing import make_plugin
from kib_hybrid import Hybrid

QUERY = Query("q", "a question")
IDS = [f"p{number}" for number in range(12)]
RANKINGS = st.lists(st.sampled_from(IDS), unique=True)
HITS = st.fixed_dictionaries({"a": RANKINGS, "b": RANKINGS, "c": RANKINGS})
some_examples = settings(
    max_examples=settings().max_examples // 4,  # 25, or more with --hypothesis-profile=thorough
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def ranked(ids: Sequence[str]) -> list[Hit]:
    return [Hit(passage, float(-rank)) for rank, passage in enumerate(ids)]


def fuse(rankings: Mapping[str, Sequence[str]], k: int = 100, **options: Any) -> list[Hit]:
    names = options.pop("of", list(rankings))
    hits = {name: ranked(ids) for name, ids in rankings.items()}
    found: list[Hit] = make_plugin(Hybrid, {"of": names, **options}).rerank(QUERY, hits, {}, k)
    return found


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage for hit in hits]


def test_formula() -> None:
    """The fused score of a passage is the sum of weight / (constant + rank) over the retrievers that found it."""
    hits = fuse({"a": ["x", "y"], "b": ["y", "z"]}, weights={"b": 2.0})
    expected = {"x": 1 / 61, "y": 1 / 62 + 2 / 61, "z": 2 / 62}
    assert {hit.passage: hit.score for hit in hits} == pytest.approx(expected)
    assert ids(hits) == ["y", "z", "x"]


def test_ties_by_passage_id() -> None:
    """Passages with equal scores are ordered by passage id."""
    assert ids(fuse({"a": ["z", "y"], "b": ["y", "z"]})) == ["y", "z"]


def test_depth() -> None:
    """Only the first `depth` hits from each retriever are fused, whether `depth` is one number or set per retriever."""
    rankings = {"a": ["u", "v", "w"], "b": ["x", "y", "z"]}
    assert sorted(ids(fuse(rankings, depth=1))) == ["u", "x"]
    assert sorted(ids(fuse(rankings, depth={"a": 1}))) == ["u", "x", "y", "z"]
    assert make_plugin(Hybrid, {"of": ["a", "b"], "depth": {"b": 7}}).sources() == {"a": 100, "b": 7}


def test_no_retriever_has_a_hit() -> None:
    """If no retriever has a hit, the fusion returns no hits."""
    assert fuse({"a": [], "b": []}) == []


@some_examples
@given(HITS, st.permutations(["a", "b", "c"]), st.lists(st.floats(0.1, 9), min_size=3, max_size=3))
def test_order_makes_no_difference(rankings: dict[str, list[str]], names: list[str], numbers: list[float]) -> None:
    """The order of the retrievers affects neither the fused ranks nor the fused scores."""
    weights = dict(zip("abc", numbers, strict=True))
    assert fuse(rankings, of=names, weights=weights) == fuse(rankings, of=["a", "b", "c"], weights=weights)


@some_examples
@given(HITS)
def test_weight_zero(rankings: dict[str, list[str]]) -> None:
    """A retriever with weight 0 has no effect on the fused ranking."""
    two = {name: rankings[name] for name in ("a", "b")}
    assert fuse(rankings, weights={"c": 0}) == fuse(two)


@some_examples
@given(HITS, st.sampled_from("abc"), st.integers(1, 11))
def test_a_better_rank_never_lowers_the_fused_rank(rankings: dict[str, list[str]], name: str, index: int) -> None:
    """If a passage moves up in one retriever's ranking, it does not move down in the fused ranking."""
    order = rankings[name]
    if index >= len(order):
        return
    raised = [*order[: index - 1], order[index], order[index - 1], *order[index + 1 :]]
    before, after = ids(fuse(rankings)), ids(fuse({**rankings, name: raised}))
    assert after.index(order[index]) <= before.index(order[index])


@some_examples
@given(HITS, st.integers(0, 80))
def test_scores_are_exact(rankings: dict[str, list[str]], constant: int) -> None:
    """A fused score equals the exact sum of its floating-point terms, rounded once."""
    for hit in fuse(rankings, constant=constant):
        ranks = [order.index(hit.passage) + 1 for order in rankings.values() if hit.passage in order]
        exact = sum((Fraction(1 / (constant + rank)) for rank in ranks), Fraction())
        assert hit.score == float(exact)


@some_examples
@given(RANKINGS)
def test_two_equal_rankings(order: list[str]) -> None:
    """Fusing two identical rankings returns the same ranking."""
    assert ids(fuse({"a": order, "b": order})) == order


SPEC = """schema = 1
name = "fused"

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
depth = 5

[tasks.t]
plugin = "lab"
people = "new"
count = 40
corpus = "c"
limit = 10
"""


def rankings_of(run: Path) -> dict[str, list[str]]:
    """Return the ranked passage ids per query from a file in the TREC run format."""
    found = defaultdict(list)
    for line in run.read_text(encoding="utf-8").splitlines():
        query_id, _, passage_id, *_ = line.split()
        found[query_id].append(passage_id)
    return dict(found)


def test_retrieval(tmp_path: Path) -> None:
    """The fused ranking of two retrievers can be fused again with the ranking of one of these retrievers."""
    (tmp_path / "bench.toml").write_text(SPEC, encoding="utf-8")
    files = ["--run", str(tmp_path / "{retriever}.run"), "--work", str(tmp_path / "work")]
    run = CliRunner().invoke(main, ["retrieve", str(tmp_path / "bench.toml"), "--depth", "5", "--quiet", *files])
    assert run.exit_code == 0, run.output
    words, exact, both, again = (rankings_of(tmp_path / f"{name}.run") for name in ("words", "exact", "both", "again"))
    assert len(words) == 10
    for query_id, ranking in words.items():
        assert both[query_id] == ids(fuse({"words": ranking, "exact": exact[query_id]}, 5))
        assert again[query_id] == ids(fuse({"both": both[query_id], "words": ranking}, 5, weights={"both": 2.0}))


def test_wrong_names(tmp_path: Path) -> None:
    """An unknown retriever in `of`, or a cycle of retrievers, raises an error that names the key in the file."""
    spec = tmp_path / "bench.toml"
    spec.write_text(SPEC.replace('of = ["words", "exact"]', 'of = ["words", "exct"]'), encoding="utf-8")
    with pytest.raises(SpecError, match=r"retrievers\.both\.of\[1\]: .*exact"):
        open_spec(spec)
    spec.write_text(SPEC.replace('of = ["words", "exact"]', 'of = ["words", "again"]'), encoding="utf-8")
    with pytest.raises(
        SpecError, match=r"retrievers\.\w+\.of\[\d\]: circular reference: .*expected a different retriever"
    ):
        open_spec(spec)
