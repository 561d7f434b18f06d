"""Tests of the quality of BM25 search on public test collections, compared with published values."""

import json

import pytest

from kib.records import Passage, Query
from kib.testing import make_plugin

pytestmark = pytest.mark.slow

OPTIONS = {"analyzer": "english", "k1": 0.9, "b": 0.4}


def read_collection(folder):
    """Return passages (one per document), queries and judgments of a collection in BEIR's format."""
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [Passage(d["_id"], d["_id"], d.get("title", ""), d["text"], 0, 0) for d in map(json.loads, lines)]
    rows = [line.split("\t") for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    judgments = {}
    for query, document, grade in rows:
        judgments.setdefault(query, {})[document] = int(grade)
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = [Query(q["_id"], q["text"]) for q in map(json.loads, lines) if q["_id"] in judgments]
    assert {query.id for query in queries} == set(judgments)
    return passages, queries, judgments


@pytest.fixture(scope="module")
def searched(node, make, data, tmp_path_factory):
    """Return a function that returns the passages, queries, judgments and hits for a collection."""
    finished = {}

    def search(name):
        if not (data / name).is_dir():
            pytest.skip(f"no {name} in {data}; set KIB_TEST_DATA to the folder of test data")
        if name not in finished:
            passages, queries, judgments = read_collection(data / name)
            folder = tmp_path_factory.mktemp(name)
            retriever = make(node, **OPTIONS)
            retriever.build(passages, folder)
            finished[name] = passages, queries, judgments, retriever.search(folder, queries, 1000)
        return finished[name]

    return search


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Anserini's flat index of BEIR's SciFact with the same k1 and b
        ("scifact", {"nDCG@10": 0.6789, "R@100": 0.9253}),
        ("vaswani", {"AP": 0.2857}),
    ],
)
def test_published_values(searched, name, expected):
    """BM25 search reproduces the published scores for both collections to within 0.001, with the same options."""
    ir_measures = pytest.importorskip("ir_measures")
    _, queries, judgments, hits = searched(name)
    run = {q.id: {hit.passage: hit.score for hit in some} for q, some in zip(queries, hits, strict=True)}
    found = ir_measures.calc_aggregate([ir_measures.parse_measure(m) for m in expected], judgments, run)
    assert {str(measure): value for measure, value in found.items()} == pytest.approx(expected, abs=0.001)


def test_agreement_with_bm25(searched, tmp_path):
    """On average, `bm25` and `elasticsearch` share more than 80% of the ten highest-ranked passages per query."""
    bm25 = pytest.importorskip("kib_bm25").BM25
    passages, queries, _, hits = searched("scifact")
    retriever = make_plugin(bm25, {})
    retriever.build(passages, tmp_path)
    pairs = zip(hits, retriever.search(tmp_path, queries, 10), strict=True)
    shared = [len({hit.passage for hit in one[:10]} & {hit.passage for hit in other}) / 10 for one, other in pairs]
    assert sum(shared) / len(shared) > 0.8
