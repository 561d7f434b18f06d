"""A chat endpoint on this machine that answers what it is asked, counts it, and fails as told."""

import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kib.records import Passage
from kib.testing import make_plugin
from kib_openai import endpoint
from kib_openai.writer import OpenAIWriter

KEY = "sk-secret-0815"


def wanted(text):
    """Kind and count of what a message asks for."""
    form = text[text.rindex("in this form:") :]
    kind = re.search(r'\{"(\w+)"', form)[1]
    return kind, int(re.search(r"(?:exactly|all) (\d+)", form)[1])


def passage(text):
    """The passage in a message."""
    return re.search(r"Passage:\n(.*?)\n\n", text + "\n\n", re.DOTALL)[1]


def answer(body):
    """What a diligent model would write: numbered texts, the first word of the passage as proof."""
    text = body["messages"][0]["content"]
    kind, count = wanted(text)
    told, seed = passage(text), body.get("seed", "-")
    before = len(re.findall(r"^- (?:Version|Question) \d", text, re.MULTILINE))
    numbers = range(before + 1, before + count + 1)
    if kind == "paraphrases":
        return {kind: [f"Version {n} (seed {seed}): {told}" for n in numbers]}
    if kind == "pairs":
        return {kind: [{"question": f"Question {n} on {told[:30]}?", "answer": f"answer {n}"} for n in numbers]}
    if kind == "order":
        return {kind: list(range(count, 0, -1))}
    words = told.split()
    return {
        kind: [
            {"question": f"What stands at {n} in {words[0]} {words[1]}?", "right": f"right {n}"}
            | {"wrong": [f"wrong {n}{letter}" for letter in "abc"], "quote": " ".join(words[n : n + 3])}
            for n in numbers
        ]
    }


class Server(ThreadingHTTPServer):
    """Faults are taken in turn, one a request, None for none; `bodies` are all requests, `answered` those paid for."""

    key = KEY
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.answered, self.headers, self.faults = [], [], [], []
        self.write, self.usage, self.turn = answer, {"prompt_tokens": 100, "completion_tokens": 50}, threading.Lock()
        self.busy = self.most_busy = 0
        self.hold = lambda text: None

    @property
    def url(self):
        """What `base_url` is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        """A client that has gone away is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Say nothing."""

    def do_POST(self):
        """A chat completion, or the next fault."""
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.turn:
            fault = server.faults.pop(0) if server.faults else None
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.busy += 1
            server.most_busy = max(server.busy, server.most_busy)
        try:
            self.answer(server, body, fault)
        finally:
            with server.turn:
                server.busy -= 1

    def answer(self, server, body, fault):
        """Faults: a status, (status, headers, text), "cut", the model's words, or a function to call first."""
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
        if callable(fault):
            fault()
        server.hold(body["messages"][0]["content"])
        words = fault if isinstance(fault, str) else json.dumps(server.write(body))
        with server.turn:
            server.answered.append(body)
        choice = {"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
        return self.send(200, {}, json.dumps({"choices": [choice], "usage": server.usage}))

    def send(self, status, headers, text):
        """A whole response."""
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(monkeypatch):
    """A running endpoint; the key to it is in the environment, and waiting is short."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def writer(server):
    """A function that makes a writer of the endpoint with options."""
    return lambda **options: make_plugin(OpenAIWriter, {"model": "m", "base_url": server.url, **options})


@pytest.fixture
def passages():
    """A function that makes passages of eight words, each with a title."""

    def make(number):
        texts = [f"Pump {n} stands in hall {n * 7} beside door {n}." for n in range(number)]
        return [Passage(f"d{n}#0", f"d{n}", f"Pump {n}", text, 0, len(text)) for n, text in enumerate(texts)]

    return make
