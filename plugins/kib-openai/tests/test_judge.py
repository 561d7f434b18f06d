"""The judge: prompts, verdicts, invalid replies, cost, and runs against a server that judges by rule."""

import json
import shutil

import pytest

from kib.errors import InputError
from kib.records import AnswerToJudge, UnjudgedAnswer, Verdict
from kib.testing import ANSWERS, check_judge, check_options, check_plugin, check_recipients, make_plugin
from kib_openai.judge import FIRST_ANSWERS, OpenAIJudge

RIGHT = AnswerToJudge("Where does pump 1 stand?", ("hall 7",), "It stands in hall 7.")
WRONG = AnswerToJudge("Where does pump 1 stand?", ("hall 7",), "hall 8")
HOPELESS = AnswerToJudge("Who built pump 1?", (), "I do not know.")


def case(body):
    """Return the case in the prompt of a judge."""
    message = body["messages"][0]["content"]
    return json.JSONDecoder().raw_decode(message, message.index("{\n"))[0]


def by_rule(body):
    """Return the reply of a judge that accepts an answer with an accepted answer, or a needed abstention."""
    asked = case(body)
    declined = "do not know" in asked["answer"]
    right = any(accepted in asked["answer"] for accepted in asked["accepted_answers"])
    grade = "correct" if right or (declined and not asked["accepted_answers"]) else "incorrect"
    return {"reason": f"about {asked['question']}", "grade": grade, "declined": declined}


@pytest.fixture
def judge(server):
    """Return a function that returns a judge for an endpoint that judges by rule."""
    server.write = by_rule
    return lambda **options: make_plugin(OpenAIJudge, {"model": "j", "base_url": server.url, **options})


def test_the_contract_is_fulfilled(judge):
    """The judge fulfils the contract of its protocol, with answers that contain quotes, braces and instructions."""
    assert check_plugin("judges", "openai") is OpenAIJudge
    check_judge(judge)


def test_options_are_checked():
    """A rubric must name every grade; grades have different names and scores; no option contains a credential."""
    check_options(
        OpenAIJudge,
        accepts=[{"model": "m"}, {"model": "m", "grades": {"yes": 1.0, "no": 0.0}, "rubric": "yes or no"}],
        refuses=[
            {},
            {"model": "m", "grades": {"yes": 1.0, "no": 0.0}},
            {"model": "m", "grades": {"correct": 1.0}},
            {"model": "m", "grades": {"correct": 1.5, "incorrect": 0.0}},
            {"model": "m", "grades": {"correct": 1.0, "Correct": 0.0}},
            {"model": "m", "rubric": ""},
            {"model": "m", "grades": {"yes": 1.0, "no": 1.0}, "rubric": "yes or no"},
            {"model": "m", "grades": {"right": 1.0, "wrong": 0.0}, "rubric": "outright wrongful"},
            {"model": "m", "extra": {"api_key": "x"}},
            {"model": "m", "extra": {"headers": {"Authorization": "x"}}},
            {"model": "m", "extra": {"user": ["Bearer x"]}},
        ],
    )


def test_only_allowed_servers_receive_answers():
    """The judge lists its server, and sends no answer to a server that is not allowed."""
    check_recipients(
        lambda address: make_plugin(OpenAIJudge, {"model": "m", "base_url": address}),
        lambda plugin: list(plugin.judge([RIGHT], {})),
    )


def test_the_request_holds_everything_the_judge_needs(server, judge):
    """The request has temperature 0, the rubric, the grades and the case as JSON, and asks for a JSON object."""
    list(judge().judge([RIGHT], {}))
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["response_format"]) == ("j", 0.0, {"type": "json_object"})
    assert case(body) == {"question": RIGHT.question, "accepted_answers": ["hall 7"], "answer": RIGHT.output}
    assert judge().prompt(RIGHT) == body["messages"][0]["content"]
    assert '"grade" is one of: "correct", "partly correct", "incorrect"' in judge().prompt(RIGHT)


