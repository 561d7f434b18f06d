import json
import os
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate

import pytest

from kib.errors import InputError
from kib.interfaces import Spending
from kib.records import Text
from kib.store.paid_answers import Kept
from kib_openai.answers import Broken, Reply, order, pairs, paraphrases, questions


def texts(writer, passages, count=2, kept=None, seed=0):
    return list(writer.write(passages, count, seed, {} if kept is None else kept))


def test_paraphrases(writer, server, passages):
    """Each passage gets its count of distinct paraphrases, the title above them as above the passage itself."""
    given = passages(2)
    made = texts(writer(), given, 3)
    assert [(text.passage, text.kind) for text in made] == [("d0#0", "paraphrase")] * 3 + [("d1#0", "paraphrase")] * 3
    assert made[0] == Text("d0#0", "paraphrase", f"Pump 0\nVersion 1 (seed 0): {given[0].text}")
    assert len(set(made)) == 6


def test_request(writer, server, passages):
    """A request is one message with the passage and the form of the answer, and the sampling that was asked for."""
    texts(writer(temperature=0.3, max_tokens=77, extra={"top_p": 0.5}), passages(1), 2, seed=11)
    (body,), (headers,) = server.bodies, server.headers
    text = body.pop("messages")[0]["content"]
    assert passages(1)[0].text in text
    assert '{"paraphrases": ["…"]}, a list of exactly 2 texts' in text
    assert body == {
        "model": "m",
        "temperature": 0.3,
        "max_tokens": 77,
        "top_p": 0.5,
        "seed": 11,
        "response_format": {"type": "json_object"},
    }
    assert headers["Authorization"] == f"Bearer {server.key}"


def test_request_of_other_servers(writer, server, passages, monkeypatch):
    """A server that knows no key, no seed, no format and another limit gets none of them."""
    monkeypatch.delenv("OPENAI_API_KEY")
    options = {"api_key_env": "", "send_seed": False, "answer_format": "text"}
    texts(writer(**options, max_tokens_field="max_completion_tokens"), passages(1))
    assert set(server.bodies[0]) == {"model", "messages", "temperature", "max_completion_tokens"}
    assert "Authorization" not in server.headers[0]


def test_own_prompts(writer, server, passages):
    """A prompt of the user's own is filled with the passage and the count, and the form stands behind it."""
    prompts = {
        "paraphrases": "{{ count }} times: {{ passage.title }} / {{ passage.document }}\nPassage:\n{{ passage.text }}"
    }
    texts(writer(prompts=prompts), passages(1))
    asked = server.bodies[0]["messages"][0]["content"]
    assert asked.startswith(f"2 times: Pump 0 / d0\nPassage:\n{passages(1)[0].text}\n\nAnswer with one JSON object")


def test_pairs(writer, server, passages):
    """Pairs hold a question and its answer, without the title."""
    made = texts(writer(kind="pairs"), passages(1))
    told = passages(1)[0].text[:30]
    assert made == [Text("d0#0", "pair", f"Question {n} on {told}?", f"answer {n}") for n in (1, 2)]


def test_both(writer, server, passages):
    """Both means as many pairs after the paraphrases of each passage."""
    made = texts(writer(kind="both"), passages(2), 1)
    assert [(text.passage, text.kind) for text in made] == [
        ("d0#0", "paraphrase"),
        ("d0#0", "pair"),
        ("d1#0", "paraphrase"),
        ("d1#0", "pair"),
    ]


def test_only_some_kinds(writer, server, passages):
    """A writer held to one kind asks for that alone, with the same requests and texts as beside the other."""
    made = writer(kind="both")
    assert list(made.kinds()) == ["paraphrase", "pair"]
    every = texts(made, passages(2), 3)
    asked = server.bodies[:]
    for kind in made.kinds():
        server.bodies.clear()
        assert texts(made.only([kind]), passages(2), 3) == [text for text in every if text.kind == kind]
        assert len(server.bodies) == 2
        assert all(body in asked for body in server.bodies)
    assert texts(made.only(made.kinds()), passages(2), 3) == every


