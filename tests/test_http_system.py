"""The system `http`: requests, answers, failures and interrupted runs, with a local HTTP server."""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kib.errors import InputError, NoAnswerError
from kib.interfaces import CheckedModel, ProbedSystem, SendingPlugin, System
from kib.plugins.systems import http_client
from kib.plugins.systems.http_system import HttpSystem
from kib.testing import check_options, check_plugin, check_recipients, check_system, make_plugin

KEY = "secret-0815"

SPEC = """schema = 1
name = "service"
[models.m]
plugin = "toy"
[corpora.halls]
plugin = "toy"
documents = DOCUMENTS
[tasks.halls]
plugin = "file"
path = "halls.jsonl"
corpus = "halls"
scoring = "contains"
[systems.ours]
plugin = "http"
url = "URL"
passages = "sources[*].text"
cost = "usage.cost"
input_tokens = "usage.read"
output_tokens = "usage.written"
retries = 0
[methods.base]
[methods.ours]
system = "ours"
"""

COUNT = 6


class Service(ThreadingHTTPServer):
    """A service that looks up halls; it records requests, and applies the next entry of `faults` to each request."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.answered, self.faults = [], [], []
        self.hold = lambda number: None
        self.lock = threading.Lock()

    @property
    def url(self):
        """The address of the service."""
        return f"http://127.0.0.1:{self.server_address[1]}/ask"

    def handle_error(self, request, client_address):
        """Ignore clients that disconnect, because some tests kill the client."""


class Handler(BaseHTTPRequestHandler):
    """Handles one connection to the service."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Suppress the log output of the HTTP server."""

    def do_GET(self):
        """Answer a question in the address."""
        self.reply({"question": self.path})

    def do_POST(self):
        """Answer a question in the body."""
        self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def reply(self, body):
        """Send the answer to a question, or the next fault."""
        service = self.server
        with service.lock:
            number = len(service.requests)
            service.requests.append((self.command, self.path, dict(self.headers), body))
            fault = service.faults.pop(0) if service.faults else None
        service.hold(number)
        if callable(fault):
            fault = fault(self)
        if fault is None:
            service.answered.append(body)
        status, headers, data = fault or (200, {}, json.dumps(reply_to(body)))
        data = data if isinstance(data, bytes) else data.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def reply_to(body):
    """Return the hall of the pump in a question, with the sentence that says so."""
    found = re.search(r"pump (\d)", str(body.get("question")))
    answer = f"It is in hall {int(found[1]) * 7}." if found else "Paris"
    sources = [{"text": sentence(int(found[1]))}] if found else []
    return {"answer": answer, "sources": sources, "usage": {"cost": 0.5, "read": 40, "written": 8}}


def sentence(number):
    """Return the text of the document about a pump."""
    return f"Pump {number} stands in hall {number * 7} beside the door of the boiler room."


@pytest.fixture
def service(monkeypatch):
    """A running service, with almost no delay between retries."""
    monkeypatch.setattr(http_client, "FIRST_WAIT", 0.001)
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def ask(service):
    """Return a function that asks the service one question with the given options."""

    def answer(question="Where is pump 3?", question_id="", **options):
        loaded = make_plugin(HttpSystem, {"url": service.url, "retries": 0, **options}).load()
        try:
            return loaded.answer(question, question_id)
        finally:
            loaded.release()

    return answer


@pytest.fixture
def halls(bench, service):
    """Write a benchmark with open questions about pumps that the service answers, and return its folder."""
    documents = json.dumps([[f"pump-{n}", f"Pump {n}", sentence(n)] for n in range(COUNT)])
    rows = [
        {
            "question": f"Where is pump {n}?",
            "answer": f"hall {n * 7}",
            "document": f"pump-{n}",
            "quote": f"hall {n * 7}",
        }
        for n in range(COUNT)
    ]
    text = SPEC.replace("URL", service.url).replace("DOCUMENTS", documents)
    return bench.write(text, halls_jsonl="\n".join(map(json.dumps, rows)))


