"""What a user may get wrong about a server: each is one clear sentence, and no sentence holds a secret."""

import logging
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest

from kib.errors import InputError
from kib.records import Passage, Query
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch

GIVEN = [Passage("p0", "d0", "Pump 7", "a red lever", 0, 11), Passage("p1", "d1", "", "a green door", 0, 12)]

USER, PASSWORD = "librarian", "s3cret-pässword-4711"
LOGIN = {"user": USER, "password_env": "MY_PASSWORD"}


@pytest.fixture
def secured(guarded, monkeypatch):
    """Makes a retriever on the node with security; its words and what it logs are held against all secrets."""

    def make(secrets, **options):
        for name, secret in secrets.items():
            monkeypatch.setenv(name, secret)
        return make_plugin(Elasticsearch, {"url": guarded.url, "ca_certs": guarded.ca, "patience": 2, **options})

    return make


def told(retriever, folder, passages=GIVEN):
    """The sentence that a build ends with."""
    with pytest.raises(InputError) as caught:
        retriever.build(passages, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def new_key(node, **body):
    """An API key, and its id."""
    made = node.ask("POST", "/_security/api_key", {"name": "test", **body})
    return made["encoded"], made["id"]


def test_user_and_password(secured, tmp_path, caplog):
    """The password stands in the environment, and then in no file, object or log of kib's."""
    caplog.set_level(logging.DEBUG)
    by_file = secured({"MY_PASSWORD": PASSWORD}, **LOGIN)
    by_environment = secured({"KIB_ELASTICSEARCH_USER": USER, "KIB_ELASTICSEARCH_PASSWORD": PASSWORD})
    for number, retriever in enumerate((by_file, by_environment)):
        folder = tmp_path / str(number)
        retriever.build(GIVEN, folder)
        assert [hit.passage for hit in retriever.search(folder, [Query("q", "lever")], 5)[0]] == ["p0"]
        kept = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
        shown = f"{retriever._server().access!r} {vars(retriever)!r} {retriever.options!r}"
        assert PASSWORD not in kept + shown + caplog.text


def test_wrong_password(secured, tmp_path):
    """A wrong password is told by the variable that holds it."""
    retriever = secured({"MY_PASSWORD": "not-it-0815"}, **LOGIN)
    said = told(retriever, tmp_path)
    assert "the server refuses the password in MY_PASSWORD for the user 'librarian' (401)" in said
    assert "not-it-0815" not in said


def test_no_login(secured, tmp_path):
    """A server that wants a login is told from one that wants none."""
    assert "the server refuses a request without a user or API key (401)" in told(secured({}), tmp_path)


def test_api_key(secured, guarded, tmp_path):
    """An API key from the environment is enough, and it may be one for kib's indexes alone."""
    role = {"cluster": [], "indices": [{"names": ["kib-*"], "privileges": ["manage", "read", "write"]}]}
    key, _ = new_key(guarded, role_descriptors={"kib": role})
    retriever = secured({"KIB_ELASTICSEARCH_API_KEY": key})
    retriever.build(GIVEN, tmp_path)
    assert [hit.passage for hit in retriever.search(tmp_path, [Query("q", "door")], 5)[0]] == ["p1"]


@pytest.mark.parametrize("fault", ["expired", "revoked", "unknown", "garbled"])
def test_api_keys_that_do_not_count(secured, guarded, tmp_path, fault):
    """An API key that is expired, revoked, unknown or no key at all is told by the variable that holds it."""
    key, name = new_key(guarded, **({"expiration": "1ms"} if fault == "expired" else {}))
    if fault == "expired":
        while knows(guarded, key):
            time.sleep(0.05)
    elif fault == "revoked":
        guarded.ask("DELETE", "/_security/api_key", {"ids": [name]})
    elif fault == "unknown":
        key = "bm9zdWNoa2V5aGVyZXdoYXQ6bm9zdWNoc2VjcmV0aGVyZXg="
    else:
        key = "not/a/key"
    said = told(secured({"MY_KEY": key}, api_key_env="MY_KEY"), tmp_path)
    assert "the server refuses the API key in MY_KEY (401)" in said
    assert fault != "expired" or "expired" in said
    assert key not in said


def knows(node, key):
    """Whether the node takes an API key."""
    try:
        return bool(node.ask("GET", "/", auth=f"ApiKey {key}"))
    except HTTPError:
        return False


def test_a_key_with_too_few_rights(secured, guarded, tmp_path):
    """A login that may not make indexes is told what it may not do."""
    role = {"cluster": [], "indices": [{"names": ["kib-*"], "privileges": ["read"]}]}
    key, _ = new_key(guarded, role_descriptors={"reader": role})
    said = told(secured({"KIB_ELASTICSEARCH_API_KEY": key}), tmp_path)
    assert "the API key in KIB_ELASTICSEARCH_API_KEY may not do this (403): action [indices:admin/" in said


@pytest.mark.parametrize(
    ("secrets", "options", "words"),
    [
        ({}, {"api_key_env": "MY_KEY"}, "the environment variable MY_KEY is not set; it holds the API key"),
        ({"MY_KEY": "x9x9\n"}, {"api_key_env": "MY_KEY"}, "the environment variable MY_KEY holds no API key; expected"),
        ({}, {"user": "me"}, "the environment variable KIB_ELASTICSEARCH_PASSWORD is not set; it holds the password"),
        (
            {"KIB_ELASTICSEARCH_PASSWORD": "x9x9"},
            {},
            "KIB_ELASTICSEARCH_PASSWORD holds a password, but no user is named",
        ),
        (
            {"KIB_ELASTICSEARCH_API_KEY": "x9x9", "KIB_ELASTICSEARCH_USER": "me"},
            {},
            "KIB_ELASTICSEARCH_API_KEY and KIB_ELASTICSEARCH_USER are both set; give one",
        ),
        (
            {"MY_PASSWORD": "x9x9\udcff"},
            {"user": "me", "password_env": "MY_PASSWORD"},
            "the environment variable MY_PASSWORD holds bytes that are no text in UTF-8",
        ),
        (
            {"MY_KEY": "x9x9\udcff"},
            {"api_key_env": "MY_KEY"},
            "the environment variable MY_KEY holds bytes that are no",
        ),
        (
            {"KIB_ELASTICSEARCH_PASSWORD": "x9x9", "KIB_ELASTICSEARCH_USER": "m\udcff"},
            {},
            "the environment variable KIB_ELASTICSEARCH_USER holds bytes that are no text in UTF-8",
        ),
        ({"KIB_ELASTICSEARCH_URL": "http://me:x9x9@h:1"}, {"url": None}, "KIB_ELASTICSEARCH_URL: expected an address"),
        ({}, {"ca_certs": "nowhere.pem"}, "nowhere.pem: no such file of certificates"),
        ({"KIB_ELASTICSEARCH_CA_CERTS": "/nowhere.pem"}, {}, "/nowhere.pem: no such file of certificates"),
    ],
)
def test_before_any_server_is_asked(tmp_path, monkeypatch, secrets, options, words):
    """What the environment lacks is told by its name, and what it holds is not."""
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    said = told(make_plugin(Elasticsearch, {"url": "http://127.0.0.1:9", **options}), tmp_path)
    assert words in said
    assert "x9x9" not in said


def test_unknown_ca(secured, authority, tmp_path):
    """A server whose CA is not trusted is told at once, with the option that names it."""
    other = tmp_path / "other.pem"
    type(authority)().cert_pem.write_to_path(other)
    for options in ({"ca_certs": other}, {"ca_certs": None}):
        said = told(secured({}, **options), tmp_path)
        assert "the server's certificate is signed by a CA that is not trusted here; `ca_certs`" in said


def test_certificate_of_another_host(secured, guarded, tmp_path):
    """A server under another name than its certificate's is told at once."""
    said = told(secured({}, url=guarded.url.replace("127.0.0.1", "localhost")), tmp_path)
    assert "the server's certificate is for another host" in said


def test_a_ca_file_that_is_none(secured, tmp_path):
    """A file without certificates is told by its name."""
    (tmp_path / "ca.pem").write_text("no certificate")
    assert f"{tmp_path / 'ca.pem'}: holds no certificates" in told(secured({}, ca_certs=tmp_path / "ca.pem"), tmp_path)


def test_https_or_not(secured, guarded, node, tmp_path):
    """An address with http for https, or the other way round, is told as that."""
    assert "does the server expect https?" in told(secured({}, url=guarded.url.replace("https", "http")), tmp_path)
    said = told(secured({}, url=node.url.replace("http", "https")), tmp_path)
    assert "the server does not speak TLS there; use an address that begins with http://" in said


def test_nothing_listens(make, ports, node, tmp_path):
    """An address where nothing listens is named with it."""
    [port] = ports(1)
    said = told(make(node, url=f"http://127.0.0.1:{port}", patience=0), tmp_path)
    assert said == f"http://127.0.0.1:{port}: no connection: nothing listens there, for 0 seconds (`patience`)"


class Silent(BaseHTTPRequestHandler):
    """Hangs up where an answer is expected, all along or once it has said what it is."""

    told = b'{"version": {"number": "9.0.0"}}'

    def do_GET(self):
        if self.server.answers and self.path == "/":
            self.send_response(200)
            for name, value in (("X-elastic-product", "Elasticsearch"), ("Content-Type", "application/json")):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(self.told)))
            self.end_headers()
            self.wfile.write(self.told)

    def log_message(self, *_):
        """Say nothing."""