def test_a_verdict_has_the_score_of_its_grade(server, judge):
    """The score of a verdict is the score of its grade, whatever the case of the grade and the text around the JSON."""
    reply = {"grade": " Partly Correct", "declined": False, "reason": "one\nof \ud800 two"}
    server.faults += [f"<think>{{}}</think>Sure: {json.dumps(reply)}"]
    assert list(judge().judge([RIGHT], {})) == [Verdict(0.5, "one of ? two", abstained=False)]


def test_an_unanswerable_question_is_explained(judge):
    """The prompt says that the documents hold no answer if there is no accepted answer, and only then."""
    assert "hold no answer" in judge().prompt(HOPELESS)
    assert "hold no answer" not in judge().prompt(RIGHT)
    assert list(judge().judge([HOPELESS], {})) == [Verdict(1, "about Who built pump 1?", abstained=True)]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("no JSON", "the answer is not valid JSON"),
        ('{"grade": "good", "declined": false, "reason": ""}', "expected one of the grades correct, partly correct"),
        ('{"grade": 1, "declined": false, "reason": ""}', "expected one of the grades correct"),
        ('{"grade": "correct", "declined": "no", "reason": ""}', 'true or false under the key "declined"'),
        ('{"grade": "correct", "declined": false}', 'expected a sentence under the key "reason"'),
        ('["correct"]', "expected a JSON object"),
    ],
)
def test_an_invalid_reply_is_requested_again(server, judge, reply, words):
    """After an invalid reply, the request is sent with the next seed; without a valid reply, the answer is unjudged."""
    server.faults += [reply]
    assert [verdict.score for verdict in judge().judge([RIGHT], {})] == [1]
    assert [body["seed"] for body in server.bodies] == [0, 1]
    server.faults += [reply, reply]
    (unjudged,) = judge(attempts=2).judge([RIGHT], {})
    assert isinstance(unjudged, UnjudgedAnswer)
    assert unjudged.reason.startswith("all 2 replies of the judge are invalid: ")
    assert words in unjudged.reason
    assert unjudged.reason.endswith("; raise `attempts` of the judge to ask it again")


def test_a_rejected_answer_is_unjudged_without_the_key(server, judge):
    """If the server rejects one of several answers, only this answer is unjudged, and the reason contains no key."""
    server.rejects = lambda body: (
        (400, {}, f'{{"error": {{"message": "too long, {server.key}"}}}}') if case(body)["answer"] == "hall 8" else None
    )
    verdicts = list(judge(concurrency=1).judge([WRONG, RIGHT, HOPELESS], {}))
    assert [type(verdict) for verdict in verdicts] == [UnjudgedAnswer, Verdict, Verdict]
    assert "too long" in verdicts[0].reason
    assert server.key not in verdicts[0].reason


def test_a_judge_that_never_replies_in_the_form_is_stopped(server, judge):
    """If none of the first answers has a valid reply, no further requests are sent, and all replies are stored."""
    server.write, kept = lambda body: "fine", {}
    answers = [AnswerToJudge("Where?", ("here",), f"there {number}") for number in range(3 * FIRST_ANSWERS)]
    with pytest.raises(InputError, match=f"the judge gave no verdict on the first {FIRST_ANSWERS} answers"):
        list(judge(attempts=1).judge(answers, kept))
    assert len(kept) == len(server.bodies) < len(answers)


def test_the_token_budget_ends_the_judging(server, judge):
    """When the token budget is exhausted, the verdicts so far are stored and no further request is sent."""
    kept = {}
    with pytest.raises(InputError, match="the token budget of 200 is exhausted"):
        list(judge(token_budget=200, concurrency=1).judge(ANSWERS, kept))
    assert len(kept) == len(server.bodies) == 2


