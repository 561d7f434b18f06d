"""A run measures every cell that can be measured and reports the reason for each failure."""

import io
import json
import re
import time
from itertools import count

import pytest

from kib.errors import InputError
from kib.leaderboard import make_table
from kib.progress import LineProgress
from kib.run.steps.render_questions import _repeated_chat
from kib.store.result_records import TrainingRecord

OTHER = """
[tasks.other]
plugin = "toy"
corpus = "people"
questions = [["Where does Eva Lind live?", ["Wells", "Visby"], 1, "eva"], ["What dyes?", ["Eva", "a hen"], 0, "eva"]]
examples = [["Who owns a hen?", ["Fay", "Dov"], 0, ""], ["Who owns a goat?", ["Fay", "Dov"], 1, ""]]
"""


def edit(bench, before, after):
    text = bench.spec.read_text(encoding="utf-8")
    assert before in text
    bench.write(text.replace(before, after))
    return bench


def measured(bench):
    return {place for place, cell in bench.cells().items() if bench.results.has(cell)}


def errors(failures):
    return {failure.error for failure in failures.values()}


def test_every_cell_of_a_plan_is_measured(bench):
    """A run stores a result for every cell, and a plan with the number of questions per task."""
    bench.write_toy(more=OTHER)
    assert bench.run() == {}
    plan = bench.results.plan()
    assert measured(bench) == set(bench.cells())
    assert {name: entry.n for name, entry in plan.tasks.items()} == {"people": 18, "other": 2}
    assert bench.results.failures() == {}


def test_gold_passages_raise_the_accuracy(bench):
    """Retrieved passages reach the model: with the gold passage in the prompt, most answers are correct."""
    bench.write_toy()
    bench.run()
    right = {place: bench.results.cell(cell).correct for place, cell in bench.cells().items()}
    assert right["m/rag,k=1/people,0-shot"] > 12 > right["m/base/people,0-shot"]
    assert right["m/random,k=2/people,0-shot"] < right["m/base/people,0-shot"]


def test_the_questions_are_counted_before_anything_is_scored(bench):
    """The plan contains the number of questions even if the model fails immediately."""
    bench.write_toy(model='fails_on = "Question"\n')
    assert len(bench.run()) == 5
    assert bench.results.plan().tasks["people"].n == 18
    assert measured(bench) == set()


def test_models_with_different_seeds_answer_differently(bench):
    """Two models with different seeds return different answers to identical prompts."""
    bench.write_toy()
    edit(bench, "[models.m]", '[models.n]\nplugin = "toy"\nseed = 9\n\n[models.m]')
    assert bench.run() == {}
    one, other = bench.scores("m/base/people,0-shot"), bench.scores("n/base/people,0-shot")
    assert [score.prompt for score in one] == [score.prompt for score in other]
    assert [score.logprobs for score in one] != [score.logprobs for score in other]


def test_equal_models_share_requests(bench, tmp_path):
    """If two tables describe the same model, each request is sent only once."""
    log = tmp_path / "asked.log"
    bench.write_toy(model=f'log = "{log.as_posix()}"\n')
    edit(bench, "[corpora.people]", f'[models.twin]\nplugin = "toy"\nlog = "{log.as_posix()}"\n\n[corpora.people]')
    assert bench.run() == {}
    asked = [one for line in log.read_text().splitlines() for one in json.loads(line)["asked"]]
    assert len(set(asked)) == len(asked)
    assert bench.scores("m/base/people,0-shot") == bench.scores("twin/base/people,0-shot")


def test_few_shot_examples_precede_the_passages(bench):
    """Few-shot examples precede the passages and the question."""
    bench.write_toy(more=OTHER + "shots = [0, 2]\n")
    bench.run()
    shown = bench.call("show", "m/rag,k=1/other,2-shot", "q1").output
    prompt = shown.split("─" * 60)[1]
    places = [
        prompt.index(words) for words in ("Who owns a hen?", "Who owns a goat?", "Context:", "Eva Lind lives", "Where")
    ]
    assert places == sorted(places)
    assert prompt.count("Answer:") == 3