@pytest.mark.parametrize("answers", [False, True])
def test_a_server_that_hangs_up(tmp_path, answers):
    """A connection cut is told in plain words; https is asked for only of a server that never answered."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        server.answers = answers
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        said = told(make_plugin(Elasticsearch, {"url": url, "patience": 0}), tmp_path)
        server.shutdown()
    cut = f"{url}: no connection: the connection was closed before an answer came"
    if answers:
        kept = "what was indexed is kept, the same command goes on from there"
        assert said == f"{cut}, for 0 seconds (`patience`); {kept}"
    else:
        assert said == f"{cut} (does the server expect https?), for 0 seconds (`patience`)"


def test_no_elasticsearch(make, node, tmp_path):
    """Another server at the address is told as that."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever).start()
        said = told(make(node, url=f"http://127.0.0.1:{server.server_port}"), tmp_path)
        server.shutdown()
    assert said.endswith("what answers here is no Elasticsearch")


def test_full_disk(node, make, tmp_path):
    """An index that a full disk made read-only is told at once, and the same call goes on once there is room."""
    retriever = make(node, bulk_passages=1, concurrency=1)
    index = f"/{retriever._name(tmp_path)}/_settings"

    def fill():
        yield from GIVEN
        node.ask("PUT", index, {"index.blocks.read_only_allow_delete": True})
        yield Passage("p2", "d2", "", "a blue pump", 0, 11)

    said = told(retriever, tmp_path, fill())
    assert "the index is blocked: " in said
    assert ";;" not in said
    assert "disk usage exceeded flood-stage watermark" in said
    assert "free some of it, then run the same command again" in said
    node.ask("PUT", index, {"index.blocks.read_only_allow_delete": None})
    retriever.build([*GIVEN, Passage("p2", "d2", "", "a blue pump", 0, 11)], tmp_path)
    assert [hit.passage for hit in retriever.search(tmp_path, [Query("q", "pump")], 5)[0]] == ["p2", "p0"]


BUILD = """
import sys
from pathlib import Path
from kib.errors import InputError
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch
try:
    make_plugin(Elasticsearch, {"url": sys.argv[1]}).build([], Path(sys.argv[2]))
except InputError as error:
    print(error)
"""


@pytest.fixture(scope="session")
def client_9(tmp_path_factory):
    """A folder with the client's newest major."""
    folder = tmp_path_factory.mktemp("client")
    wanted = ["elasticsearch>=9,<10", "elastic-transport>=9,<10", "sniffio"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, *wanted]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"pip gives no elasticsearch 9: {run.stderr.strip()[-300:]}")
    return folder


def test_majors_that_do_not_fit(old, node, client_9, tmp_path):
    """A client of major 9 tells a server of major 8 that they do not fit, and works with one of its own."""
    for server, words in ((old, "does not fit this server's major; `pip install"), (node, "")):
        run = subprocess.run(
            [sys.executable, "-c", BUILD, server.url, tmp_path],
            env={"PYTHONPATH": str(client_9), "PATH": "", "PYTHONSAFEPATH": "1"},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        assert words in run.stdout
        assert bool(run.stdout) == bool(words)
        assert run.stdout.count("\n") <= 1
        assert ": the Python client elasticsearch 9." in run.stdout or not words
