import json
import re
import shutil
from pathlib import Path

import pytest

from kib.plan.planner import make_plan
from kib.plugins.builtin.questions_file_task import FileTask
from kib.plugins.resolve import open_spec
from kib.progress import SilentProgress
from kib.run.shared_steps import SharedSteps
from kib.store.work import Work
from kib.testing import make_plugin

PUMPS = 5
"""The number of documents, each of which is a single passage."""


def change_spec(*changes):
    """Replace strings in the benchmark file after checking that each string occurs in the file."""
    spec = Path("own.toml").read_text()
    for before, after in changes:
        assert before in spec
        spec = spec.replace(before, after, 1)
    Path("own.toml").write_text(spec)


def text_kinds(writer, trainer):
    """Return the changes to the benchmark file that set the kinds of text of the writer and the trainer."""
    return ('model = "m"\n', f'model = "m"\nkind = "{writer}"\n'), ("count = 7", f'count = 7, kind = "{trainer}"')


WRITE_QUESTIONS = ("questions", "own.toml", "--corpus", "pumps", "--out", "questions.jsonl", "--quiet")


def test_dry_run(kib, server):
    """A dry run forecasts requests, tokens and costs, but sends no request and writes no file."""
    run = kib(*WRITE_QUESTIONS, "--dry-run")
    assert run.exit_code == 0
    assert run.stdout.startswith("forecast for writer gpt on 5 passages: 10 requests, about ")
    assert run.stdout.endswith(" with [prices]\n")
    assert not server.bodies
    assert not Path("questions.jsonl").exists()


def test_a_file_with_only_a_corpus_and_a_writer(kib, server):
    """Questions need only a corpus and a writer, and a corpus that is split by tokens also needs a model."""
    head, rest = Path("own.toml").read_text().split("[models.lab]")
    needed = rest[rest.index("[corpora.pumps]") : rest.index("[trainers.par]")]
    Path("own.toml").write_text(head + needed)
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 0, run.output
    assert "questions.jsonl: 10 questions" in run.output
    change_spec(("sentences = 2", "tokens = 64"))
    refused = kib(*WRITE_QUESTIONS, "--force")
    assert refused.exit_code == 2
    assert "own.toml: corpora.pumps.chunk: splitting by tokens requires a tokenizer; add a table" in refused.output


def test_the_time_of_an_earlier_run(kib, server, monkeypatch):
    """A dry run forecasts the time from an earlier run, even if the earlier run failed."""
    monkeypatch.setattr("kib.run.speeds.SHORTEST", 0.0)
    assert "output tokens, time unknown before the first answers, about" in kib(*WRITE_QUESTIONS, "--dry-run").stdout
    server.faults = [None, None, None, 403]
    change_spec(("base_url", "concurrency = 1\nbase_url"))
    assert kib(*WRITE_QUESTIONS).exit_code == 2
    forecast = kib(*WRITE_QUESTIONS, "--dry-run").stdout
    assert re.search(r"output tokens, about \d+ s at the speed of an earlier run, about", forecast)


def test_questions(kib, server):
    """The two most specific of four questions per passage are saved for the task `file`, each with its gold range."""
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 0, run.output
    assert "questions.jsonl: 10 questions" in run.output
    assert "kept 10 of 20 questions, covering 5 of 5 passages" in run.output
    assert "rejected 10: the question is less specific than the kept questions" in run.output
    rows = list(make_plugin(FileTask, {"path": "questions.jsonl"}).questions("test"))
    assert [question.id for question in rows[:3]] == ["pump-0#0-1", "pump-0#0-2", "pump-1#0-1"]
    assert [question.options[question.answer] for question in rows[:2]] == ["right 4", "right 3"]
    text = json.loads(Path("pumps.jsonl").read_text().splitlines()[0])["text"]
    gold = rows[0].gold[0]
    assert text[gold.start : gold.end] == "hall 0 beside"
    assert len(server.bodies) == 10


def test_second_run(kib, server):
    """An existing question file is overwritten only with --force, and stored answers produce the same file again."""
    kib(*WRITE_QUESTIONS)
    first = Path("questions.jsonl").read_bytes()
    refused = kib(*WRITE_QUESTIONS)
    assert refused.exit_code == 2
    assert "questions.jsonl" in refused.output
    assert "--force" in refused.output
    assert kib(*WRITE_QUESTIONS, "--force").exit_code == 0
    assert Path("questions.jsonl").read_bytes() == first
    assert len(server.bodies) == 10
    assert ": 0 requests" in kib(*WRITE_QUESTIONS, "--dry-run").output