def test_a_chat_template_reaches_the_prompt(bench):
    """With a chat template, prompts are conversations, and answers follow without a leading space."""
    bench.write_toy(model="chat_template = true\n")
    assert bench.run() == {}
    shown = bench.call("show", "m/rag,k=1/people,0-shot", "ada-0").output
    assert "<user>Context:\nAda Quill\n" in shown
    assert shown.split("─" * 60)[1].strip().endswith("Answer:</><assistant>")
    check = bench.call("check", bench.spec, "-q").output
    assert "answers scored: 'Norwick'" in check


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("chat_template = true\ntemplate = false\n", "the toy has no chat template"),
        (
            "generates_only = true\n",
            "the backend ToyLM does not return log-probabilities; use tasks that generate text",
        ),
    ],
)
def test_unsupported_requests_state_the_reason(bench, model, words):
    """If a model lacks a chat template or log-probabilities, its cells fail with an error that states the reason."""
    bench.write_toy(model=model)
    assert errors(bench.run()) == {words}


def test_a_backend_without_chats_is_named(bench):
    """If an lm-eval backend accepts no chats, the error names the backend and the key, and suggests a backend."""
    bench.write_toy(model="chat_template = true\n")
    text = bench.spec.read_text(encoding="utf-8").replace('plugin = "toy"', 'plugin = "lm-eval"\nbackend = "dummy"', 1)
    bench.spec.write_text(text, encoding="utf-8")
    (said,) = errors(bench.run())
    assert said.startswith("the backend dummy does not accept chats; set `chat_template = false`, or use a backend")


def test_a_chat_template_with_two_texts_for_one_conversation_is_rejected():
    """A chat template whose text differs from call to call is rejected, because prompts would not be reproducible."""
    calls = count()
    with pytest.raises(InputError, match=r"models\.m\.chat_template: the template gives two different texts"):
        _repeated_chat("m", lambda messages, _: f"{messages[0]['content']}{next(calls)}", [{"content": "Who?"}], True)
    assert _repeated_chat("m", lambda messages, _: messages[0]["content"], [{"content": "Who?"}], True) == "Who?"


def test_a_question_limit_does_not_change_answers(bench):
    """A run with a question limit stores the same answers to the selected questions as a full run."""
    bench.write_toy()
    bench.run()
    whole = {score.question_id: score for score in bench.scores("m/rag,k=1/people,0-shot")}
    bench.write_toy(task="limit = 6\n")
    assert bench.run() == {}
    some = bench.scores("m/rag,k=1/people,0-shot")
    assert [score.question_id for score in some] == list(whole)[::3]
    for score in some:
        assert (score.prompt, score.passages) == (whole[score.question_id].prompt, whole[score.question_id].passages)
        assert score.logprobs == pytest.approx(whole[score.question_id].logprobs, abs=1e-8)


@pytest.mark.parametrize("scoring", ["letter", "text", "text-norm"])
def test_each_scoring_is_measured(bench, scoring):
    """Scoring by letter, by text and by normalised text requests the corresponding continuations."""
    bench.write_toy(task=f'scoring = "{scoring}"\n')
    assert bench.run() == {}
    check = bench.call("check", bench.spec, "-q").output
    assert ("answers scored: ' A' ' B' ' C' ' D'" in check) == (scoring == "letter")
    assert bench.results.cell(bench.cells()["m/base/people,0-shot"]).metric == (
        "acc_norm" if scoring == "text-norm" else "acc"
    )