def test_forecast_and_cost_agree(server, judge):
    """A forecast counts the requests without a stored reply; the cost counts every stored reply once."""
    answers, kept = [RIGHT, WRONG, RIGHT], {}
    assert judge().forecast(answers, kept).calls == 2
    server.faults += ["invalid"]
    list(judge(concurrency=1).judge(answers, kept))
    spent = judge().spent(answers, kept)
    assert (spent.requests, spent.input_tokens, spent.output_tokens) == (3, 300, 150)
    assert judge().forecast(answers, kept).calls == 0
    server.usage = {}
    list(judge().judge([HOPELESS], kept))
    assert judge().spent([HOPELESS], kept).input_tokens is None


def test_everything_that_decides_a_verdict_is_in_its_key(server, judge):
    """A change of model, rubric, grades or answer requests a new verdict; other options reuse the stored verdict."""
    kept = {}
    list(judge().judge([RIGHT], kept))
    grades = {"correct": 1.0, "incorrect": 0.0}
    for options, requests in (
        ({}, 1),
        ({"retries": 1, "timeout": 5.0, "token_budget": 10_000, "attempts": 2}, 1),
        ({"model": "other"}, 2),
        ({"rubric": "correct, partly correct or incorrect?"}, 3),
        ({"grades": grades}, 4),
        ({"temperature": 0.5}, 5),
    ):
        list(judge(**options).judge([RIGHT], kept))
        assert len(server.bodies) == requests
    list(judge().judge([WRONG], kept))
    assert len(server.bodies) == 6


def test_what_the_server_reports_is_stored_and_long_reasons_are_shortened(server, judge):
    """A verdict contains the served model and fingerprint, and at most 500 characters of the reason."""
    server.about = {"model": "j-2026", "system_fingerprint": "fp7"}
    server.faults += [json.dumps({"reason": "x" * 9000, "grade": "correct", "declined": False})]
    (verdict,) = judge().judge([RIGHT], {})
    assert (verdict.served, len(verdict.reason)) == ("j-2026, fp7", 500)


def judged_spec(server, more="", repeated=0):
    """Write a benchmark in which the server answers as model m and judges as model j."""

    def write(body):
        return by_rule(body) if body["model"] == "gpt-j" else "It stands in hall 7."

    server.write = write
    rows = [
        {"id": f"q{n}", "question": f"Where does pump {n} stand?", "answer": f"hall {7 * n}", "document": f"pump-{n}"}
        for n in range(5)
    ]
    return {
        "questions.jsonl": "\n".join(map(json.dumps, rows)),
        "judged.toml": f"""schema = 1
name = "judged"
[models.m]
plugin = "openai-chat"
model = "gpt-m"
repeat_questions = {repeated}
base_url = "{server.url}"
[corpora.pumps]
plugin = "jsonl"
path = "pumps.jsonl"
[judges.grader]
plugin = "openai"
model = "gpt-j"
base_url = "{server.url}"
retries = 0
concurrency = 1
{more}
[tasks.own]
plugin = "file"
path = "questions.jsonl"
corpus = "pumps"
scoring = "judge"
judge = "grader"
[methods.base]
[prices]
input_tokens_million = 1000.0
output_tokens_million = 2000.0
""",
    }


def test_a_judged_benchmark_from_check_to_table(server, kib, tmp_path):
    """`kib check` shows the prompt and the cost of a judge, `kib run` stores its verdicts and asks nothing twice."""
    for name, text in judged_spec(server).items():
        (tmp_path / name).write_text(text)
    checked = kib("check", "judged.toml").output
    assert "forecast for judge grader: at most 5 requests" in checked
    assert "judge grader (gpt-j) and model m (gpt-m) are of one family" in checked
    assert '"question": "Where does pump 0 stand?"' in checked
    assert "judges.grader: test of" in checked
    assert [body["model"] for body in server.bodies] == ["gpt-m", "gpt-j"]
    server.bodies.clear()
    assert kib("run", "judged.toml").exit_code == 0
    asked = [body["model"] for body in server.bodies]
    assert asked.count("gpt-m") == 5
    assert asked.count("gpt-j") == 5
    shown = kib("show", "m/base/own,0-shot").output
    assert "1 of 5 right" in shown
    assert "verdicts of judge grader: 5 requests, 500 tokens read, 250 written" in shown
    assert kib("run", "judged.toml").exit_code == 0
    assert len(server.bodies) == 10
    shutil.rmtree(tmp_path / "results")
    assert "forecast for judge grader: all verdicts are stored" in kib("check", "judged.toml", "--no-probe").output