def test_validation(kib):
    """Validation questions and test questions are about different documents."""
    run = kib(*WRITE_QUESTIONS, "--validation", "validation.jsonl")
    assert "validation.jsonl: 2 questions" in run.output
    task = make_plugin(FileTask, {"path": "questions.jsonl", "validation": "validation.jsonl"})
    test, validation = ({question.group for question in task.questions(split)} for split in ("test", "validation"))
    assert len(test) == 4
    assert len(validation) == 1
    assert not test & validation


def test_invented_quotes(kib, server):
    """A question whose quote is not in the passage is rejected and counted, and no empty question file is written."""
    write = server.write

    def invent(body):
        answer = write(body)
        for question in answer.get("questions", []):
            question["quote"] = "what nobody wrote"
        return answer

    server.write = invent
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 2
    assert "corpora.pumps: no question was kept: the quote is not in the passage (20 times)" in run.output
    assert not Path("questions.jsonl").exists()


def test_some_passages_without_questions(kib, server):
    """If no question is written for a passage, all other questions are saved, and the command fails with a reason."""
    change_spec(("base_url", "concurrency = 1\nattempts = 1\nbase_url"))
    server.faults = [None, None, "Sorry!\x1b[31m"]
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 3
    assert "questions.jsonl: 8 questions" in run.output
    reason = 'passage pump-1#0: the answer ("Sorry!\\u001b[31m") is invalid: the answer is not valid JSON'
    assert f"no questions were written for 1 passage; the first reason: {reason}\n" in run.stdout
    assert run.stderr.endswith(
        "Error: no questions were written for 1 of 5 passages; the questions about all other passages are saved\n"
        f"  {reason}\n"
    )
    assert len(server.bodies) == 2 * 4 + 1
    change_spec(("attempts = 1\n", "attempts = 2\n"))
    again = kib(*WRITE_QUESTIONS, "--force")
    assert again.exit_code == 0
    assert "questions.jsonl: 10 questions" in again.output
    assert len(server.bodies) == 2 * 5 + 1


def test_a_passage_that_the_server_never_answers(kib, server):
    """If the server fails at every request about one passage, the questions about all other passages are saved."""
    change_spec(("base_url", "retries = 1\nbase_url"))
    server.crashes_on = lambda message: "Pump 1" in message
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 3
    assert "questions.jsonl: 8 questions" in run.output
    failed = "chat/completions: the server returned status 500: grammar parse failed after 2 attempts\n"
    assert run.stderr.endswith(failed)
    assert "no questions were written for 1 of 5 passages" in run.stderr
    server.crashes_on = lambda message: False
    assert kib(*WRITE_QUESTIONS, "--force").exit_code == 0
    assert len(server.bodies) == 2 * 4 + 2 + 2


def test_allowed_passages_without_questions(kib, server):
    """Passages that may remain without questions are counted, but do not make the command fail."""
    change_spec(("base_url", "concurrency = 1\nattempts = 1\nmay_miss = 1\nbase_url"))
    server.faults = ["no"]
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 0
    assert 'for 1 passage; the first reason: passage pump-0#0: the answer ("no") is invalid' in run.output


def test_no_question_for_any_passage(kib, server):
    """If no passage has a question, no file is written, and the error states the first reason."""
    change_spec(("base_url", "attempts = 1\nbase_url"))
    server.faults = ["no"] * 5
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 2
    assert "no question was kept: no questions were written for 5 passages; the first reason: passage " in run.output
    assert not Path("questions.jsonl").exists()


def test_a_rejected_key(kib, server):
    """If the server rejects the API key, the command ends with a one-sentence error and writes no file."""
    server.faults = [401] * 9
    run = kib(*WRITE_QUESTIONS)
    assert run.exit_code == 2
    [announcement, error] = run.output.splitlines()
    assert announcement.startswith("writers.gpt may send the credential in OPENAI_API_KEY to ")
    assert "the server rejected the API key in OPENAI_API_KEY (401)" in error
    assert not Path("questions.jsonl").exists()


def test_the_key_is_never_written(kib, server):
    """The API key does not occur in any file or output of a run."""
    output = kib(*WRITE_QUESTIONS).output + kib(*WRITE_QUESTIONS, "--dry-run").output
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in files)
    assert server.key not in output
    assert not [path for path in files if server.key.encode() in path.read_bytes()]


def test_check_forecasts_the_cost_of_text(kib, server, questions, monkeypatch):
    """The command `kib check` forecasts the cost of missing texts without a request, but requires the API key."""
    run = kib("check", "own.toml", "--quiet")
    assert run.exit_code == 0, run.output
    line = next(line for line in run.output.splitlines() if line.startswith("forecast for writer gpt"))
    assert line.startswith("forecast for writer gpt on pumps, 7 texts per passage: 10 requests, about ")
    assert line.endswith(" with [prices]")
    assert "on pumps, seed 0: unknown before the training text has been written" in run.output
    monkeypatch.delenv("OPENAI_API_KEY")
    run = kib("check", "own.toml", "--quiet")
    assert run.exit_code == 2
    assert line in run.output
    assert "the environment variable OPENAI_API_KEY is not set" in run.output.splitlines()[-1]
    assert run.output.endswith("(1 cell)\n")
    assert not server.bodies


