"""Fixtures that start real Elasticsearch nodes with the script KIB_TEST_ELASTICSEARCH. No node outlives the tests."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from kib.records import Passage, Query
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch

SHARED = Path(__file__).parents[4] / "shared"
SCRIPT = Path(os.environ.get("KIB_TEST_ELASTICSEARCH") or SHARED / "elasticsearch" / "node")
DATA = Path(os.environ.get("KIB_TEST_DATA") or SHARED / "data")

HEAP = "384m"

JVM_OPTIONS = "-XX:TieredStopAtLevel=1\n-XX:-UseG1GC\n-XX:+UseSerialGC\n"
"""Options for a short-lived node: simple compilation and garbage collection halve the time of a start."""

SECONDS_TO_START = 240
"""Seconds to wait for a node after the script has given up."""

MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - a folder of the node goes here, with a random name
DISK_SPACE = 1 << 30
"""Free bytes that the folder of a node needs."""

GUARD = """
import fcntl, shutil, subprocess, sys
script, folder, in_use = sys.argv[1:]
with open(in_use) as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    subprocess.run([script, "kill", folder], check=True)
    shutil.rmtree(folder)
"""
"""A process that kills a node once no test process uses it any more, even if the test processes were killed."""

USER, PASSWORD, PASSWORD_VARIABLE = "librarian", "s3cret-pässword-4711", "KIB_TEST_PASSWORD"


def free_ports(count):
    """Return unused local ports."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def new_folder():
    """Return a new folder for a node, in memory if possible, which makes index operations three times as fast."""
    in_memory = os.access(MEMORY_DISK, os.W_OK) and shutil.disk_usage(MEMORY_DISK).free > DISK_SPACE
    return tempfile.mkdtemp(prefix="kib-elasticsearch-", dir=MEMORY_DISK if in_memory else None)


class Node:
    """An Elasticsearch node with its data in `folder`; test processes that share the node lock the file `in_use`."""

    def __init__(self, folder, in_use, ports, version="9", options=()):
        if not os.access(SCRIPT, os.X_OK):
            pytest.skip(f"no script to start Elasticsearch at {SCRIPT}; set KIB_TEST_ELASTICSEARCH to its path")
        if version == "8" and "17." not in java_version():
            pytest.skip("Elasticsearch 8 needs Java 17 on the path")
        self.folder = Path(folder)
        self.port, self.transport_port = ports
        self.command = [SCRIPT, "start", folder, "--version", version, "--heap", HEAP]
        self.command += ["--port", str(self.port), "--transport-port", str(self.transport_port), *map(str, options)]
        self.url = f"http://127.0.0.1:{self.port}"
        self.retriever_options = {}
        self.ssl_context = None
        self.authorization = ""
        self.in_use = in_use.open("a")
        fcntl.flock(self.in_use, fcntl.LOCK_SH)

    def start(self):
        """Start the node, or restart the node with the same data, and wait until it responds."""
        return self.wait_for_start(self.start_in_background())

    def start_in_background(self):
        """Start the node without waiting until it responds."""
        jvm_options = self.folder / "config" / "jvm.options.d"
        if not jvm_options.exists():
            jvm_options.mkdir(parents=True)
            (jvm_options / "tests.options").write_text(JVM_OPTIONS)
            guard = [sys.executable, "-c", GUARD, SCRIPT, self.folder, self.in_use.name]
            subprocess.run([shutil.which("setsid"), "--fork", *guard], check=True)
        # Not into a pipe, which would stay open as long as the node runs.
        with (self.folder / "start.log").open("w") as log:
            return subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def wait_for_start(self, started):
        """Wait until the node responds; the timeout is longer than the script's, for busy machines."""
        if started.wait():
            give_up = time.monotonic() + SECONDS_TO_START
            while not self.answers():
                assert time.monotonic() < give_up, (self.folder / "start.log").read_text()
                time.sleep(1)
        return self

    def answers(self):
        """Return whether the node responds to a request, even with a request for a password."""
        try:
            self.ask("GET", "/")
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def kill(self):
        """Kill the node without a clean shutdown, as a power failure would, and keep its data."""
        subprocess.run([SCRIPT, "kill", self.folder], check=True)

    def release(self):
        """Let the guard process kill the node, unless other test processes still use the node."""
        self.in_use.close()

    def ask(self, method, path, body=None, authorization=None):
        """Send a request directly to the node, bypassing the plugin, and return the response."""
        headers = {"Content-Type": "application/json"}
        if authorization or self.authorization:
            headers["Authorization"] = authorization or self.authorization
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - a local node
        with urllib.request.urlopen(request, context=self.ssl_context, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read() or b"{}")


def java_version():
    """Return the output of `java -version`, or "" if Java is not installed."""
    if not shutil.which("java"):
        return ""
    return subprocess.run([shutil.which("java"), "-version"], capture_output=True, text=True, check=False).stderr


