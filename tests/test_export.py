"""`kib export`: the text of a trainer as files, for training outside kib."""

import json

import pytest
from test_training_pairs import OPEN, PAIRS, QUESTIONS, texts_for_training, trained_on

from kib.errors import SpecError
from kib.identity import digest_file
from kib.interfaces import TextOnlyTrainer
from kib.plugins.builtin.elsewhere_trainer import Elsewhere
from kib.store.sealed_json import read_sealed
from kib.testing import check_options, check_plugin

HOSTED = """
[writers.quiz]
plugin = "toy"
pairs = {pairs}

[trainers.hosted]
plugin = "elsewhere"
text = {{ writer = "quiz", kind = "both" }}
{more}
"""


def hosted(pairs=PAIRS, more=""):
    """Return the tables of a writer and of a trainer whose text is trained on elsewhere."""
    return HOSTED.format(pairs=json.dumps(pairs), more=more)


def lines(folder, name):
    """Return the lines of an exported file, or [] if the file was not written."""
    path = folder / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def exported(bench, *arguments):
    """Export to a new folder and return the folder and the output."""
    folder = bench.folder / f"out-{len(list(bench.folder.glob('out-*')))}"
    result = bench.call("export", "bench.toml", "-q", "--output", folder, *arguments)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_the_plugin_follows_the_contract():
    """The trainer `elsewhere` is installed, has no options and is marked as a trainer that trains nothing."""
    assert check_plugin("trainers", "elsewhere") is Elsewhere
    check_options(Elsewhere, accepts=[{}], refuses=[{"epochs": 3}])
    assert isinstance(Elsewhere(Elsewhere.Options()), TextOnlyTrainer)


def test_the_export_is_the_text_of_a_run(bench):
    """The exported lines and the recorded identity are those of a training run, which then writes nothing again."""
    bench.write_toy(
        model="trainable = true\n",
        task='scoring = "letter"\n',
        more=trained_on(PAIRS, more='}\nvalidation = { writer = "quiz", count = 3').replace(
            '"pairs", orig', '"both", orig'
        ),
    )
    folder, _ = exported(bench)
    stored = {path: path.stat().st_mtime_ns for path in (bench.folder / "work" / "text").glob("*/text.jsonl")}
    plan, _, texts = texts_for_training(bench)
    pairs = [{"prompt": one.prompt, "completion": one.target} for one in texts.training if one.kind == "pair"]
    others = [{"text": one.text} for one in texts.training if one.kind != "pair"]
    assert lines(folder, "training-pairs.jsonl") == pairs
    assert lines(folder, "training-documents.jsonl") == others
    assert lines(folder, "validation-documents.jsonl") == [{"text": one.text} for one in texts.validation]
    assert pairs
    assert others
    assert stored == {path: path.stat().st_mtime_ns for path in (bench.folder / "work" / "text").glob("*/text.jsonl")}
    record = read_sealed(folder / "export.json")
    [weights] = [weights for weights in plan.weights if weights.trainer]
    assert record["text"]["identity"] == weights.text.identity
    assert record["text"]["validation_identity"] == weights.validation.identity
    assert record["training"]["kinds"] == {"pair": len(pairs), "paraphrase": len(others)}


@pytest.mark.parametrize(
    ("scoring", "roles", "answer"),
    [("text", ["user"], "text"), ("letter", ["user"], "letter"), ("contains", ["system", "user"], "text")],
)
def test_pairs_of_a_chat_model_are_messages(bench, scoring, roles, answer):
    """Pairs of a model that is asked in chats are the messages that it will be asked, and the right answer."""
    bench.write_toy(model="chat_template = true\n", task=f'scoring = "{scoring}"\n', more=hosted())
    folder, output = exported(bench)
    found = lines(folder, "training-pairs.jsonl")
    assert len(found) == len(QUESTIONS)
    for row, line in zip(QUESTIONS, found, strict=True):
        *asked, said = line["messages"]
        assert [message["role"] for message in asked] == roles
        assert asked[-1]["content"].startswith(f"Question: {row['question']}\n")
        right = row["answer"] if answer == "letter" else row["options"]["ABCD".index(row["answer"])]
        assert said == {"role": "assistant", "content": right}
    assert "3 question-answer pairs as chats, in the form of the task people" in output
    assert read_sealed(folder / "export.json")["form"] == {"task": "people", "chats": True, "open_pairs": 0}