def test_a_kind_without_a_writer(kib, server, questions):
    """If a writer cannot produce the kind of text for a trainer, `kib check` and `kib run` fail before any request."""
    change_spec(*text_kinds("paraphrases", "pairs"))
    for command in ("check", "run"):
        run = kib(command, "own.toml", "--quiet")
        assert run.exit_code != 0
        assert "trainers.par.text" in run.output
        assert 'kind = "pairs"' in run.output
    assert not server.bodies


def training_record():
    """Return the bytes of the trained cell's record, and the record's training entry."""
    (path,) = Path("results").rglob("ft/**/cell.json")
    return path.read_bytes(), json.loads(path.read_text())["training"]


@pytest.mark.slow
def test_the_cost_of_writing(kib, server, questions):
    """The record of a trained cell includes the cost of its training and validation texts, but not of unused pairs."""
    change_spec(
        *text_kinds("both", "documents"),
        ('plugin = "lora"', 'plugin = "full"\nepochs = 1\nvalidation = { writer = "gpt", count = 2, passages = 3 }'),
        ('[methods.ft]\ntrain = "par"\n', '[methods.base]\n[methods.ft]\ntrain = "par"\n'),
        ("[prices]\n", "[prices]\ndevice_hour = 0.0\n"),
    )
    server.faults = ["no"]
    assert kib("run", "own.toml", "--quiet").exit_code == 0
    requests = PUMPS * 2 + 3 + 1
    assert len(server.bodies) == requests
    first, training = training_record()
    assert {key: value for key, value in training.items() if key.startswith("written")} == {
        "written_requests": requests,
        "written_input_tokens": 100 * requests,
        "written_output_tokens": 50 * requests,
    }
    table = json.loads(kib("leaderboard", "results/own", "--cost", "--format", "json").output)
    costs = {row["arm"]: (row["money_once"], row["money_writing"]) for row in table["rows"]}
    money = requests * (100 * 1000 + 50 * 2000) / 1e6
    assert costs == {"base": (0.0, 0.0), "ft": pytest.approx((money, money))}
    shown = kib("show", "lab/ft/own,0-shot").output
    assert f"{requests} requests, 1,400 input tokens and 700 output tokens" in shown
    for folder in ("results", "work/text", "work/weights"):
        shutil.rmtree(folder)
    assert kib("run", "own.toml", "--quiet").exit_code == 0
    assert (training_record()[0], len(server.bodies)) == (first, requests)


def test_only_pairs_are_written_for_a_trainer_of_pairs(kib, server, questions):
    """If a trainer uses only pairs, the forecast covers only pairs, even if the writer supports both kinds of text."""
    change_spec(*text_kinds("both", "pairs"))
    assert "7 texts per passage: 10 requests" in kib("check", "own.toml", "--quiet").output


def planned_steps():
    """Return the plan of the benchmark and its steps."""
    plan = make_plan(*open_spec(Path("own.toml")))
    return plan, SharedSteps(plan, Work(Path("work")), SilentProgress())


def test_pairs_with_options_are_trained_as_a_task_asks_by_letters(kib, server, questions):
    """For a task that asks by letters, the tokens of a pair are the tokens of the asked prompt and the right letter."""
    change_spec(
        *text_kinds("pairs", "pairs"),
        ('model = "m"\n', 'model = "m"\npair_options = 4\n'),
        ('corpus = "pumps"\n', 'corpus = "pumps"\nscoring = "letter"\n'),
        ("[methods.ft]", "[methods.base]\n[methods.ft]"),
        ("count = 7", "originals = false, count = 2"),
    )
    plan, steps = planned_steps()
    (weights,) = [weights for weights in plan.weights if weights.trainer]
    trained = steps.trainer_texts(weights, weights.text)
    assert trained.open_pairs == 0
    rows = [
        {"id": str(n), "question": text.text, "options": text.options, "answer": text.answer, "document": "pump-1"}
        for n, text in enumerate(trained.training)
    ]
    assert len(rows) == 2 * PUMPS
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan, steps = planned_steps()
    cell = next(cell for cell in plan.cells if cell.cell.method == "base" and cell.cell.shots == 0)
    tokens = plan.lock.get("models", "lab").plugin.tokens()
    for text, requests in zip(trained.training, steps.prepared(cell).requests, strict=True):
        prompt, answer = requests[text.options.index(text.answer)].arguments
        assert answer.strip() in "ABCD"
        assert tokens(text.prompt + text.target) == tokens(prompt + answer)
        assert (text.prompt, text.target) == (prompt, answer)
