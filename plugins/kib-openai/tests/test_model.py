"""The model `openai-chat`: requests, answers, interrupted runs and failures, with a local HTTP server."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from kib.errors import InputError, MissingAnswersError
from kib.harness.requests import answer, answer_each
from kib.interfaces import ChatOnlyModel, CheckedModel, Model, ProbedModel, SeparateBackend
from kib.records import Request, ServedAnswer
from kib.spec.options import identity_options
from kib.testing import check_model, check_options, check_plugin, check_recipients, make_plugin
from kib_openai.model import OpenAIChatModel

SPEC = """schema = 1
name = "chats"
[models.gpt]
plugin = "openai-chat"
model = "m"
base_url = "URL"
retries = 0
repeat_questions = 0
[corpora.pumps]
plugin = "jsonl"
path = "pumps.jsonl"
[retrievers.oracle]
plugin = "oracle"
[tasks.halls]
plugin = "file"
path = "halls.jsonl"
corpus = "pumps"
scoring = "contains"
[methods.base]
[methods.oracle]
retrieve = "oracle"
"""

QUESTIONS = 5


def last_words(body):
    """Return the last words of a prompt, so that equal prompts have equal answers of one line."""
    return body["messages"][-1]["content"].splitlines()[-1][-20:]


def reader(body):
    """Return the hall of the asked pump if the prompt contains a passage, and otherwise a wrong hall."""
    message = body["messages"][-1]["content"]
    asked = re.search(r"Question: Where does pump (\d) stand\?", message)[1]
    found = re.search(rf"Pump {asked} stands in (hall \d+)", message)
    return f"It is in {found[1]}." if found else "It is in hall 99."


@pytest.fixture
def model(server):
    """Return a function that returns a model on the server with the given options."""
    server.write = last_words
    return lambda **options: make_plugin(OpenAIChatModel, {"model": "m", "base_url": server.url, **options})


@pytest.fixture
def chats(kib, server):
    """Write a benchmark with open questions about pumps, which the server answers if it reads the right passage."""
    server.write = reader
    Path("chats.toml").write_text(SPEC.replace("URL", server.url))
    rows = [
        {"question": f"Where does pump {n} stand?", "answer": f"hall {n * 7}", "document": f"pump-{n}"}
        for n in range(QUESTIONS)
    ]
    Path("halls.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return lambda command="run", *options: kib(command, "chats.toml", "-q", *options)


def cell(method):
    """Return the stored result of a method."""
    [path] = Path("results/chats").rglob(f"{method}/*/*/cell.json")
    return json.loads(path.read_text())


def ask(prompt="Who?", **settings):
    """Return a request for a generated answer."""
    return Request("generate_until", (prompt, {"until": [], "max_gen_toks": 8, "do_sample": False, **settings}))


def test_contract(model):
    """The plugin is installed, follows the protocols of models, and names its server before it contacts the server."""
    assert check_plugin("models", "openai-chat") is OpenAIChatModel
    check_model(model, kinds=("generate_until",))
    for protocol in (Model, ChatOnlyModel, CheckedModel, ProbedModel):
        assert isinstance(model(), protocol)
    assert isinstance(model().load(), SeparateBackend)
    check_recipients(
        lambda address: make_plugin(OpenAIChatModel, {"model": "m", "base_url": address, "api_key_env": ""}),
        lambda one: one.load().generate_until([]),
    )
    check_options(
        OpenAIChatModel,
        accepts=[{"model": "m", "temperature": 1.0, "seed": 3, "reasoning_tokens": 100, "extra": {"top_p": 0.5}}],
        refuses=[
            {},
            {"model": "m", "extra": {"stop": ["x"]}},
            {"model": "m", "extra": {"messages": []}},
            {"model": "m", "base_url": "localhost:8000"},
            {"model": "m", "seed": -1},
        ],
    )


def test_the_body_of_a_request(model, server):
    """A request has the messages, the sampling options, the task's limit of tokens and at most four stop texts."""
    made = model(seed=4, reasoning_tokens=100, max_tokens_field="max_completion_tokens", extra={"top_p": 0.5})
    chat = made.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who\n?"}], True)
    server.faults = ["Ada. Bob"]
    assert answer(made.load(), [ask(chat, until=["1", "2", "3", "4", "."])]) == ["Ada"]
    [body] = server.bodies
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who\n?"}],
        "temperature": 0.0,
        "max_completion_tokens": 108,
        "top_p": 0.5,
        "seed": 4,
        "stop": ["1", "2", "3", "4"],
    }
    answer(model(send_seed=False, send_stop=False).load(), [ask(until="x")])
    assert not {"seed", "stop"} & server.bodies[1].keys()


