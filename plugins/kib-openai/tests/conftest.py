"""A local mock of a chat endpoint, which answers all kinds of requests, records requests and fails on demand."""

import json
import re
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.records import Passage
from kib.testing import make_plugin
from kib_openai import endpoint
from kib_openai.writer import OpenAIWriter

KEY = "sk-secret-0815"

SPEC = """schema = 1
name = "own"

[models.lab]
plugin = "lab"

[corpora.pumps]
plugin = "jsonl"
path = "pumps.jsonl"
chunk = { sentences = 2 }

[writers.gpt]
plugin = "openai"
model = "m"
base_url = "URL"

[trainers.par]
plugin = "lora"
text = { writer = "gpt", count = 7 }

[tasks.own]
plugin = "file"
path = "questions.jsonl"
corpus = "pumps"

[methods.ft]
train = "par"

[prices]
input_tokens_million = 1000.0
output_tokens_million = 2000.0
"""


def requested(message):
    """Return the kind and the number of texts that a message requests."""
    form = message[message.rindex("in this form:") :]
    kind = re.search(r'\{"(\w+)"', form)[1]
    return kind, int(re.search(r"(?:exactly|all) (\d+)", form)[1])


def passage_text(message):
    """Return the text of the passage in a message."""
    return re.search(r"Passage:\n(.*?)\n\n", message + "\n\n", re.DOTALL)[1]


def valid_answer(body):
    """Return a valid answer to a request, with numbered texts and quotes from the passage."""
    message = body["messages"][0]["content"]
    kind, count = requested(message)
    passage, seed = passage_text(message), body.get("seed", "-")
    before = len(re.findall(r"^- (?:Version|Question) \d", message, re.MULTILINE))
    numbers = range(before + 1, before + count + 1)
    if kind == "paraphrases":
        return {kind: [f"Version {n} (seed {seed}): {passage}" for n in numbers]}
    if kind == "pairs":
        wrong = re.search(r'"wrong": \[(.*?)\]', message)
        others = {"wrong": [f"wrong {n}" for n in range(wrong[1].count("…"))]} if wrong else {}
        questions = [(f"Question {n} on {passage[:30]}?", f"answer {n}") for n in numbers]
        return {kind: [{"question": question, "answer": answer, **others} for question, answer in questions]}
    if kind == "order":
        return {kind: list(range(count, 0, -1))}
    words = passage.split()
    return {
        kind: [
            {"question": f"What stands at {n} in {words[0]} {words[1]}?", "right": f"right {n}"}
            | {"wrong": [f"wrong {n}{letter}" for letter in "abc"], "quote": " ".join(words[n : n + 3])}
            for n in numbers
        ]
    }


class Server(ThreadingHTTPServer):
    """Records all requests in `bodies`, and applies the next entry of `faults` to each request (None: no fault)."""

    key = KEY
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.headers, self.faults = [], [], []
        self.write, self.usage = valid_answer, {"prompt_tokens": 100, "completion_tokens": 50}
        self.about, self.rejects = {}, lambda body: None
        self.lock, self.active, self.most_active = threading.Lock(), 0, 0
        self.hold = lambda message: None
        self.crashes_on = lambda message: False

    @property
    def url(self):
        """The endpoint's address, for the option `base_url`."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        """Ignore clients that disconnect, because some tests kill the client."""


class Handler(BaseHTTPRequestHandler):
    """Handles one connection to the mock endpoint."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Suppress the log output of the HTTP server."""

    def do_POST(self):
        """Respond with a chat completion or with the next fault."""
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            fault = server.faults.pop(0) if server.faults else server.rejects(body)
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.active += 1
            server.most_active = max(server.active, server.most_active)
        message = body["messages"][0]["content"]
        try:
            server.hold(message)
            crash = (500, {}, '{"error": {"message": "grammar parse failed"}}')
            self.answer(server, body, crash if server.crashes_on(message) else fault)
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, server, body, fault):
        """Answer a request; a fault is a status, a response, bytes to send slowly, "cut", an answer, or a function."""
        if self.path != "/v1/chat/completions":
            return self.send(404, {}, '{"error": {"message": "no such path"}}')
        if fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if isinstance(fault, int):
            return self.send(fault, {}, f'{{"error": {{"message": "status {fault}"}}}}')
        if isinstance(fault, tuple):
            return self.send(*fault)
        if isinstance(fault, list):
            for piece in fault:
                self.wfile.write(piece)
                time.sleep(0.02)
            return None
        if callable(fault):
            fault()
        text = fault if isinstance(fault, str) else server.write(body)
        text = text if isinstance(text, str) else json.dumps(text)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return self.send(200, {}, json.dumps({"choices": [choice], "usage": server.usage, **server.about}))

    def send(self, status, headers, text):
        """Send a complete response."""
        data = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(monkeypatch):
    """A running mock endpoint with its key in the environment, and with almost no delay between retries."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.001)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def writer(server):
    """Return a function that returns a writer for the endpoint with the given options."""
    return lambda **options: make_plugin(OpenAIWriter, {"model": "m", "base_url": server.url, **options})


@pytest.fixture
def passages():
    """Return a function that returns passages of ten words, each with a title."""

    def make(number):
        texts = [f"Pump {n} stands in hall {n * 7} beside door {n}." for n in range(number)]
        return [Passage(f"d{n}#0", f"d{n}", f"Pump {n}", text, 0, len(text)) for n, text in enumerate(texts)]

    return make


@pytest.fixture
def write():
    """Return a function that returns the texts of a writer as a list, by default without earlier paid answers."""
    return lambda writer, passages, count=1, paid_answers=None, seed=0: list(
        writer.write(passages, count, seed, {} if paid_answers is None else paid_answers)
    )


@pytest.fixture
def kib(server, tmp_path, monkeypatch):
    """Return a function that calls the command line in a folder with a benchmark that has no questions yet."""
    texts = [f"Pump {n} stands in hall {n * 7} beside door {n}. Its lever is red and {n} feet long." for n in range(5)]
    lines = [json.dumps({"id": f"pump-{n}", "title": f"Pump {n}", "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "pumps.jsonl").write_text("\n".join(lines))
    (tmp_path / "own.toml").write_text(SPEC.replace("URL", server.url))
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        handler = signal.getsignal(signal.SIGTERM)
        try:
            result = CliRunner().invoke(main, list(arguments), prog_name="kib")
        finally:
            signal.signal(signal.SIGTERM, handler)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def questions(kib):
    """Write a question file for the benchmark without calling the endpoint."""
    row = {"question": "Where does pump 1 stand?", "options": ["hall 7", "hall 8"], "answer": "A", "document": "pump-1"}
    Path("questions.jsonl").write_text(json.dumps({"id": "one", **row}))
