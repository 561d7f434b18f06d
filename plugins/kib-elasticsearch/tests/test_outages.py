"""When nodes are busy, killed or restarted, a build resumes and returns the same hits as an uninterrupted build."""

import signal
import subprocess
import sys
from itertools import islice

import pytest

from kib.errors import InputError, ServerUnavailableError
from kib.records import Passage
from kib_elasticsearch.index_metadata import read_metadata

pytestmark = pytest.mark.slow

COUNT = 2000


@pytest.fixture(scope="module")
def frail_node(new_node):
    """Return a node that is reserved for this module, with low limits on memory and request size."""
    limits = ["--set", "indexing_pressure.memory.limit=100kb", "--set", "http.max_content_length=256kb"]
    return new_node(options=limits).start()


@pytest.fixture(scope="module")
def undisturbed(frail_node, make, synthetic, queries, tmp_path_factory):
    """The hits that are expected after every build in this module."""
    folder = tmp_path_factory.mktemp("undisturbed")
    retriever = make(frail_node, bulk_passages=100, concurrency=1)
    retriever.build(synthetic(COUNT), folder)
    return retriever.search(folder, queries, 20)


def disturbed(passages, position, disturb):
    """Yield the passages, and call `disturb` before the passage at `position`."""
    for number, passage in enumerate(passages):
        if number == position:
            disturb()
        yield passage


def rejections(node):
    """Return the number of requests that the node has rejected because it was busy."""
    stats = node.ask("GET", "/_nodes/stats/indexing_pressure")["nodes"]
    return sum(one["indexing_pressure"]["memory"]["total"]["coordinating_rejections"] for one in stats.values())


def test_documents_rejected_by_a_busy_server_are_resent(
    frail_node, make, synthetic, queries, undisturbed, assert_same_hits, tmp_path
):
    """Documents rejected by a busy server are resent until all documents are indexed."""
    retriever = make(frail_node, bulk_passages=100, concurrency=8)
    for attempt in range(5):  # whether requests overlap enough to be rejected depends on the machine's load
        folder = tmp_path / str(attempt)
        folder.mkdir()
        retriever.build(synthetic(COUNT), folder)
        assert_same_hits(retriever.search(folder, queries, 20), undisturbed)
        if rejections(frail_node):
            return
    pytest.skip("the node answered every request at once; tests/test_retries.py rejects requests in any case")


@pytest.mark.parametrize(
    ("words", "status", "setting"),
    [(60_000, 429, "indexing_pressure.memory.limit"), (200_000, 413, "http.max_content_length")],
)
def test_a_passage_too_large_for_the_server(frail_node, make, tmp_path, words, status, setting):
    """A passage too large for the server is not sent again; the error names the passage and suggests remedies."""
    given = [Passage("small", "d", "", "lever", 0, 5), Passage("large", "d", "", "a " * words, 0, 2 * words)]
    with pytest.raises(InputError) as caught:
        make(frail_node, bulk_passages=1).build(given, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"passage 'large' is too large for the server at {frail_node.url} ({status}: ")
    assert message.endswith(f"; split passages with the corpus option `chunk`, or raise `{setting}` on the server")


def test_bulks_too_large_for_the_server(frail_node, make, synthetic, tmp_path):
    """A bulk request too large for the server raises an error that names the option to lower."""
    with pytest.raises(
        InputError, match=r"a bulk request with 2,000 passages is too large \(413.*; lower `bulk_bytes`"
    ):
        make(frail_node, bulk_passages=COUNT).build(synthetic(COUNT), tmp_path)


