"""Tests that logins and passages are sent only to servers that the user has allowed."""

import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.errors import InputError
from kib.records import Passage
from kib.support.recipients import allow_hosts
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch

STRANGER = "evil.example"
SECRET = "aws-4711"  # noqa: S105 - a made-up secret
SPEC = """schema = 1
name = "x"
[corpora.c]
plugin = "jsonl"
path = "c.jsonl"
[retrievers.r]
plugin = "elasticsearch"
patience = 0
"""


class Handler(BaseHTTPRequestHandler):
    """A request handler that records the headers of every request, and rejects or redirects the request."""

    def do_GET(self):
        self.respond()

    def do_POST(self):
        self.respond()

    def do_PUT(self):
        self.respond()

    def do_HEAD(self):
        self.respond()

    def respond(self):
        """Record a request, and send a rejection or redirect with the headers that the client expects."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.received.append(dict(self.headers))
        self.send_response(307 if self.server.location else 401)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("X-elastic-product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        """Suppress the log output of the HTTP server."""


@pytest.fixture
def new_server():
    """Return a function that starts a server, with TLS if an SSL context is given."""
    servers = []

    def start(location=None, context=None):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.received, server.location = [], location
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def secure(new_server, tmp_path):
    """A TLS server with a certificate for the untrusted host name; the file ca.pem contains the CA certificate."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(STRANGER).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return new_server(context=context)


@pytest.fixture(autouse=True)
def _stranger(monkeypatch):
    """Resolve the untrusted host name to this machine, and store secrets in environment variables."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda host, *more, **options: resolve("127.0.0.1" if host == STRANGER else host, *more, **options),
    )  # fmt: skip
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("KIB_ALLOW_HOSTS", raising=False)
    yield
    allow_hosts([])


@pytest.fixture
def retrieve(tmp_path, monkeypatch):
    """Return a function that calls `kib retrieve` with additional lines in the retriever's table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "lever"}\n', encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"id": "q", "text": "lever", "gold": ["a"]}\n', encoding="utf-8")

    def call(*lines, arguments=()):
        (tmp_path / "x.toml").write_text(SPEC + "\n".join(lines) + "\n", encoding="utf-8")
        return CliRunner().invoke(main, ["retrieve", "x.toml", "--queries", "queries.jsonl", *arguments])

    return call


def address(server, scheme="http", host=STRANGER):
    """Return the TOML line that sets the server's address, by default with the untrusted host name."""
    return f'url = "{scheme}://{host}:{server.server_port}"'


LOGINS = [
    SimpleNamespace(lines=['api_key_env = "AWS_SECRET_ACCESS_KEY"'], variable="AWS_SECRET_ACCESS_KEY", secrets={}),
    SimpleNamespace(
        lines=['user = "me"', 'password_env = "AWS_SECRET_ACCESS_KEY"'], variable="AWS_SECRET_ACCESS_KEY", secrets={}
    ),
    SimpleNamespace(lines=[], variable="KIB_ELASTICSEARCH_API_KEY", secrets={"KIB_ELASTICSEARCH_API_KEY": "k"}),
    SimpleNamespace(
        lines=[],
        variable="KIB_ELASTICSEARCH_PASSWORD",
        secrets={"KIB_ELASTICSEARCH_PASSWORD": "p", "KIB_ELASTICSEARCH_USER": "me"},
    ),
]
"""Test cases in which a login is specified in the benchmark file or only in the environment."""


@pytest.mark.parametrize("login", LOGINS)
def test_an_untrusted_server_receives_no_login(login, new_server, retrieve, monkeypatch):
    """A login from the environment is not sent to a server that is specified only in the benchmark file."""
    for name, secret in login.secrets.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("KIB_ELASTICSEARCH_URL", "https://search.example:9200")
    server = new_server()
    result = retrieve(address(server), *login.lines)
    assert (result.exit_code, server.received) == (2, []), result.output
    words = f"kib does not send the credential in {login.variable} to {STRANGER}:{server.server_port} because"
    assert words in result.output
    assert SECRET not in result.output


