"""A real server, llama.cpp with a real model, that is killed and restarted in the middle of a command."""

import json
import os
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(
    os.environ.get("KIB_TEST_LLAMA_SERVER") or Path(__file__).parents[2] / "shared" / "llama-server" / "serve"
)
MODEL = Path(os.environ.get("KIB_TEST_GEMMA") or "no-such-folder")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.access(SCRIPT, os.X_OK), reason=f"no {SCRIPT}: set KIB_TEST_LLAMA_SERVER to the script"),
    pytest.mark.skipif(
        not (MODEL / "model.gguf").is_file(), reason="set KIB_TEST_GEMMA to a folder with model.gguf and a tokenizer"
    ),
]

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo"}

SPEC = """schema = 1
name = "real"
[models.api]
plugin = "lm-eval"
backend = "local-completions"
args = { model = "gemma", max_gen_toks = 3, tokenizer = "MODEL" }
local_args = { base_url = "URL/v1/completions", max_retries = 1 }
[corpora.people]
plugin = "toy"
documents = {documents}
[writers.api]
plugin = "openai"
model = "gemma"
base_url = "URL/v1"
api_key_env = ""
max_tokens = 8
attempts = 1
retries = 0
concurrency = 1
timeout = 600.0
prompts = { questions = "{{ passage.text }}" }
[tasks.capitals]
TASK
[methods.base]
"""

GENERATED = """plugin = "lm-eval"
task = "nq_open"
data = { train = "capitals.jsonl", validation = "capitals.jsonl" }"""

CHOSEN = """plugin = "file"
path = "people.jsonl" """


class LlamaServer:
    """A llama.cpp server behind a relay, which records every request and kills the server after `lives` answers."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.answered, self.lives = folder, [], None
        self.start()

    def start(self):
        """Start or restart the server, and wait until it is ready."""
        command = [SCRIPT, "start", self.folder, MODEL / "model.gguf", str(self.port)]
        # Not into a pipe, which would stay open as long as the server runs.
        with (self.folder.with_suffix(".log")).open("w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, timeout=600)

    def kill(self):
        """Kill the server with SIGKILL."""
        subprocess.run([SCRIPT, "kill", self.folder], check=True)

    def forward(self, path, body):
        """Return the status and the text of the server's answer."""
        address = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 - http
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        if body:
            self.answered.append(body)
            if self.lives == len(self.answered):
                self.kill()
        return status, text


class Relay(BaseHTTPRequestHandler):
    """Sends each request on to the server; a request that the server does not answer loses its connection."""

    def log_message(self, *arguments):
        """Suppress the log output."""

    def do_GET(self):
        """Relay a request without a body."""
        self.relay(None)

    def do_POST(self):
        """Relay a request with a body."""
        self.relay(self.rfile.read(int(self.headers["Content-Length"])))

    def relay(self, body):
        """Relay one request."""
        try:
            status, text = self.server.llama.forward(self.path, body)
        except OSError:
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server with a relay, shared by all tests of this file."""
    llama = LlamaServer(tmp_path_factory.mktemp("llama") / "server")
    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as relay:
        relay.llama, llama.url = llama, f"http://127.0.0.1:{relay.server_address[1]}"
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield llama
        relay.shutdown()
        thread.join()
    llama.kill()


@pytest.fixture
def llama(running):
    """The running server with an empty record of requests."""
    running.answered, running.lives = [], None
    return running


def write(bench, llama, task, *changes):
    """Write a benchmark on the server with a task, and the data of the task."""
    spec = SPEC.replace("URL", llama.url).replace("TASK", task).replace("MODEL", MODEL.as_posix())
    for before, after in changes:
        assert before in spec
        spec = spec.replace(before, after)
    rows = [{"question": f"what is the capital of {land}", "answer": [city]} for land, city in CAPITALS.items()]
    documents = [[land, land, f"The capital of {land} is {city}."] for land, city in CAPITALS.items()]
    bench.write_toy(spec=spec, documents=documents)
    (bench.folder / "capitals.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_what_the_server_can_do(bench, llama):
    """The check of a real server says that it generates text, and returns no log-probabilities of the prompt."""
    write(bench, llama, CHOSEN)
    result = bench.call("check", "bench.toml", "-q")
    assert result.exit_code == 2
    assert "log-probabilities of the prompt: no, generated text: yes\n" in result.stdout
    assert "the server returned no log-probabilities of the prompt; use a server" in result.stderr
    assert len(llama.answered) == 2


def test_a_killed_server_of_a_model(bench, llama):
    """After the death of a model's server, the run fails in one sentence, and the next run asks nothing twice."""
    write(bench, llama, GENERATED, (f'tokenizer = "{MODEL.as_posix()}"', 'tokenizer_backend = "none"'))
    llama.lives = 2
    failed = bench.call("run", "bench.toml", "-q")
    assert failed.exit_code == 5
    assert f"{llama.url}/v1/completions: the connection failed (" in failed.output
    assert "Traceback" not in failed.output
    llama.start()
    assert bench.call("run", "bench.toml", "-q").exit_code == 0
    assert sorted(Counter(llama.answered).values()) == [1] * len(CAPITALS)


