import pytest

from kib.options import counting
from kib.testing import check_options, check_plugin, check_retriever, make_plugin
from kib_elasticsearch import Elasticsearch


def test_installed() -> None:
    """The plugin is found by its name, well formed and light to import."""
    assert check_plugin("retrievers", "elasticsearch") is Elasticsearch


def test_options() -> None:
    """Options are described, and values that could not work are refused."""
    check_options(
        Elasticsearch,
        accepts=[
            {},
            {"url": "https://search.example:9243/es/", "ca_certs": "ca.pem", "api_key_env": "MY_KEY"},
            {"url": ["http://127.0.0.1:9201", "http://127.0.0.1:9202"], "shards": 3, "replicas": 1},
            {"user": "reader", "password_env": "MY_PASSWORD"},
            {"analyzer": "mine", "analysis": {"analyzer": {"mine": {"tokenizer": "whitespace"}}}, "k1": 1, "b": 0},
        ],
        refuses=[
            {"url": "127.0.0.1:9200"},
            {"url": "http://127.0.0.1"},
            {"url": "ftp://127.0.0.1:9200"},
            {"url": "http://127.0.0.1:99999"},
            {"url": "http://reader:secret@127.0.0.1:9200"},
            {"url": []},
            {"api_key_env": "bm90IGEgbmFtZQ=="},
            {"password_env": "pass word"},
            {"user": "reader", "api_key_env": "MY_KEY"},
            {"prefix": "Kib-"},
            {"prefix": "*"},
            {"mode": "knn"},
            {"mode": "bm26"},
            {"index": "hnsw"},
            {"encoder": 7},
            {"shards": 0},
            {"replicas": -1},
            {"k1": -0.1},
            {"b": 1.1},
            {"patience": -1},
            {"timeout": 0},
            {"bulk_passages": 0},
            {"queries": True},
        ],
    )


def test_where_the_server_is_does_not_count() -> None:
    """Address, login and pace are no part of an identity, and what decides hits is."""
    plain = counting(make_plugin(Elasticsearch, {}).options)
    local = {"url": ["http://a:1", "http://b:2"], "ca_certs": "ca.pem", "replicas": 2, "user": "me", "prefix": "my-"}
    assert counting(make_plugin(Elasticsearch, local).options) == plain
    assert set(plain) == {
        "mode", "analyzer", "analysis", "k1", "b", "encoder", "index", "candidates", "m", "ef_construction", "shards"
    }  # fmt: skip


def test_vectors_have_options_of_their_own() -> None:
    """An option that would say nothing in the chosen mode is refused, and so is one that the encoder does not know."""
    pytest.importorskip("kib_dense")
    knn = {"mode": "knn", "encoder": {}}
    check_options(
        Elasticsearch,
        accepts=[knn, {**knn, "index": "hnsw", "candidates": 50, "m": 8}],
        refuses=[
            {**knn, "k1": 1.2},
            {**knn, "m": 8},
            {**knn, "analyzer": "german"},
            {**knn, "encoder": {"no_such": 1}},
        ],
    )


def test_words(node, make) -> None:
    """Words keep what a retriever promises."""
    check_retriever(lambda: make(node))


def test_several_shards(node, make) -> None:
    """Scores are those of the whole index where it has several parts."""
    check_retriever(lambda: make(node, shards=3, queries=5))


@pytest.mark.parametrize("index", ["exact", "hnsw", "int8_hnsw"])
def test_vectors(node, make, index) -> None:
    """Vectors keep what a retriever promises, all of them looked at or a graph."""
    pytest.importorskip("kib_dense")
    options = {"candidates": 200} if index != "exact" else {}
    check_retriever(lambda: make(node, mode="knn", encoder={}, index=index, **options))


def test_version_8(old, make) -> None:
    """A server of the major before keeps what a retriever promises."""
    check_retriever(lambda: make(old))


def test_vectors_on_version_8(old, make) -> None:
    """Vectors work on a server of the major before."""
    pytest.importorskip("kib_dense")
    check_retriever(lambda: make(old, mode="knn", encoder={}))
    check_retriever(lambda: make(old, mode="knn", encoder={}, index="hnsw"))


def test_fingerprint_asks_no_server() -> None:
    """What a plan needs is known without a server."""
    assert make_plugin(Elasticsearch, {"url": "http://127.0.0.1:9"}).fingerprint() == ""
