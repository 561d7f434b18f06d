"""What the server finds in public test collections, held against what is published."""

import json

import pytest

from kib.records import Passage, Query

SETTING = {"analyzer": "english", "k1": 0.9, "b": 0.4}


@pytest.fixture(scope="module")
def collection(data):
    """Passages (a document each), queries and judgments of a collection in BEIR layout."""

    def read(name):
        folder = data / name
        if not folder.is_dir():
            pytest.skip(f"no {name} in {data}; KIB_TEST_DATA names the folder of test data")
        lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        passages = [Passage(d["_id"], d["_id"], d.get("title", ""), d["text"], 0, 0) for d in map(json.loads, lines)]
        rows = [line.split("\t") for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]]
        judged = {}
        for query, document, grade in rows:
            judged.setdefault(query, {})[document] = int(grade)
        lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
        queries = [Query(q["_id"], q["text"]) for q in map(json.loads, lines) if q["_id"] in judged]
        assert {query.id for query in queries} == set(judged)
        return passages, queries, judged

    return read


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Anserini's flat index of BEIR's SciFact with the same k1 and b
        ("scifact", {"nDCG@10": 0.6789, "R@100": 0.9253}),
        ("vaswani", {"AP": 0.2857}),
    ],
)
def test_published_values(node, make, collection, tmp_path, name, expected):
    """One setting for both collections finds what is published of them, to within 0.001."""
    ir_measures = pytest.importorskip("ir_measures")
    passages, queries, judged = collection(name)
    retriever = make(node, **SETTING)
    retriever.build(passages, tmp_path)
    hits = retriever.search(tmp_path, queries, 1000)
    run = {q.id: {hit.passage: hit.score for hit in some} for q, some in zip(queries, hits, strict=True)}
    found = ir_measures.calc_aggregate([ir_measures.parse_measure(m) for m in expected], judged, run)
    assert {str(measure): value for measure, value in found.items()} == pytest.approx(expected, abs=0.001)


def test_agreement_with_bm25(node, make, collection, tmp_path):
    """The plugin `bm25` finds nearly the same ten passages for a query."""
    from kib.testing import make_plugin

    bm25 = pytest.importorskip("kib_bm25").BM25
    passages, queries, _ = collection("scifact")
    found = []
    for retriever in (make(node, **SETTING), make_plugin(bm25, {})):
        folder = tmp_path / type(retriever).__name__
        retriever.build(passages, folder)
        found.append([{hit.passage for hit in hits} for hits in retriever.search(folder, queries, 10)])
    shared = [len(one & other) / 10 for one, other in zip(*found, strict=True)]
    assert sum(shared) / len(shared) > 0.8