# Failures


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (
            "crashes = true",
            "tasks.other (toy, kib-toys 1.0), questions: LookupError: the toy task broke down (the traceback is in",
        ),
        ("twice = true", "tasks.other: 1 question id appears twice; ids must be unique"),
        ("shots = [3]", "tasks.other.shots: expected at most 2, the number of few-shot examples of the task, got 3"),
        ('query = "{{ nothing }}"', "tasks.other.query: 'nothing' is undefined; known fields are options, question"),
    ],
)
def test_an_unreadable_task_fails_only_its_cells(bench, option, words):
    """If a task cannot be read, only its cells fail, and the other task is measured."""
    bench.write_toy(more=OTHER + option + "\n")
    failures = bench.run()
    assert {error[: len(words)] for error in errors(failures)} == {words}
    assert all("/other," in cell for cell in failures)
    assert measured(bench) == {place for place in bench.cells() if "/people," in place}
    assert {failure.step for failure in failures.values()} == {"reading task other"}


def test_failures_are_kept_with_the_results(bench):
    """Failures remain in the results folder until the failed cells are measured."""
    bench.write_toy(more=OTHER + "crashes = true\n")
    failures = bench.run()
    assert bench.results.failures() == failures
    assert bench.run() == failures
    edit(bench, "crashes = true\n", "")
    assert bench.run() == {}
    assert bench.results.failures() == {}


def test_unexpected_errors_store_a_traceback_file(bench):
    """An unexpected error is stored as one line in the results and as a traceback in the work folder."""
    bench.write_toy(more=OTHER + "crashes = true\n")
    [error] = errors(bench.run())
    name = re.search(r"errors/([0-9a-f]{12}\.txt)", error)[1]
    text = (bench.folder / "work" / "errors" / name).read_text(encoding="utf-8")
    assert text.startswith("Traceback")
    assert "in questions" in text
    assert "\n" not in error


def test_each_failure_reason_is_printed_once(bench):
    """`kib run` prints each failure reason once with the number of affected cells, and exits with code 3."""
    bench.write_toy(more=OTHER + "crashes = true\n")
    result = bench.call("run", bench.spec, "-q")
    assert result.exit_code == 3
    assert "5 cells failed, all other cells were measured:" in result.output
    assert result.output.count("the toy task broke down") <= 2 + result.output.count("failed at")
    assert result.output.rstrip().endswith("in the work folder) (5 cells)")


def test_a_benchmark_with_a_single_cell(bench):
    """A benchmark can consist of one model, one task and one method."""
    text = """schema = 1
name = "one"

[models.m]
plugin = "toy"

[tasks.t]
plugin = "toy"
questions = [["Is it?", ["yes", "no"], 0, ""]]

[methods.base]
"""
    bench.write(text)
    assert bench.run() == {}
    assert list(bench.cells()) == ["m/base/t,0-shot"]


# Progress


def test_each_step_prints_its_progress(bench):
    """Each step of a run prints a line with the number of processed items."""
    said = io.StringIO()
    bench.write_toy()
    bench.run(LineProgress(said))
    lines = said.getvalue().splitlines()
    for words in (
        "reading task people, 0-shot",
        "splitting corpus people into passages",
        "indexing corpus people with words: 6",
        "searching with words for task people: 18",
        "loading model m",
        "asking m: 312",
    ):
        assert words in lines


def test_a_training_run_states_its_steps_and_the_time_to_go(bench):
    """The progress of a training run shows the step, the number of steps and the time to go."""
    said, clock = io.StringIO(), count(0, 4)
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    assert bench.run(LineProgress(said, lambda: next(clock), interval=None)) == {}
    words = r"training m\+by-heart on people, seed 0: [1-5] of 6, about \d+ s left"
    assert any(re.fullmatch(words, line) for line in said.getvalue().splitlines()), said.getvalue()


def test_a_finished_run_prints_nothing(bench):
    """Running a finished benchmark again prints nothing."""
    said = io.StringIO()
    bench.write_toy()
    bench.run()
    bench.run(LineProgress(said))
    assert said.getvalue() == ""


# Training with toy trainers

