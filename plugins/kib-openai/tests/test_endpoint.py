import gzip
import json
import threading
import time
from email.utils import formatdate

import pytest

from kib.errors import InputError, ServerUnavailableError
from kib_openai.endpoint import FIRST_WAIT, LONGEST_WAIT, Endpoint

BODY = {"messages": [{"content": 'Passage:\na b c\n\nin this form: {"paraphrases": []}, exactly 1'}]}

TEXTS = json.dumps({"paraphrases": ["Beside door 0, in hall 0, there is pump 0."]})
ANSWER = json.dumps({"choices": [{"message": {"content": TEXTS}, "finish_reason": "stop"}]}).encode()


class RecordedWaits:
    """A replacement for `Endpoint.stopped` that records each wait instead of waiting."""

    def __init__(self):
        self.seconds = []

    def wait(self, seconds):
        """Record the length of a wait, and return immediately."""
        self.seconds.append(seconds)
        return False


@pytest.fixture
def waits(writer, monkeypatch):
    """Return a function that sends one request and returns the seconds waited between the attempts."""

    def send():
        endpoint = Endpoint(writer(retries=9).options)
        endpoint.stopped = RecordedWaits()
        endpoint.send(BODY)
        endpoint.close()
        return endpoint.stopped.seconds

    monkeypatch.setattr("kib_openai.endpoint.FIRST_WAIT", FIRST_WAIT)
    return send


@pytest.mark.parametrize("fault", [429, 500, 503, "cut", 408])
def test_temporary_faults(writer, server, passages, write, fault):
    """If the server is busy, fails or disconnects, requests are retried, and the resulting texts are the same."""
    server.faults = [fault, fault]
    texts = write(writer(concurrency=1), passages(2))
    assert len(server.bodies) == 2 + 2
    assert texts == write(writer(), passages(2))


def test_the_wait_doubles(waits, server):
    """The wait before a retry doubles after each attempt, up to a maximum."""
    server.faults = [500] * 9
    assert waits() == [FIRST_WAIT * 2**n for n in range(6)] + [LONGEST_WAIT] * 3


def test_retry_after(waits, server):
    """A server can request a retry delay in seconds or as a date."""
    server.faults = [(429, {"Retry-After": "7"}, "{}"), None]
    assert waits() == [7.0]
    server.faults = [(429, {"Retry-After": formatdate(time.time() + 500, usegmt=True)}, "{}")]
    (seconds,) = waits()
    assert LONGEST_WAIT < seconds <= 500


@pytest.mark.parametrize("header", ["0", "-3", "nan", formatdate(0, usegmt=True)])
def test_a_delay_that_is_over(waits, server, header):
    """A server that requests no delay, or a delay until a past date, does not receive all retries at once."""
    server.faults = [(429, {"Retry-After": header}, "{}")] * 7
    assert waits() == [FIRST_WAIT * 2**n for n in range(6)] + [LONGEST_WAIT]


def test_too_long_a_wait(writer, server, passages, write):
    """If the server requests a wait of one hour, the run stops immediately with an error that quotes the server."""
    server.faults = [(429, {"Retry-After": "3600"}, '{"error": {"message": "come back later"}}')]
    with pytest.raises(ServerUnavailableError, match="429: come back later; all answers received so far are stored"):
        write(writer(), passages(1))
    assert len(server.bodies) == 1


def test_permanent_faults(writer, server, passages, write):
    """After the last retry, a one-sentence error states the URL, the status and the number of attempts."""
    server.faults = [500] * 9
    with pytest.raises(
        ServerUnavailableError, match=r"/v1/chat/completions: the server returned status 500: .* after 3 attempts; "
    ):
        write(writer(retries=2), passages(1))
    assert len(server.bodies) == 3


def test_timeout(writer, server, passages, write):
    """A request that times out is retried, and the error after the last attempt names the option `timeout`."""
    gate = threading.Event()
    server.hold = lambda message: gate.wait()
    with pytest.raises(
        ServerUnavailableError,
        match=r"the server did not finish its answer within 0.01 seconds \(`timeout`\) after 2 attempts",
    ):
        write(writer(timeout=0.01, retries=1), passages(1))
    gate.set()


@pytest.mark.parametrize("kind", ["head", "body", "gzip"])
def test_a_dripping_server(writer, server, passages, write, kind):
    """The option `timeout` limits the total time of a request, even if the server keeps sending single bytes."""
    body = gzip.compress(ANSWER + b" " * 2**21, 1) if kind == "gzip" else ANSWER + b" " * 300
    encoding = "Content-Encoding: gzip\r\n" if kind == "gzip" else ""
    head = f"HTTP/1.1 200 OK\r\n{encoding}Content-Length: {len(body)}\r\n\r\n".encode()
    whole, start = head + body, 0 if kind == "head" else len(head)
    dripped = [whole[n : n + 1] for n in range(start, start + 200)]
    server.faults = [[whole[:start], *dripped, whole[start + 200 :]]]
    with pytest.raises(
        ServerUnavailableError, match=r"the server did not finish its answer within 0.5 seconds \(`timeout`\)"
    ):
        write(writer(timeout=0.5, retries=0), passages(1))