def change(bench, old, new):
    """Replace a text in the benchmark file."""
    text = bench.spec.read_text(encoding="utf-8")
    assert old in text
    bench.spec.write_text(text.replace(old, new), encoding="utf-8")


def flat(result):
    """Return the output of a command on one line."""
    return " ".join(result.output.split())


def test_contract(service):
    """The plugin is installed, follows the protocols, and names its server before it contacts the server."""
    assert check_plugin("systems", "http") is HttpSystem
    made = make_plugin(HttpSystem, {"url": service.url})
    for protocol in (System, CheckedModel, ProbedSystem, SendingPlugin):
        assert isinstance(made, protocol)
    check_system(lambda: make_plugin(HttpSystem, {"url": service.url, "concurrency": 4, "passages": "sources[*].text"}))
    check_recipients(lambda address: make_plugin(HttpSystem, {"url": address}), lambda one: one.load())
    check_options(
        HttpSystem,
        accepts=[{"url": "http://127.0.0.1/a", "request": {"q": ["{{ question }}", 3]}, "headers": {"X-Tenant": "a"}}],
        refuses=[
            {},
            {"url": "localhost:8000"},
            {"url": "http://127.0.0.1/a?key=1"},
            {"url": "http://127.0.0.1/a", "request": {"q": "fixed"}},
            {"url": "http://127.0.0.1/a", "request": {"q": "{{ question }} {{ passages }}"}},
            {"url": "http://127.0.0.1/a", "request": {"q": "{{ question"}},
            {"url": "http://127.0.0.1/a", "request": {"q": "{{ question }}", "api_key": "x"}},
            {"url": "http://127.0.0.1/a", "headers": {"Authorization": "Bearer x"}},
            {"url": "http://127.0.0.1/a", "headers": {"X": "Bearer x"}},
            {"url": "http://127.0.0.1/a", "headers": {"X": "a\r\nY: b"}},
            {"url": "http://127.0.0.1/a", "answer": "sources[*"},
            {"url": "http://127.0.0.1/a", "answer": ""},
            {"url": "http://127.0.0.1/a", "answer": "uper(answer)"},
            {"url": "http://127.0.0.1/a", "passages": "sources[*].to_text(@)"},
            {"url": "http://127.0.0.1/a", "api_key_env": "sk-123"},
            {"url": "http://127.0.0.1/a", "api_key_header": "X: y"},
            {"url": "http://127.0.0.1/a", "method": "GET", "request": {"q": ["{{ question }}"]}},
            {"url": "http://127.0.0.1/a", "version": 2},
        ],
    )


@pytest.mark.parametrize(
    "line",
    [
        f'url = "http://127.0.0.1/ask?api_key={KEY}"',
        f'url = "http://127.0.0.1/ask#{KEY}"',
        f'url = "http://user:{KEY}@127.0.0.1/ask"',
        f'url = "http://127.0.0.1/ask"\napi_key_header = "X: {KEY}"',
        f'url = "http://127.0.0.1/ask"\napi_key_scheme = "Bearer {KEY}"',
        f'url = "http://127.0.0.1/ask"\napi_key_env = "sk {KEY}"',
        f'url = "http://127.0.0.1/ask"\nheaders = {{ Authorization = "Bearer {KEY}" }}',
        f'url = "http://127.0.0.1/ask"\nrequest = {{ q = "{{{{ question }}}}", api_key = "{KEY}" }}',
    ],
)
def test_a_credential_in_the_file_is_not_printed(halls, service, line):
    """A credential in the benchmark file is an error that does not quote the credential."""
    change(halls, f'url = "{service.url}"', line)
    result = halls.call("check", "--no-probe", halls.spec)
    assert result.exit_code == 2
    assert "systems.ours" in result.output
    assert KEY not in result.output


def test_an_unknown_function_in_a_path(halls):
    """A JMESPath that calls an unknown function is an error with the line of its key before anything is sent."""
    change(halls, "sources[*].text", "sources[*].uper(text)")
    result = halls.call("check", "--no-probe", halls.spec)
    assert result.exit_code == 2
    assert ":16: systems.ours.passages: unknown function uper(); known: abs, avg, ceil, contains" in flat(result)