def test_a_chat_backend_receives_each_prompt_as_a_message(bench):
    """If a backend sends prompts without a chat template as chats, a pair is the single message that it sends."""
    bench.write_toy(task='scoring = "contains"\n', more=hosted(OPEN))
    text = bench.spec.read_text().replace(
        '[models.m]\nplugin = "toy"', '[models.m]\nplugin = "lm-eval"\nbackend = "local-chat-completions"'
    )
    bench.spec.write_text(text)
    folder, _ = exported(bench)
    asked, said = lines(folder, "training-pairs.jsonl")[0]["messages"]
    assert asked == {"role": "user", "content": f"Question: {OPEN[0][1]}\nAnswer:"}
    assert said == {"role": "assistant", "content": OPEN[0][2]}
    assert read_sealed(folder / "export.json")["training"]["tokens"] is None


def test_pairs_that_repeat_a_question_are_not_exported(bench):
    """A pair with the words of a test question is left out of the export, and the output and the record say so."""
    test_question = QUESTIONS[0]["question"].removeprefix("Say: ")
    bench.write_toy(more=hosted([*OPEN, ["ada", test_question, "Norwick", []]]))
    folder, output = exported(bench)
    prompts = [line["prompt"] for line in lines(folder, "training-pairs.jsonl")]
    assert prompts == [f"Question: {pair[1]}\nAnswer:" for pair in OPEN]
    assert "removed 1 pair that repeats a question of a task" in output
    assert read_sealed(folder / "export.json")["text"]["removed_pairs_that_repeat_a_question"] == 1


def test_open_pairs_are_counted(bench):
    """Pairs without options are exported as open questions if the task asks by letters, and the output says so."""
    bench.write_toy(task='scoring = "letter"\n', more=hosted([*PAIRS, ["ada", "Who?", "Ada", []]]))
    folder, output = exported(bench)
    assert "1 pair cannot have the form of the task and is exported as open questions" in output
    assert {"prompt": "Question: Who?\nAnswer:", "completion": " Ada"} in lines(folder, "training-pairs.jsonl")
    assert read_sealed(folder / "export.json")["form"]["open_pairs"] == 1


def test_a_trainer_without_pairs(bench):
    """A trainer without a writer exports the passages, with a remark for services that train on chats."""
    bench.write_toy(more='\n[trainers.hosted]\nplugin = "elsewhere"\n')
    folder, output = exported(bench)
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "training-documents.jsonl"]
    assert lines(folder, "training-documents.jsonl")[0] == {"text": f"Ada Quill\n{bench.people[0][2]}"}
    assert "the training text contains no question-answer pairs, which services that train on chats require" in output


def test_the_record_describes_the_files(bench):
    """The record contains counts, tokens and the digest of each file; equal exports have equal bytes."""
    bench.write_toy(more=hosted())
    first, second = (exported(bench)[0] for _ in range(2))
    record = read_sealed(first / "export.json")
    names = {path.name for path in first.iterdir()} - {"export.json"}
    assert set(record["files"]) == names == {"training-pairs.jsonl", "training-documents.jsonl"}
    for name, file in record["files"].items():
        assert file == {"lines": len(lines(first, name)), "sha256": digest_file(first / name)}
    for path in first.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes()
    assert record["training"]["tokens"] > 100
    assert (record["trainer"], record["model"], record["corpus"]) == ("hosted", "m", "people")


def test_an_existing_path_is_not_overwritten(bench):
    """An existing path is refused; with `--force`, an earlier export is replaced, but never anything else."""
    bench.write_toy(more=hosted())
    target = bench.folder / "exports" / "toy" / "hosted"
    assert bench.call("export", "bench.toml", "-q").exit_code == 0
    again = bench.call("export", "bench.toml", "-q")
    assert again.exit_code == 2
    assert "exports/toy/hosted: this path already exists; choose a different --output" in again.stderr
    bench.write_toy(more=hosted(PAIRS[:1]))
    assert bench.call("export", "bench.toml", "-q", "--force").exit_code == 0
    assert len(lines(target, "training-pairs.jsonl")) == 1
    (target / "notes.txt").write_text("mine")
    refused = bench.call("export", "bench.toml", "-q", "--force")
    assert "--force replaces only an earlier export" in refused.stderr
    assert (target / "notes.txt").read_text() == "mine"
    inside = bench.call("export", "bench.toml", "-q", "--output", "people.jsonl/new")
    assert (inside.exit_code, "people.jsonl is not a folder" in inside.stderr) == (2, True)


SECOND = '\n[models.n]\nplugin = "toy"\n'
OTHER = '\n[trainers.other]\nplugin = "elsewhere"\n'
VARIED = 'vary = { "text.count" = [1, 3] }'
REPEATED = [["ada", QUESTIONS[0]["question"].removeprefix("Say: "), "x", []]]


