"""lm-eval's backends with a server: the server's capabilities, batches, chats and errors, with a local HTTP server."""

import gc
import gzip
import json
import math
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kib.errors import InputError, ServerUnavailableError, StepError
from kib.harness.backends import quiet
from kib.harness.requests import answer, batches
from kib.interfaces import ProbedModel
from kib.plugins.builtin.lm_eval_model import LmEvalModel
from kib.records import Request
from kib.testing import make_plugin

pytest.importorskip("tenacity", reason="lm-eval's API backends need the package tenacity")

KEY = "sk-secret-4711"

NO_LOG_PROBABILITIES = "the server returned no log-probabilities of the prompt; use a server that returns"


def completion(body, log_probabilities=None):
    """Return a completion, whose text is the last word of the prompt, or the answer to a chat."""
    prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    text = prompt.split()[-1] if isinstance(prompt, str) else "tokens"
    return {"choices": [{"index": 0, "text": text, "message": {"content": text}, "logprobs": log_probabilities}]}


def prompt_log_probabilities(body):
    """Return a completion with a log-probability for every character of the prompt and one generated character."""
    letters = [*body["prompt"], "."]
    given = {"tokens": letters, "text_offset": list(range(len(letters))), "token_logprobs": [-1.0] * len(letters)}
    return completion(body, {**given, "top_logprobs": [{letter: -1.0} for letter in letters]})


class Handler(BaseHTTPRequestHandler):
    """Records every request, and sends the result of `reply`: a status with a text, or a JSON value with status 200.

    The text is sent in pieces of `piece` bytes, with a wait of `wait` seconds after each piece.
    """

    def log_message(self, *arguments):
        """Suppress the log output."""

    def do_POST(self):
        """Answer a completion request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        reply = self.server.reply(body)
        status, text, *headers = reply if isinstance(reply, tuple) else (200, json.dumps(reply))
        data = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in usual.items() if not headers else (usual | headers[0]).items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(data), self.server.piece):
            self.wfile.write(data[start : start + self.server.piece])
            self.server.ended.wait(self.server.wait)


@pytest.fixture
def server(monkeypatch):
    """A local server that generates text, and that returns no log-probabilities unless `reply` is replaced."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.bodies, running.reply = [], completion
        running.piece, running.wait, running.ended = 10**6, 0, threading.Event()
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.ended.set()
        running.shutdown()
        thread.join()


def model(server, backend="local-completions", **local_args):
    """Return a model on the server; the backend gguf needs no tokenizer for log-probabilities."""
    url = server.url if backend == "gguf" else f"{server.url}/v1/completions"
    args = {} if backend == "gguf" else {"model": "m", "tokenizer_backend": "none", "max_retries": 1}
    return make_plugin(LmEvalModel, {"backend": backend, "args": args, "local_args": {"base_url": url, **local_args}})


def generate(*prompts):
    return [Request("generate_until", (prompt, {"until": ["\n"]})) for prompt in prompts]


def test_a_server_with_log_probabilities(server):
    """A server that returns log-probabilities of the prompt passes the test, which contains none of the user's text."""
    server.reply = prompt_log_probabilities
    made = model(server, "gguf")
    assert isinstance(made, ProbedModel)
    assert made.probed_server() == server.url
    assert made.probe(["loglikelihood", "generate_until"]) == {}
    assert [body["prompt"] for body in server.bodies] == ["The capital of France is Paris", "The capital of France is"]
    [[number, _]] = answer(made.load(), [Request("loglikelihood", ("The capital is", " Rome"))])
    assert math.isclose(number, -5)


LLAMA_CPP = {"content": [{"token": " the", "logprob": -1.6, "top_logprobs": [{"token": " the", "logprob": -1.6}]}]}


@pytest.mark.parametrize("log_probabilities", [None, {}, LLAMA_CPP, {"token_logprobs": []}, {"token_logprobs": None}])
@pytest.mark.parametrize("backend", ["local-completions", "gguf"])
def test_a_server_without_log_probabilities(server, backend, log_probabilities, lm_tokens):
    """A server that returns no log-probabilities of the prompt fails the test, in whatever form it omits them."""
    server.reply = lambda body: completion(body, log_probabilities)
    reasons = model(server, backend).probe(["loglikelihood", "generate_until"])
    assert list(reasons) == ["loglikelihood"]
    assert NO_LOG_PROBABILITIES in reasons["loglikelihood"]
    assert len(server.bodies) == 2


