"""Tests of retries after rejections by a busy or restarting server, with scripted server responses."""

import json
import time

import pytest

from kib.errors import InputError, ServerUnavailableError
from kib.records import Passage
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch, server
from kib_elasticsearch.bulk_indexing import send_bulks, split_into_bulks
from kib_elasticsearch.search_requests import search_all, word_query
from kib_elasticsearch.server_index import ContentCounter, LostIndexError

BUSY = {"type": "es_rejected_execution_exception", "reason": "too many documents"}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(server, "FIRST_WAIT", 0.001)


@pytest.fixture
def scripted(fake_server, info):
    """Return a function that creates a `Server` that receives the given responses in order."""

    def create(answers, **options):
        answers = [info, *answers]
        bodies = []

        def answer(_method, _path, body):
            bodies.append(body)
            answer = answers.pop(0)
            return answer() if callable(answer) else answer

        url = fake_server(answer)
        return server.Server(make_plugin(Elasticsearch, {"url": url, **options}).options), bodies

    return create


def created(*statuses):
    """Return the response to a bulk request, with one status per document."""
    items = [{"create": {"status": status, **({"error": BUSY} if status >= 400 else {})}} for status in statuses]
    return 200, {"errors": True, "items": items}


def send(target, count=3):
    """Send passages in one bulk request, and return the reported progress."""
    counter, progress = ContentCounter(), []
    passages = [Passage(f"p{number}", "d", "", "lever", 0, 5) for number in range(count)]
    send_bulks(split_into_bulks(passages, counter, target.options, None), target, "index", progress.append)
    return [content.passages for content in progress]


def sent_ids(body):
    """Return the document ids in a bulk request."""
    return [action["create"]["_id"] for action in map(json.loads, body.splitlines()) if "create" in action]


def test_only_rejected_documents_are_resent(scripted):
    """Documents that were rejected by a busy server are resent until all are indexed."""
    target, bodies = scripted([created(201, 429, 503), created(409, 429), created(201)])
    assert send(target) == [3]
    assert [sent_ids(body) for body in bodies[1:]] == [["p0", "p1", "p2"], ["p1", "p2"], ["p2"]]


def test_a_request_without_a_response_is_repeated(scripted, caplog):
    """A bulk request without a response is repeated, and documents that already exist count as indexed."""
    target, _ = scripted([None, (503, {"error": BUSY}), created(409, 409, 409)])
    assert send(target) == [3]
    assert "kib retries the request for up to 120 seconds" in caplog.text


def test_patience(scripted):
    """A request raises an error if the server remains busy for longer than `patience`."""
    target, _ = scripted([created(429, 429, 429)], patience=0)
    with pytest.raises(
        ServerUnavailableError, match=r"new documents \(429: too many documents\); kib gave up after 0 seconds"
    ):
        send(target)


def test_timeout(scripted):
    """The error for a server that does not respond in time states the timeout."""
    target, _ = scripted([lambda: time.sleep(2)], timeout=1, patience=0)
    with pytest.raises(
        ServerUnavailableError,
        match=r"the server sent no answer within 1 seconds \(`timeout`\); kib gave up after 0 seconds",
    ):
        send(target)


def test_a_rejected_document(scripted):
    """If the server permanently rejects a document, the error names the passage."""
    target, _ = scripted([created(201, 400, 201)])
    with pytest.raises(InputError, match=r"passage 'p1': .* the server rejected the request \(400\)"):
        send(target)


@pytest.mark.parametrize(
    ("status", "reason", "setting"),
    [
        (413, "too large", "http.max_content_length"),
        (429, "coordinating_operation_bytes=300, max_coordinating_bytes=200", "indexing_pressure.memory.limit"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_request_too_large_for_the_server(scripted, status, reason, setting, count):
    """A request too large even for an idle server immediately raises an error that names the options to change."""
    target, _ = scripted([(status, {"error": {"type": "x", "reason": reason}})])
    with pytest.raises(InputError) as caught:
        send(target, count)
    message = str(caught.value)
    if count == 1:
        assert message.startswith(f"passage 'p0' is too large for the server at {target.addresses} ({status}: ")
        assert message.endswith(f"; split passages with the corpus option `chunk`, or raise `{setting}` on the server")
    else:
        assert f": a bulk request with 2 passages is too large ({status}: {reason}); lower `bulk_bytes`" in message


def found(*passages):
    """Return the server's response to one search in a batch."""
    hits = [{"sort": [1.5, passage]} for passage in passages]
    return {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": hits}}


def test_incomplete_searches_are_repeated(scripted):
    """In a batch of searches, only the searches with incomplete results are repeated."""
    failed = {"status": 503, "error": {"reason": "no shard available"}}
    partial = {**found("wrong"), "_shards": {"failed": 1}}
    target, bodies = scripted(
        [(200, {"responses": [found("a"), failed, partial]}), (200, {"responses": [found("b"), found()]})]
    )
    hits = search_all(target, "index", [word_query(word) for word in "abc"], 5)
    assert [[hit.passage for hit in some] for some in hits] == [["a"], ["b"], []]
    assert [body.count(b'"match"') for body in bodies[1:]] == [3, 2]


def test_a_search_that_fails_permanently(scripted):
    """A search in a missing index, or a search with an invalid query, raises an error without retries."""
    target, _ = scripted([(200, {"responses": [{"status": 404, "error": {"reason": "no such index"}}]})])
    with pytest.raises(LostIndexError, match="the index index was deleted or changed after the build"):
        search_all(target, "index", [word_query("a")], 5)
    target, _ = scripted([(200, {"responses": [{"status": 400, "error": {"reason": "bad query"}}]})])
    with pytest.raises(InputError, match=r"the server rejected the request \(400\): bad query"):
        search_all(target, "index", [word_query("a")], 5)