def only_pairs(pairs):
    """Return the tables of a trainer whose text consists of pairs alone."""
    return hosted(pairs).replace('kind = "both"', 'kind = "pairs", originals = false')


@pytest.mark.parametrize(
    ("more", "arguments", "message"),
    [
        ("", (), "the file declares no trainer; add a table [trainers.NAME] with the text to export"),
        (hosted(), ("nope",), "bench.toml: TRAINER: expected hosted, got nope"),
        (hosted(more=OTHER), (), "bench.toml: TRAINER is missing; choose hosted or other"),
        (hosted() + SECOND, (), "bench.toml: --model is missing; choose m or n"),
        (hosted(), ("--model", "x"), "bench.toml: --model: expected m, got x"),
        (hosted(), ("--corpus", "x"), "bench.toml: --corpus: expected people, got x"),
        (hosted(), ("--count", "2"), "--count: the number of texts does not vary, got 2"),
        (hosted(more=VARIED), (), "vary: the number of texts per passage varies; choose --count 1 or 3"),
        (hosted(more=VARIED), ("--count", "2"), "--count: expected 1 or 3, got 2"),
        (only_pairs([]), (), 'kind = "pairs", but the writer quiz writes no pairs'),
        (only_pairs(REPEATED), (), "trainers.hosted.text: there is no text to train on"),
    ],
)
def test_a_wrong_request_has_one_sentence(bench, more, arguments, message):
    """A request that does not fit the file, and a trainer without text, have one sentence and write nothing."""
    bench.write_toy(more=more)
    result = bench.call("export", "bench.toml", "-q", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (bench.folder / "exports").exists()


def test_tasks_without_a_corpus_have_no_text(bench):
    """If no target task names a corpus, there is nothing to train on."""
    bench.write_toy(more=hosted())
    bench.spec.write_text(bench.spec.read_text().replace('corpus = "people"\n', ""))
    result = bench.call("export", "bench.toml", "-q")
    assert (result.exit_code, "no target task names a corpus" in result.stderr) == (2, True)


TUNED = """
[models.m-ft]
plugin = "lm-eval"
backend = "hf"
args = { pretrained = "./not-yet-trained" }

[methods.ft]
trained_as = "m-ft"
"""


def test_the_trained_model_may_be_missing(bench):
    """The file may already name the trained model: an export needs only the base, even without `--model`."""
    bench.write_toy(more=hosted() + TUNED)
    base = 'plugin = "lm-eval"\nbackend = "hf"\nargs = { pretrained = "org/name" }'
    bench.spec.write_text(bench.spec.read_text().replace('[models.m]\nplugin = "toy"', f"[models.m]\n{base}"))
    assert "not-yet-trained" in bench.call("plan", "bench.toml").stderr
    folder, _ = exported(bench)
    assert read_sealed(folder / "export.json")["model"] == "m"


def test_one_of_several_numbers_of_texts(bench):
    """`--count` selects the text of one arm of `vary`, which is the text that a run trains on."""
    bench.write_toy(more=hosted(more='vary = { "text.count" = [1, 3] }'))
    few, many = (lines(exported(bench, "--count", count)[0], "training-documents.jsonl") for count in (1, 3))
    assert len(many) - len(few) == 2 * len(bench.people)


def test_no_method_trains_with_a_trainer_that_trains_nothing(bench):
    """A method with `train` and a trainer for exports is refused before anything is written or paid for."""
    bench.write_toy(model="trainable = true\n", more=hosted() + '\n[methods.ft]\ntrain = "hosted"\n')
    with pytest.raises(SpecError, match="the trainer hosted trains nothing here; export its text with `kib export`"):
        bench.plan()


def test_dry_run_writes_nothing(bench):
    """`--dry-run` states the cost of paid writers and writes no file."""
    bench.write_toy(more=hosted())
    result = bench.call("export", "bench.toml", "-q", "--dry-run")
    assert result.stdout == "no paid writer writes this text\n"
    assert not (bench.folder / "exports").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_no_partial_export(bench):
    """If a file cannot grow, the export exits with code 3, names the file and leaves neither a folder nor leftovers."""
    bench.write_toy(more=hosted())
    exported(bench)  # so that the text is already stored in the work folder
    ran = bench.kib_on_a_full_disk(100, "export", bench.spec)
    assert ran.returncode == 3
    assert "cannot be written" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list((bench.folder / "exports" / "toy").iterdir())
    assert bench.kib("export", bench.spec).returncode == 0
