"""Tests, with real servers that record requests, that lm-eval's API backends contact only permitted servers."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kib.errors import InputError
from kib.harness.requests import answer
from kib.plugins.builtin.lm_eval_model import LmEvalModel
from kib.records import Recipient, Request
from kib.support.recipients import allow_hosts, refusal
from kib.testing import check_recipients, make_plugin

STRANGER = "evil.example"
ANSWER = json.dumps(
    {"choices": [{"index": 0, "text": "yes", "message": {"content": "yes"}}], "eos_token": ".", "tokens": [1]}
).encode()
SPEC = """schema = 1
name = "stranger"
[models.m]
plugin = "lm-eval"
backend = "local-completions"
args.model = "m"
local_args.base_url = "URL"
[corpora.people]
plugin = "toy"
documents = {documents}
[tasks.people]
plugin = "file"
path = "people.jsonl"
corpus = "people"
[methods.base]
"""


class Handler(BaseHTTPRequestHandler):
    """Records the headers of every request, then redirects the request or answers as an API with a tokenizer."""

    def log_message(self, *arguments):
        """Suppress the log output."""

    def do_POST(self):
        """Read and answer a request with a body."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self):
        """Answer with a completion that is also valid tokenizer data, or redirect to the address in `location`."""
        server = self.server
        server.received.append(dict(self.headers))
        redirects = server.location and server.redirected in ("", self.path)
        self.send_response(307 if redirects else 200)
        if redirects:
            self.send_header("Location", server.location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)


@pytest.fixture
def new_server():
    """Return a function that starts a server, which redirects one path, or all paths, if `location` is set."""
    running = []

    def start(location=None, redirected=""):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.received, server.location, server.redirected = [], location, redirected
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1/completions"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda host, *more, **options: resolve("127.0.0.1" if host == STRANGER else host, *more, **options),
    )  # fmt: skip
    for name in ("KIB_ALLOW_HOSTS", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "key-4711")
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1,{STRANGER}")
    yield
    allow_hosts([])


def model(backend, url, **local_args):
    """Return an `lm-eval` model that sends its requests to an API."""
    args = {"model": "m", "tokenizer_backend": "none", "max_retries": 1}
    return make_plugin(LmEvalModel, {"backend": backend, "args": args, "local_args": {"base_url": url, **local_args}})


def generate(made, count=1):
    """Return generated answers; skip the test if the package tenacity, which the API backends need, is missing."""
    pytest.importorskip("tenacity")
    chat = "chat" in made.options.backend
    asked = json.dumps([{"role": "user", "content": "Who?"}]) if chat else "Who?"
    if chat:
        from lm_eval.models.api_models import JsonChatStr

        asked = JsonChatStr(asked)
    return answer(made.load(), [Request("generate_until", (asked, {"until": ["."]}))] * count)


@pytest.mark.parametrize("backend", ["local-completions", "local-chat-completions", "openai-completions", "gguf"])
def test_an_untrusted_server_receives_nothing(backend, new_server):
    """An API backend sends neither an API key nor a prompt to a server specified only in the benchmark file."""
    server = new_server()
    made = model(backend, server.url.replace("127.0.0.1", STRANGER))
    with pytest.raises(InputError, match=r"^`local_args.base_url`: kib does not send .* because"):
        made.load()
    assert server.received == []


def test_a_benchmark_with_an_untrusted_server_is_rejected(bench, new_server):
    """A benchmark file with an untrusted server is rejected, with the address's line, before any request is sent."""
    server = new_server()
    url = server.url.replace("127.0.0.1", STRANGER)
    bench.write_toy(spec=SPEC.replace("URL", url))
    for command in ("check", "plan", "run"):
        result = bench.call(command, "bench.toml")
        assert (result.exit_code, server.received) == (2, [])
        assert ":7: models.m.local_args.base_url: kib does not send the credential in OPENAI_API_KEY" in result.output
        assert "key-4711" not in result.output


@pytest.mark.parametrize("count", [1, 2])
def test_an_allowed_server_receives_the_key(count, new_server, monkeypatch):
    """A server on this machine or in KIB_ALLOW_HOSTS receives the requests and the key."""
    server = new_server()
    foreign = server.url.replace("127.0.0.1", STRANGER)
    assert generate(model("local-completions", server.url, num_concurrent=count), count) == ["yes"] * count
    monkeypatch.setenv("KIB_ALLOW_HOSTS", STRANGER)
    assert generate(model("local-completions", foreign, num_concurrent=count), count) == ["yes"] * count
    assert [one["Authorization"] for one in server.received if "Content-Length" in one] == [
        "Bearer key-4711"
    ] * 2 * count


@pytest.mark.parametrize("backend", ["local-completions", "anthropic-chat", "gguf"])
@pytest.mark.parametrize("concurrent", [1, 2])
def test_a_redirect_is_not_followed(backend, concurrent, new_server):
    """If a server redirects to a different server, the request fails, and no API key or prompt is forwarded."""
    stranger = new_server()
    server = new_server(stranger.url)
    with pytest.raises(InputError, match=r"the server redirects to a different URL \(307\); set `base_url`"):
        generate(model(backend, server.url, num_concurrent=concurrent))
    assert (len(server.received), stranger.received) == (1, [])