def test_each_answer_is_stored_with_what_the_server_reports(model, server):
    """Each answer arrives with the served model, the fingerprint and the counted tokens; equal prompts cost once."""
    server.about = {"model": "m-2024", "system_fingerprint": "fp-1"}
    stored = {}
    requests = [ask("a"), ask("b"), ask("a")]
    answer_each(model().load(), requests, lambda request, served: stored.setdefault(request.arguments[0], served))
    reported = {"served model": "m-2024", "system_fingerprint": "fp-1"}
    assert stored == {text: ServedAnswer(text, reported, 100, 50) for text in "ab"}
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("message", "finish", "remark"),
    [
        ({"content": None, "reasoning": "Hm"}, "length", "the model used all their tokens for its reasoning; raise"),
        ({"content": "", "refusal": "No."}, "stop", "the model refused to answer"),
        ({"content": None}, "content_filter", "the endpoint filtered their content"),
        ({"content": None}, "stop", r"some answers are empty \(finish_reason stop\)"),
    ],
)
def test_empty_answers_have_a_remark(model, server, message, finish, remark):
    """An answer without text is an empty answer, and a remark states why answers are empty."""
    body = {"choices": [{"message": message, "finish_reason": finish}]}
    server.faults = [(200, {}, json.dumps(body))] * 2
    backend = model(concurrency=1).load()
    assert answer(backend, [ask("a"), ask("b")]) == ["", ""]
    [note] = backend.notes
    assert re.search(remark, note)


def test_identity_of_a_model_with_a_version(model):
    """The version belongs to the identity; a model without a version keeps the identity that it always had."""
    plain, second = (identity_options(model(**more).options) for more in ({}, {"version": "2"}))
    assert "version" not in plain
    assert second == {**plain, "version": "2"}


# Benchmarks


def test_a_new_version_asks_all_questions_again(chats, kib, server):
    """If the endpoint has served two models, no row is comparable until a new `version` asks all questions again."""

    def rows():
        return json.loads(kib("leaderboard", "results/chats", "--format", "json").stdout)["rows"]

    def write(body):
        server.about = {"model": "m-1" if len(server.bodies) <= QUESTIONS else "m-2"}
        return reader(body)

    server.write = write
    spec = Path("chats.toml")
    spec.write_text(spec.read_text().replace("retries = 0", "retries = 0\nconcurrency = 1"))
    assert chats().exit_code == 0
    assert [row["reason"] for row in rows()] == ["", "served model m-2 against m-1"]
    spec.write_text(spec.read_text().replace("retries = 0", 'retries = 0\nversion = "2"'))
    assert chats().exit_code == 0
    assert len(server.bodies) == 4 * QUESTIONS
    assert [row["gain"] for row in rows()] == [None, 1]


def test_empty_answers_are_counted_above_the_table(chats, kib, server):
    """The table counts the empty answers of each row, and `kib show` states the reason."""
    refused = {"choices": [{"message": {"content": "", "refusal": "No."}, "finish_reason": "stop"}]}
    server.faults = [(200, {}, json.dumps(refused))] * 2
    assert chats().exit_code == 0
    table = " ".join(kib("leaderboard", "results/chats").stdout.split())
    assert f"gpt/base/halls,0-shot: 2 of {QUESTIONS} answers are empty" in table
    assert "because the model refused to answer" in kib("show", "gpt/base").stdout


def test_a_benchmark(chats, server):
    """Each prompt is asked once as a chat, with passages in the last message, and the cell records the endpoint."""
    server.about = {"model": "m-2024", "system_fingerprint": "fp-1"}
    result = chats()
    assert result.exit_code == 0, result.output
    assert (cell("base")["correct"], cell("oracle")["correct"]) == (0, QUESTIONS)
    assert len(server.bodies) == 2 * QUESTIONS
    for body in server.bodies:
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
    [environment] = cell("oracle")["environments"]
    assert environment["packages"]["served model"] == "m-2024"
    assert environment["packages"]["system_fingerprint"] == "fp-1"
    assert "kib-openai" in environment["packages"]
    assert (cell("base")["prompt_tokens"], cell("base")["output_tokens"]) == (100 * QUESTIONS, 50 * QUESTIONS)