def test_a_killed_server_of_a_writer(bench, llama, monkeypatch):
    """After the death of a writer's server, the next command asks nothing twice, and continues after broken answers."""
    pytest.importorskip("kib_openai")
    monkeypatch.setattr("kib_openai.writer.FIRST_PASSAGES", 99)
    write(bench, llama, CHOSEN)
    llama.lives = 1  # three requests in a row without an answer end the command
    options = {"--corpus": "people", "--out": "new.jsonl", "--count": "1", "--keep": "1"}
    command = ("questions", "bench.toml", "-q", *(part for option in options.items() for part in option))
    failed = bench.call(*command)
    assert failed.exit_code == 5
    assert "the connection failed (" in failed.output
    llama.start()
    broken = bench.call(*command)  # 8 tokens are never a complete question
    assert broken.exit_code == 2
    assert "no question was kept: no questions were written for 4 passages; the first reason: passage " in broken.output
    assert "the answer was truncated" in broken.output
    assert sorted(Counter(llama.answered).values()) == [1] * len(CAPITALS)


CHAT = """schema = 1
name = "chat"
[models.base]
plugin = "toy"
[tasks.capitals]
plugin = "file"
path = "open.jsonl"
scoring = "contains"
max_tokens = 4
[methods.base]
models = ["base"]
"""

AS_MODEL = """
[models.api]
plugin = "openai-chat"
model = "gemma"
base_url = "URL/v1"
api_key_env = ""
retries = 0
concurrency = 1
timeout = 600.0
repeat_questions = 0
[methods.api]
models = ["api"]
"""

AS_SYSTEM = """
[systems.api]
plugin = "http"
url = "URL/v1/chat/completions"
request = { messages = [{ role = "user", content = "{{ question }}" }], max_tokens = 4, temperature = 0 }
answer = "choices[0].message.content"
retries = 0
concurrency = 1
timeout = 600.0
[methods.api]
system = "api"
"""


@pytest.mark.parametrize("kind", [AS_MODEL, AS_SYSTEM], ids=["chat model", "system"])
def test_a_server_that_is_killed_twice(bench, llama, kind):
    """However often the server of a model or system dies, runs keep all answers, and nothing is asked twice."""
    pytest.importorskip("kib_openai")
    rows = [{"question": f"What is the capital of {land}?", "answer": city} for land, city in CAPITALS.items()]
    bench.write((CHAT + kind).replace("URL", llama.url), open_jsonl="\n".join(map(json.dumps, rows)))
    for lives in (1, 3):
        llama.lives = lives
        failed = bench.call("run", "bench.toml", "-q")
        assert failed.exit_code == 5, failed.output
        assert "Traceback" not in failed.output
        assert len(llama.answered) == lives
        llama.start()
    assert bench.call("run", "bench.toml", "-q").exit_code == 0
    assert sorted(Counter(llama.answered).values()) == [1] * len(CAPITALS)
