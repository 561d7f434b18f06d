import json
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.plugins.builtin.questions_file_task import FileTask
from kib.testing import make_plugin

SPEC = """schema = 1
name = "own"

[models.lab]
plugin = "lab"

[corpora.pumps]
plugin = "jsonl"
path = "pumps.jsonl"
chunk = { sentences = 2 }

[writers.gpt]
plugin = "openai"
model = "m"
base_url = "URL"

[trainers.par]
plugin = "lora"
text = { writer = "gpt", count = 7 }

[tasks.own]
plugin = "file"
path = "questions.jsonl"
corpus = "pumps"

[methods.ft]
train = "par"

[prices]
input_tokens_million = 1000.0
output_tokens_million = 2000.0
"""


@pytest.fixture
def kib(server, tmp_path, monkeypatch):
    """A function that calls the command line in a folder with a benchmark on ten pumps and no questions yet."""
    texts = [f"Pump {n} stands in hall {n * 7} beside door {n}. Its lever is red and {n} feet long." for n in range(10)]
    lines = [json.dumps({"id": f"pump-{n}", "title": f"Pump {n}", "text": text}) for n, text in enumerate(texts)]
    (tmp_path / "pumps.jsonl").write_text("\n".join(lines))
    (tmp_path / "own.toml").write_text(SPEC.replace("URL", server.url))
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        handler = signal.getsignal(signal.SIGTERM)
        try:
            result = CliRunner().invoke(main, list(arguments), prog_name="kib")
        finally:
            signal.signal(signal.SIGTERM, handler)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


ASK = ("questions", "own.toml", "--corpus", "pumps", "--out", "questions.jsonl", "--quiet")


def test_dry_run(kib, server):
    """A dry run says requests, tokens and money, sends nothing, writes nothing, and needs no questions to be there."""
    run = kib(*ASK, "--dry-run")
    assert run.exit_code == 0
    assert run.output.startswith("forecast for writer gpt on 10 passages: 20 requests, about ")
    assert run.output.endswith(" by [prices]\n")
    assert not server.bodies
    assert not Path("questions.jsonl").exists()


def test_questions(kib, server):
    """Questions are written for the task `file`, gold in the document, the two most specific ones of four kept."""
    run = kib(*ASK)
    assert run.exit_code == 0, run.output
    assert "questions.jsonl: 20 questions" in run.output
    assert "kept 20 of 40 questions, on 10 of 10 passages" in run.output
    assert "left out 20: less specific than those kept" in run.output
    asked = list(make_plugin(FileTask, {"path": "questions.jsonl"}).questions("test"))
    assert [question.id for question in asked[:3]] == ["pump-0#0-1", "pump-0#0-2", "pump-1#0-1"]
    assert [question.options[question.answer] for question in asked[:2]] == ["right 4", "right 3"]
    text = json.loads(Path("pumps.jsonl").read_text().splitlines()[0])["text"]
    gold = asked[0].gold[0]
    assert text[gold.start : gold.end] == "hall 0 beside"
    assert len(server.bodies) == 20


def test_second_run(kib, server):
    """The file is not overwritten; with --force it is made again, the same and without a request."""
    kib(*ASK)
    first = Path("questions.jsonl").read_bytes()
    refused = kib(*ASK)
    assert refused.exit_code == 2
    assert "is there already, and perhaps reviewed" in refused.output
    assert kib(*ASK, "--force").exit_code == 0
    assert Path("questions.jsonl").read_bytes() == first
    assert len(server.bodies) == 20
    assert ": 0 requests" in kib(*ASK, "--dry-run").output


def test_validation(kib):
    """Validation questions are about other documents than those that are cited."""
    run = kib(*ASK, "--validation", "validation.jsonl")
    assert "validation.jsonl: 4 questions" in run.output
    task = make_plugin(FileTask, {"path": "questions.jsonl", "validation": "validation.jsonl"})
    test, validation = ({question.group for question in task.questions(split)} for split in ("test", "validation"))
    assert len(test) == 8
    assert len(validation) == 2
    assert not test & validation


def test_invented_quotes(kib, server):
    """A question whose quote is not in the passage is rejected and counted; if all are, nothing is written."""
    write = server.write

    def lie(body):
        made = write(body)
        for question in made.get("questions", []):
            question["quote"] = "what nobody wrote"
        return made

    server.write = lie
    run = kib(*ASK)
    assert run.exit_code == 2
    assert "corpora.pumps: no question is left: 40 quote not in the passage" in run.output
    assert not Path("questions.jsonl").exists()


def test_a_wrong_key(kib, server):
    """A refused key ends the command with one sentence, and leaves no file."""
    server.faults = [401] * 9
    run = kib(*ASK)
    assert run.exit_code == 2
    assert run.output.count("\n") == 1
    assert "the server refuses the key in OPENAI_API_KEY (401)" in run.output
    assert not Path("questions.jsonl").exists()