@pytest.fixture(scope="session")
def new_node(tmp_path_factory):
    """Return a function that creates nodes for the current test process only."""
    nodes = []

    def create(ports=None, **settings):
        in_use = tmp_path_factory.mktemp("node") / "in-use"
        nodes.append(Node(new_folder(), in_use, ports or free_ports(2), **settings))
        return nodes[-1]

    yield create
    for node in nodes:
        node.release()


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """The version 9 node shared by all test processes, with TLS and a user; no test stops this node."""
    trustme = pytest.importorskip("trustme")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-elasticsearch"
    folder.mkdir(exist_ok=True)
    certificate, key, ca, settings = (folder / name for name in ("cert.pem", "key.pem", "ca.pem", "settings.json"))
    with FileLock(folder / "start.lock"):
        if not settings.exists():
            authority = trustme.CA()
            issued = authority.issue_cert("127.0.0.1")
            issued.private_key_pem.write_to_path(key)
            certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
            authority.cert_pem.write_to_path(ca)
            settings.write_text(json.dumps({"folder": new_folder(), "ports": free_ports(2)}))
        options = ["--user", f"{USER}:{PASSWORD}", "--tls", certificate, key]
        shared = Node(in_use=folder / "in-use", options=options, **json.loads(settings.read_text()))
        shared.url = f"https://127.0.0.1:{shared.port}"
        shared.ssl_context = ssl.create_default_context(cafile=ca)
        shared.authorization = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        shared.password = PASSWORD
        shared.retriever_options = {"ca_certs": str(ca), "user": USER, "password_env": PASSWORD_VARIABLE}
        if not shared.answers():
            shared.start()
    yield shared
    shared.release()


@pytest.fixture(scope="session", autouse=True)
def clean_environment():
    """Remove the machine's own server settings, and set the password of the shared node."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("KIB_ELASTICSEARCH_"):
                patch.delenv(name)
        patch.setenv(PASSWORD_VARIABLE, PASSWORD)
        yield


@pytest.fixture(scope="session")
def make():
    """Return a function that creates a retriever for a node, with options as in a benchmark file."""

    def retriever(node, **options):
        return make_plugin(Elasticsearch, {"url": node.url, "patience": 600, **node.retriever_options, **options})

    return retriever


class WordVectors:
    """A replacement for kib-dense's encoder with integer vectors, so that no processor rounds a dot product."""

    def __init__(self, _options):
        self.location = self

    def fingerprint(self):
        return "word vectors"

    def dimension(self):
        return 24

    def queries(self, texts):
        return [self.vector(text) for text in texts]

    def passages(self, texts, _memory):
        return self.queries(texts)

    def vector(self, text):
        """Return the sum of one vector per word, drawn from the word's digest."""
        words = re.findall(r"\w+", text.lower())
        rows = [[byte % 7 - 3 for byte in hashlib.sha256(word.encode()).digest()[:24]] for word in words]
        return [float(sum(column)) for column in zip(*rows, strict=True)] or [0.0] * 24


@pytest.fixture
def word_vectors(monkeypatch):
    """Replace the encoder with `WordVectors`, and return the options for vector search."""
    encoder = pytest.importorskip("kib_dense.encoder")
    monkeypatch.setattr(encoder, "Encoder", WordVectors)
    return {"mode": "knn", "encoder": {}}


@pytest.fixture(scope="session")
def ports():
    """Return a function that returns unused local ports."""
    return free_ports


@pytest.fixture(scope="session")
def synthetic():
    """Return a function that returns passages of synthetic words, some of them frequent, identical on every machine."""

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
    """Return queries that share words with the synthetic passages."""
    return [Query(f"q{number}", f"w{number} w{number * 7 + 3} title {number}") for number in range(50)]


@pytest.fixture(scope="session")
def assert_same_hits():
    """Return a function that compares hits up to rounding; hits with nearly equal scores may be in any order."""

    def compare(found, expected, rel=1e-5):
        assert len(found) == len(expected)
        for some, others in zip(found, expected, strict=True):
            assert [hit.score for hit in some] == pytest.approx([hit.score for hit in others], rel=rel)
            scores = {hit.passage: hit.score for hit in others}
            for hit in some:  # a hit at the end of the list may be missing from the other
                assert scores.get(hit.passage, others[-1].score) == pytest.approx(hit.score, rel=rel)

    return compare


@pytest.fixture(scope="session")
def data():
    """The folder of test data."""
    return DATA


@pytest.fixture
def info():
    """The response of a version 9 server to a request for the server's version."""
    return 200, {"version": {"number": "9.0.0"}}


@pytest.fixture
def fake_server():
    """Return a function that starts a scripted server and returns its address.

    `answer(method, path, body)` returns a status and an object, or None to close the connection.
    """
    servers = []

    def start(answer, product="Elasticsearch"):
        handler = type("Handler", (ScriptedHandler,), {"answer": staticmethod(answer), "product": product})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class ScriptedHandler(BaseHTTPRequestHandler):
    """A request handler that returns the responses of the function `answer`."""

    def do_GET(self):
        self.respond()

    def do_POST(self):
        self.respond()

    def do_PUT(self):
        self.respond()

    def respond(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.answer(self.command, self.path, body)
        if answer is None:
            self.close_connection = True
            return
        status, value = answer
        data = json.dumps(value).encode()
        self.send_response(status)
        if self.product:
            self.send_header("X-elastic-product", self.product)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Suppress the log output of the HTTP server."""