TRAINED = """
[writers.reword]
plugin = "toy"

[trainers.by-heart]
plugin = "toy"

[trainers.in-other-words]
plugin = "toy"
text = { writer = "reword", count = 2, originals = false }

[methods.ft]
train = "by-heart"

[methods.ft-par]
train = "in-other-words"

[methods."ft+rag"]
train = "by-heart"
retrieve = "words"
top_k = [1]
"""


@pytest.fixture
def trained(bench):
    """Write the toy benchmark with methods that train a model."""
    return bench.write_toy(model="trainable = true\n", more=TRAINED)


def all_texts(bench):
    """Return the lines of all stored training texts."""
    paths = sorted((bench.folder / "work" / "text").glob("*/text.jsonl"))
    return [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths]


def texts(bench):
    """Return the stored training texts, keyed by the alphabetically first kind of text in each."""
    return {min(line["kind"] for line in lines): lines for lines in all_texts(bench)}


def test_trained_weights_answer_without_passages(trained):
    """A trained arm is measured with its own weights and can answer from the documents without passages."""
    assert trained.run() == {}
    right = {place: trained.results.cell(cell).correct for place, cell in trained.cells().items()}
    assert right["m/ft/people,0-shot"] > right["m/base/people,0-shot"]
    assert right["m/ft-par/people,0-shot"] > right["m/base/people,0-shot"]
    base, ft = trained.scores("m/base/people,0-shot"), trained.scores("m/ft/people,0-shot")
    assert [score.prompt for score in base] == [score.prompt for score in ft]


def test_training_is_recorded_with_its_cell(trained):
    """Every trained cell records the tokens, steps and losses of the training run and the size of the weight update."""
    trained.run()
    result = trained.results.cell(trained.cells()["m/ft/people,0-shot"])
    assert result.training.trained_tokens == result.training.text_tokens > 0
    assert (result.training.first_loss, result.training.last_loss) == (2.0, 1.0)
    assert not {"weights", "seconds"} & set(TrainingRecord.__slots__)
    assert trained.results.cell(trained.cells()["m/base/people,0-shot"]).training is None


def test_waiting_for_a_writer_is_not_training_time(trained, monkeypatch):
    """Time spent waiting for a writer is not counted as training time."""
    from kib_toys import ToyWriter

    write = ToyWriter.write

    def slowly(*arguments):
        time.sleep(2)
        yield from write(*arguments)

    monkeypatch.setattr(ToyWriter, "write", slowly)
    assert trained.run() == {}
    assert trained.results.times(trained.cells()["m/ft-par/people,0-shot"]).training < 1.5


def test_held_out_text_is_measured(trained):
    """A cell records the held-out loss before and after training."""
    edit(trained, "[trainers.in-other-words]", '[trainers.in-other-words]\nheld_out = { corpus = "people" }')
    trained.run()
    training = trained.results.cell(trained.cells()["m/ft-par/people,0-shot"]).training
    assert (training.held_out_first_loss, training.held_out_last_loss) == (1.0, 1.5)


BY_LOSS = """[trainers.in-other-words]
vary = { rank = [1, 2, 3] }
validation = { writer = "reword", count = 4, passages = 5 }
choose = "loss"
"""


def test_validation_text_is_not_trained_on(trained):
    """Validation text has the requested number of passages and does not overlap with the training text."""
    edit(trained, "[trainers.in-other-words]", BY_LOSS)
    assert trained.run() == {}
    every = [line for lines in all_texts(trained) for line in lines]
    unseen = [line for line in every if line["text"].startswith(("Version 2", "Version 3"))]
    assert len(unseen) == 10
    assert len({line["passage"] for line in unseen}) == 5
    assert all(every.count(line) == 1 for line in unseen)