def test_an_untrusted_server_receives_no_passage(new_server, retrieve):
    """A server specified only in the benchmark file receives no passage unless --allow-host permits the server."""
    server = new_server()
    result = retrieve(address(server))
    assert (result.exit_code, server.received) == (2, []), result.output
    assert f"kib does not send text to {STRANGER}" in result.output
    retrieve(address(server), arguments=["--allow-host", STRANGER])
    assert [one.get("authorization") for one in server.received] == [None]


def test_http_is_refused(new_server, retrieve, monkeypatch):
    """A login is sent over plain http only to hosts in KIB_ALLOW_HOSTS, even if the address is in the environment."""
    server = new_server()
    monkeypatch.setenv("KIB_ELASTICSEARCH_URL", f"http://{STRANGER}:{server.server_port}")
    monkeypatch.setenv("KIB_ELASTICSEARCH_API_KEY", SECRET)
    for arguments in ([], ["--allow-host", STRANGER]):
        result = retrieve(arguments=arguments)
        assert (result.exit_code, server.received) == (2, []), result.output
        assert "over plain http" in result.output
    monkeypatch.setenv("KIB_ALLOW_HOSTS", f"{STRANGER}:{server.server_port}")
    result = retrieve()
    assert [one["authorization"] for one in server.received] == [f"ApiKey {SECRET}"]
    assert SECRET not in result.output
    assert "retrievers.r may send the credential in KIB_ELASTICSEARCH_API_KEY to http://evil.example" in result.output


def test_https_to_an_allowed_server(secure, retrieve):
    """With the option --allow-host, a login is sent over https to the allowed host."""
    lines = [address(secure, "https"), 'ca_certs = "ca.pem"', 'api_key_env = "AWS_SECRET_ACCESS_KEY"']
    assert (retrieve(*lines).exit_code, secure.received) == (2, [])
    result = retrieve(*lines, arguments=["--allow-host", f"{STRANGER}:{secure.server_port}"])
    assert [one["authorization"] for one in secure.received] == [f"ApiKey {SECRET}"], result.output


@pytest.mark.parametrize("in_file", [True, False])
def test_https_to_the_address_in_the_environment(in_file, secure, retrieve, monkeypatch):
    """A login is sent over https to the address in KIB_ELASTICSEARCH_URL, even if the benchmark file repeats it."""
    monkeypatch.setenv("KIB_ELASTICSEARCH_URL", f"https://{STRANGER}:{secure.server_port}")
    monkeypatch.setenv("KIB_ELASTICSEARCH_API_KEY", SECRET)
    result = retrieve(address(secure, "https") if in_file else "", 'ca_certs = "ca.pem"')
    assert [one["authorization"] for one in secure.received] == [f"ApiKey {SECRET}"], result.output


def test_the_retriever_itself_rejects_the_server(new_server, tmp_path):
    """A retriever that is used without a benchmark file also rejects a disallowed server."""
    server = new_server()
    url = f"http://{STRANGER}:{server.server_port}"
    retriever = make_plugin(Elasticsearch, {"url": [url], "api_key_env": "AWS_SECRET_ACCESS_KEY"})
    with pytest.raises(InputError, match=r"`url.0`: kib does not send the credential in AWS_SECRET_ACCESS_KEY to evil"):
        retriever.build([Passage("p", "d", "", "lever", 0, 5)], tmp_path)
    assert server.received == []


def test_a_redirect_is_not_followed(new_server, retrieve):
    """If a server redirects to a different server, neither the login nor a passage is forwarded."""
    stranger = new_server()
    server = new_server(location=f"http://{STRANGER}:{stranger.server_port}/")
    retrieve(address(server, host="127.0.0.1"), 'api_key_env = "AWS_SECRET_ACCESS_KEY"')
    assert [one["authorization"] for one in server.received] == [f"ApiKey {SECRET}"]
    assert stranger.received == []


def test_invalid_addresses_are_reported_without_the_secret(retrieve):
    """The error for an invalid address that contains a login does not quote the login."""
    for url in ("http://me:hunter2@h:1", "http://h\\\\hunter2:1", "http://h hunter2:1"):
        result = retrieve(f"url = {json.dumps(url)}")
        assert (result.exit_code, "hunter2" in result.output) == (2, False), result.output
