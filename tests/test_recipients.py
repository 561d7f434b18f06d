"""Rules for the servers that may receive text and credentials (`kib.support.recipients`)."""

import pytest

from kib.errors import InputError
from kib.records import Recipient
from kib.support.recipients import PROVIDERS, allow_hosts, parse_address, refusal, require_allowed


@pytest.fixture(autouse=True)
def _no_allowed_host(monkeypatch):
    for name in ("KIB_ALLOW_HOSTS", "OPENAI_BASE_URL", "OPENAI_URL", "OPENAI_API_BASE", "OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    yield
    allow_hosts([])


def openai(address, credential="OPENAI_API_KEY", **fields):
    """Return a recipient whose address comes from the key `base_url` of a benchmark file."""
    return Recipient(("base_url",), address, credential, **fields)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("HTTPS://API.Example.com", "https://api.example.com"),
        ("https://api.example.com:443/v1?a=b#c", "https://api.example.com"),
        ("http://gpu:8000/v1", "http://gpu:8000"),
        ("http://[FD00:0::1]:8000", "http://[fd00::1]:8000"),
        ("https://[::1]", "https://[::1]"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example"),
    ],
)
def test_an_address_has_one_form(url, address):
    """A URL is reduced to the scheme, the lowercase host and the port of its server."""
    assert str(parse_address(url)) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gpu:8000",
        "ftp://gpu",
        "http:gpu",
        "http:///gpu",
        "http://",
        "http://me:s3cret@gpu",
        "http://127.0.0.1:80@evil.example",
        "http://127.0.0.1#@evil.example",
        "http://evil.example\\@127.0.0.1",
        "http://127.0.0.1\\.evil.example",
        "http://127.0.0.1\t.evil.example",
        " http://127.0.0.1",
        "http://127.0.0.1\n",
        "http://bücher.example",
        "http://localhost。example",
        "http://127.0.0.1%2eevil.example",
        "http://[::1%25eth0]",
        "http://[::1].evil.example",
        "http://[::ffff",
        "http://[1.2.3.4]",
        "http://gpu.",
        "http://localhost.",
        "http://gpu..example",
        "http://-gpu",
        "http://gpu:",
        "http://gpu:0",
        "http://gpu:65536",
        "http://gpu:80:80",
        f"http://{'a' * 254}",
    ],
)
def test_an_ambiguous_address_is_invalid(url):
    """A URL that different programs could parse differently is invalid, and the error does not quote the URL."""
    with pytest.raises(ValueError, match="expected a URL") as caught:
        parse_address(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://gpu.", "a URL whose host ends in a dot"),
        ("HTTP://gpu.example.:8000/v1", "a URL whose host ends in a dot"),
        ("http://gpu:", "a URL with a colon but no port after the host"),
        ("http://[::1]:/v1", "a URL with a colon but no port after the host"),
        ("http://gpu/v1.", None),
        ("http://gpu/a:", None),
        ("http://gpu:65536", "an invalid URL"),
        ("gpu", "an invalid URL"),
    ],
)
def test_an_invalid_address_states_its_fault(url, fault):
    """The error for a host that ends in a dot or for a missing port states this fault."""
    if fault is None:
        assert parse_address(url).host == "gpu"
    else:
        with pytest.raises(ValueError, match=rf"^expected a URL such as \S+, got {fault}$"):
            parse_address(url)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "127.255.0.9", "[::1]:9200", "[0:0::1]"]
)
def test_loopback_may_receive_everything(host):
    """A server on this machine may receive text and every credential over plain http."""
    assert refusal(openai(f"http://{host}/v1", "AWS_SECRET_ACCESS_KEY")) is None
    assert refusal(openai(f"http://{host}/v1", "")) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.example", "localhost.example", "a.localhost",
        "[::]", "[::ffff:127.0.0.1]", "126.0.0.1", "128.0.0.1", "10.0.0.1",
    ],
)  # fmt: skip
def test_other_forms_are_not_loopback(host):
    """A host that only resembles a loopback address may receive neither text nor credentials."""
    for credential in ("", "OPENAI_API_KEY"):
        assert "kib does not send" in refusal(openai(f"http://{host}/v1", credential))


def test_a_disallowed_server_is_rejected():
    """The error for a disallowed server names the credential and the server, and states how to allow the server."""
    assert refusal(openai("https://evil.example:8443/v1", "AWS_SECRET_ACCESS_KEY")) == (
        "kib does not send the credential in AWS_SECRET_ACCESS_KEY to evil.example:8443 because the environment does "
        "not assign the credential to this server; if you trust this server, pass `--allow-host evil.example:8443` or "
        "add the host to the environment variable KIB_ALLOW_HOSTS"
    )
    assert refusal(openai("http://evil.example/v1", "")).startswith(
        "kib does not send text to evil.example because only the benchmark file names this server; if you trust"
    )
    with pytest.raises(InputError, match=r"^`base_url`: kib does not send text to evil\.example"):
        require_allowed([openai("http://localhost", ""), openai("http://evil.example/v1", "")])


