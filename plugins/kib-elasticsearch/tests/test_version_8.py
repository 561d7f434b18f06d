"""Tests with an Elasticsearch server of the previous major version."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kib.testing import PASSAGES, QUERIES, check_retriever

pytestmark = pytest.mark.slow

BUILD = """
import json, sys
from pathlib import Path
from kib.errors import InputError
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch
try:
    make_plugin(Elasticsearch, json.loads(sys.argv[1])).build([], Path(sys.argv[2]))
except InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def old_node(new_node):
    """A node that runs Elasticsearch 8."""
    return new_node(version="8").start()


@pytest.fixture(scope="module")
def client_9(tmp_path_factory):
    """A folder that contains the Elasticsearch 9 Python client."""
    folder = tmp_path_factory.mktemp("client")
    wanted = ["elasticsearch>=9,<10", "elastic-transport>=9,<10", "sniffio"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, *wanted]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"pip cannot install elasticsearch 9: {run.stderr.strip()[-300:]}")
    return folder


def test_word_search(old_node, make):
    """An Elasticsearch retriever on a version 8 server satisfies the contract for retrievers."""
    check_retriever(lambda: make(old_node))


def test_vector_search(old_node, make, tmp_path):
    """A version 8 server finds the same passages with every kind of vector index."""
    pytest.importorskip("kib_dense")
    found = []
    for index in ("exact", "hnsw", "int8_hnsw"):
        retriever = make(old_node, mode="knn", encoder={}, index=index)
        retriever.build(PASSAGES, tmp_path / index)
        found.append([hits[0].passage for hits in retriever.search(tmp_path / index, QUERIES[:4], 3)])
    assert found == [["pump#0", "valve#0", "cook#0", "twin-a#0"]] * 3


def test_client_9(old_node, node, client_9, tmp_path):
    """With the version 9 client, a version 8 server raises a version mismatch error, and a version 9 server works."""

    def build(server):
        options = json.dumps({"url": server.url, **server.retriever_options})
        environment = {name: value for name, value in os.environ.items() if name.startswith("KIB_TEST_")}
        run = subprocess.run(
            [sys.executable, "-c", BUILD, options, tmp_path],
            env={**environment, "PYTHONPATH": str(client_9), "PATH": "", "PYTHONSAFEPATH": "1"},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    message = build(old_node)
    assert f"{old_node.url}: the Python client elasticsearch 9." in message
    assert "does not support the server's major version; `pip install 'elasticsearch>=8.19,<9'`" in message
    assert message.count("\n") == 1
    assert build(node) == ""
