"""Tests of vector search on the server, both exact and with a graph that may miss a few of the nearest passages."""

import pytest

from kib.errors import InputError
from kib.records import Passage, Query

TOPICS = [f"topic{number}" for number in range(20)]


@pytest.fixture(scope="module")
def corpus():
    """Return passages about well-separated topics, with ten passages per topic."""
    texts = [(topic, number, f"{topic} " * 3 + f"detail{number}") for topic in TOPICS for number in range(10)]
    return [Passage(f"{topic}-{number}", topic, "", text, 0, len(text)) for topic, number, text in texts]


def test_graph_search(node, make, word_vectors, corpus, tmp_path):
    """A graph search finds most of the nearest passages, best first and, if not quantized, with exact scores."""
    found = {}
    queries = [Query(topic, topic) for topic in TOPICS]
    for index in ("exact", "hnsw", "int8_hnsw"):
        retriever = make(node, **word_vectors, index=index)
        retriever.build(corpus, tmp_path / index)
        found[index] = retriever.search(tmp_path / index, queries, 10)
    for index in ("hnsw", "int8_hnsw"):
        pairs = list(zip(found["exact"], found[index], strict=True))
        common = [{hit.passage for hit in exact} & {hit.passage for hit in graph} for exact, graph in pairs]
        assert sum(map(len, common)) > 0.7 * 10 * len(queries)
        for exact, graph in pairs:
            scores = [hit.score for hit in graph]
            assert scores == sorted(scores, reverse=True)
            if index == "hnsw":  # eight-bit scores are approximate
                expected = {hit.passage: hit.score for hit in exact}
                known = {hit.passage: hit.score for hit in graph if hit.passage in expected}
                assert known == pytest.approx({passage: expected[passage] for passage in known})


def test_more_hits_than_candidates(node, make, word_vectors, tmp_path):
    """A search for more hits than `candidates` raises an error that suggests a higher value of this option."""
    retriever = make(node, **word_vectors, index="hnsw", candidates=5)
    with pytest.raises(
        InputError, match=r"6 hits per query were requested, .* considers only 5 candidates; raise `candidates`"
    ):
        retriever.search(tmp_path, [Query("q", "lever")], 6)