@pytest.mark.parametrize(("credential", "address"), PROVIDERS.items())
def test_a_provider_receives_its_own_key(credential, address):
    """A provider's host may receive the provider's own credential over https, but no other credential."""
    assert refusal(openai(f"{address}/v1", credential)) is None
    assert refusal(openai(f"{address}/v1", "AWS_SECRET_ACCESS_KEY"))
    assert refusal(openai(f"{address}:444/v1", credential))
    assert refusal(openai(f"{address}.evil.example/v1", credential))
    assert refusal(openai(f"{address.replace('https', 'http')}/v1", credential))


@pytest.mark.parametrize("beside", ["OPENAI_BASE_URL", "OPENAI_URL", "OPENAI_API_BASE", "OPENAI_ENDPOINT"])
def test_a_credential_belongs_to_its_address_variable(beside, monkeypatch):
    """If the variable for a credential's address is set, the credential is sent only to the addresses in it."""
    monkeypatch.setenv(beside, "https://one.example/v1, https://Two.example:8443/")
    assert refusal(openai("https://one.example/other")) is None
    assert refusal(openai("https://two.example:8443/v1")) is None
    assert refusal(openai("https://two.example/v1"))
    assert refusal(openai("https://one.example/v1", "OTHER_API_KEY"))
    assert f"because {beside} contains a different address for the credential" in refusal(
        openai("https://api.openai.com/v1")
    )
    monkeypatch.setenv(beside, "not an address")
    assert refusal(openai("https://api.openai.com/v1"))


@pytest.mark.parametrize("credential", ["GPU_API_KEY", "GPU_KEY", "GPU_TOKEN", "GPU_PASSWORD", "GPU_SECRET"])
def test_address_variable_of_each_credential_name(credential, monkeypatch):
    """NAME_URL is the address for the credential NAME_API_KEY, NAME_KEY, NAME_TOKEN, NAME_PASSWORD or NAME_SECRET."""
    monkeypatch.setenv("GPU_URL", "https://gpu.example")
    assert refusal(openai("https://gpu.example", credential)) is None
    assert refusal(openai("https://gpu.example", "AWS_SECRET_ACCESS_KEY"))


def test_http_needs_the_variable(monkeypatch):
    """A credential is sent over plain http only to hosts in KIB_ALLOW_HOSTS, even if its address variable is set."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gpu.example:8000/v1")
    recipient = openai("http://gpu.example:8000/v1")
    reason = "over plain http; use https or, in a private network, add the host to KIB_ALLOW_HOSTS"
    assert refusal(recipient) == (f"kib does not send the credential in OPENAI_API_KEY to gpu.example:8000 {reason}")
    allow_hosts(["gpu.example"])
    assert reason in refusal(recipient)
    assert refusal(openai("http://gpu.example:8000/v1", "")) is None
    monkeypatch.setenv("KIB_ALLOW_HOSTS", "other.example, GPU.example:8000,")
    assert refusal(recipient) is None


def test_an_unverified_certificate_counts_as_http(monkeypatch):
    """If certificates are not verified, a credential is sent to a host only if KIB_ALLOW_HOSTS contains the host."""
    recipient = openai("https://api.openai.com/v1", verified=False)
    assert "without verifying the server's certificate" in refusal(recipient)
    monkeypatch.setenv("KIB_ALLOW_HOSTS", "api.openai.com")
    assert refusal(recipient) is None


@pytest.mark.parametrize(
    ("entry", "allowed", "refused"),
    [
        ("gpu", ["https://gpu", "https://GPU:8443/x"], ["https://gpu.example", "https://a.gpu"]),
        ("gpu:8443", ["https://gpu:8443"], ["https://gpu", "https://gpu:84430"]),
        ("fd00::1", ["https://[fd00::1]:9"], ["https://[fd00::2]"]),
        ("[FD00::1]:9", ["https://[fd00:0::1]:9"], ["https://[fd00::1]"]),
    ],
)
def test_allowed_hosts(entry, allowed, refused, monkeypatch):
    """An entry in the list of allowed hosts matches only this exact host, on any port unless the entry has a port."""
    for allow in (lambda: allow_hosts([entry]), lambda: monkeypatch.setenv("KIB_ALLOW_HOSTS", entry)):
        allow()
        assert [refusal(openai(url, "AWS_SECRET_ACCESS_KEY")) for url in allowed] == [None] * len(allowed)
        assert all(refusal(openai(url, "AWS_SECRET_ACCESS_KEY")) for url in refused)
        allow_hosts([])


@pytest.mark.parametrize("entry", ["*", "*.example", "https://gpu", "gpu/", "gpu:0", "gpu:x", "me@gpu", "gpu.", "a b"])
def test_an_allowed_host_is_a_host(entry, monkeypatch):
    """A list entry that is not a host raises an input error that names the option or environment variable."""
    with pytest.raises(InputError, match=r"^--allow-host: expected a host such as gpu.example"):
        allow_hosts([entry])
    allow_hosts([])
    monkeypatch.setenv("KIB_ALLOW_HOSTS", f"gpu,{entry}")
    with pytest.raises(InputError, match=r"^environment variable KIB_ALLOW_HOSTS: expected a host"):
        refusal(openai("https://other.example"))


def test_text_may_go_to_an_address_in_the_environment():
    """A server set in the user's environment may receive text, even over plain http."""
    assert refusal(Recipient((), "http://gpu.example:9200", "", "KIB_ELASTICSEARCH_URL")) is None
    reason = refusal(Recipient((), "http://gpu.example.:9200", "", "KIB_ELASTICSEARCH_URL"))
    assert reason.startswith("environment variable KIB_ELASTICSEARCH_URL: expected a URL")


