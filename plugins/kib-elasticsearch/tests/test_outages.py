"""Nodes that are too busy, killed and started again: a run goes on, and ends with the hits of an undisturbed one."""

import signal
import subprocess
import sys
import threading
from itertools import islice

import pytest
from kib_elasticsearch.bulk import TOO_LARGE
from kib_elasticsearch.note import read_note

from kib.errors import InputError
from kib.records import Passage

COUNT = 6000


@pytest.fixture(scope="module")
def frail(new_node):
    """A node of this module's own, to be killed; it takes little at a time."""
    return new_node(set=("indexing_pressure.memory.limit=100kb", "--set", "http.max_content_length=1mb")).start()


@pytest.fixture(scope="module")
def undisturbed(node, make, synthetic, queries, tmp_path_factory):
    """The hits that every run here has to end with."""
    folder = tmp_path_factory.mktemp("undisturbed")
    make(node).build(synthetic(COUNT), folder)
    return make(node).search(folder, queries, 20)


def disturbed(passages, at, disturb):
    """The passages, with something happening before the one at place `at`."""
    for number, passage in enumerate(passages):
        if number == at:
            disturb()
        yield passage


def test_a_busy_server_is_given_time(frail, make, synthetic, queries, undisturbed, tmp_path):
    """Bulks that a busy server turns away are sent again until they are in."""
    retriever = make(frail, bulk_passages=100, concurrency=8)
    retriever.build(synthetic(COUNT), tmp_path)
    stats = frail.ask("GET", "/_nodes/stats/indexing_pressure")["nodes"]
    turned_away = [one["indexing_pressure"]["memory"]["total"] for one in stats.values()]
    assert sum(one["coordinating_rejections"] for one in turned_away) > 0
    assert retriever.search(tmp_path, queries, 20) == undisturbed


@pytest.mark.parametrize(("words", "status"), [(30_000, 429), (100_000, 429), (600_000, 413)])
def test_a_passage_larger_than_the_server_takes(frail, make, tmp_path, words, status):
    """A passage that the server never takes is named at once, with what cuts it and what the server would need."""
    given = [Passage("small", "d", "", "lever", 0, 5), Passage("large", "d", "", "a " * words, 0, 2 * words)]
    setting = "http.max_content_length" if status == TOO_LARGE else "indexing_pressure.memory.limit"
    with pytest.raises(InputError) as caught:
        make(frail, bulk_passages=1).build(given, tmp_path)
    assert str(caught.value).startswith(f"passage 'large': {frail.url}: more than the server takes at once ({status}: ")
    assert str(caught.value).endswith(f"; let `chunk` of the corpus cut it, or raise `{setting}` on the server")


def test_bulks_larger_than_the_server_takes(frail, make, synthetic, tmp_path):
    """Passages that are too many for one request are told at once, with the option to change."""
    with pytest.raises(InputError, match=r"6,000 passages are more than .* \(413.*\); lower `bulk_bytes`, or raise"):
        make(frail, bulk_passages=COUNT).build(synthetic(COUNT), tmp_path)


def test_a_bulk_too_large_for_a_busy_server(frail, make, synthetic, tmp_path):
    """What a server turns away for longer than the patience is one sentence."""
    with pytest.raises(InputError, match=r"the server answers 429 \(.*\), for 1 seconds \(`patience`\)"):
        make(frail, bulk_passages=2000, patience=1).build(synthetic(COUNT), tmp_path)


def test_killed_while_indexing(frail, make, synthetic, queries, undisturbed, tmp_path, caplog):
    """A node killed in the middle of indexing and started again loses nothing."""

    def cut():
        frail.kill()
        started.append(frail.start_soon())

    started = []
    retriever = make(frail, bulk_passages=100)
    retriever.build(disturbed(synthetic(COUNT), COUNT // 2, cut), tmp_path)
    assert started[0].wait() == 0
    assert "trying again" in caplog.text
    assert retriever.search(tmp_path, queries, 20) == undisturbed


def test_killed_while_searching(frail, make, synthetic, queries, undisturbed, tmp_path, caplog):
    """A node killed in the middle of searching and started again answers as before."""

    def cut():
        frail.kill()
        frail.start()

    retriever = make(frail, bulk_passages=100, queries=10)
    retriever.build(synthetic(COUNT), tmp_path)
    retriever.search(tmp_path, queries[:1], 20)
    thread = threading.Thread(target=cut)
    thread.start()
    found = []
    while thread.is_alive():
        found.append(retriever.search(tmp_path, queries, 20))
    thread.join()
    assert found
    assert all(hits == undisturbed for hits in found)
    assert "trying again" in caplog.text


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


def test_the_run_itself_is_killed(frail, make, synthetic, queries, undisturbed, tmp_path):
    """A run killed in the middle of indexing goes on from what the server has."""
    command = [sys.executable, "-c", BUILD, frail.url, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as run:
        for passage in islice(synthetic(COUNT), COUNT // 2):
            run.stdin.write(f"{passage.id}|{passage.document}|{passage.title}|{passage.text}\n")
        run.stdin.flush()
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    note = read_note(tmp_path)
    assert note is None or note.sent.passages < COUNT
    make(frail, bulk_passages=100).build(synthetic(COUNT), tmp_path)
    assert make(frail).search(tmp_path, queries, 20) == undisturbed


def test_a_server_that_stays_away(frail, make, synthetic, queries, undisturbed, tmp_path):
    """A node that does not come back is one sentence, and the same call later goes on with what was sent."""
    retriever = make(frail, bulk_passages=100, patience=1)
    with pytest.raises(
        InputError, match=r"nothing listens there, for 1 seconds \(`patience`\); what was indexed is kept"
    ):
        retriever.build(disturbed(synthetic(COUNT), COUNT // 2, frail.kill), tmp_path)
    with pytest.raises(InputError, match="nothing listens there"):
        make(frail, patience=0).build(synthetic(COUNT), tmp_path)
    sent = read_note(tmp_path).sent.passages
    assert 0 < sent < COUNT
    frail.start()
    retriever = make(frail, bulk_passages=100)
    retriever.build(synthetic(COUNT), tmp_path)
    assert retriever.search(tmp_path, queries, 20) == undisturbed


def test_a_cluster_loses_a_node(new_node, ports, make, synthetic, queries, undisturbed, tmp_path):
    """Of three nodes with a copy of each part, one is killed in the middle of indexing and the run does not stop."""
    transports = ports(3)
    seeds = ",".join(f"127.0.0.1:{port}" for port in transports)
    nodes = [new_node(ports=(*ports(1), transport), seeds=seeds) for transport in transports]
    for node, started in [(node, node.start_soon()) for node in nodes]:  # side by side: each waits for the others
        node.await_start(started)
    urls = [node.url for node in nodes]
    nodes[0].ask("GET", "/_cluster/health?wait_for_nodes=3&timeout=60s")
    retriever = make(nodes[0], url=urls, replicas=1, shards=1, bulk_passages=100)

    def cut():
        """Kill the node that takes the writes."""
        index = f"/_cat/shards/{retriever._name(tmp_path)}?format=json"
        home = next(shard["node"] for shard in nodes[0].ask("GET", index) if shard["prirep"] == "p")
        killed.append(next(node for node in nodes if home == f"node-{node.transport}"))
        killed[0].kill()

    killed = []
    retriever.build(disturbed(synthetic(COUNT), COUNT // 2, cut), tmp_path)
    assert killed[0].url in urls
    assert retriever.search(tmp_path, queries, 20) == undisturbed
    assert make(nodes[0], url=urls).search(tmp_path, queries, 20) == undisturbed
    for node in nodes:
        node.close()
