"""Tests that a benchmark file cannot send the passages or a key to a server that the user has not allowed."""

import socket
from pathlib import Path

import pytest

from kib.errors import InputError
from kib.support.recipients import allow_hosts

STRANGER = "evil.example"
SECRET = "aws-4711"  # noqa: S105 - a made-up secret


@pytest.fixture(autouse=True)
def _stranger(monkeypatch):
    """Resolve an untrusted host name to the test server, and store a secret in an environment variable."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **options: resolve(
            "127.0.0.1" if host in (STRANGER, STRANGER.encode()) else host, *more, **options
        ),
    )  # fmt: skip
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1,{STRANGER}")
    monkeypatch.delenv("KIB_ALLOW_HOSTS", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    yield
    allow_hosts([])


@pytest.fixture
def foreign(server):
    """The URL of the test server, with the untrusted host name instead of the IP address."""
    return server.url.replace("127.0.0.1", STRANGER)


def write_spec(server, foreign, key='api_key_env = "AWS_SECRET_ACCESS_KEY"'):
    """Make the benchmark file send the passages to the untrusted server, with a secret from the environment."""
    spec = Path("own.toml")
    spec.write_text(spec.read_text().replace(f'"{server.url}"', f'"{foreign}"\n{key}'))


@pytest.mark.usefixtures("questions")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "own.toml"],
        ["plan", "own.toml"],
        ["run", "own.toml"],
        ["questions", "own.toml", "--corpus", "pumps", "--out", "new.jsonl"],
    ],
)
def test_no_command_sends_secrets_to_an_untrusted_server(command, server, foreign, kib):
    """No command sends a passage or a credential to a server that is specified only in the benchmark file."""
    write_spec(server, foreign)
    result = kib(*command)
    line = Path("own.toml").read_text().splitlines().index(f'base_url = "{foreign}"') + 1
    host = foreign.removeprefix("http://").removesuffix("/v1")
    place = "writers.gpt.base_url" if command[0] != "questions" else ""
    assert (result.exit_code, server.headers) == (2, [])
    assert f"kib does not send the credential in AWS_SECRET_ACCESS_KEY to {host} because" in result.stderr
    assert f"pass `--allow-host {host}` or add the host to" in result.stderr
    assert f"own.toml:{line}: {place}" in result.stderr or "[writers.gpt]" in result.stderr
    assert SECRET not in result.output


def ask(kib, *more):
    """Call the command `kib questions`, and return the result."""
    return kib("questions", "own.toml", "--corpus", "pumps", "--out", "new.jsonl", "--force", *more)


def test_an_untrusted_server_receives_no_passage_from_openai(server, foreign, kib):
    """A server that is specified only in the benchmark file receives no passage, even if it requires no API key."""
    write_spec(server, foreign, 'api_key_env = ""')
    result = ask(kib)
    assert (result.exit_code, server.bodies) == (2, [])
    assert "kib does not send text to" in result.stderr
    assert ask(kib, "--allow-host", STRANGER).exit_code == 0
    assert {header.get("Authorization") for header in server.headers} == {None}


def test_http_is_refused(server, foreign, kib, monkeypatch):
    """An API key is sent over plain http only to a host in KIB_ALLOW_HOSTS; --allow-host is not sufficient."""
    write_spec(server, foreign)
    result = ask(kib, "--allow-host", STRANGER)
    assert (result.exit_code, server.headers) == (2, [])
    assert "over plain http; use https or, in a private network, add the host to KIB_ALLOW_HOSTS" in result.stderr
    monkeypatch.setenv("KIB_ALLOW_HOSTS", f"other.example,{STRANGER}")
    result = ask(kib)
    assert result.exit_code == 0, result.output
    assert f"writers.gpt may send the credential in AWS_SECRET_ACCESS_KEY to {foreign}\n" in result.stderr
    assert {header["Authorization"] for header in server.headers} == {f"Bearer {SECRET}"}
    assert SECRET not in result.output


@pytest.mark.usefixtures("questions")
def test_check_states_which_key_is_sent(server, kib):
    """The command `kib check` reports which credential a server may receive, but sends no request to the server."""
    write_spec(server, "https://gpu.example:8000/v1", "")
    assert kib("check", "own.toml").exit_code == 2
    for allowed in ("gpu.example", "gpu.example:8000"):
        result = kib("check", "own.toml", "--allow-host", allowed)
        assert (result.exit_code, server.headers) == (0, []), result.output
        assert result.stderr.startswith(
            "writers.gpt may send the credential in OPENAI_API_KEY to https://gpu.example:8000/v1\n"
        )
    assert kib("check", "own.toml", "--allow-host", "gpu.example:8001").exit_code == 2
    result = kib("check", "own.toml", "--allow-host", "https://gpu.example")
    assert (result.exit_code, "Error: --allow-host: expected a host such as" in result.stderr) == (2, True)


def test_the_writer_itself_rejects_the_server(foreign, writer, passages, write, server):
    """A writer that is used without a benchmark file also rejects a disallowed server."""
    with pytest.raises(InputError, match="`base_url`: kib does not send the credential in OPENAI_API_KEY to evil"):
        write(writer(base_url=foreign), passages(1))
    assert server.headers == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status, server, foreign, writer, passages, write):
    """If a server redirects to a different host, the request fails, and neither key nor passage is forwarded."""
    server.faults.append((status, {"Location": f"{foreign}/chat/completions"}, ""))
    with pytest.raises(InputError, match="the server redirects to a different URL"):
        write(writer(), passages(1))
    assert len(server.headers) == 1


def test_a_proxy_receives_no_key_from_openai(server, writer, passages, write, monkeypatch):
    """A request to this machine bypasses the proxy in the environment, because the proxy could read the API key."""
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert write(writer(retries=0), passages(1))
    assert len(server.headers) == 1
