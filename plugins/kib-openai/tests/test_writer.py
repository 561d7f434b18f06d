import json
import threading

import pytest

from kib.errors import InputError, ServerUnavailableError
from kib.interfaces import SkippedPassage, Spending
from kib.records import Text


def test_paraphrases(writer, server, passages, write):
    """Each passage gets `count` distinct paraphrases, each preceded by the passage's title."""
    given = passages(2)
    texts = write(writer(), given, 3)
    assert [(text.passage, text.kind) for text in texts] == [("d0#0", "paraphrase")] * 3 + [("d1#0", "paraphrase")] * 3
    assert texts[0] == Text("d0#0", "paraphrase", f"Pump 0\nVersion 1 (seed 0): {given[0].text}")
    assert len(set(texts)) == 6


def test_request(writer, server, passages, write):
    """A request contains the sampling options and one message with the passage and the required answer format."""
    write(writer(temperature=0.3, max_tokens=77, extra={"top_p": 0.5}), passages(1), 2, seed=11)
    (body,), (headers,) = server.bodies, server.headers
    message = body.pop("messages")[0]["content"]
    assert passages(1)[0].text in message
    assert '{"paraphrases": ["…"]}, a list of exactly 2 texts' in message
    assert body == {
        "model": "m",
        "temperature": 0.3,
        "max_tokens": 77,
        "top_p": 0.5,
        "seed": 11,
        "response_format": {"type": "json_object"},
    }
    assert headers["Authorization"] == f"Bearer {server.key}"


def test_the_keys_of_paid_answers(writer, passages, write):
    """The keys of paid answers never change, because every user would otherwise have to pay for the answers again."""
    paid_answers = {}
    write(writer(kind="both"), passages(1), 2, paid_answers)
    list(writer().questions(passages(1), 2, 0, paid_answers))
    assert [key[:16] for key in paid_answers] == KEYS


KEYS = ["529b439a5747ebc0", "00b006adcca2bf88", "35795bb5361594c8", "0f5136924b77a023"]
"""The first characters of the keys of answers with paraphrases, pairs, questions and the order of questions."""


def test_request_to_other_servers(writer, server, passages, write, monkeypatch):
    """Options can omit the API key, seed and response format from a request, and can rename the token limit field."""
    monkeypatch.delenv("OPENAI_API_KEY")
    options = {"api_key_env": "", "send_seed": False, "answer_format": "text"}
    write(writer(**options, max_tokens_field="max_completion_tokens"), passages(1))
    assert set(server.bodies[0]) == {"model", "messages", "temperature", "max_completion_tokens"}
    assert "Authorization" not in server.headers[0]


def test_own_format(writer, server, passages, write):
    """A response format in the options replaces kib's default response format."""
    form = {"type": "json_schema", "json_schema": {"name": "texts", "schema": {"type": "object"}}}
    write(writer(extra={"response_format": form}), passages(1))
    assert server.bodies[0]["response_format"] == form


def test_own_prompts(writer, server, passages, write):
    """A custom prompt is rendered with `passage` and `count`, and is followed by the required answer format."""
    prompts = {
        "paraphrases": "{{ count }} times: {{ passage.title }} / {{ passage.document }}\nPassage:\n{{ passage.text }}"
    }
    write(writer(prompts=prompts), passages(1), 2)
    message = server.bodies[0]["messages"][0]["content"]
    assert message.startswith(f"2 times: Pump 0 / d0\nPassage:\n{passages(1)[0].text}\n\nAnswer with one JSON object")