def test_parts(writer, server, passages):
    """More texts than `per_call` come by several requests, each of which shows what stands already."""
    made = texts(writer(per_call=2), passages(1), 5)
    assert [text.text.split()[3] for text in made] == ["1", "2", "3", "4", "5"]
    shown = [body["messages"][0]["content"].count("\n- Version") for body in server.bodies]
    assert shown == [0, 2, 4]


def test_more_texts_begin_with_the_fewer(writer, server, passages):
    """A larger count pays only for what a smaller one has not brought."""
    kept, made = {}, writer(per_call=2)
    few = texts(made, passages(3), 2, kept)
    many = texts(made, passages(3), 4, kept)
    assert len(server.bodies) == 6
    assert [text for text in many if text in few] == few


def test_order_whatever_the_concurrency(writer, server, passages):
    """Texts come in the order of the passages though the first answer is the last to arrive."""
    gate = threading.Event()
    server.faults = [gate.wait, None, None, None, None, None, gate.set]
    made = texts(writer(concurrency=2), passages(7), 1)
    assert [text.passage for text in made] == [f"d{n}#0" for n in range(7)]
    assert server.most_busy == 2
    assert made == texts(writer(concurrency=1), passages(7), 1)


def test_nothing_is_paid_for_twice(writer, server, passages, tmp_path):
    """What the memory holds is not asked again, in the next process and by a writer of another address."""
    with Kept.open(tmp_path / "kept.sqlite") as kept:
        first = texts(writer(concurrency=8), passages(20), 1, kept)
    with Kept.open(tmp_path / "kept.sqlite") as kept:
        assert texts(writer(base_url="http://127.0.0.1:1/v1", retries=0), passages(20), 1, kept) == first
    assert len(server.bodies) == 20


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"temperature": 0.5},
        {"max_tokens": 99},
        {"extra": {"top_p": 0.5}},
        {"answer_format": "text"},
        {"prompts": {"paraphrases": "Passage:\n{{ passage.text }}"}},
    ],
)
def test_what_decides_an_answer_is_in_its_key(writer, server, passages, change):
    """Another model, prompt or sampling is another request, though the memory is the same."""
    kept = {}
    texts(writer(), passages(1), 1, kept)
    texts(writer(**change), passages(1), 1, kept)
    texts(writer(), passages(1), 1, kept, seed=1)
    assert len(kept) == len(server.bodies) == 3


def test_equal_passages_ask_once(writer, server, passages):
    """Passages with the same title and text share one request, also while it is on its way."""
    one = passages(1)[0]
    given = [one, *(type(one)(f"t{n}#0", f"t{n}", one.title, one.text, 0, one.end) for n in range(5))]
    made = texts(writer(concurrency=4), given, 1)
    assert len(server.bodies) == 1
    assert [text.passage for text in made] == [passage.id for passage in given]


@pytest.mark.parametrize("fault", [429, 500, 503, "cut", 408])
def test_faults_that_pass(writer, server, passages, fault):
    """A server that is busy, broken or gone for a moment is asked again, and the text is as if nothing had been."""
    server.faults = [fault, fault]
    made = texts(writer(concurrency=1), passages(2), 1)
    assert made == texts(writer(), passages(2), 1)
    assert len(server.bodies) == 2 + 2 + 2


