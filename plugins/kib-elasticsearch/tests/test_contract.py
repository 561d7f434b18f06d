from pathlib import Path

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.errors import InputError
from kib.spec.options import identity_options
from kib.testing import PASSAGES, QUERIES, check_options, check_plugin, check_retriever, make_plugin
from kib_elasticsearch import Elasticsearch


def test_installed() -> None:
    """The plugin is found by its name, well formed and light to import."""
    assert check_plugin("retrievers", "elasticsearch") is Elasticsearch


@pytest.mark.parametrize(
    "line",
    [
        'url = "http://me:hunter2@127.0.0.1:9200"',
        'url = "http://me:hunter2/x@127.0.0.1:9200"',
        'url = "me:hunter2@127.0.0.1:9200"',
        'url = ["http://me:hunter2@127.0.0.1:9200"]',
        'password_env = "hunter2!"',
        'api_key_env = "hunter2=="',
    ],
)
def test_a_secret_in_a_file_is_not_repeated(tmp_path: Path, line: str) -> None:
    """A secret that somebody wrote into a benchmark file is refused without being shown."""
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "b"}\n', encoding="utf-8")
    head = 'schema = 1\nname = "x"\n[corpora.c]\nplugin = "jsonl"\npath = "c.jsonl"\n[retrievers.r]\n'
    (tmp_path / "x.toml").write_text(f'{head}plugin = "elasticsearch"\n{line}\n', encoding="utf-8")
    result = CliRunner().invoke(main, ["retrieve", str(tmp_path / "x.toml"), "--work", str(tmp_path / "work")])
    assert (result.exit_code, "hunter2" in result.output) == (2, False), result.output
    assert "x.toml:8: retrievers.r." in result.output


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
    plain = identity_options(make_plugin(Elasticsearch, {}).options)
    local = {"url": ["http://a:1", "http://b:2"], "ca_certs": "ca.pem", "replicas": 2, "user": "me", "prefix": "my-"}
    assert identity_options(make_plugin(Elasticsearch, local).options) == plain
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


@pytest.mark.parametrize("options", [{}, {"index": "hnsw", "candidates": 200}], ids=["exact", "hnsw"])
def test_vectors(node, make, options) -> None:
    """Vectors keep what a retriever promises, all of them looked at or a graph."""
    pytest.importorskip("kib_dense")
    check_retriever(lambda: make(node, mode="knn", encoder={}, **options))


def test_version_8(old, make) -> None:
    """A server of the major before keeps what a retriever promises."""
    check_retriever(lambda: make(old))


def test_vectors_on_version_8(old, make, tmp_path) -> None:
    """A server of the major before finds the same passages by vectors, in each kind of index."""
    pytest.importorskip("kib_dense")
    found = []
    for index in ("exact", "hnsw", "int8_hnsw"):
        retriever = make(old, mode="knn", encoder={}, index=index)
        retriever.build(PASSAGES, tmp_path / index)
        found.append([hits[0].passage for hits in retriever.search(tmp_path / index, QUERIES[:4], 3)])
    assert found == [["pump#0", "valve#0", "cook#0", "twin-a#0"]] * 3


def test_more_hits_than_candidates(node, make, tmp_path) -> None:
    """More hits than a graph looks at are refused, with the option that raises their number."""
    pytest.importorskip("kib_dense")
    retriever = make(node, mode="knn", encoder={}, index="hnsw", candidates=5)
    with pytest.raises(InputError, match="6 hits a query, but a graph looks at 5; raise `candidates`"):
        retriever.search(tmp_path, QUERIES, 6)


def test_fingerprint_asks_no_server() -> None:
    """What a plan needs is known without a server."""
    assert make_plugin(Elasticsearch, {"url": "http://127.0.0.1:9"}).fingerprint() == ""
