"""Tests that mistakes in addresses, logins and certificates raise a clear one-sentence error without secrets."""

import logging
import time
from urllib.error import HTTPError

import pytest

from kib.errors import KibError
from kib.records import Passage, Query
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch

GIVEN = [Passage("p0", "d0", "Pump 7", "a red lever", 0, 11), Passage("p1", "d1", "", "a green door", 0, 12)]


@pytest.fixture
def user(node):
    """Return the user and the password for the shared node."""
    return node.retriever_options["user"], node.password


@pytest.fixture
def secured(node, monkeypatch):
    """Return a function that sets environment variables and creates a retriever for the shared node without a login."""

    def make(secrets, **options):
        for name, secret in secrets.items():
            monkeypatch.setenv(name, secret)
        ca_certs = node.retriever_options["ca_certs"]
        return make_plugin(Elasticsearch, {"url": node.url, "ca_certs": ca_certs, "patience": 2, **options})

    return make


def failure(retriever, folder, passages=GIVEN):
    """Return the error message of a failed build, which must be a single line."""
    with pytest.raises(KibError) as caught:
        retriever.build(passages, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def login(user):
    """Return the options for a user with the password in the environment variable MY_PASSWORD."""
    return {"user": user, "password_env": "MY_PASSWORD"}


def new_key(node, **body):
    """Create an API key on the node; return the encoded key and the key's id."""
    created = node.ask("POST", "/_security/api_key", {"name": "test", **body})
    return created["encoded"], created["id"]


def test_user_and_password(secured, user, tmp_path, caplog):
    """The password from the environment does not appear in any file, object or log message created by kib."""
    caplog.set_level(logging.DEBUG)
    name, password = user
    from_options = secured({"MY_PASSWORD": password}, **login(name))
    from_environment = secured({"KIB_ELASTICSEARCH_USER": name, "KIB_ELASTICSEARCH_PASSWORD": password})
    for retriever in (from_options, from_environment):
        retriever.build(GIVEN, tmp_path)
        assert [hit.passage for hit in retriever.search(tmp_path, [Query("q", "lever")], 5)[0]] == ["p0"]
        stored = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
        shown = f"{retriever._server.settings!r} {vars(retriever)!r} {retriever.options!r}"
        assert password not in stored + shown + caplog.text


def test_wrong_password(secured, user, tmp_path):
    """The error for a wrong password names the environment variable that contains the password."""
    retriever = secured({"MY_PASSWORD": "not-it-0815"}, **login(user[0]))
    message = failure(retriever, tmp_path)
    assert "the server rejected the password in MY_PASSWORD for the user 'librarian' (401)" in message
    assert "not-it-0815" not in message


def test_no_login(secured, tmp_path):
    """The error for a missing login states that the request had no login."""
    assert "the server rejected a request without a user or API key (401)" in failure(secured({}), tmp_path)


def test_api_key(secured, node, tmp_path):
    """An API key that grants access only to kib's indexes is sufficient."""
    role = {"cluster": [], "indices": [{"names": ["kib-*"], "privileges": ["manage", "read", "write"]}]}
    key, _ = new_key(node, role_descriptors={"kib": role})
    retriever = secured({"KIB_ELASTICSEARCH_API_KEY": key})
    retriever.build(GIVEN, tmp_path)
    assert [hit.passage for hit in retriever.search(tmp_path, [Query("q", "door")], 5)[0]] == ["p1"]


@pytest.mark.parametrize("fault", ["expired", "revoked", "unknown", "garbled"])
def test_invalid_api_keys(secured, node, tmp_path, fault):
    """The error for an expired, revoked, unknown or malformed API key names the environment variable with the key."""
    key, key_id = new_key(node, **({"expiration": "1ms"} if fault == "expired" else {}))
    if fault == "expired":
        while accepts(node, key):
            time.sleep(0.05)
    elif fault == "revoked":
        node.ask("DELETE", "/_security/api_key", {"ids": [key_id]})
    elif fault == "unknown":
        key = "bm9zdWNoa2V5aGVyZXdoYXQ6bm9zdWNoc2VjcmV0aGVyZXg="
    else:
        key = "not/a/key"
    message = failure(secured({"MY_KEY": key}, api_key_env="MY_KEY"), tmp_path)
    assert "the server rejected the API key in MY_KEY (401)" in message
    assert fault != "expired" or "expired" in message
    assert key not in message


def accepts(node, key):
    """Return whether the node accepts an API key."""
    try:
        return bool(node.ask("GET", "/", authorization=f"ApiKey {key}"))
    except HTTPError:
        return False


def test_a_key_without_the_required_permissions(secured, node, tmp_path):
    """The error for a missing permission names the login and the rejected action."""
    role = {"cluster": [], "indices": [{"names": ["kib-*"], "privileges": ["read"]}]}
    key, _ = new_key(node, role_descriptors={"reader": role})
    message = failure(secured({"KIB_ELASTICSEARCH_API_KEY": key}), tmp_path)
    assert (
        "the API key in KIB_ELASTICSEARCH_API_KEY lacks a required permission (403): action [indices:admin/" in message
    )


@pytest.mark.parametrize(
    ("secrets", "options", "words"),
    [
        ({}, {"api_key_env": "MY_KEY"}, "environment variable MY_KEY is not set; it must hold the API key"),
        (
            {"MY_KEY": "x9x9\n"},
            {"api_key_env": "MY_KEY"},
            "environment variable MY_KEY does not contain a valid API key",
        ),
        ({}, {"user": "me"}, "environment variable KIB_ELASTICSEARCH_PASSWORD is not set; it must hold the password"),
        ({"KIB_ELASTICSEARCH_PASSWORD": "x9x9"}, {}, "KIB_ELASTICSEARCH_PASSWORD contains a password, but no"),
        (
            {"KIB_ELASTICSEARCH_API_KEY": "x9x9", "KIB_ELASTICSEARCH_USER": "me"},
            {},
            "KIB_ELASTICSEARCH_API_KEY and KIB_ELASTICSEARCH_USER are both set; set only one of them",
        ),
        (
            {"MY_PASSWORD": "x9x9\udcff"},
            {"user": "me", "password_env": "MY_PASSWORD"},
            "environment variable MY_PASSWORD does not contain valid UTF-8 text",
        ),
        ({"MY_KEY": "x9x9\udcff"}, {"api_key_env": "MY_KEY"}, "variable MY_KEY does not contain valid UTF-8 text"),
        (
            {"KIB_ELASTICSEARCH_PASSWORD": "x9x9", "KIB_ELASTICSEARCH_USER": "m\udcff"},
            {},
            "environment variable KIB_ELASTICSEARCH_USER does not contain valid UTF-8 text",
        ),
        ({"KIB_ELASTICSEARCH_URL": "http://me:x9x9@h:1"}, {"url": None}, "KIB_ELASTICSEARCH_URL: expected a URL"),
        ({}, {"ca_certs": "nowhere.pem"}, "nowhere.pem: no such certificate file"),
        ({"KIB_ELASTICSEARCH_CA_CERTS": "/nowhere.pem"}, {}, "/nowhere.pem: no such certificate file"),
    ],
)
def test_invalid_environment(tmp_path, monkeypatch, secrets, options, words):
    """The error for an invalid environment variable names the variable, not its value, and no request is sent."""
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    message = failure(make_plugin(Elasticsearch, {"url": "http://127.0.0.1:9", **options}), tmp_path)
    assert words in message
    assert "x9x9" not in message


def test_unknown_ca(secured, tmp_path):
    """The error for an untrusted CA names the option for trusted certificates."""
    other = tmp_path / "other.pem"
    pytest.importorskip("trustme").CA().cert_pem.write_to_path(other)
    for options in ({"ca_certs": other}, {"ca_certs": None}):
        message = failure(secured({}, **options), tmp_path)
        assert "the server's certificate is signed by an untrusted CA; set `ca_certs`" in message


def test_certificate_of_another_host(secured, node, tmp_path):
    """If the server's certificate is for a different host name, the error states the mismatch."""
    message = failure(secured({}, url=node.url.replace("127.0.0.1", "localhost")), tmp_path)
    assert "the server's certificate was issued for a different host" in message


def test_invalid_ca_file(tmp_path):
    """If the file of trusted certificates contains no certificate, the error names the file."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    message = failure(make_plugin(Elasticsearch, {"ca_certs": path}), tmp_path)
    assert f"{path}: cannot read CA certificates from this file" in message


def test_http_instead_of_https(secured, node, tmp_path):
    """The error for an http address of a server that expects https suggests https."""
    message = failure(secured({}, url=node.url.replace("https", "http")), tmp_path)
    assert "the server may require https" in message


def test_https_instead_of_http(fake_server, tmp_path):
    """The error for an https address of a server without TLS suggests http."""
    url = fake_server(lambda _method, _path, _body: (200, {})).replace("http", "https")
    message = failure(make_plugin(Elasticsearch, {"url": url}), tmp_path)
    assert "the server does not use TLS; use an address that begins with http://" in message


def test_no_server_listens(ports, tmp_path):
    """If no server listens at the address, the error states that no server is listening there."""
    url = f"http://127.0.0.1:{ports(1)[0]}"
    message = failure(make_plugin(Elasticsearch, {"url": url, "patience": 0}), tmp_path)
    assert (
        message
        == f"{url}: no connection: no server is listening at this address; kib gave up after 0 seconds (`patience`)"
    )


@pytest.mark.parametrize("answers_once", [False, True])
def test_a_server_that_closes_the_connection(fake_server, info, tmp_path, answers_once):
    """The error for a closed connection suggests https only if the server has never answered."""
    url = fake_server(lambda _method, path, _body: info if answers_once and path == "/" else None)
    message = failure(make_plugin(Elasticsearch, {"url": url, "patience": 0}), tmp_path)
    closed = f"{url}: no connection: the server closed the connection before it sent an answer"
    gave_up = "; kib gave up after 0 seconds (`patience`)"
    if answers_once:
        kept = "; the server keeps the documents that were already sent; run the same command again to resume"
        assert message == f"{closed}{gave_up}{kept}"
    else:
        assert message == f"{closed} (the server may require https){gave_up}"


def test_not_elasticsearch(fake_server, tmp_path):
    """The error for a server other than Elasticsearch states that the server is not Elasticsearch."""
    url = fake_server(lambda _method, _path, _body: (200, {}), product="")
    assert failure(make_plugin(Elasticsearch, {"url": url}), tmp_path).endswith("at this address is not Elasticsearch")


def test_unsupported_version(fake_server, tmp_path):
    """The error for an unsupported server version lists the supported versions."""
    url = fake_server(lambda _method, _path, _body: (200, {"version": {"number": "7.17.0"}}))
    message = failure(make_plugin(Elasticsearch, {"url": url}), tmp_path)
    assert message == f"{url}: Elasticsearch version 7.17.0 is not supported; expected version 8 or 9"


def test_http_and_https_mixed(tmp_path):
    """A list with both http and https addresses raises an error if the options specify trusted certificates."""
    ca_certs = tmp_path / "ca.pem"
    pytest.importorskip("trustme").CA().cert_pem.write_to_path(ca_certs)
    urls = ["https://127.0.0.1:9", "http://127.0.0.1:9"]
    message = failure(make_plugin(Elasticsearch, {"url": urls, "ca_certs": ca_certs}), tmp_path)
    assert message == "https://127.0.0.1:9, http://127.0.0.1:9: TLS options require scheme to be 'https'"


def test_full_disk(node, make, tmp_path):
    """If a full disk makes the index read-only, the build fails, and the next build resumes after space is freed."""
    retriever = make(node, bulk_passages=1, concurrency=1)
    settings = f"/{retriever._index_name(tmp_path)}/_settings"
    more = Passage("p2", "d2", "", "a blue pump", 0, 11)

    def fill_disk():
        yield from GIVEN
        node.ask("PUT", settings, {"index.blocks.read_only_allow_delete": True})
        yield more

    message = failure(retriever, tmp_path, fill_disk())
    assert "the index is blocked: " in message
    assert ";;" not in message
    assert "disk usage exceeded flood-stage watermark" in message
    assert "free some space, then run the same command again to resume" in message
    node.ask("PUT", settings, {"index.blocks.read_only_allow_delete": None})
    retriever.build([*GIVEN, more], tmp_path)
    assert [hit.passage for hit in retriever.search(tmp_path, [Query("q", "pump")], 5)[0]] == ["p2", "p0"]