def test_a_judge_that_fails_midway_loses_no_verdict(server, kib, tmp_path):
    """If the judge's server fails midway, all answers and verdicts are kept, and the next run asks for the rest."""
    for name, text in judged_spec(server).items():
        (tmp_path / name).write_text(text)
    verdicts = []

    def failing(body):
        if body["model"] != "gpt-j":
            return None
        verdicts.append(body)
        return (401, {}, '{"error": {"message": "expired"}}') if len(verdicts) == 3 else None

    server.rejects = failing
    failed = kib("run", "judged.toml")
    assert failed.exit_code == 3
    assert "the server rejected the API key" in failed.output
    assert kib("run", "judged.toml").exit_code == 0
    asked = [body["model"] for body in server.bodies]
    assert asked.count("gpt-m") == 5
    assert asked.count("gpt-j") == 6  # the rejected request is sent again


def test_repeated_answers_are_judged(server, kib, tmp_path):
    """The answers to repeated questions are judged too; an answer that is equal to the first shares its verdict."""
    for name, text in judged_spec(server, repeated=2).items():
        (tmp_path / name).write_text(text)
    ran = kib("run", "judged.toml")
    assert ran.exit_code == 0
    assert "2 of 2 answers are identical, 0 scores changed" in " ".join(ran.output.split())
    asked = [body["model"] for body in server.bodies]
    assert (asked.count("gpt-m"), asked.count("gpt-j")) == (7, 5)
    assert "of 5 right" in kib("show", "base").output  # the name of an arm denotes its test questions


def test_a_judge_that_is_unavailable_is_found_before_the_run(server, kib, tmp_path):
    """If only the judge's server does not answer, `kib check` ends with exit code 5 and does not say how to resume."""
    for name, text in judged_spec(server).items():
        (tmp_path / name).write_text(text)
    server.rejects = lambda body: (503, {}, "") if body["model"] == "gpt-j" else None
    checked = kib("check", "judged.toml")
    assert checked.exit_code == 5
    assert "judges.grader: " in checked.output
    assert "resume" not in checked.output


def test_a_missing_key_of_the_judge_is_found_before_the_run(server, kib, tmp_path):
    """`kib check` reports a judge without its key, and names the table and the variable."""
    for name, text in judged_spec(server, 'api_key_env = "JUDGE_API_KEY"').items():
        (tmp_path / name).write_text(text)
    checked = kib("check", "judged.toml")
    assert checked.exit_code != 0
    assert "judges.grader" in checked.output
    assert "JUDGE_API_KEY" in checked.output


def test_a_system_is_judged_by_its_text(server, kib, tmp_path):
    """The judge reads only the text of a system's answers, and the forecast knows which verdicts are stored."""
    for name, text in judged_spec(server).items():
        (tmp_path / name).write_text(text)
    system = f"""
[systems.ours]
plugin = "http"
url = "{server.url}/chat/completions"
request = {{ model = "gpt-m", messages = [{{ role = "user", content = "Question: {{{{ question }}}}" }}] }}
answer = "choices[0].message.content"
cost = "usage.total_tokens"
[methods.ours]
system = "ours"
"""
    spec = tmp_path / "judged.toml"
    spec.write_text(spec.read_text() + system)
    run = kib("run", "judged.toml")
    assert run.exit_code == 0, run.output
    answers = {case(body)["answer"] for body in server.bodies if body["model"] == "gpt-j"}
    assert not [answer for answer in answers if "text" in answer or "cost" in answer]
    assert "1 of 5 right" in kib("show", "m/ours/own,0-shot").output
    shutil.rmtree(tmp_path / "results")
    assert "forecast for judge grader: all verdicts are stored" in kib("check", "judged.toml", "--no-probe").output