def test_a_prompt_that_cannot_be_rendered(writer, passages, write):
    """The error for a prompt template that cannot be rendered states the id of the passage."""
    prompts = {"paraphrases": "{{ passage.text }}{% if count == 2 %}{{ passage.page }}{% endif %}"}
    with pytest.raises(InputError, match=r"prompts\.paraphrases: the template cannot be rendered for passage d0#0"):
        write(writer(prompts=prompts), passages(1), 2)


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
def test_every_change_of_a_request_is_a_new_request(writer, server, passages, write, change):
    """A request with a different model, prompt, sampling option or seed does not reuse a stored answer."""
    paid_answers = {}
    write(writer(), passages(1), paid_answers=paid_answers)
    write(writer(**change), passages(1), paid_answers=paid_answers)
    write(writer(), passages(1), paid_answers=paid_answers, seed=1)
    assert len(paid_answers) == len(server.bodies) == 3


def test_pairs(writer, server, passages, write):
    """A question-answer pair does not contain the title of the passage."""
    texts = write(writer(kind="pairs"), passages(1), 2)
    start = passages(1)[0].text[:30]
    assert texts == [Text("d0#0", "pair", f"Question {n} on {start}?", f"answer {n}") for n in (1, 2)]


def test_pairs_with_options(writer, server, passages, write):
    """Pairs with options are requested with their number of wrong options, and open pairs in the same words as ever."""
    paid_answers = {}
    asked = writer(kind="pairs", pair_options=4, per_call=2)
    texts = write(asked, passages(1), 3, paid_answers)
    assert [sorted(text.options) for text in texts] == [
        [f"answer {n}", "wrong 0", "wrong 1", "wrong 2"] for n in (1, 2, 3)
    ]
    message = server.bodies[0]["messages"][0]["content"]
    assert "Give 3 wrong answers to each question." in message
    assert '{"pairs": [{"question": "…", "answer": "…", "wrong": ["…", "…", "…"]}]}' in message
    assert asked.forecast(passages(1), 3, 0, paid_answers).calls == 0
    assert asked.forecast(passages(1), 3).output_tokens > writer(kind="pairs").forecast(passages(1), 3).output_tokens
    assert all(text.options == () for text in write(writer(kind="pairs"), passages(1), 3, paid_answers))
    assert len(server.bodies) == 3
    assert write(asked, passages(1), 3, paid_answers) == texts
    assert len(server.bodies) == 3


def test_answers_without_usable_options(writer, server, passages, write):
    """An answer in which pairs lack usable options is requested again, and the last error quotes such a pair."""
    pairs = [{"question": f"Question {n}?", "answer": "red", "wrong": ["Red"]} for n in (1, 2)]
    server.faults = [json.dumps({"pairs": pairs})]
    asked = {"kind": "pairs", "pair_options": 2}
    assert len(write(writer(**asked), passages(1), 2)) == 2
    assert len(server.bodies) == 2
    server.faults = [json.dumps({"pairs": pairs})]
    with pytest.raises(
        InputError, match=r'2 pairs with unusable options; the first is "Question 1\?": two options are'
    ):
        write(writer(**asked, attempts=1), passages(1), 2)


def test_only_some_kinds(writer, server, passages, write):
    """A writer restricted to one kind of text sends the same requests for this kind as an unrestricted writer."""
    both = writer(kind="both")
    assert list(both.kinds()) == ["paraphrase", "pair"]
    texts = write(both, passages(2))
    assert [(text.passage, text.kind) for text in texts] == [
        (passage, kind) for passage in ("d0#0", "d1#0") for kind in ("paraphrase", "pair")
    ]
    sent = server.bodies[:]
    for kind in both.kinds():
        server.bodies.clear()
        assert write(both.only([kind]), passages(2)) == [text for text in texts if text.kind == kind]
        assert len(server.bodies) == 2
        assert all(body in sent for body in server.bodies)
    assert write(both.only(both.kinds()), passages(2)) == texts


def test_several_requests_per_passage(writer, server, passages, write):
    """If `count` exceeds `per_call`, several requests are sent per passage, and each lists all earlier texts."""
    texts = write(writer(per_call=2), passages(1), 5)
    assert [text.text.split()[3] for text in texts] == ["1", "2", "3", "4", "5"]
    listed = [body["messages"][0]["content"].count("\n- Version") for body in server.bodies]
    assert listed == [0, 2, 4]