@pytest.mark.slow
def test_check_says_what_text_costs(kib, server):
    """`kib check` names requests, tokens and money of each text that is still to be written, and sends nothing."""
    kib(*ASK)
    before = len(server.bodies)
    run = kib("check", "own.toml", "--quiet")
    assert run.exit_code == 0, run.output
    line = next(line for line in run.output.splitlines() if line.startswith("forecast for writer gpt"))
    assert line.startswith("forecast for writer gpt on pumps, 7 texts a passage: 20 requests, about ")
    assert line.endswith(" by [prices]")
    assert "forecast for trainer" not in run.output
    assert len(server.bodies) == before


@pytest.mark.slow
def test_check_misses_the_key(kib, monkeypatch):
    """`kib check` says what writing costs and fails where no key could pay for it, by the variable's name."""
    kib(*ASK)
    monkeypatch.delenv("OPENAI_API_KEY")
    run = kib("check", "own.toml", "--quiet")
    assert run.exit_code == 2
    assert "forecast for writer gpt on pumps, 7 texts a passage: 20 requests" in run.output
    assert "the environment variable OPENAI_API_KEY is not set" in run.output.splitlines()[-1]
    assert run.output.endswith("(1 cell)\n")


def of_kind(writer, trainer):
    """The benchmark with a writer and a trainer of such kinds."""
    spec = Path("own.toml").read_text()
    spec = spec.replace('model = "m"\n', f'model = "m"\nkind = "{writer}"\n', 1)
    Path("own.toml").write_text(spec.replace("count = 7", f'count = 7, kind = "{trainer}"'))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["documents", "pairs"])
def test_what_no_trainer_keeps_is_not_asked_for(kib, server, trainer):
    """Of a writer of both kinds a trainer of one has that kind written alone, forecast and counted."""
    kib(*ASK)
    asked = len(server.bodies)
    of_kind("both", trainer)
    assert "7 texts a passage: 20 requests" in kib("check", "own.toml", "--quiet").output
    Path("own.toml").write_text(Path("own.toml").read_text().replace('plugin = "lora"', 'plugin = "full"\nepochs = 1'))
    assert kib("run", "own.toml", "--quiet").exit_code == 0
    assert len(server.bodies) == asked + 20
    assert trained_cell()[1]["written_requests"] == 20


@pytest.mark.slow
def test_a_kind_that_is_not_written(kib, server):
    """A trainer of a kind that its writer does not write is told so by check and run, and nothing is paid."""
    kib(*ASK)
    asked = len(server.bodies)
    of_kind("paraphrases", "pairs")
    for command in ("check", "run"):
        run = kib(command, "own.toml", "--quiet")
        assert run.exit_code != 0
        assert 'trainers.par.text: kind = "pairs", but the writer gpt writes no pairs; change' in run.output
    assert len(server.bodies) == asked


TRAINING = {
    'plugin = "lora"\ntext = { writer = "gpt", count = 7 }': """plugin = "full"
epochs = 1
text = { writer = "gpt", count = 7 }
validation = { writer = "gpt", count = 2, passages = 3 }""",
    '[methods.ft]\ntrain = "par"\n': '[methods.base]\n[methods.ft]\ntrain = "par"\n',
    "[prices]\n": "[prices]\ndevice_hour = 0.0\n",
}


def trained_cell():
    """What the record of the trained cell says of its training."""
    (path,) = Path("results").rglob("ft/**/cell.json")
    return path.read_bytes(), json.loads(path.read_text())["training"]


@pytest.mark.slow
def test_writing_is_part_of_the_cost(kib, server):
    """What a text cost to write, to validate on too, stands with the trained cell and in money once, run after run."""
    kib(*ASK)
    spec = Path("own.toml").read_text()
    for before, after in TRAINING.items():
        assert before in spec
        spec = spec.replace(before, after)
    Path("own.toml").write_text(spec)
    asked = len(server.bodies)
    server.faults = ["no"]
    assert kib("run", "own.toml", "--quiet").exit_code == 0
    calls = len(server.bodies) - asked
    first, training = trained_cell()
    told = {key: value for key, value in training.items() if key.startswith("written")}
    assert calls == 10 * 2 + 3 + 1
    expected = {"requests": calls, "input_tokens": 100 * calls, "output_tokens": 50 * calls}
    assert told == {f"written_{name}": value for name, value in expected.items()}
    table = json.loads(kib("leaderboard", "results/own", "--cost", "--format", "json").output)
    costs = {row["arm"]: (row["money_once"], row["money_writing"]) for row in table["rows"]}
    assert costs == {"base": (0.0, 0.0), "ft": pytest.approx((4.8, 4.8))}
    assert (
        f"paid for its text: {calls} requests, 2,400 tokens read and 1,200 written"
        in kib("show", "lab/ft/own,0-shot").output
    )
    for folder in ("results", "work/text", "work/weights"):
        shutil.rmtree(folder)
    assert kib("run", "own.toml", "--quiet").exit_code == 0
    assert (trained_cell()[0], len(server.bodies)) == (first, asked + calls)


def test_no_secret_anywhere(kib, server):
    """The key is in no file that a run leaves, and in nothing that it says."""
    said = kib(*ASK).output + kib(*ASK, "--dry-run").output
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in files)
    assert server.key not in said
    assert not [path for path in files if server.key.encode() in path.read_bytes()]