@pytest.fixture
def lm_tokens(monkeypatch):
    """Give API backends without a tokenizer one token per character, so that they can request log-probabilities."""
    from lm_eval.models.api_models import TemplateAPI

    monkeypatch.setattr(TemplateAPI, "tok_encode", lambda _, text, **__: list(text.encode()))
    monkeypatch.setattr(TemplateAPI, "decode_batch", lambda _, texts: [bytes(text).decode() for text in texts])
    monkeypatch.setattr(TemplateAPI, "tokenizer", property(lambda _: "letters", lambda _, value: None), raising=False)
    monkeypatch.setattr(TemplateAPI, "eos_string", None)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((401, f"the key {KEY} is wrong"), r"the server rejected the request \(401\): the key … is wrong"),
        ((404, "no such model"), r"the server rejected the request \(404\): no such model"),
        ((400, '{"error": "no echo"}'), r'the server rejected the request \(400\): {"error": "no echo"}'),
        ((503, "Loading model"), r"the server returned status 503: Loading model; all complete batches are stored"),
        ((429, "busy"), "the server returned status 429: busy; all complete batches"),
        ((200, "<html>"), "the server's answer is not JSON: <html>; all complete batches are stored"),
        ({"error": "overloaded"}, r"the backend cannot read the server's answer \(KeyError: 'choices'\)"),
        ([], "the backend cannot send the request or read the answer: "),
        ({"choices": [{"index": 0}]}, r"the backend cannot read the server's answer \(KeyError: 'text'\)"),
    ],
)
def test_failures(server, reply, reason):
    """An error of the server is one sentence with the address and the server's message, without the credential."""
    server.reply = lambda _: reply
    with pytest.raises((InputError, StepError)) as error:
        answer(model(server).load(), generate("a"))
    assert re.search(reason, str(error.value))
    assert str(error.value).startswith(f"{server.url}/v1/completions: ")
    assert "\n" not in str(error.value)
    assert KEY not in str(error.value)
    assert isinstance(error.value, StepError) == bool(re.search("stored", str(error.value)))


@pytest.mark.parametrize("concurrent", [1, 2])
def test_a_server_that_is_down(concurrent, caplog):
    """If the server does not answer, one sentence says so and explains how to resume, and no library logs more."""
    quiet()
    options = {"backend": "local-completions", "args": {"model": "m", "tokenizer_backend": "none", "max_retries": 1}}
    url = "http://127.0.0.1:1/v1/completions"
    made = make_plugin(LmEvalModel, {**options, "local_args": {"base_url": url, "num_concurrent": concurrent}})
    with pytest.raises(StepError, match=rf"^{url}: the connection failed \(\w+\); .* run the same command again"):
        answer(made.load(), generate("a", "b"))
    with pytest.raises(ServerUnavailableError, match=rf"^{url}: cannot connect to the server \(\w+\)$"):
        made.probe(["loglikelihood", "generate_until"])  # without a tokenizer, lm-eval would not even connect
    gc.collect()  # asyncio logs the errors of unfinished requests when their tasks are deleted
    assert caplog.messages == []


@pytest.mark.parametrize("wait", [0.02, 60])
@pytest.mark.parametrize("concurrent", [1, 2])
def test_an_answer_that_is_not_complete_in_time(server, concurrent, wait):
    """The argument `timeout` limits the time until an answer is complete, even if bytes arrive all the time."""
    server.piece, server.wait = 1, wait
    made = model(server, num_concurrent=concurrent).load()
    made.timeout = 0.2
    with pytest.raises(
        StepError, match=r"the server did not finish its answer within 0.2 seconds \(argument `timeout`\)"
    ):
        answer(made, generate("a"))


def test_a_compressed_answer(server):
    """A compressed answer is decompressed."""
    packed = gzip.compress(json.dumps(completion({"prompt": "a b"})).encode())
    server.reply = lambda _: (200, packed, {"Content-Encoding": "gzip"})
    assert answer(model(server).load(), generate("a")) == ["b"]


def test_an_answer_that_ends_early(server):
    """If the server closes the connection before its answer is complete, the error says that the connection failed."""
    server.reply = lambda _: (200, json.dumps(completion({"prompt": "a b"})).encode(), {"Content-Length": "9999"})
    with pytest.raises(StepError, match=r"the connection failed \(ConnectionError\); all complete batches are stored"):
        answer(model(server).load(), generate("a"))