def test_held_out(writer, server, passages, write, tmp_path):
    """A pair that repeats a held-out question is invalid, even if case and punctuation differ."""
    start = passages(1)[0].text[:30]
    question = {"question": f"QUESTION 1, on {start}", "options": ["a", "b"], "answer": "A"}
    (tmp_path / "test.jsonl").write_text(json.dumps(question) + "\n")
    server.faults = [json.dumps({"pairs": [{"question": f"Question {n} on {start}?", "answer": "a"}]}) for n in (1, 2)]
    texts = write(writer(kind="pairs", held_out=[str(tmp_path / "test.jsonl")]), passages(1))
    assert [text.text for text in texts] == [f"Question 2 on {start}?"]
    assert len(server.bodies) == 2


def test_held_out_files_are_part_of_the_identity(writer, tmp_path):
    """The fingerprint of a writer depends on the content of its held-out files."""
    path = tmp_path / "test.jsonl"
    with_file = writer(held_out=[str(path)])
    with pytest.raises(InputError, match=r"test.jsonl: no such file"):
        with_file.fingerprint()
    path.write_text("1")
    before = with_file.fingerprint()
    path.write_text("2")
    assert len({before, with_file.fingerprint(), writer().fingerprint()}) == 3


def test_online(writer, server, monkeypatch):
    """The method `online` returns the model and the endpoint's URL, and reports a missing API key."""
    assert writer().online() == [f"model m at {server.url}"]
    monkeypatch.delenv("OPENAI_API_KEY")
    (needed,) = writer().online()
    assert needed.startswith(f"model m at {server.url}; the environment variable OPENAI_API_KEY is not set")


@pytest.mark.parametrize("kind", ["paraphrases", "pairs", "both"])
def test_forecast_and_spending(writer, server, passages, write, kind):
    """The forecast matches the number of requests actually sent, and the spending counts every paid answer once."""
    server.faults = ["no"]
    paid_answers, two_per_call = {}, writer(kind=kind, per_call=2, concurrency=1)
    given = [*passages(3), *passages(1)]
    cost = two_per_call.forecast(given, 5, 0, paid_answers)
    assert two_per_call.forecast(given, 5) == cost
    write(two_per_call, given[:1], 3, paid_answers)
    before = len(server.bodies)
    rest = two_per_call.forecast(given, 5, 0, paid_answers)
    write(two_per_call, given, 5, paid_answers)
    assert len(server.bodies) == rest.calls + before
    assert cost.calls > rest.calls
    assert cost.input_tokens > rest.input_tokens
    assert cost.output_tokens > rest.output_tokens
    assert two_per_call.forecast(given, 5, 0, paid_answers).calls == 0
    used = cost.calls + 1  # the invalid answer was paid for as well
    assert two_per_call.spent(given, 5, 0, paid_answers) == Spending(used, 100 * used, 50 * used)
    assert two_per_call.spent(given, 5, 1, paid_answers) == Spending(0, 0, 0)
    assert two_per_call.spent(given[:1], 3, 0, paid_answers).requests == before


def test_forecast_of_tokens(writer, server, passages, write):
    """A forecast of input tokens assumes one token per four bytes of the messages to be sent."""
    cost = writer().forecast(passages(4), 2)
    write(writer(), passages(4), 2)
    size = sum(len(body["messages"][0]["content"].encode()) for body in server.bodies)
    assert cost.input_tokens == pytest.approx(size / 4, rel=0.02)