@pytest.mark.parametrize("path", ["/tokenizer_info", "/tokenize"])
@pytest.mark.parametrize("tokenizer", ["auto", "remote"])
def test_a_redirect_of_the_tokenizer_is_not_followed(tokenizer, path, new_server):
    """If a server redirects a request of lm-eval's remote tokenizer, the request fails and nothing is forwarded."""
    stranger = new_server()
    server = new_server(stranger.url, path)
    with pytest.raises(InputError, match=rf"{path}: the server redirects to a different URL \(307\); set `base_url`"):
        generate(model("local-completions", server.url, tokenizer_backend=tokenizer))
    assert stranger.received == []


@pytest.mark.parametrize("concurrent", [1, 2])
def test_a_proxy_receives_no_request_for_this_machine(concurrent, new_server, monkeypatch):
    """No request to this machine, including requests of the tokenizer, is sent through the proxy in the environment."""
    proxy, server = new_server(), new_server()
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    made = model("local-completions", server.url, num_concurrent=concurrent, tokenizer_backend="remote")
    assert generate(made) == ["yes"]
    assert server.received
    assert proxy.received == []


@pytest.mark.parametrize("concurrent", [1, 2])
def test_no_login_from_netrc_is_sent(concurrent, new_server, monkeypatch, tmp_path):
    """A backend sends only its own API key, never a login from the file .netrc."""
    (tmp_path / "netrc").write_text("default login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = new_server()
    made = model("local-completions", server.url, num_concurrent=concurrent, tokenizer_backend="remote")
    assert generate(made) == ["yes"]
    assert {one.get("Authorization") for one in server.received} == {None, "Bearer key-4711"}


@pytest.mark.parametrize(
    ("backend", "arguments", "recipients"),
    [
        ("dummy", {"device": "cpu", "n": 3, "tokenizer": "org/name"}, []),
        ("local-completions", {"base_url": "http://x"}, [(("args", "base_url"), "http://x", "OPENAI_API_KEY")]),
        ("openai-completions", {}, [((), "https://api.openai.com", "OPENAI_API_KEY")]),
        ("openai-chat-completions", {"base_url": "https://x"}, [(("args", "base_url"), "https://x", "OPENAI_API_KEY")]),
        ("anthropic-chat", {}, [((), "https://api.anthropic.com", "ANTHROPIC_API_KEY")]),
        ("anthropic-chat", {"base_url": "https://x"}, [(("args", "base_url"), "https://x", "ANTHROPIC_API_KEY")]),
        ("azure-openai-chat-completions", {}, []),
        ("litellm", {"model": "groq/m", "api_base": "x:1"}, [(("args", "api_base"), "http://x:1", "GROQ_API_KEY")]),
        ("other", {"server_host": "x", "extra": "a=http://y"}, [
            (("args", "server_host"), "http://x", ""), (("args", "extra"), "http://y", "")
        ]),
    ],
)  # fmt: skip
def test_recipients(backend, arguments, recipients):
    """Every address argument yields a recipient with the environment variable of the backend's credential."""
    found = make_plugin(LmEvalModel, {"backend": backend, "args": arguments}).recipients()
    assert found == [Recipient(*one) for one in recipients]


@pytest.mark.parametrize("url", ["evil.example", "a/http://127.0.0.1", "grpc://127.0.0.1", "http:a"])
def test_incomplete_urls_are_rejected(url):
    """An address argument that is not a complete URL is rejected, unless it denotes a host on this machine."""
    for name in ("base_url", "server_host"):
        options = {"backend": "other", "args": {name: url}}
        assert all(refusal(one) for one in make_plugin(LmEvalModel, options).recipients())
        assert refusal(make_plugin(LmEvalModel, {**options, "args": {name: "localhost:80"}}).recipients()[0]) is None


def test_contract():
    """The model satisfies the contract of plugins that contact a server."""
    check_recipients(lambda address: model("local-completions", address), lambda made: made.load())


def test_addresses_in_the_environment(monkeypatch):
    """A backend that reads its address from the environment sends its credential only to this address."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.example")
    own = make_plugin(LmEvalModel, {"backend": "azure-openai-chat-completions"}).recipients()
    assert own == [Recipient((), "https://mine.example", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")]
    assert refusal(own[0]) is None
    other = {"backend": "azure-openai-chat-completions", "args": {"base_url": "https://evil.example"}}
    assert refusal(make_plugin(LmEvalModel, other).recipients()[0])


def test_no_key_is_sent_without_certificate_verification():
    """A backend that does not verify certificates sends no API key over https."""
    made = make_plugin(LmEvalModel, {"backend": "openai-completions", "local_args": {"verify_certificate": False}})
    assert "without verifying the server's certificate" in refusal(made.recipients()[0])
