"""Real Elasticsearch nodes for tests: started by the script that KIB_TEST_ELASTICSEARCH names, never left running."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from kib.records import Passage, Query
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch

SHARED = Path(__file__).parents[4] / "shared"
SCRIPT = Path(os.environ.get("KIB_TEST_ELASTICSEARCH") or SHARED / "elasticsearch" / "node")
DATA = Path(os.environ.get("KIB_TEST_DATA") or SHARED / "data")

HEAP = "384m"

PATIENCE = 240
"""Seconds that a node gets after the script has given it up."""

UNTIL_THE_END = """
import subprocess, sys
sys.stdin.read()
subprocess.run([sys.argv[1], "kill", sys.argv[2]], check=True)
"""
"""A process that outlives the tests, however they end: their end closes its input, and it kills the node."""

USER, PASSWORD = "librarian", "s3cret-pässword-4711"


def pytest_collection_modifyitems(items):
    """A test that needs a node is a slow one: the first of them starts it."""
    for item in items:
        if "new_node" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Node:
    """One node with its data."""

    def __init__(self, folder, version="9", ports=None, **settings):
        if not os.access(SCRIPT, os.X_OK):
            pytest.skip(f"no script to start Elasticsearch at {SCRIPT}; KIB_TEST_ELASTICSEARCH names it")
        if version == "8" and "17." not in java():
            pytest.skip("Elasticsearch 8 needs Java 17 on the path")
        self.folder = folder
        self.port, self.transport = ports or free_ports(2)
        self.options = ["--version", version, "--heap", HEAP]
        self.options += ["--port", str(self.port), "--transport-port", str(self.transport)]
        for key, value in settings.items():
            self.options += [f"--{key}", *([value] if isinstance(value, str) else map(str, value))]
        self.url = f"{'https' if 'tls' in settings else 'http'}://127.0.0.1:{self.port}"
        self.context = None
        self.auth = ""
        self.guard = subprocess.Popen(
            [sys.executable, "-c", UNTIL_THE_END, SCRIPT, folder], stdin=subprocess.PIPE, start_new_session=True
        )

    def start(self):
        """Run, or run again on the same data."""
        return self.await_start(self.start_soon())

    def await_start(self, started):
        """Wait until it answers: on a busy machine it takes longer than the script waits, and its process lives on."""
        if started.wait():
            give_up = time.monotonic() + PATIENCE
            while not self.answers():
                assert time.monotonic() < give_up, (self.folder / "start.log").read_text()
                time.sleep(1)
        return self

    def answers(self):
        """Whether it says anything at all, and be it that a password is wanted."""
        try:
            self.ask("GET", "/")
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def start_soon(self):
        """The same, without waiting for it."""
        # To a file: a pipe would stay open as long as the node runs.
        with (self.folder / "start.log").open("w") as log:
            command = [SCRIPT, "start", self.folder, *self.options]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def kill(self):
        """As a power cut."""
        subprocess.run([SCRIPT, "kill", self.folder], check=True)

    def close(self):
        """Kill it for good."""
        self.guard.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method, path, body=None, auth=None):
        """The answer to a request, past the plugin."""
        headers = {"Content-Type": "application/json"}
        if auth or self.auth:
            headers["Authorization"] = auth or self.auth
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - the node's own
        with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read() or b"{}")


def java():
    """What the machine's Java says of its version."""
    if not shutil.which("java"):
        return ""
    return subprocess.run([shutil.which("java"), "-version"], capture_output=True, text=True, check=False).stderr


@pytest.fixture(scope="session")
def new_node(tmp_path_factory):
    """Makes nodes; none of them outlives the tests."""
    nodes = []

    def make(**options):
        nodes.append(Node(tmp_path_factory.mktemp("node"), **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture(scope="session")
def node(new_node):
    """A node of version 9 that tests share: none of them stops it."""
    return new_node().start()


@pytest.fixture(scope="session")
def old(new_node):
    """A node of version 8 that tests share."""
    return new_node(version="8").start()


@pytest.fixture(scope="session")
def authority():
    """A CA of this test's own."""
    trustme = pytest.importorskip("trustme")
    return trustme.CA()


@pytest.fixture(scope="session")
def guarded(new_node, authority, tmp_path_factory):
    """A node with TLS and a user; `ca` is the file of the CA that signed its certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    made = authority.issue_cert("127.0.0.1")
    cert, key, ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    made.private_key_pem.write_to_path(key)
    cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    authority.cert_pem.write_to_path(ca)
    node = new_node(user=f"{USER}:{PASSWORD}", tls=(cert, key))
    node.ca = ca
    node.context = ssl.create_default_context(cafile=ca)
    node.auth = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return node.start()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """What the machine's environment says of a server is no matter of a test."""
    for name in list(os.environ):
        if name.startswith("KIB_ELASTICSEARCH_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def make():
    """A retriever on a node, with options as a file would give them."""

    def retriever(node, **options):
        return make_plugin(Elasticsearch, {"url": node.url, "patience": 600, **options})

    return retriever


@pytest.fixture(scope="session")
def ports():
    """Ports that nobody listens on now."""
    return free_ports


@pytest.fixture(scope="session")
def data():
    """The folder of test data."""
    return DATA


@pytest.fixture(scope="session")
def synthetic():
    """Makes passages of made-up words, few of them frequent; the same on every machine."""

    def passages(count, words=40):
        state = 1
        for number in range(count):
            some = []
            for _ in range(words):
                state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
                some.append(f"w{int(5000 ** ((state >> 33) / (1 << 31)))}")
            yield Passage(f"d{number:06}#0", f"d{number:06}", f"Title {number % 97}", " ".join(some), 0, 0)

    return passages


@pytest.fixture(scope="session")
def queries():
    """Queries that find something among these passages."""
    return [Query(f"q{number}", f"w{number} w{number * 7 + 3} title {number}") for number in range(150)]