def test_killed_while_indexing(frail_node, make, synthetic, queries, undisturbed, assert_same_hits, tmp_path, caplog):
    """A build continues after a node is killed and restarted during indexing."""

    def kill():
        frail_node.kill()
        started.append(frail_node.start_in_background())

    started = []
    retriever = make(frail_node, bulk_passages=100)
    retriever.build(disturbed(synthetic(COUNT), COUNT // 2, kill), tmp_path)
    frail_node.wait_for_start(started[0])
    assert "kib retries the request" in caplog.text
    assert_same_hits(retriever.search(tmp_path, queries, 20), undisturbed)


@pytest.mark.nightly
def test_a_server_that_remains_unavailable(
    frail_node, make, synthetic, queries, undisturbed, assert_same_hits, tmp_path, caplog
):
    """A build that stopped retrying resumes later, and searches wait until the server is available again."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    retriever = make(frail_node, bulk_passages=100)
    retriever.build(synthetic(COUNT), whole)
    retriever.search(whole, queries[:1], 20)
    with pytest.raises(
        ServerUnavailableError,
        match=r"no server is listening .*; kib gave up after 1 seconds \(`patience`\); the server keeps",
    ):
        make(frail_node, bulk_passages=100, patience=1).build(
            disturbed(synthetic(COUNT), COUNT // 2, frail_node.kill), part
        )
    with pytest.raises(ServerUnavailableError, match="no server is listening at this address"):
        make(frail_node, patience=0).build(synthetic(COUNT), part)
    assert 0 < read_metadata(part).sent.passages < COUNT
    started = frail_node.start_in_background()
    caplog.clear()
    assert_same_hits(retriever.search(whole, queries, 20), undisturbed)
    assert "kib retries the request" in caplog.text
    frail_node.wait_for_start(started)
    retriever.build(synthetic(COUNT), part)
    assert_same_hits(retriever.search(part, queries, 20), undisturbed)


BUILD = """
import sys
from pathlib import Path
from kib.records import Passage
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch
retriever = make_plugin(Elasticsearch, {"url": sys.argv[1], "bulk_passages": 100})
def passages():
    for line in sys.stdin:
        fields = line.rstrip("\\n").split("|")
        yield Passage(*fields, 0, 0)
retriever.build(passages(), Path(sys.argv[2]))
"""


def test_a_killed_run_resumes(frail_node, make, synthetic, queries, undisturbed, assert_same_hits, tmp_path):
    """A run that is killed during indexing resumes, and returns the same hits as an uninterrupted run."""
    command = [sys.executable, "-c", BUILD, frail_node.url, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as run:
        for passage in islice(synthetic(COUNT), COUNT // 2):
            run.stdin.write(f"{passage.id}|{passage.document}|{passage.title}|{passage.text}\n")
        run.stdin.flush()
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    metadata = read_metadata(tmp_path)
    assert metadata is None or metadata.sent.passages < COUNT
    retriever = make(frail_node, bulk_passages=100)
    retriever.build(synthetic(COUNT), tmp_path)
    assert_same_hits(retriever.search(tmp_path, queries, 20), undisturbed)


@pytest.mark.nightly
def test_a_cluster_loses_a_node(new_node, ports, make, synthetic, queries, undisturbed, assert_same_hits, tmp_path):
    """A build on a cluster of three nodes with a replica continues if one node is killed during the build."""
    transport_ports = ports(3)
    seeds = ",".join(f"127.0.0.1:{port}" for port in transport_ports)
    nodes = [new_node(ports=(*ports(1), port), options=["--seeds", seeds]) for port in transport_ports]
    # All at once: each node waits for the others.
    for node, started in [(node, node.start_in_background()) for node in nodes]:
        node.wait_for_start(started)
    urls = [node.url for node in nodes]
    nodes[0].ask("GET", "/_cluster/health?wait_for_nodes=3&timeout=60s")
    retriever = make(nodes[0], url=urls, replicas=1, shards=1, bulk_passages=100)
    killed = []

    def kill_primary():
        """Kill the node that is receiving the documents."""
        shards = nodes[0].ask("GET", f"/_cat/shards/{retriever._index_name(tmp_path)}?format=json")
        home = next(shard["node"] for shard in shards if shard["prirep"] == "p")
        killed.append(next(node for node in nodes if home == f"node-{node.transport_port}"))
        killed[0].kill()

    retriever.build(disturbed(synthetic(COUNT), COUNT // 2, kill_primary), tmp_path)
    assert killed[0].url in urls
    assert_same_hits(retriever.search(tmp_path, queries, 20), undisturbed)
    for node in nodes:
        node.kill()