# Requests


def test_a_request(ask, service):
    """A request contains the rendered templates and the headers, and a question cannot break the JSON."""
    question = 'Who said "}, {{ id }} \\ \n 桥?'
    request = {"messages": [{"role": "user", "content": "Q: {{ question }}"}], "top_k": 3, "session": "s-{{ id }}"}
    ask(question, "q1", request=request, headers={"X-Tenant": "acme"})
    [(command, path, headers, body)] = service.requests
    assert (command, path, headers["X-Tenant"]) == ("POST", "/ask", "acme")
    assert body == {"messages": [{"role": "user", "content": f"Q: {question}"}], "top_k": 3, "session": "s-q1"}
    assert "Authorization" not in headers


def test_a_request_with_parameters(ask, service):
    """With the method GET, the keys of the request are the parameters of the address."""
    assert ask("Where is pump 3 & co?", method="GET", request={"q": "{{ question }}", "k": 3}).value == "Paris"
    assert service.requests[0][1] == "/ask?q=Where+is+pump+3+%26+co%3F&k=3"


def test_ids_are_read_only_if_a_template_uses_them():
    """A system reads ids only if a template of the request contains the variable `id`."""
    for text, reads in (("{{ question }}", False), ("{{ id }}: {{ question }}", True)):
        assert make_plugin(HttpSystem, {"url": "http://127.0.0.1/", "request": {"q": text}}).reads_ids() is reads


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({}, "Authorization", f"Bearer {KEY}"),
        ({"api_key_header": "X-Api-Key", "api_key_scheme": ""}, "X-Api-Key", KEY),
    ],
)
def test_the_credential_is_a_header(ask, service, monkeypatch, options, header, value):
    """The credential comes from the environment and is sent in the chosen header."""
    monkeypatch.setenv("OURS_KEY", KEY)
    ask(api_key_env="OURS_KEY", **options)
    assert service.requests[0][2][header] == value


def test_cookies_are_not_sent_back(ask, service):
    """No answer depends on the cookies of an earlier answer."""
    loaded = make_plugin(HttpSystem, {"url": service.url}).load()
    service.faults = [(200, {"Set-Cookie": "session=1"}, json.dumps(reply_to({})))]
    for _ in range(2):
        loaded.answer("Where?", "")
    loaded.release()
    assert all("Cookie" not in headers for _, _, headers, _ in service.requests)


def test_what_the_system_reports(ask):
    """An answer contains everything that the paths select, and kib measures the latency if the system does not."""
    paths = {"passages": "sources[*].text", "cost": "usage.cost", "input_tokens": "usage.read"}
    served = ask(**paths)
    assert (served.value, served.passages, served.cost) == ("It is in hall 21.", (sentence(3),), 0.5)
    assert (served.input_tokens, served.output_tokens) == (40, None)
    assert 0 < served.seconds < 60
    assert ask(seconds="usage.written").seconds == 8
    assert ask(passages="nowhere").passages is None


def test_unpaired_surrogates_are_replaced(ask, service):
    """Unpaired surrogates in JSON, which UTF-8 cannot encode, are replaced instead of failing when they are stored."""
    service.faults = [(200, {}, r'{"answer": "a \ud800", "sources": ["\udc00"]}')]
    served = ask(passages="sources")
    assert (served.value, served.passages) == ("a ?", ("?",))