def test_log_probabilities_without_a_tokenizer(server):
    """A backend without a tokenizer cannot request log-probabilities, and the reason names the missing options."""
    reasons = model(server).probe(["loglikelihood"])
    assert "set `tokenizer_backend` and `tokenizer` in `args`" in reasons["loglikelihood"]


@pytest.mark.parametrize(("options", "size"), [({}, 1), ({"num_concurrent": 3}, 3), ({"batch_size": "auto"}, 1)])
def test_batches_are_small(server, options, size):
    """A batch, which is stored as a whole, contains only the requests that the backend sends at the same time."""
    asked = [*generate(*map(str, range(7))), Request("loglikelihood", ("a", "b"))]
    made = batches(asked, model(server, **options).load())
    assert sorted(map(len, made)) == sorted([1] + [size] * (7 // size) + ([7 % size] if 7 % size else []))
    assert all(len({request.kind for request in batch}) == 1 for batch in made)


@pytest.mark.parametrize("concurrent", [1, 2])
def test_a_chat_backend(server, concurrent):
    """A backend that accepts only chats receives each prompt as a chat with one message."""
    made = model(server, "local-chat-completions", num_concurrent=concurrent)
    assert answer(made.load(), generate("Say one", "Say two")) == ["one", "two"]
    sent = sorted(body["messages"][0]["content"] for body in server.bodies)
    assert sent == ["Say one", "Say two"]
    assert {body["messages"][0]["role"] for body in server.bodies} == {"user"}


@pytest.mark.parametrize("concurrent", [1, 2])
def test_chats_of_several_messages(server, concurrent):
    """A chat backend receives a rendered chat as its messages, and omits an empty list of stop texts."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say\none"}]
    made = model(server, "local-chat-completions", num_concurrent=concurrent)
    asked = Request("generate_until", (made.chat(messages, True), {"until": [], "max_gen_toks": 4}))
    assert answer(made.load(), [asked]) == ["one"]
    [body] = server.bodies
    assert body["messages"] == messages
    assert "stop" not in body


@pytest.mark.parametrize("concurrent", [1, 2])
def test_a_chat_backend_with_a_tokenizer(server, concurrent, tmp_path):
    """A chat backend sends messages even if its arguments ask for tokens, because a chat cannot contain tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"?": 0}, "?")), pad_token="?")  # noqa: S106
    tokenizer.save_pretrained(tmp_path)
    args = {"model": "m", "tokenizer_backend": "huggingface", "tokenizer": str(tmp_path), "max_retries": 1}
    local_args = {"base_url": server.url, "tokenized_requests": True, "num_concurrent": concurrent}
    made = make_plugin(LmEvalModel, {"backend": "local-chat-completions", "args": args, "local_args": local_args})
    assert answer(made.load(), generate("Say one")) == ["one"]


def test_completions_are_not_chats(server):
    """A backend that accepts only text refuses chats with the key to change."""
    with pytest.raises(InputError, match=r"^the backend local-completions does not accept chats; set `chat_template ="):
        model(server).chat([{"role": "user", "content": "Who?"}], True)


GENERATED = """schema = 1
name = "chats"
[models.m]
plugin = "lm-eval"
backend = "local-chat-completions"
args = { model = "m" }
local_args = { base_url = "URL", max_retries = 1 }
[corpora.people]
plugin = "toy"
documents = {documents}
[retrievers.oracle]
plugin = "oracle"
[tasks.people]
plugin = "file"
path = "people.jsonl"
corpus = "people"
scoring = "contains"
limit = 2
[methods.base]
[methods.oracle]
retrieve = "oracle"
"""


@pytest.mark.parametrize("chat", [False, True])
def test_a_benchmark_on_a_chat_backend(bench, server, chat):
    """A task with generated answers runs on a chat backend, with `chat_template` as messages with an instruction."""
    spec = GENERATED.replace("URL", server.url)
    spec = spec.replace("[corpora", f"chat_template = {str(chat).lower()}\n[corpora")
    bench.write_toy(spec=spec)
    result = bench.call("run", "bench.toml", "-q")
    assert result.exit_code == 0, result.output
    assert len(server.bodies) == 4
    for body in server.bodies:
        *instructions, last = body["messages"]
        assert [message["role"] for message in instructions] == ["system"] * chat
        assert last["role"] == "user"
        assert last["content"].endswith("Answer:")
        assert last["content"].startswith(("Question: ", "Context:\n"))
        assert body.get("stop") == (None if chat else ["Question:"])


TUNED = """[models.tuned]
plugin = "lm-eval"
backend = "local-chat-completions"
args = { model = "tuned" }
local_args = { base_url = "URL", max_retries = 1 }
[methods.ft]
trained_as = "tuned"
"""