@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_nothing_is_asked_twice(chats, server, concurrency):
    """If the server fails twice in the middle of a run, no answered request is sent again, whatever is in flight."""
    spec = Path("chats.toml")
    spec.write_text(spec.read_text().replace("retries = 0", f"retries = 0\nconcurrency = {concurrency}"))
    answered = []

    def write(body):
        answered.append(json.dumps(body))
        return reader(body)

    server.write = write
    for before in (4, 2):
        server.faults = [None] * before + [503] * 20
        failed = chats()
        assert failed.exit_code == 5
        assert "the server returned status 503: status 503" in failed.output
        assert "Traceback" not in failed.output
    server.faults = []
    assert chats().exit_code == 0
    assert sorted(Counter(answered).values()) == [1] * 2 * QUESTIONS
    assert (cell("base")["correct"], cell("oracle")["correct"]) == (0, QUESTIONS)


def test_a_rejected_request_fails_only_its_cells(chats, server):
    """If the server rejects one prompt, the cells without this prompt are stored, and it alone is sent again."""
    long = '{"error": {"message": "the prompt is too long"}}'

    def rejects(body):
        message = body["messages"][-1]["content"]
        return (400, {}, long) if "Context:" in message and "pump 3" in message else None

    server.rejects = rejects
    result = chats()
    assert result.exit_code == 3
    assert "the server rejected the request (400): the prompt is too long; 1 request of 10 has no answer" in " ".join(
        result.output.split()
    )
    assert cell("base")["n"] == QUESTIONS
    assert not list(Path("results/chats").rglob("oracle/*/*/cell.json"))
    before = len(server.bodies)
    assert chats().exit_code == 3
    assert len(server.bodies) == before + 1


def test_a_server_that_rejects_everything(model, server):
    """If the server rejects the first requests, no further requests are sent, and the error quotes the server."""
    server.faults = [(400, {}, '{"error": {"message": "unknown field"}}')] * 20
    with pytest.raises(InputError, match=r"\(400\): unknown field; the first 3 requests have no answer") as caught:
        answer(model(retries=0, concurrency=1).load(), [ask(str(number)) for number in range(20)])
    assert not isinstance(caught.value, MissingAnswersError)
    assert len(server.bodies) <= 4


def test_a_server_that_is_down(chats):
    """If nothing listens at the address, the cells fail with one sentence and an exit code of their own."""
    spec = Path("chats.toml")
    spec.write_text(re.sub(r"127.0.0.1:\d+", "127.0.0.1:1", spec.read_text()))
    result = chats()
    assert result.exit_code == 5
    assert "http://127.0.0.1:1/v1/chat/completions: the connection failed (ConnectError); all answers" in result.output
    assert not list(Path("results").rglob("cell.json"))


def test_a_server_that_goes_down_is_not_worse(chats, kib, server):
    """If only answers of a server are missing, the check of a baseline lists the cells and does not say `worse`."""
    assert chats().exit_code == 0
    assert kib("leaderboard", "chats", "-q", "--update-baseline", "baseline.json").exit_code == 0
    halls = Path("halls.jsonl")
    halls.write_text(halls.read_text().replace("hall 21", "hall 22"))  # so that all cells are measured again
    shutil.rmtree("work")
    server.faults = [503] * 100
    assert chats().exit_code == 5
    checked = kib("leaderboard", "chats", "-q", "--check", "baseline.json")
    assert checked.exit_code == 5
    assert "baseline.json: no measured row is worse, but a server did not answer" in checked.output
    assert "2 failed because a server did not answer, of 2 planned" in checked.output
    assert "worse than" not in checked.output
    shown = kib("leaderboard", "chats", "-q", "--format", "json")
    assert shown.exit_code == 5
    assert {one["state"] for one in json.loads(shown.stdout)["missing"]} == {"unavailable"}


def test_a_rejected_and_an_unanswered_request(chats, server):
    """If the server rejects one prompt and never answers another, the run fails as a step, not as an outage."""

    def rejects(body):
        message = body["messages"][-1]["content"]
        asked = re.search(r"pump (\d) stand\?", message)[1]
        return {"3": (400, {}, "{}"), "2": 500}.get(asked) if "Context:" in message else None

    server.rejects = rejects
    assert chats().exit_code == 3