@pytest.fixture
def sending(bench, monkeypatch):
    """Return a function that makes the toy retriever list recipients, and returns the result of `kib check`."""
    import kib_toys

    toy = kib_toys.ToyRetriever

    def check(recipients, more=""):
        # Python remembers which classes implement a protocol, so the class itself must not change.
        monkeypatch.setattr(kib_toys, "ToyRetriever", type("ToyRetriever", (toy,), {"recipients": recipients}))
        bench.write_toy(more=more)
        return bench.call("check", "bench.toml")

    return check


def test_a_table_is_rejected_before_its_fingerprint(sending, monkeypatch):
    """kib rejects a table with a disallowed server before computing the table's fingerprint."""
    import kib_toys

    monkeypatch.setattr(kib_toys.ToyRetriever, "fingerprint", lambda _: pytest.fail("read"))
    result = sending(lambda _: [Recipient((), "https://evil.example", "AWS_SECRET_ACCESS_KEY")])
    assert result.exit_code == 2
    assert (
        "retrievers.words: kib does not send the credential in AWS_SECRET_ACCESS_KEY to evil.example" in result.output
    )


def test_a_plugin_that_cannot_list_its_servers(sending):
    """An error in `recipients` names the table and, for an unexpected error, the plugin."""

    def rejected(_):
        raise InputError("the login is incomplete")

    def broken(_):
        raise RuntimeError("oops")

    assert "retrievers.words: the login is incomplete" in sending(rejected).output
    output = sending(broken).output
    assert "retrievers.words: " in output
    assert (
        "the servers that the plugin contacts could not be listed; this is a bug in the plugin: RuntimeError: oops"
        in output
    )


def test_servers_are_announced(sending, monkeypatch):
    """A command reports once which servers may receive text of a table or a credential in the environment."""
    recipients = [Recipient((), "http://localhost:1", "TOY_KEY"), Recipient((), "http://localhost:2")]
    announced = "retrievers.words may send {} to http://localhost:{}\n"
    stderr = sending(lambda _: recipients).stderr
    assert [stderr.count(announced.format("text", port)) for port in (1, 2)] == [1, 1]
    monkeypatch.setenv("TOY_KEY", "4711")
    result = sending(lambda _: recipients)
    assert result.exit_code == 0
    assert result.stderr.count(announced.format("the credential in TOY_KEY", 1)) == 1
    assert result.stderr.count(announced.format("text", 2)) == 1
    assert "4711" not in result.output


def test_an_unused_table_may_name_any_server(sending):
    """A disallowed server causes no error if no method uses its table."""

    def recipients(retriever):
        return [Recipient((), "https://evil.example")] if retriever.options.speed == 2 else []

    assert sending(recipients, more='[retrievers.other]\nplugin = "toy"\nspeed = 2\n').exit_code == 0
    used = '[retrievers.other]\nplugin = "toy"\nspeed = 2\n[methods.other]\nretrieve = "other"\ntop_k = [1]\n'
    assert sending(recipients, more=used).exit_code == 2


def test_retrieve_rejects_an_unused_table_with_a_disallowed_server(sending, bench):
    """`kib retrieve` rejects a retriever with a disallowed server even if no method uses the retriever."""
    more = '[retrievers.other]\nplugin = "toy"\n'
    sending(lambda _: [Recipient((), "https://evil.example")], more=more)
    result = bench.call("retrieve", "bench.toml", "--retriever", "other")
    assert result.exit_code == 2
    assert "[retrievers.other]: kib does not send text to evil.example" in result.output