def test_forecast_needs_no_key(writer, passages, monkeypatch):
    """A cost forecast requires neither an API key nor a server."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert writer(base_url="http://127.0.0.1:1/v1").forecast(passages(3), 5).calls == 3


def test_spending_never_changes(writer, server, passages, write):
    """A second run that sends no requests reports the same spending, even with a different URL and attempt limit."""
    server.faults = ["no", None, None, "no"]
    paid_answers = {}
    write(writer(), passages(3), 2, paid_answers)
    later = writer(attempts=9, base_url="http://127.0.0.1:1/v1")
    write(later, passages(3), 2, paid_answers)
    assert later.spent(passages(3), 2, 0, paid_answers) == Spending(5, 500, 250)
    assert writer().spent(passages(3), 2, 0, paid_answers) == Spending(5, 500, 250)


def test_spending_without_token_counts(writer, server, passages, write):
    """The number of tokens spent is unknown unless the server reported token counts for every answer."""
    paid_answers = {}
    write(writer(), passages(1), paid_answers=paid_answers)
    server.usage = None
    write(writer(), passages(2), paid_answers=paid_answers)
    assert writer().spent(passages(1), 1, 0, paid_answers) == Spending(1, 100, 50)
    assert writer().spent(passages(2), 1, 0, paid_answers) == Spending(2, None, None)


def test_questions(writer, server, passages):
    """Questions are sorted by the ranking in the second answer, and the forecast number of requests is exact."""
    paid_answers = {}
    cost = writer().forecast(passages(2), 3, 0, paid_answers, "questions")
    drafts = list(writer().questions(passages(2), 3, 0, paid_answers))
    assert [(draft.passage, draft.right) for draft in drafts] == [
        (f"d{n}#0", f"right {number}") for n in range(2) for number in (3, 2, 1)
    ]
    assert drafts[0].quote == "in hall 0"
    assert drafts[0].wrong == ("wrong 3a", "wrong 3b", "wrong 3c")
    assert cost.calls == len(server.bodies) == 4
    assert writer().forecast(passages(2), 3, 0, paid_answers, "questions").calls == 0


def test_a_single_question_needs_no_ranking(writer, server, passages):
    """If `count` is 1, no second request is sent to rank the questions."""
    assert len(list(writer().questions(passages(1), 1, 0, {}))) == 1
    assert len(server.bodies) == 1


def test_a_passage_without_questions(writer, server, passages):
    """A passage whose answers are all invalid is skipped with a quote of the last answer, without the API key."""
    server.faults = [None, None, "no", f"Pump 1 costs\n{server.key}."]
    results = list(writer(attempts=2, concurrency=1).questions(passages(3), 2, 0, {}))
    assert [result.passage for result in results] == ["d0#0", "d0#0", "d1#0", "d2#0", "d2#0"]
    reason = 'the last answer ("Pump 1 costs ….") is invalid for this reason: the answer is not valid JSON'
    assert results[2] == SkippedPassage("d1#0", f"passage d1#0: all 2 answers are invalid; {reason}")
    assert len(server.bodies) == 2 + 2 + 2


@pytest.mark.parametrize("may_miss", [0, 1, 2])
def test_allowed_passages_without_questions(writer, server, passages, may_miss):
    """The option `may_miss` determines how many passages are allowed to remain without questions."""
    server.faults = ["no", None, "no"]
    results = list(writer(attempts=1, concurrency=1, may_miss=may_miss).questions(passages(3), 1, 0, {}))
    assert [one.allowed for one in results if isinstance(one, SkippedPassage)] == [may_miss > 0, may_miss > 1]


def test_no_question_at_the_start(writer, server, passages, monkeypatch):
    """If the model writes no question for the first passages, kib stops before it pays for more invalid answers."""
    monkeypatch.setattr("kib_openai.writer.FIRST_PASSAGES", 3)
    server.faults = ["no"] * 3
    paid_answers = {}
    with pytest.raises(InputError, match=r"no question was written for the first 3 passages, .* passage d2#0: the "):
        list(writer(attempts=1, concurrency=1).questions(passages(9), 1, 0, paid_answers))
    assert len(server.bodies) == len(paid_answers) < 6
    assert len(list(writer(attempts=2).questions(passages(9), 1, 0, paid_answers))) == 9


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_a_server_rejects(writer, server, passages, write, status):
    """If a server that accepts other requests rejects one request, kib names the passage of this request."""
    server.faults = [None, (status, {}, '{"error": {"message": "too long"}}')]
    one, *others = writer(concurrency=1).questions(passages(3), 1, 0, {})
    assert (one.passage, [other.passage for other in others]) == ("d0#0", ["d1#0", "d2#0"])
    rejected = f"the server rejected the request ({status}): too long"
    assert others[0].reason == f"passage d1#0: {server.url}/chat/completions: {rejected}"
    server.faults = [None, (status, {}, "{}")]
    with pytest.raises(InputError, match=r"passage d1#0: .* all answers are stored; raise `may_miss`"):
        write(writer(concurrency=1), passages(3))


@pytest.mark.parametrize("fault", [500, 503, 504, "cut", (200, {}, "<html>")])
@pytest.mark.parametrize("before", [0, 1])
def test_a_request_that_a_server_never_answers(writer, server, passages, write, fault, before):
    """If a server answers all requests except one, kib skips and names the passage of this request."""
    server.faults = [*[None] * before, fault, fault]
    options = {"concurrency": 1, "retries": 1}
    results = list(writer(**options).questions(passages(3), 1, 0, {}))
    assert [result.passage for result in results] == ["d0#0", "d1#0", "d2#0"]
    (skipped,) = [result for result in results if isinstance(result, SkippedPassage)]
    assert skipped.passage == f"d{before}#0"
    assert skipped.reason.startswith(f"passage d{before}#0: {server.url}/chat/completions: the ")
    assert skipped.reason.endswith(" after 2 attempts")
    server.faults = [fault, fault]
    with pytest.raises(
        ServerUnavailableError, match=r"passage d0#0: .*; run the same command again to resume, or raise `may_miss`"
    ):
        write(writer(**options), passages(3))


def test_a_server_that_is_down(writer, server, passages, write):
    """If three requests in a row are unanswered, the run ends, and a later run sends only the missing requests."""
    server.faults = [None, *[500] * 6]
    paid_answers = {}
    reason = "status 500: status 500 after 2 attempts; the server left 3 requests in a row unanswered; all answers "
    with pytest.raises(ServerUnavailableError, match=reason):
        list(writer(concurrency=1, retries=1).questions(passages(9), 1, 0, paid_answers))
    assert len(paid_answers) == 1
    assert len(list(writer().questions(passages(9), 1, 0, paid_answers))) == len(paid_answers) == 9
    assert len(server.bodies) == 1 + 6 + 8


def test_passages_that_fail_while_a_server_answers(writer, server, passages, write):
    """Any number of passages may fail together if the server answers other requests at the same time."""
    gate, failing = threading.Event(), ("Pump 0", "Pump 1", "Pump 2")
    server.crashes_on = lambda message: any(name in message for name in failing)
    server.hold = lambda message: gate.set() if "Pump 5" in message else server.crashes_on(message) and gate.wait(60)
    results = list(writer(concurrency=4, retries=0).questions(passages(7), 1, 0, {}))
    skipped = [result.passage for result in results if isinstance(result, SkippedPassage)]
    assert skipped == ["d0#0", "d1#0", "d2#0"]
    assert len(results) == 7


@pytest.mark.parametrize("fault", [429, None])
def test_a_server_that_cannot_answer_any_request(writer, server, passages, fault):
    """A server that refuses connections or limits the rate of requests ends the run without skipping a passage."""
    server.faults = [None, *[fault] * 2]
    url = {} if fault else {"base_url": "http://127.0.0.1:1/v1"}
    with pytest.raises(
        ServerUnavailableError, match=r"chat/completions: the .* after 2 attempts; all answers received so far"
    ):
        list(writer(concurrency=1, retries=1, may_miss=9, **url).questions(passages(9), 1, 0, {}))