@pytest.mark.parametrize(("url", "proxied"), [("http://127.0.0.1/", False), ("http://gpu.example/", True)])
def test_requests_to_this_machine_use_no_proxy(monkeypatch, url, proxied):
    """The proxy in the environment is used for other machines only."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("KIB_ALLOW_HOSTS", "gpu.example")
    loaded = make_plugin(HttpSystem, {"url": url}).load()
    assert (loaded._pool.proxy is not None) is proxied
    loaded.release()


# Failures


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        (
            (200, {"Content-Type": "text/html"}, "<h1>Welcome</h1>"),
            {},
            "expected JSON, got text/html: <h1>Welcome</h1>",
        ),
        ((200, {}, "{"), {}, "expected JSON, got a different format: {"),
        ((200, {"Content-Type": "application/json"}, " "), {}, "expected JSON, got an empty response"),
        ((200, {}, '{"text": 1}'), {}, r"`answer` (answer): the response contains no such value; its keys: 'text'"),
        ((200, {}, '{"answer": null}'), {}, "`answer` (answer): expected text, but the value is null"),
        ((200, {}, '{"a": {"b": 1}}'), {"answer": "a.c"}, "the response contains no such value; its keys: 'a'"),
        ((200, {}, '{"answer": ["a"]}'), {}, "`answer` (answer): expected text, got a list"),
        ((200, {}, '{"answer": {"a": 1}}'), {}, "expected text, got an object"),
        ((200, {}, '{"answer": 42}'), {}, "expected text, got 42"),
        ((200, {}, "[1]"), {}, "the response is a list, not an object with such a value"),
        ((200, {}, "7"), {}, "the response is 7, not an object with such a value"),
        ((200, {}, "null"), {}, "the response is null, not an object with such a value"),
        ((200, {}, '"Hall 7"'), {}, "the response is 'Hall 7', not an object with such a value"),
        ((200, {}, '{"answer": "a", "s": "b"}'), {"passages": "s"}, "expected a list of texts or ids, got 'b'"),
        ((200, {}, '{"answer": "a", "s": [{}]}'), {"passages": "s"}, "got a list with an object"),
        ((200, {}, '{"answer": "a", "c": "1 €"}'), {"cost": "c"}, "`cost` (c): expected a number from 0, got '1 €'"),
        ((200, {}, '{"answer": "a", "c": NaN}'), {"cost": "c"}, "expected a number from 0, got nan"),
        ((200, {}, '{"answer": "a", "c": 1.5}'), {"input_tokens": "c"}, "expected a whole number from 0, got 1.5"),
        ((200, {}, '{"answer": "a"}'), {"cost": "abs(answer)"}, "`cost` (abs(answer)): "),
        ((400, {}, '{"error": "too long"}'), {}, 'the system returned status 400: {"error": "too long"}'),
        ((204, {}, ""), {}, "the system returned status 204"),
    ],
)
def test_an_unusable_answer(ask, service, fault, options, words):
    """An answer that kib cannot read is one sentence with the address, the path and what was received."""
    service.faults = [fault]
    with pytest.raises(NoAnswerError) as caught:
        ask(**options)
    assert words in str(caught.value)
    assert service.url in str(caught.value)
    assert not caught.value.unavailable


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((401, {}, ""), "the system requires a valid credential (401); set `api_key_env` to its variable"),
        ((404, {}, "no such page"), "the system returned status 404: no such page"),
        (
            (302, {"Location": "http://127.0.0.1:1/"}, ""),
            "redirects to a different URL (302); set `url` to the final URL",
        ),
        ((200, {}, b'"' + b"x" * (33 << 20) + b'"'), "a response larger than 32 MB"),
    ],
)
def test_an_error_that_concerns_every_question(ask, service, fault, words):
    """An error that concerns every question stops the run instead of failing one question."""
    service.faults = [fault]
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        ask()
    assert not isinstance(caught.value, NoAnswerError)
    assert len(service.requests) == 1


def cut(handler):
    """Close the connection in the middle of a response."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{")
    handler.wfile.flush()
    handler.connection.close()
    raise ConnectionError