def test_a_chat_model_trained_elsewhere(bench, server):
    """A chat backend measures a base and the model trained from it, whose row is compared with the base."""
    bench.write_toy(spec=(GENERATED + TUNED).replace("URL", server.url))
    server.reply = lambda body: {
        "choices": [
            {"index": 0, "message": {"content": {"m": "No idea.", "tuned": "Norwick, Überlingen"}[body["model"]]}}
        ]
    }
    assert bench.run() == {}
    assert Counter(body["model"] for body in server.bodies) == {"m": 4, "tuned": 2}
    rows = {row["arm"]: row for row in json.loads(bench.call("leaderboard", "--format", "json").stdout)["rows"]}
    assert (rows["ft"]["model"], rows["ft"]["reference"], rows["ft"]["trained_as"]) == ("m", "base", "tuned")
    assert rows["base"]["accuracy"] == 0 < rows["ft"]["accuracy"] == rows["ft"]["gain"]


def test_a_chat_backend_without_log_probabilities(server):
    """A chat backend fails the test for log-probabilities without a request."""
    reasons = model(server, "local-chat-completions").probe(["loglikelihood"])
    assert "does not return log-probabilities; use tasks that generate text" in reasons["loglikelihood"]
    assert not server.bodies


def test_models_without_a_server():
    """A backend in kib's own process, or with a server that kib cannot know, receives no test request."""
    assert make_plugin(LmEvalModel, {"backend": "dummy"}).probed_server() is None
    assert make_plugin(LmEvalModel, {"backend": "litellm", "args": {"model": "m"}}).probed_server() is None


SPEC = """schema = 1
name = "served"
[models.m]
plugin = "lm-eval"
backend = "gguf"
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


@pytest.fixture
def served(bench, server):
    """Return a benchmark with a multiple-choice task and a model on the server."""
    return bench.write_toy(spec=SPEC.replace("URL", server.url))


def test_a_check_reports_what_a_server_can_do(served, server):
    """The command `kib check` says before it sends a test request, and lists the results of the test."""
    server.reply = prompt_log_probabilities
    result = served.call("check", "bench.toml")
    assert result.exit_code == 0, result.output
    assert f"models.m: sending test requests without your text to {server.url}; omit the test with" in result.output
    assert f"models.m: test of {server.url}: log-probabilities of the prompt: yes\n" in result.stdout
    assert len(server.bodies) == 1


def test_a_check_names_tasks_that_cannot_be_measured(served, server):
    """If a server cannot measure a task, `kib check` fails with the task, the missing capability and an alternative."""
    result = served.call("check", "bench.toml", "-q")
    assert result.exit_code == 2
    assert "log-probabilities of the prompt: no, generated text: yes\n" in result.stdout
    start = "Error: models.m: task people cannot be measured without log-probabilities of the prompt, and the test "
    assert f"{start}request failed: {server.url}: {NO_LOG_PROBABILITIES}" in result.stderr
    assert result.stderr.endswith("(1 cell)\n")
    assert len(server.bodies) == 2


def test_a_check_without_test_requests(served, server):
    """With `--no-probe`, `kib check` sends no request to the server of a model."""
    assert served.call("check", "bench.toml", "--no-probe", "-q").exit_code == 0
    assert not server.bodies


def test_a_run_without_a_check(served, server):
    """A run on a server without log-probabilities fails after the first request with the reason."""
    result = served.call("run", "bench.toml", "-q")
    assert result.exit_code == 3
    assert f"{server.url}: {NO_LOG_PROBABILITIES}" in result.output
    assert "Traceback" not in result.output
    assert len(server.bodies) == 1


def test_an_interrupted_run_repeats_no_answered_request(served, server, monkeypatch):
    """If a server fails in the middle of a run, the next run sends only the requests without an answer."""

    def reply(body):
        return (503, "down") if len(server.bodies) == 9 else prompt_log_probabilities(body)

    server.reply = reply
    monkeypatch.setattr("lm_eval.models.gguf.GGUFLM.gguf_completion.__defaults__", (None, None, 1, 0))  # no retries
    assert served.call("run", "bench.toml", "-q").exit_code == 5
    server.reply = prompt_log_probabilities
    assert served.call("run", "bench.toml", "-q").exit_code == 0
    sent = Counter(body["prompt"] for body in server.bodies)
    assert len(sent) == 18 * 4
    assert sorted(sent.values())[-2:] == [1, 2]