@pytest.mark.parametrize("wait", [lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_retry_after(writer, server, passages, wait):
    """A server that says when to come again is obeyed, whether it gives seconds or a date."""
    server.faults = [(429, {"Retry-After": wait()}, "{}")]
    begun = time.monotonic()
    texts(writer(), passages(1), 1)
    assert time.monotonic() - begun >= 0.9


def test_too_long_a_wait(writer, server, passages):
    """A server that asks for an hour ends the run at once, with its own words."""
    server.faults = [(429, {"Retry-After": "3600"}, '{"error": {"message": "come back later"}}')]
    with pytest.raises(InputError, match="429: come back later; what was answered is kept"):
        texts(writer(), passages(1), 1)
    assert len(server.bodies) == 1


def test_faults_that_stay(writer, server, passages):
    """After the last repetition one sentence says where, what and how often."""
    server.faults = [500] * 9
    with pytest.raises(InputError, match=r"/v1/chat/completions: the server answers 500: status 500 after 3 tries; "):
        texts(writer(retries=2), passages(1), 1)
    assert len(server.bodies) == 3


def test_slow_answers(writer, server, passages):
    """An answer that does not come in time is asked for again, and in the end the time is named."""
    gate = threading.Event()
    server.faults = [gate.wait]
    assert len(texts(writer(timeout=0.3), passages(1), 1)) == 1
    server.faults = [gate.wait] * 2
    with pytest.raises(InputError, match=r"no answer within 0.3 seconds \(`timeout`\) after 2 tries"):
        texts(writer(timeout=0.3, retries=1), passages(1), 1)
    gate.set()


def test_nobody_there(writer, passages):
    """An address where nobody listens is said to be one."""
    with pytest.raises(InputError, match=r"http://127.0.0.1:1/v1/chat/completions: the connection failed"):
        texts(writer(base_url="http://127.0.0.1:1/v1", retries=1), passages(1), 1)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "the server refuses the key in OPENAI_API_KEY (401)"),
        (404, "no such address, or no model 'm' there (404)"),
        (400, "the server refuses the request (400): bad "),
        (403, "the server refuses the request (403): bad "),
    ],
)
def test_refusals(writer, server, passages, status, said):
    """What asking again cannot mend is one sentence at once, without the key though the server repeats it."""
    server.faults = [(status, {}, json.dumps({"error": {"message": f"bad {server.key}"}}))]
    with pytest.raises(InputError) as error:
        texts(writer(concurrency=1), passages(3), 1)
    assert said in str(error.value)
    assert server.key not in str(error.value)
    assert len(server.bodies) == 1


def test_no_money(writer, server, passages):
    """An empty account is said at once, though its status is that of a busy server."""
    server.faults = [(429, {}, '{"error": {"code": "insufficient_quota", "message": "You have no money."}}')]
    with pytest.raises(InputError, match="You have no money"):
        texts(writer(), passages(1), 1)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("key", "said"), [("", "is not set"), ("sk-1\n", "holds a space, a line end")])
