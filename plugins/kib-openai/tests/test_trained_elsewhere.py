"""A chat model trained elsewhere: the export for the training service, and the measurement of the result."""

import json
import re
from pathlib import Path

import pytest

SPEC = """schema = 1
name = "own"

[models.ours]
plugin = "openai-chat"
model = "m"
base_url = "URL"

[models.ours-ft]
plugin = "openai-chat"
model = "m:ft"
base_url = "URL"

[corpora.pumps]
plugin = "jsonl"
path = "pumps.jsonl"

[writers.gpt]
plugin = "openai"
model = "w"
base_url = "URL"
kind = "pairs"

[trainers.hosted]
plugin = "elsewhere"
text = { writer = "gpt", count = 2, kind = "pairs", originals = false }

[tasks.halls]
plugin = "file"
path = "halls.jsonl"
corpus = "pumps"
scoring = "contains"

[methods.base]

[methods.ft]
trained_as = "ours-ft"
cost = { money = 12.5 }
"""
PUMPS = 5


def answers(body):
    """Return pairs to the writer; the model `m:ft` knows the hall of every pump, and `m` of none."""
    message = body["messages"][-1]["content"]
    if body["model"] == "w":
        number = re.search(r"Pump (\d+)", message)[1]
        asked = [f"Where does pump {number} stand?", f"In which hall is pump {number}?"]
        return {"pairs": [{"question": one, "answer": f"hall {7 * int(number)}"} for one in asked]}
    number = re.search(r" pump (\d+)", message)[1]
    return f"hall {7 * int(number)}" if body["model"] == "m:ft" else "I do not know."


def ask(question="Where does pump {} stand?"):
    """Write one question about each pump."""
    rows = [{"question": question.format(n), "answer": f"hall {7 * n}", "document": f"pump-{n}"} for n in range(PUMPS)]
    Path("halls.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def own(kib, server):
    """Write a benchmark whose model was trained elsewhere; return a function that calls a command for it."""
    server.write = answers
    for number in range(PUMPS):
        text = f"Pump {number} stands in hall {7 * number} beside the door."
        with Path("pumps.jsonl").open("w" if number == 0 else "a") as file:
            file.write(json.dumps({"id": f"pump-{number}", "title": f"Pump {number}", "text": text}) + "\n")
    Path("own.toml").write_text(SPEC.replace("URL", server.url))
    ask()
    return lambda command, *options: kib(command, "own.toml", "-q", *options)


def pairs():
    """Return the exported pairs."""
    return [json.loads(line) for line in Path("exports/own/hosted/training-pairs.jsonl").read_text().splitlines()]


def test_the_export_contains_the_messages_of_the_requests(own, server):
    """The messages before the answer are exactly the messages of the request that asks the same question."""
    assert own("export").exit_code == 0
    found = {line["messages"][-2]["content"]: line["messages"] for line in pairs()}
    assert len(found) == PUMPS
    ask("In which hall is pump {}?")  # the questions of the exported pairs
    assert own("run").exit_code == 0
    asked = [body["messages"] for body in server.bodies if body["model"] == "m:ft"]
    assert sorted(map(json.dumps, asked)) == sorted(json.dumps(messages[:-1]) for messages in found.values())
    assert {messages[-1]["content"] for messages in found.values()} == {f"hall {7 * n}" for n in range(PUMPS)}


def test_no_test_question_is_exported(own):
    """The pairs of the writer that repeat a test question are left out of the export."""
    result = own("export")
    assert f"removed {PUMPS} pairs that repeat a question of a task" in result.stdout
    assert not [line for line in pairs() if "Where does" in json.dumps(line)]


def test_the_writer_is_paid_once(own, server):
    """`--dry-run` sends nothing and states the cost; an interrupted export and a second export pay nothing twice."""
    assert "forecast for writer gpt on pumps, 2 texts per passage: 5 requests" in own("export", "--dry-run").stdout
    assert server.bodies == []
    server.faults = [None, None, *[(400, {}, "{}")] * 20]
    assert own("export").exit_code != 0
    assert not Path("exports").exists()
    server.faults = []
    assert own("export").exit_code == 0
    paid = [json.dumps(body) for body in server.bodies if body["model"] == "w"]
    assert len(set(paid)) == PUMPS
    before = len(server.bodies)
    assert own("export", "--force").exit_code == 0
    assert len(server.bodies) == before
    record = json.loads(Path("exports/own/hosted/export.json").read_text())
    assert record["written"] == [{"requests": PUMPS, "input_tokens": 100 * PUMPS, "output_tokens": 50 * PUMPS}]


def test_the_key_is_not_exported(own, server):
    """No exported file contains the API key."""
    own("export")
    for path in Path("exports").rglob("*.json*"):
        assert server.key not in path.read_text()


def test_the_result_is_compared_with_its_base(own, server):
    """The trained model has a gain over its base, although the server reports another name and fingerprint."""
    reported = {"m": "m-2024", "m:ft": "m:ft-2024"}

    def write(body):
        server.about = {"model": reported[body["model"]], "system_fingerprint": f"fp-{body['model']}"}
        return answers(body)

    server.write = write
    spec = Path("own.toml")
    spec.write_text(spec.read_text().replace('base_url = "', 'concurrency = 1\nbase_url = "'))
    assert own("run").exit_code == 0
    table = json.loads(own("leaderboard", "--cost", "--format", "json").stdout)
    base, ft = table["rows"]
    assert (base["model"], base["accuracy"], ft["model"], ft["accuracy"]) == ("ours", 0, "ours", 1)
    assert (ft["gain"], ft["trained_as"], ft["money_once"], ft["alarms"]) == (1, "ours-ft", 12.5, [])
    assert len(table["environments"]) == 2