def test_the_lowest_validation_loss_is_chosen(trained):
    """Selection by loss chooses the arm with the lowest validation loss and needs no validation questions."""
    edit(trained, "[trainers.in-other-words]", BY_LOSS)
    trained.run()
    entry = trained.results.plan().methods["ft-par"]
    assert (entry.chosen, entry.by_loss) == (("rank",), ("rank",))
    losses = {
        rank: trained.results.cell(trained.cells()[f"m/ft-par,rank={rank}/people,0-shot"]).training.validation_loss
        for rank in (1, 2, 3)
    }
    assert losses == {1: 2.5, 2: 1.5, 3: 0.5}
    assert not [place for place in trained.cells() if "validation" in place]
    table = make_table([trained.results])
    assert [row.arm for row in table.rows if row.chosen] == ["ft-par,rank=3"]


def test_training_text_must_leave_validation_text(trained):
    """If the training text contains all validation text, the arm fails with an error that states the reason."""
    edit(trained, "[trainers.in-other-words]", BY_LOSS.replace("count = 4", "count = 2"))
    failures = trained.run()
    assert {cell.split("/")[1].partition(",")[0] for cell in failures} == {"ft-par"}
    words = "trainers.in-other-words.validation: every text returned by the writer reword is also used for training"
    assert set(errors(failures)) == {f"{words} or repeats a question of a task"}


def test_a_trainer_must_report_the_validation_loss(trained):
    """A trainer fails if it reports no loss on its validation text."""
    edit(trained, "[trainers.in-other-words]", BY_LOSS + 'fault = "mute"\n')
    words = "trainers.in-other-words: the trainer received a validation text but did not report a validation loss"
    assert set(errors(trained.run())) == {words}


def test_training_text_is_stored(trained):
    """The stored training text contains passages with titles or a writer's texts of the requested kind."""
    trained.run()
    found = texts(trained)
    assert [line["text"] for line in found["document"]] == [f"{title}\n{text}" for _, title, text in trained.people]
    assert [line["text"] for line in found["paraphrase"]] == [
        f"Version {number}: {text}" for _, _, text in trained.people for number in range(2)
    ]


def test_weights_are_trained_once(trained):
    """Methods share trained weights, and a second run does not train again."""
    trained.run()
    logs = sorted((trained.folder / "work" / "weights").glob("*/log.jsonl"))
    assert len(logs) == 2
    before = [path.read_bytes() for path in logs]
    assert trained.run() == {}
    assert [path.read_bytes() for path in logs] == before


@pytest.mark.parametrize(
    ("table", "fault", "words"),
    [
        (
            "trainers.by-heart",
            "lost",
            r"trainers\.by-heart: training used only 0 of \d+ tokens, so part of the training text was lost",
        ),
        ("trainers.by-heart", "idle", r"trainers\.by-heart: training did not change any weights"),
        (
            "trainers.by-heart",
            "crash",
            r"trainers\.by-heart \(toy, kib-toys 1.0\), train: MemoryError: the toy trainer broke down \(the traceback",
        ),
        ("writers.reword", "unknown", r"writers\.reword: returned a text for the unknown passage 'nowhere#0'"),
        ("writers.reword", "empty", r"writers\.reword: returned an empty text about passage ada#0"),
        (
            "writers.reword",
            "crash",
            r"writers\.reword \(toy, kib-toys 1.0\), write: OSError: the toy writer broke down",
        ),
    ],
)
def test_invalid_training_results_fail_the_arms(trained, table, fault, words):
    """If a training result or training text is invalid, the affected arms fail, and no result is stored."""
    edit(trained, f'[{table}]\nplugin = "toy"', f'[{table}]\nplugin = "toy"\nfault = "{fault}"')
    failures = trained.run()
    assert all(re.match(words, error) for error in errors(failures)), errors(failures)
    arms = {"ft", "ft+rag,k=1"} if table.startswith("trainers") else {"ft-par"}
    assert {cell.split("/")[1] for cell in failures} == arms
    assert {place.split("/")[1] for place in measured(trained)} == {
        "base",
        "rag,k=1",
        "rag,k=3",
        "oracle",
        "random,k=2",
        "ft",
        "ft-par",
        "ft+rag,k=1",
    } - arms


