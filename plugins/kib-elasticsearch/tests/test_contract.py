from pathlib import Path

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.spec.options import identity_options
from kib.testing import PASSAGES, check_options, check_plugin, check_recipients, check_retriever, make_plugin
from kib_elasticsearch import Elasticsearch


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
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
def test_a_secret_in_a_file_is_not_shown(tmp_path: Path, line: str) -> None:
    """A secret in a benchmark file is rejected with an error that does not show the secret."""
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "b"}\n', encoding="utf-8")
    head = 'schema = 1\nname = "x"\n[corpora.c]\nplugin = "jsonl"\npath = "c.jsonl"\n[retrievers.r]\n'
    (tmp_path / "x.toml").write_text(f'{head}plugin = "elasticsearch"\n{line}\n', encoding="utf-8")
    result = CliRunner().invoke(main, ["retrieve", str(tmp_path / "x.toml"), "--work", str(tmp_path / "work")])
    assert (result.exit_code, "hunter2" in result.output) == (2, False), result.output
    assert "x.toml:8: retrievers.r." in result.output


def test_options() -> None:
    """Every option has a description, and invalid values are rejected."""
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


def test_identity() -> None:
    """Options that affect hits are part of a retriever's identity, but address, login and request sizes are not."""
    plain = identity_options(make_plugin(Elasticsearch, {}).options)
    local = {"url": ["http://a:1", "http://b:2"], "ca_certs": "ca.pem", "replicas": 2, "user": "me", "prefix": "my-"}
    assert identity_options(make_plugin(Elasticsearch, local).options) == plain
    assert set(plain) == {
        "mode", "analyzer", "analysis", "k1", "b", "encoder", "index", "candidates", "m", "ef_construction", "shards"
    }  # fmt: skip


def test_options_of_vector_search() -> None:
    """An unknown encoder option, or an option without effect in the selected search mode, is rejected."""
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


def test_word_search(node, make) -> None:
    """BM25 search on a server satisfies the contract for retrievers, even with several shards and query batches."""
    check_retriever(lambda: make(node, shards=3, queries=5))


def test_exact_vector_search(node, make, word_vectors) -> None:
    """Exact vector search on a server satisfies the contract for retrievers."""
    check_retriever(lambda: make(node, **word_vectors))


def test_fingerprint_needs_no_server() -> None:
    """The fingerprint of a retriever is computed without contacting the server."""
    assert make_plugin(Elasticsearch, {"url": "http://127.0.0.1:9"}).fingerprint() == ""


def test_recipients(tmp_path: Path) -> None:
    """The retriever lists its servers as recipients and rejects a disallowed server."""
    for urls in (str, lambda address: ["http://127.0.0.1:9", address]):
        check_recipients(
            lambda address, urls=urls: make_plugin(Elasticsearch, {"url": urls(address)}),
            lambda retriever: retriever.build(PASSAGES, tmp_path),
        )