def test_a_check_sends_one_test_request(chats, server):
    """The command `kib check` sends one request without text of the user, and shows the messages of a prompt."""
    server.write = last_words
    result = chats("check")
    assert result.exit_code == 0, result.output
    assert "generated text: yes" in result.output
    [body] = server.bodies
    assert body["messages"] == [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    assert '[{"role": "system", "content": "Answer the question' in result.output


def test_log_probabilities_are_refused(chats, server):
    """A task that needs log-probabilities is refused by `kib check` and by a run, without a request for them."""
    spec = Path("chats.toml")
    spec.write_text(spec.read_text().replace('scoring = "contains"\n', ""))
    row = {"question": "Where?", "options": ["here", "there"], "answer": "A", "document": "pump-1"}
    Path("halls.jsonl").write_text(json.dumps(row))
    checked = chats("check")
    assert checked.exit_code == 2
    assert 'a chat endpoint returns no log-probabilities; set `scoring = "letter-text"`' in checked.output
    assert len(server.bodies) == 1
    assert "use tasks that generate text" in chats().output
    assert len(server.bodies) == 1


def test_options_are_asked_as_letters(chats, server):
    """With `letter-text`, a chat lists the options, and the letter in the answer has a metric of its own."""
    spec = Path("chats.toml")
    spec.write_text(spec.read_text().replace('"contains"', '"letter-text"'))
    row = {"question": "Where?", "options": ["here", "there"], "answer": "B", "document": "pump-1"}
    Path("halls.jsonl").write_text(json.dumps(row))
    server.write = lambda body: "The answer is **B**." if "Context:" in body["messages"][-1]["content"] else "A"
    result = chats()
    assert result.exit_code == 0, result.output
    assert {body["messages"][-1]["content"].rpartition("Question: ")[2] for body in server.bodies} == {
        "Where?\nA. here\nB. there\nAnswer:",
        "Where?\nA. there\nB. here\nAnswer:",
    }
    instructions = {body["messages"][0]["content"] for body in server.bodies}
    assert instructions == {"Answer the question with the letter of the right option alone."}
    assert (cell("oracle")["correct"], cell("oracle")["metric"]) == (1, "letter_text")


def test_the_model_reads_only_chats(chats):
    """The key `chat_template = false` is an error, because every prompt of the model is a chat."""
    spec = Path("chats.toml")
    spec.write_text(spec.read_text().replace("retries = 0", "retries = 0\nchat_template = false"))
    result = chats("check")
    assert result.exit_code == 2
    assert "models.gpt.chat_template: expected true, because this model reads only chats" in result.output


@pytest.mark.parametrize("status", [429, 500])
def test_check_of_an_endpoint_that_is_unavailable(chats, server, status):
    """If the endpoint does not answer the test request, `kib check` says so, not how to resume, with exit code 5."""
    server.faults = [(status, {}, "")]
    result = chats("check")
    assert result.exit_code == 5
    assert "Error: models.gpt: " in result.stderr
    assert f"returned status {status} (2 cells)" in " ".join(result.stderr.split())
    assert "resume" not in result.output
    spec = Path("chats.toml")
    spec.write_text(spec.read_text().replace('scoring = "contains"\n', ""))
    row = {"question": "Who?", "options": ["a", "b"], "answer": "A", "document": "pump-0"}
    Path("halls.jsonl").write_text(json.dumps(row))
    server.faults = [(status, {}, "")]
    result = chats("check")
    assert result.exit_code == 2
    assert "a chat endpoint returns no log-probabilities" in result.stderr


def test_a_missing_key(chats, monkeypatch):
    """Without the API key, `kib check` fails with the name of the environment variable."""
    monkeypatch.delenv("OPENAI_API_KEY")
    result = chats("check", "--no-probe")
    assert result.exit_code == 2
    assert "the environment variable OPENAI_API_KEY is not set" in result.output


@pytest.mark.parametrize("address", ["http://evil.example/v1", "https://evil.example/v1"])
def test_no_prompt_goes_to_an_address_that_is_not_allowed(chats, address, monkeypatch):
    """Prompts and the key go only to servers that the user has allowed, and never over http to another machine."""
    monkeypatch.delenv("KIB_ALLOW_HOSTS", raising=False)
    spec = Path("chats.toml")
    spec.write_text(re.sub(r'base_url = ".*"', f'base_url = "{address}"', spec.read_text()))
    for command in ("check", "run"):
        result = chats(command)
        assert result.exit_code == 2
        assert "models.gpt.base_url" in result.output