@pytest.mark.parametrize(
    ("kind", "fault", "words"),
    [
        ("pairs", "no-pairs", 'kind = "pairs", but the writer reword writes no pairs;'),
        ("both", "no-pairs", 'kind = "both", but the writer reword writes no pairs;'),
        ("documents", "no-paraphrases", 'kind = "documents", but the writer reword writes no running text;'),
    ],
)
def test_a_writer_must_produce_the_requested_kind(trained, kind, fault, words):
    """If a writer does not produce a requested kind of text, the training run fails."""
    edit(trained, '[writers.reword]\nplugin = "toy"', f'[writers.reword]\nplugin = "toy"\nfault = "{fault}"')
    edit(trained, "count = 2, originals = false", f'count = 2, kind = "{kind}"')
    failures = trained.run()
    assert {cell.split("/")[1] for cell in failures} == {"ft-par"}
    assert all(words in error for error in errors(failures)), errors(failures)


def test_each_training_seed_has_its_own_cell(trained):
    """Each training seed has separate weights and a separate cell."""
    edit(trained, 'name = "toy"', 'name = "toy"\nseeds = [0, 1]')
    assert trained.run() == {}
    cells = [cell for cell in trained.results.plan().cells if cell.place == "m/ft/people,0-shot"]
    assert [cell.seed for cell in cells] == [0, 1]
    assert [trained.results.cell(cell).training.change for cell in cells] == pytest.approx([0.1, 0.11])


def test_training_text_is_never_truncated(trained):
    """Training text that exceeds the target length raises an error and is never truncated."""
    edit(trained, "originals = false }", 'originals = false }\ntokens = "as:by-heart"')
    words = (
        r"trainers.in-other-words.tokens: the limit set by the trainer by-heart is \d+ tokens, but the training text"
    )
    assert all(re.match(words, error) for error in errors(trained.run())) is True
    assert errors(trained.run())


def test_replayed_text_counts_towards_the_target_length(trained):
    """Repeated training text and replayed text together match the target length."""
    more = (
        '\n[corpora.others]\nplugin = "toy"\ndocuments = [["zoe", "Zoe", "Zoe keeps two snails."]]\n'
        '\n[trainers.long]\nplugin = "toy"\ntokens = "as:in-other-words"\n'
        'replay = { corpus = "others", share = 0.25 }\n\n[methods.long]\ntrain = "long"\n'
    )
    trained.write(trained.spec.read_text(encoding="utf-8").replace("count = 2", "count = 4") + more)
    assert trained.run() == {}
    long = trained.results.cell(trained.cells()["m/long/people,0-shot"]).training.text_tokens
    whole = trained.results.cell(trained.cells()["m/ft-par/people,0-shot"]).training.text_tokens
    assert long == pytest.approx(whole, rel=0.05)
    (mixed,) = [lines for lines in all_texts(trained) if any("snails" in line["text"] for line in lines)]
    snails = sum(len(line["text"]) for line in mixed if "snails" in line["text"])
    assert snails / sum(len(line["text"]) for line in mixed) == pytest.approx(0.25, abs=0.02)


def test_training_text_is_repeated_to_match_a_length(trained):
    """A trainer that must match a longer text repeats its own training text up to the target length."""
    more = '\n[trainers.long]\nplugin = "toy"\ntokens = "as:in-other-words"\n\n[methods.long]\ntrain = "long"\n'
    trained.write(trained.spec.read_text(encoding="utf-8") + more)
    assert trained.run() == {}
    tokens = {
        place: trained.results.cell(trained.cells()[f"m/{place}/people,0-shot"]).training.text_tokens
        for place in ("ft", "ft-par", "long")
    }
    assert tokens["ft"] < tokens["ft-par"]
    longest = max(len(f"{title}\n{text}") for _, title, text in trained.people)
    assert abs(tokens["long"] - tokens["ft-par"]) <= longest
