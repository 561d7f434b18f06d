"""Questions that a chat endpoint is asked again at the end of a run, with a local HTTP server that changes."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

QUESTIONS = 8

SPEC = """schema = 1
name = "chats"
[models.gpt]
plugin = "openai-chat"
model = "m"
base_url = "URL"
retries = 0
concurrency = 1
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


class Endpoint:
    """Answers every question about a pump correctly until `ends_after` answers, and then with other words."""

    def __init__(self, server):
        self.server, self.ends_after, self.words = server, None, "I forgot."
        self.asked = Counter()
        server.write = self.answer

    def answer(self, body):
        """Return the hall of the pump, or other words after the change."""
        if self.ends_after is not None and sum(self.asked.values()) >= self.ends_after:
            self.server.about = {"model": "m-2025"}
        message = body["messages"][-1]["content"]
        self.asked[message] += 1
        number = int(re.search(r"Question: Where does pump (\d) stand\?", message)[1])
        return self.words if self.server.about == {"model": "m-2025"} else f"It is in hall {number * 7}."


@pytest.fixture
def endpoint(server):
    """Return an endpoint on the server."""
    server.about = {"model": "m-2024"}
    return Endpoint(server)


@pytest.fixture
def chats(kib, server, tmp_path):
    """Write a benchmark with questions about pumps, and return a function that runs a command on it."""
    pumps = [{"id": f"pump-{n}", "title": "", "text": f"Pump {n} is in hall {n * 7}."} for n in range(QUESTIONS)]
    Path("pumps.jsonl").write_text("\n".join(map(json.dumps, pumps)))
    rows = [
        {"question": f"Where does pump {n} stand?", "answer": f"hall {n * 7}", "document": f"pump-{n}"}
        for n in range(QUESTIONS)
    ]
    Path("halls.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def run(command="run", *options, keys="", more=""):
        spec = SPEC.replace("URL", server.url).replace("retries = 0", f"retries = 0\n{keys}")
        Path("chats.toml").write_text(spec + more)
        return kib(command, "chats.toml", "-q", *options)

    return run


def said(result):
    """Return the output of a command without line breaks."""
    return " ".join(result.output.split())


def test_base_is_asked_twice(chats, endpoint):
    """Every question of base is asked a second time after all other questions, and no other question is."""
    result = chats()
    assert result.exit_code == 0, result.output
    assert sorted(endpoint.asked.values()) == [1] * QUESTIONS + [2] * QUESTIONS
    last = [body["messages"][-1]["content"] for body in endpoint.server.bodies[-QUESTIONS:]]
    assert all(endpoint.asked[message] == 2 for message in last)
    assert len(set(last)) == QUESTIONS
    assert (
        "gpt on halls, 0-shot: base answered 8 questions again at the end of the run: 8 of 8 answers are identical, 0 "
        "scores changed, mean change 0.0 points [-33.4, 33.4], p 1.000"
    ) in said(result)
    assert chats().exit_code == 0
    assert sum(endpoint.asked.values()) == 3 * QUESTIONS


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "repeated"), [("repeat_questions = 3", 3), ("repeat_questions = 0", 0)])
def test_the_number_of_repeated_questions(chats, endpoint, keys, repeated):
    """The key `repeat_questions` sets the size of the fixed sample, and 0 switches the repetition off."""
    assert (
        f"forecast for gpt (repeated questions): {repeated} requests" in chats("check", keys=keys).output
        or not repeated
    )
    endpoint.asked.clear()
    assert chats(keys=keys).exit_code == 0
    assert sum(endpoint.asked.values()) == 2 * QUESTIONS + repeated
    table = json.loads(chats("leaderboard", "--format", "json", keys=keys).stdout)
    assert [one["n"] for one in table.get("repeats", [])] == [repeated] * bool(repeated)


@pytest.mark.slow
def test_more_repeated_questions_ask_only_the_added_questions(chats, endpoint):
    """If the sample grows, only questions without a second answer are asked, and nothing is asked a third time."""
    for keys in ("repeat_questions = 3", "repeat_questions = 5", ""):
        assert chats(keys=keys).exit_code == 0
    assert max(endpoint.asked.values()) == 2
    assert sum(endpoint.asked.values()) == 3 * QUESTIONS


@pytest.mark.slow
def test_an_interrupted_repetition_is_resumed(chats, endpoint, server):
    """If the server goes down during the first or the second answers, nothing is asked more often than planned."""
    for before in (5, 4 + QUESTIONS, 3):
        server.faults = [None] * before + [503] * 20
        failed = chats()
        assert failed.exit_code == 5
    assert "questions are asked again after all other cells" not in said(failed)
    server.faults = []
    assert chats().exit_code == 0
    assert sorted(endpoint.asked.values()) == [1] * QUESTIONS + [2] * QUESTIONS


def test_the_repetition_waits_for_all_other_answers(chats, endpoint, server):
    """Questions are not asked again while other cells have no result, because the second answers must come last."""
    server.faults = [None] * QUESTIONS + [503] * 20
    failed = chats()
    assert failed.exit_code == 5
    assert "questions are asked again after all other cells of gpt have a result" in said(failed)
    assert max(endpoint.asked.values()) == 1