def test_bad_keys(writer, server, passages, monkeypatch, key, said):
    """A key that is missing or cannot be sent is told by its variable, before anything is sent."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match=f"OPENAI_API_KEY {said}") as error:
        texts(writer(), passages(1), 1)
    assert "sk-1" not in str(error.value)
    assert not server.bodies


def test_memory_holds_no_secret(writer, server, passages):
    """Neither the key nor the address is kept."""
    kept = {}
    texts(writer(), passages(2), 1, kept)
    assert server.key not in str(kept)
    assert "127.0.0.1" not in str(kept)


def test_broken_answers_are_asked_again(writer, server, passages):
    """A broken answer costs one more request with another seed, and is not paid for again in the next run."""
    server.faults = ["Sure! Here you are.", '{"paraphrases": []}']
    kept = {}
    made = texts(writer(), passages(1), 1, kept)
    assert [body["seed"] for body in server.bodies] == [0, 1, 2]
    assert made[0].text.startswith("Pump 0\nVersion 1 (seed 2)")
    assert texts(writer(), passages(1), 1, kept) == made
    assert len(server.bodies) == 3


def test_answers_that_stay_broken(writer, server, passages):
    """After the last attempt the passage and its fault are named, and more attempts begin where these ended."""
    server.faults = ["no", "no"]
    kept = {}
    with pytest.raises(InputError, match=r"passage d0#0: 2 answers are broken, the last one because: it is not JSON"):
        texts(writer(attempts=2), passages(1), 1, kept)
    with pytest.raises(InputError, match="raise `attempts`"):
        texts(writer(attempts=2), passages(1), 1, kept)
    assert len(server.bodies) == 2
    assert len(texts(writer(attempts=3), passages(1), 1, kept)) == 1
    assert len(server.bodies) == 3


def test_half_characters_are_kept(writer, server, passages, tmp_path):
    """An answer with half a surrogate pair is broken and kept like others, though no file could hold it as it is."""
    server.faults = ["\ud800", '{"paraphrases": ["\\ud800"]}']
    with Kept.open(tmp_path / "kept.sqlite") as kept:
        assert len(texts(writer(), passages(1), 1, kept)) == 1
        assert len(kept) == 3


def test_no_address(writer, server, passages):
    """An address that cannot be one is said to be none."""
    with pytest.raises(InputError, match="this is no address"):
        texts(writer(base_url="http://a\x01b/v1"), passages(1), 1)


def test_own_format(writer, server, passages):
    """A format of the user's own goes out instead of kib's."""
    form = {"type": "json_schema", "json_schema": {"name": "texts", "schema": {"type": "object"}}}
    texts(writer(extra={"response_format": form}), passages(1), 1)
    assert server.bodies[0]["response_format"] == form


def test_some_passages_may_miss(writer, server, passages):
    """As many passages as `may_miss` says go without text, and all others have theirs."""
    server.faults = ["no"]
    made = texts(writer(attempts=1, may_miss=1, concurrency=1), passages(3), 1)
    assert [text.passage for text in made] == ["d1#0", "d2#0"]


@pytest.mark.parametrize(
    ("check", "said", "reason"),
    [
        (paraphrases, "{", "not JSON"),
        (paraphrases, "[]", "expected an object"),
        (paraphrases, '{"texts": ["a", "b"]}', 'expected a list under "paraphrases"'),
        (paraphrases, '{"paraphrases": ["a"]}', "expected 2 entries"),
        (paraphrases, '{"paraphrases": ["a", " "]}', "empty"),
        (paraphrases, '{"paraphrases": ["a", 1]}', "no text"),
        (paraphrases, '{"paraphrases": ["A b.", "a  B"]}', "only 1 of 2 texts are new"),
        (paraphrases, '{"paraphrases": ["a", "Old!"]}', "only 1 of 2 texts are new"),
        (paraphrases, '{"paraphrases": ["a", "\\ud800"]}', "surrogate"),
        (pairs, '{"pairs": [{"question": "a?"}, {"question": "b?", "answer": "b"}]}', "an answer is empty"),
        (pairs, '{"pairs": [{"question": "a?", "answer": "a"}, {"question": "Old?", "answer": "b"}]}', "only 1 of 2"),
        (pairs, '{"pairs": ["a", "b"]}', "expected an object for a pair"),
    ],
)
def test_broken_texts(check, said, reason):
    """Each way in which an answer can be broken has its reason."""
    with pytest.raises(Broken, match=reason):
        check(Reply(said), 2, {"old"})


@pytest.mark.parametrize(
    ("check", "said", "reason"),
    [
        (questions, '{"questions": [{"question": "a?", "right": "a", "wrong": ["b"], "quote": "c"}]}', "3 options"),
        (questions, '{"questions": [{"question": "a?", "right": "a", "wrong": ["b", "c", "d"]}]}', "a quote is empty"),
        (order, '{"order": [0]}', "each number from 1 to 1"),
        (order, '{"order": [true]}', "each number"),
        (order, '{"order": [1, 1]}', "each number"),
    ],
)
def test_broken_questions(check, said, reason):
    """Questions lack nothing, and an order holds each number once."""
    with pytest.raises(Broken, match=reason):
        check(Reply(said), 1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(None), "without a text"),
        (Reply('{"paraphrases": ["a"]}', "length"), "it was cut: raise `max_tokens`"),
        (Reply(None, "content_filter"), "content filter"),
    ],
)
def test_answers_that_ended_badly(reply, reason):
    """An answer that was cut or withheld is broken, whatever it holds."""
    with pytest.raises(Broken, match=reason):
        paraphrases(reply, 1, set())


@pytest.mark.parametrize("dressed", ["```json\n{}\n```", "```\n{}```", " {} \n", "<think>Well…\n</think>\n{}"])
def test_dressed_answers(dressed):
    """A code fence and a model's thoughts do no harm, and what is too much is left out."""
    words = dressed.replace("{}", '{"paraphrases": ["a", "b", "c"]}')
    assert paraphrases(Reply(words), 2, set()) == ["a", "b"]