@pytest.mark.parametrize("packed", [False, True])
def test_a_huge_answer(writer, server, passages, write, packed):
    """An answer that is too large, before or after decompression, raises an error that names the server's address."""
    answer = ANSWER + b" " * 33 * 2**20
    body, headers = (gzip.compress(answer, 1), {"Content-Encoding": "gzip"}) if packed else (answer, {})
    server.faults = [(200, headers, body)]
    with pytest.raises(
        InputError, match=f"^{server.url}/chat/completions: the server sent an answer larger than 32 MB"
    ):
        write(writer(), passages(1))
    assert len(server.bodies) == 1


def test_a_compressed_answer(writer, server, passages, write):
    """A compressed answer is unpacked."""
    server.faults = [(200, {"Content-Encoding": "gzip"}, gzip.compress(ANSWER))]
    assert "Beside door 0" in write(writer(), passages(1))[0].text
    assert len(server.bodies) == 1


def test_refused_connection(writer, passages, write):
    """The error for a refused connection states the endpoint's URL."""
    with pytest.raises(ServerUnavailableError, match=r"http://127.0.0.1:1/v1/chat/completions: the connection failed"):
        write(writer(base_url="http://127.0.0.1:1/v1", retries=1), passages(1))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the server rejected the API key in OPENAI_API_KEY (401)"),
        (404, "this URL or the model 'm' does not exist (404): bad "),
        (302, "the server redirects to a different URL (302)"),
        (400, "the server rejected the request (400): bad "),
        (403, "the server rejected the request (403): bad "),
    ],
)
def test_rejections(writer, server, passages, write, status, message):
    """A rejected request raises an error without retries, and the error never contains the API key."""
    server.faults = [(status, {}, json.dumps({"error": {"message": f"bad {server.key}"}}))]
    with pytest.raises(InputError) as error:
        write(writer(concurrency=1), passages(3))
    assert message in str(error.value)
    assert server.key not in str(error.value)
    assert len(server.bodies) == 1


def test_a_server_that_needs_a_key(writer, server, passages, write):
    """If a server requires an API key, the error names the option that selects the key's environment variable."""
    server.faults = [401]
    with pytest.raises(InputError, match=r"requires an API key \(401\); set `api_key_env` to the environment variable"):
        write(writer(api_key_env=""), passages(1))


def test_a_server_that_starts(writer, server, passages, write):
    """The error of a server that never becomes ready states the status once, together with the server's message."""
    server.faults = [(503, {}, '{"error": {"code": 503, "message": "Loading model"}}')] * 2
    with pytest.raises(
        ServerUnavailableError, match="the server returned status 503: Loading model after 2 attempts; all answers"
    ):
        write(writer(retries=1), passages(1))


def test_no_credit(writer, server, passages, write):
    """Insufficient credit raises an error without retries, although its status code is also used by busy servers."""
    server.faults = [(429, {}, '{"error": {"code": "insufficient_quota", "message": "You have no money."}}')]
    with pytest.raises(InputError, match="You have no money"):
        write(writer(), passages(1))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("key", "message"), [("", "is not set"), ("sk-1\n", "contains a space, a line break")])
def test_invalid_keys(writer, server, passages, write, monkeypatch, key, message):
    """A missing or invalid API key raises an error that names the environment variable before any request is sent."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match=f"OPENAI_API_KEY {message}") as error:
        write(writer(), passages(1))
    assert "sk-1" not in str(error.value)
    assert not server.bodies


@pytest.mark.parametrize("choice", [{"message": {"content": None}}, {"message": None}, {}])
def test_a_completion_without_text(writer, server, passages, write, choice):
    """A chat completion without text is invalid, but is stored with its token counts because it was paid for."""
    server.faults = [(200, {}, json.dumps({"choices": [choice], "usage": server.usage}))]
    paid_answers = {}
    with pytest.raises(InputError, match="passage d0#0: the answer is invalid: the chat completion contains no text"):
        write(writer(attempts=1), passages(1), paid_answers=paid_answers)
    assert [json.loads(value)["prompt_tokens"] for value in paid_answers.values()] == [100]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>Down for maintenance</html>", ": <html>Down for maintenance"),
        ('{"error": {"message": "overloaded"}}', ": overloaded"),
        ('{"choices": []}', ""),
        ('{"choices": null}', ""),
        ("[]", ""),
        ("", " after"),
    ],
)
def test_not_a_chat_completion(writer, server, passages, write, body, message):
    """If a response is not a chat completion, the request is retried despite status 200, and no answer is stored."""
    server.faults = [(200, {}, body)] * 3
    paid_answers = {}
    with pytest.raises(ServerUnavailableError, match=f"status 200 without a chat completion{message}") as error:
        write(writer(attempts=1, retries=2), passages(1), paid_answers=paid_answers)
    assert "after 3 attempts; all answers are stored; run the same command again" in str(error.value)
    assert not paid_answers
    server.faults = [(200, {}, body)] * 2
    assert len(write(writer(attempts=1, retries=2), passages(1), paid_answers=paid_answers)) == 1
    assert len(paid_answers) == 1


def test_an_error_page_with_the_key(writer, server, passages, write):
    """If an error page contains the API key, the error quotes the page with the key removed."""
    server.faults = [(200, {}, f"<html>{server.key}</html>")]
    with pytest.raises(ServerUnavailableError, match="<html>…</html>"):
        write(writer(retries=0), passages(1))