def test_an_endpoint_that_changes_during_a_run(chats, endpoint):
    """If the second answers have significantly different scores, the table warns, and so does each row with a gain."""
    endpoint.ends_after = 2 * QUESTIONS
    result = chats()
    assert result.exit_code == 0, result.output
    text = said(result)
    assert "0 of 8 answers are identical, 8 scores changed, mean change -100.0 points" in text
    assert "The change is significant: the endpoint drifted while kib measured" in text
    assert "it reported served model m-2024 with the first answers, and served model m-2025 with the repeated" in text
    table = json.loads(chats("leaderboard", "--format", "json").stdout)
    [repeat] = table["repeats"]
    assert (repeat["n"], repeat["identical"], repeat["changed_scores"], repeat["change"]) == (8, 0, 8, -1.0)
    assert (repeat["first"], repeat["second"]) == (["served model m-2024"], ["served model m-2025"])
    assert {row["method"]: "endpoint drifted" in row["alarms"] for row in table["rows"]} == {
        "base": False,
        "oracle": True,
    }


@pytest.mark.slow
def test_other_words_with_the_same_scores_are_no_drift(chats, endpoint, server):
    """Different answers with the same scores are counted, but cause no warning about a drift."""
    endpoint.ends_after, endpoint.words = 2 * QUESTIONS, "It is in hall 0, 7, 14, 21, 28, 35, 42 or 49."
    words = " or ".join(f"hall {n * 7}" for n in range(QUESTIONS))
    endpoint.words = f"It is in {words}."
    text = said(chats())
    assert "0 of 8 answers are identical, 0 scores changed" in text
    assert "drifted" not in text
    assert "The endpoint changed while kib measured" in text


def test_a_drift_is_not_worse(chats, kib, endpoint):
    """If a gain is below the baseline while the endpoint drifts, the check ends with the verdict of a drift."""
    knows = Endpoint.answer

    def forgets(body):
        """Answer wrongly without passages until the endpoint drifts."""
        message = body["messages"][-1]["content"]
        text = knows(endpoint, body)
        return text if "Context:" in message or sum(endpoint.asked.values()) > 2 * QUESTIONS else "I forgot."

    endpoint.server.write = forgets
    assert chats(keys="repeat_questions = 0").exit_code == 0
    assert kib("leaderboard", "chats", "-q", "--update-baseline", "baseline.json").exit_code == 0
    stored = json.loads(Path("baseline.json").read_text())["rows"]
    assert stored["chats/gpt/base/halls,0-shot"]["server"]["reported"] == ["served model m-2024"]
    assert "server" not in stored["chats/gpt/oracle/halls,0-shot"]

    halls = Path("halls.jsonl")
    halls.write_text(halls.read_text().replace("stand?", "stand ?"))  # new prompts
    endpoint.asked.clear()
    endpoint.server.write = lambda body: knows(
        endpoint, {**body, "messages": [{"content": body["messages"][-1]["content"].replace("stand ?", "stand?")}]}
    )
    endpoint.ends_after = 2 * QUESTIONS  # base knows everything at first, so no passage helps
    assert chats().exit_code == 0
    checked = kib("leaderboard", "chats", "-q", "--check", "baseline.json")
    assert checked.exit_code == 6, checked.output
    text = said(checked)
    assert "baseline.json: rows are worse, but the endpoint has changed, so the method may not be the reason" in text
    assert "chats/gpt/oracle/halls,0-shot: the gain fell below the baseline's confidence interval" in text
    assert "the accuracy of base on repeated questions changed by -100.0" in text


@pytest.mark.slow
def test_a_replaced_model_is_not_worse(chats, kib, endpoint):
    """If the accuracy of base and the reported model differ from those in the baseline, the verdict is a drift."""
    answers = {"base": "I forgot.", "oracle": None}

    def answer(body):
        message = body["messages"][-1]["content"]
        return answers["oracle" if "Context:" in message else "base"] or Endpoint.answer(endpoint, body)

    endpoint.server.write = answer
    keys = "repeat_questions = 0"
    assert chats(keys=keys).exit_code == 0
    assert kib("leaderboard", "chats", "-q", "--update-baseline", "baseline.json").exit_code == 0
    answers["base"] = None
    for number, (model, code) in enumerate([("m-2024", 1), ("m-2026", 6)]):
        endpoint.server.about = {"model": model}
        assert chats(keys=f"{keys}\nseed = {number + 1}").exit_code == 0
        checked = kib("leaderboard", "chats", "-q", "--check", "baseline.json")
        assert checked.exit_code == code, checked.output
    assert "the accuracy of base changed from 0.0 to 100.0 %, and the endpoint reports served model m-2026" in said(
        checked
    )


def test_a_check_of_the_key(chats, kib):
    """A number of repeated questions without a base method is an error that names the key."""
    global_spec = SPEC.replace("[methods.base]\n", "").replace("retries = 0", "repeat_questions = 5")
    Path("other.toml").write_text(global_spec.replace("URL", "http://127.0.0.1:1/v1"))
    result = kib("check", "other.toml", "-q")
    assert result.exit_code == 2
    assert (
        "models.gpt.repeat_questions: `repeat_questions` needs a method without `train` and `retrieve`" in result.output
    )


@pytest.mark.slow
def test_the_repetition_does_not_wait_for_other_servers(chats, endpoint):
    """A system of its own that is down does not keep the questions of base from being asked again."""
    down = '\n[systems.own]\nplugin = "http"\nurl = "http://127.0.0.1:1/"\nretries = 0\n[methods.own]\nsystem = "own"\n'
    failed = chats(more=down)
    assert failed.exit_code == 5
    assert "8 of 8 answers are identical" in said(failed)
    assert sorted(endpoint.asked.values()) == [1] * QUESTIONS + [2] * QUESTIONS