@pytest.mark.parametrize("choice", [{"message": {"content": None}}, {"message": None}, {}])
def test_no_text(writer, server, passages, choice):
    """A chat completion without a text is a broken answer, and is kept with its tokens: it was paid for."""
    server.faults = [(200, {}, json.dumps({"choices": [choice], "usage": server.usage}))]
    kept = {}
    with pytest.raises(InputError, match="without a text"):
        texts(writer(attempts=1), passages(1), 1, kept)
    assert [json.loads(value)["prompt_tokens"] for value in kept.values()] == [100]


NO_COMPLETIONS = [
    ("<html>Down for maintenance</html>", "200, but with no chat completion: <html>Down for maintenance"),
    ('{"error": {"message": "overloaded"}}', "200, but with no chat completion: overloaded"),
    ('{"choices": []}', "no chat completion"),
    ('{"choices": null}', "no chat completion"),
    ("[]", "no chat completion"),
    ("", "no chat completion after"),
]


@pytest.mark.parametrize(("body", "said"), NO_COMPLETIONS)
def test_no_chat_completion(writer, server, passages, body, said):
    """A body that is no chat completion is no answer, whatever its status: it is asked again, and nothing is kept."""
    server.faults = [(200, {}, body)] * 3
    kept = {}
    with pytest.raises(InputError, match=said) as error:
        texts(writer(attempts=1, retries=2), passages(1), 1, kept)
    assert "after 3 tries; what was answered is kept" in str(error.value)
    assert not kept
    server.faults = [(200, {}, body)] * 2
    assert len(texts(writer(attempts=1, retries=2), passages(1), 1, kept)) == 1
    assert len(kept) == 1


def test_no_chat_completion_says_the_key(writer, server, passages):
    """A page that repeats the key is shown without it."""
    server.faults = [(200, {}, f"<html>{server.key}</html>")]
    with pytest.raises(InputError, match="<html>…</html>"):
        texts(writer(retries=0), passages(1), 1)


def test_budget(writer, server, passages):
    """When the tokens are used up it stops with what is kept, and a larger budget goes on from there."""
    kept = {}
    budget = {"concurrency": 1, "token_budget": 400}
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"budget of 400 is used up: 450 tokens were paid for in 3 answers, all of"
        ):
            texts(writer(**budget), passages(5), 1, kept)
    assert len(server.bodies) == len(kept) == 3
    assert len(texts(writer(**budget | {"token_budget": 9999}), passages(5), 1, kept)) == 5
    assert len(server.bodies) == 5


def test_budget_without_counts(writer, server, passages):
    """A budget cannot be kept where the server counts no tokens, and the first answer shows it."""
    server.usage = None
    with pytest.raises(InputError, match="counts no tokens; leave `token_budget` out"):
        texts(writer(token_budget=400, concurrency=1), passages(5), 1)
    assert len(server.bodies) == 1
    assert len(texts(writer(), passages(2), 1)) == 2