def drip(handler):
    """Send one byte at a time, so that no single read takes long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)
    raise ConnectionError


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        (cut, {}, "the connection failed"),
        (drip, {"timeout": 0.3}, "did not finish its answer within 0.3 seconds"),
        ((500, {}, "broken"), {}, "the system returned status 500: broken"),
        ((503, {}, "down"), {}, "the system returned status 503: down"),
        ((429, {"Retry-After": "9999"}, ""), {"retries": 3}, "the system returned status 429"),
    ],
)
def test_a_system_that_is_unavailable(ask, service, fault, options, words):
    """A lost connection, a timeout, an overloaded system and a fault of the system are reported as unavailable."""
    service.faults = [fault]
    with pytest.raises(NoAnswerError, match=words) as caught:
        ask(**options)
    assert caught.value.unavailable
    assert len(service.requests) == 1


def test_nothing_listens(ask):
    """An address at which nothing listens is a lost connection."""
    with pytest.raises(NoAnswerError, match=r"http://127.0.0.1:1/: the connection failed \(NewConnectionError\)"):
        ask(url="http://127.0.0.1:1/")


def test_retries(ask, service):
    """A failed attempt is repeated, and the latency is the time of the last attempt."""
    service.faults = [(500, {}, ""), cut, (429, {"Retry-After": "0"}, "")]
    served = ask(retries=3)
    assert served.value == "It is in hall 21."
    assert len(service.requests) == 4
    service.faults = [(500, {}, "")] * 3
    with pytest.raises(NoAnswerError, match="status 500 after 3 attempts"):
        ask(retries=2)


def test_the_credential_is_in_no_error(ask, service, monkeypatch):
    """If a server repeats the credential, error messages replace it."""
    monkeypatch.setenv("OURS_KEY", KEY)
    for status in (200, 400, 500):
        service.faults = [(status, {}, f"bad key {KEY}")]
        with pytest.raises(NoAnswerError, match="bad key …") as caught:
            ask(api_key_env="OURS_KEY")
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(("value", "words"), [("", "is not set"), ("a b", "contains a space, a line break")])
def test_a_missing_credential(ask, service, monkeypatch, value, words):
    """Without a valid credential in the environment, nothing is sent."""
    monkeypatch.setenv("OURS_KEY", value)
    with pytest.raises(InputError, match=f"the environment variable OURS_KEY {words}"):
        ask(api_key_env="OURS_KEY")
    assert not service.requests


# Benchmarks


def test_a_benchmark(halls, service):
    """Each question is sent once, and the table contains the gain, the recall, the latency and the reported cost."""
    assert halls.call("run", halls.spec).exit_code == 0
    assert sorted(body["question"] for *_, body in service.requests) == [f"Where is pump {n}?" for n in range(COUNT)]
    result = halls.results.cell(halls.cells()["m/ours/halls,0-shot"])
    assert (result.correct, result.system.cost, result.prompt_tokens) == (COUNT, COUNT * 0.5, COUNT * 40)
    shown = flat(halls.call("leaderboard", "service", "--cost"))
    assert "the system ours: 0 -> 100 %" in shown
    assert "latency s/q" in shown
    assert all(line.gold == (True,) for line in halls.scores("m/ours/halls,0-shot"))
    assert halls.call("run", halls.spec).exit_code == 0
    assert len(service.requests) == COUNT


@pytest.mark.parametrize("status", [429, 500, 502, 599])
def test_the_exit_code_of_an_unavailable_system(halls, service, status):
    """If a system is overloaded or fails on its side, the exit code is 5, and three questions in a row end the run."""
    service.faults = [None, (status, {}, "")]
    failed = halls.call("run", halls.spec)
    assert failed.exit_code == 5
    assert "1 question of 6 has no answer" in flat(failed)
    service.faults = [(status, {}, "")]
    assert halls.call("run", halls.spec).exit_code == 5
    assert len(service.requests) == COUNT + 1
    change(halls, "retries = 0", 'retries = 0\nversion = "2"')
    service.faults = [(status, {}, "")] * COUNT
    failed = halls.call("run", halls.spec)
    assert failed.exit_code == 5
    assert "the system was unavailable for 3 questions in a row" in flat(failed)
    assert len(service.requests) == COUNT + 4


def test_empty_answers_are_counted(halls, service):
    """Answers without text are counted above the table and in the cell; without such answers, nothing is stored."""
    service.faults = [(200, {}, '{"answer": " "}')] * 2
    assert halls.call("run", halls.spec).exit_code == 0
    assert halls.results.cell(halls.cells()["m/ours/halls,0-shot"]).empty_answers == 2
    assert f"m/ours/halls,0-shot: 2 of {COUNT} answers are empty" in flat(halls.call("leaderboard", "service"))
    base = halls.results.cell_folder(halls.cells()["m/base/halls,0-shot"]) / "cell.json"
    assert "empty_answers" not in base.read_text(encoding="utf-8")


def test_a_new_version_is_measured_again(halls, service):
    """All questions are asked again after a change of `version`, but not after a change of `timeout`."""
    halls.call("run", halls.spec)
    change(halls, "retries = 0", "timeout = 60.0")
    halls.call("run", halls.spec)
    assert len(service.requests) == COUNT
    change(halls, "timeout = 60.0", 'version = "2"')
    halls.call("run", halls.spec)
    assert len(service.requests) == 2 * COUNT


def test_check_asks_one_test_question(halls, service):
    """`kib check` asks one question without text of the user, and shows the answer, unless --no-probe is given."""
    result = halls.call("check", halls.spec)
    assert result.exit_code == 0, result.output
    assert f"systems.ours: test of {service.url}: answer 'Paris', 0 passages, cost 0.5" in result.output
    assert [body for *_, body in service.requests] == [
        {"question": "What is the capital of France? Answer with one word."}
    ]
    assert f"systems.ours may send text to {service.url}" in result.output
    halls.call("check", halls.spec, "--no-probe")
    assert len(service.requests) == 1
    service.faults = [(503, {}, "")]
    unavailable = halls.call("check", halls.spec)
    assert unavailable.exit_code == 5
    assert f"Error: systems.ours: {service.url}: the system returned status 503 (1 cell)" in flat(unavailable)
    service.faults = [(200, {}, "<html>")]
    failed = halls.call("check", halls.spec)
    assert failed.exit_code == 2
    assert "expected JSON, got a different format: <html>" in flat(failed)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_server_that_is_killed_in_the_middle(halls, service, concurrency):
    """If the server dies twice in the middle of a run, no answered question is sent again."""
    change(halls, "retries = 0", f"retries = 0\nconcurrency = {concurrency}")
    for before in (2, 1):
        service.faults = [None] * before + [cut] * 20
        failed = halls.call("run", halls.spec)
        assert failed.exit_code == 5
        assert "the connection failed" in flat(failed)
        assert "Traceback" not in failed.output
    service.faults = []
    assert halls.call("run", halls.spec).exit_code == 0
    assert sorted(Counter(body["question"] for body in service.answered).values()) == [1] * COUNT


@pytest.mark.slow
def test_a_run_that_is_interrupted_in_the_middle(halls, service):
    """After SIGTERM, the answers in flight are stored, and no answered question is sent again."""
    third = threading.Event()
    service.hold = lambda number: (third.set(), time.sleep(0.5)) if number == 2 else None
    process = halls.start("run", halls.spec, "-q")
    assert third.wait(60)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert len(service.answered) == 3
    assert halls.call("run", halls.spec).exit_code == 0
    assert sorted(Counter(body["question"] for body in service.answered).values()) == [1] * COUNT


@pytest.mark.parametrize("address", ["http://evil.example/ask", "https://evil.example/ask"])
def test_nothing_goes_to_an_address_that_is_not_allowed(halls, service, monkeypatch, address):
    """Questions and credentials go only to servers that the user has allowed."""
    monkeypatch.delenv("KIB_ALLOW_HOSTS", raising=False)
    monkeypatch.setenv("OURS_KEY", KEY)
    change(halls, service.url, address)
    for key in ("", 'api_key_env = "OURS_KEY"\n'):
        change(halls, "retries = 0\n", f"retries = 0\n{key}")
        for command in ("check", "run"):
            result = halls.call(command, halls.spec)
            assert result.exit_code == 2
            assert "systems.ours.url: kib does not send" in result.output