def test_held_out(writer, server, passages, tmp_path):
    """A pair that asks what a test question asks is broken, though case and signs differ."""
    told = passages(1)[0].text[:30]
    row = {"question": f"QUESTION 1, on {told}", "options": ["a", "b"], "answer": "A"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    server.faults = [json.dumps({"pairs": [{"question": f"Question {n} on {told}?", "answer": "a"}]}) for n in (1, 2)]
    made = texts(writer(kind="pairs", held_out=[str(tmp_path / "test.jsonl")]), passages(1), 1)
    assert [text.text for text in made] == [f"Question 2 on {told}?"]
    assert len(server.bodies) == 2


def test_held_out_counts(writer, tmp_path):
    """Which questions are held out is part of what the writer is, by their bytes."""
    path = tmp_path / "test.jsonl"
    made = writer(held_out=[str(path)])
    with pytest.raises(InputError, match=r"test.jsonl: no such file"):
        made.fingerprint()
    path.write_text("1")
    before = made.fingerprint()
    path.write_text("2")
    assert len({before, made.fingerprint(), writer().fingerprint()}) == 3


def test_leaving_keeps_what_is_on_its_way(writer, server, passages, tmp_path):
    """A reader who leaves loses no answer that was asked for."""
    gate = threading.Event()
    server.hold = lambda text: gate.wait() if "Pump 0" not in text else None
    with Kept.open(tmp_path / "kept.sqlite") as kept:
        reading = writer(concurrency=4).write(passages(9), 1, 0, kept)
        next(reading)
        threading.Timer(0.2, gate.set).start()
        reading.close()
        assert 1 < len(kept) == len(server.bodies) < 9
        assert len(texts(writer(), passages(9), 1, kept)) == 9
    assert len(server.bodies) == 9


def test_a_memory_closed_first(writer, server, passages, tmp_path):
    """A reader who closes the memory before the writer gets no error for it."""
    gate = threading.Event()
    server.hold = lambda text: gate.wait() if "Pump 0" not in text else None
    with Kept.open(tmp_path / "kept.sqlite") as kept:
        reading = writer(concurrency=2).write(passages(5), 1, 0, kept)
        next(reading)
    gate.set()
    reading.close()


SCRIPT = """
import sys
from pathlib import Path
from kib.records import Passage
from kib.store.paid_answers import Kept
from kib.testing import make_plugin
from kib_openai.writer import OpenAIWriter

texts = [f"Pump {n} stands in hall {n * 7} beside door {n}." for n in range(8)]
passages = [Passage(f"d{n}#0", f"d{n}", f"Pump {n}", text, 0, len(text)) for n, text in enumerate(texts)]
with Kept.open(Path(sys.argv[2])) as kept:
    writer = make_plugin(OpenAIWriter, {"model": "m", "base_url": sys.argv[1], "concurrency": 2})
    print(len(list(writer.write(passages, 1, 0, kept))))
"""


def test_killed_and_resumed(server, tmp_path):
    """After kill -9 the same command pays for what was on its way, and for nothing else, a second time."""
    stuck = threading.Event()
    gate = threading.Event()

    def hang():
        stuck.set()
        gate.wait()

    server.faults = [None, None, None, None, None, hang, gate.wait]
    command = [sys.executable, "-c", SCRIPT, server.url, str(tmp_path / "kept.sqlite")]
    first = subprocess.Popen(command, env=dict(os.environ))
    assert stuck.wait(30)
    time.sleep(0.3)  # the answers before are on their way to the disk
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = list(server.bodies)
    gate.set()
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "8"
    again = [body for body in server.bodies[len(before) :] if body in before[:-2]]
    assert not again
    assert len(server.bodies) <= 8 + 2


@pytest.mark.parametrize("kind", ["paraphrases", "pairs", "both"])
def test_forecast(writer, server, passages, kind):
    """The forecast counts the requests that then are made, and none that was answered before."""
    kept, made = {}, writer(kind=kind, per_call=2)
    given = [*passages(3), *passages(1)]
    cost = made.forecast(given, 5, 0, kept)
    assert made.forecast(given, 5) == cost
    texts(made, given[:1], 3, kept)
    half = made.forecast(given, 5, 0, kept)
    asked = len(server.bodies)
    texts(made, given, 5, kept)
    assert len(server.bodies) == half.calls + asked
    assert cost.calls > half.calls
    assert cost.input_tokens > half.input_tokens
    assert cost.output_tokens > half.output_tokens
    assert made.forecast(given, 5, 0, kept).calls == 0


def test_forecast_of_tokens(writer, server, passages):
    """A forecast of tokens is that of the real messages, four bytes a token."""
    cost = writer().forecast(passages(4), 2)
    texts(writer(), passages(4), 2)
    size = sum(len(body["messages"][0]["content"].encode()) for body in server.bodies)
    assert cost.input_tokens == pytest.approx(size / 4, rel=0.02)


def test_forecast_needs_no_key(writer, passages, monkeypatch):
    """What it would cost can be said without a key and without a server."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert writer(base_url="http://127.0.0.1:1/v1").forecast(passages(3), 5).calls == 3


@pytest.mark.parametrize("kind", ["paraphrases", "pairs", "both"])
def test_spent(writer, server, passages, kind):
    """What was spent is what the server counted of the answers to these requests, broken ones too, each once."""
    server.faults = ["no"]
    kept, made = {}, writer(kind=kind, per_call=2, concurrency=1)
    given = [*passages(3), *passages(1)]
    texts(made, passages(1), 1, kept)  # is no part of five texts
    before = len(server.bodies)
    texts(made, given, 5, kept)
    calls = len(server.bodies) - before
    assert made.spent(given, 5, 0, kept) == Spending(calls, 100 * calls, 50 * calls)
    assert made.spent(given, 5, 1, kept) == Spending(0, 0, 0)
    assert made.spent(given[:1], 1, 0, kept).requests == before


def test_spent_is_the_same_later(writer, server, passages):
    """A second run that pays for nothing, with more attempts and another address, has spent the same."""
    server.faults = ["no", None, None, "no"]
    kept = {}
    texts(writer(), passages(3), 2, kept)
    later = writer(attempts=9, base_url="http://127.0.0.1:1/v1")
    texts(later, passages(3), 2, kept)
    assert later.spent(passages(3), 2, 0, kept) == writer().spent(passages(3), 2, 0, kept) == Spending(5, 500, 250)


def test_spent_without_counts(writer, server, passages):
    """Tokens that the server has not counted of every answer are not known."""
    kept = {}
    texts(writer(), passages(1), 1, kept)
    server.usage = None
    texts(writer(), passages(2), 1, kept)
    assert writer().spent(passages(1), 1, 0, kept) == Spending(1, 100, 50)
    assert writer().spent(passages(2), 1, 0, kept) == Spending(2, None, None)


def test_questions(writer, server, passages):
    """Questions come in the order that the second request puts them in, with options and a quote."""
    made = list(writer().questions(passages(2), 3, 0, {}))
    assert [(one.passage, one.right) for one in made] == [
        (f"d{n}#0", f"right {number}") for n in range(2) for number in (3, 2, 1)
    ]
    assert made[0].quote == "in hall 0"
    assert made[0].wrong == ("wrong 3a", "wrong 3b", "wrong 3c")
    assert len(server.bodies) == 4


def test_one_question_needs_no_order(writer, server, passages):
    """A single question a passage is not put in order."""
    assert len(list(writer().questions(passages(1), 1, 0, {}))) == 1
    assert len(server.bodies) == 1


def test_forecast_of_questions(writer, server, passages):
    """The forecast of questions counts both requests of a passage."""
    kept, made = {}, writer()
    cost = made.forecast(passages(3), 4, 0, kept, "questions")
    list(made.questions(passages(3), 4, 0, kept))
    assert cost.calls == len(server.bodies) == 6
    assert made.forecast(passages(3), 4, 0, kept, "questions").calls == 0
