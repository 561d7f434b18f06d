"""Tasks with generated answers: from a file of questions to the table."""

import json

import pytest
from conftest import toy_questions

from kib.errors import InputError, SpecError
from kib.harness.open_tasks import INSTRUCTION
from kib.plugins.builtin.questions_file_task import FileTask
from kib.progress import SilentProgress
from kib.records import Question
from kib.run.shared_steps import SharedSteps

ROWS = [json.loads(line) for line in toy_questions(18).splitlines()]
OPEN = [
    {
        **{key: row[key] for key in ("id", "question", "document", "group")},
        "answer": row["options"]["ABCD".index(row["answer"])],
    }
    for row in ROWS
]


def lines(rows):
    """Return rows as JSON lines."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def read(tmp_path, text, name="q.jsonl"):
    """Return the questions of a file with the given content."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return list(FileTask(FileTask.Options(path=path)).questions("test"))


# Files


def test_a_question_without_options_has_accepted_answers(tmp_path):
    """An open question has one answer, which may be a number, or a list of accepted answers without repetitions."""
    rows = [
        {"question": "Who?", "answer": " Ada "},
        {"question": "How many?", "answer": 7},
        {"question": "Which?", "answers": ["x", "y", "x"]},
    ]
    assert read(tmp_path, lines(rows)) == [
        Question("1", "Who?", accepted=("Ada",)),
        Question("2", "How many?", accepted=("7",)),
        Question("3", "Which?", accepted=("x", "y")),
    ]


def test_csv_files_may_have_open_questions(tmp_path):
    """In CSV, accepted answers are in the column `answer` as they are written, or in `answers` as a JSON list."""
    text = 'question,answer,answers\nHow many?,007,\nWho?,,"[""Ada"", ""Ada L.""]"\n'
    assert [question.accepted for question in read(tmp_path, text, "q.csv")] == [("007",), ("Ada", "Ada L.")]


def test_a_question_may_name_its_probe(tmp_path):
    """The field `probe`, in JSON or CSV, names what a question tests; an empty field names no probe."""
    rows = [{"question": "Who?", "answer": "Ada", "probe": " direct "}, {"question": "What?", "answer": "x"}]
    assert [question.probe for question in read(tmp_path, lines(rows))] == ["direct", None]
    text = "question,answer,probe\nWho?,Ada,two-hop\nWhat?,x,\n"
    assert [question.probe for question in read(tmp_path, text, "q.csv")] == ["two-hop", None]
    for wrong in ([], "a\u0007", "x" * 61, "(no probe)"):
        with pytest.raises(InputError, match=r":1: probe: expected (text or a whole number|at most 60 printable char)"):
            read(tmp_path, lines([{**rows[0], "probe": wrong}]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "answer: missing"),
        ({"answer": ""}, "answer: expected a text or a number, or a list in `answers`, got ''"),
        ({"answer": True}, "answer: expected a text or a number, or a list in `answers`, got True"),
        ({"answer": ["x"]}, "answer: expected a text or a number, or a list in `answers`, got ['x']"),
        ({"answer": "\u200b\u00ad"}, "answer: expected text, got only invisible characters"),
        ({"answers": ["x", "\u200b"]}, "answers: expected text, got only invisible characters"),
        (
            {"options": ["x", "\u200b"], "answer": "A"},
            "options: expected text, got only invisible characters",
        ),
        ({"answers": "x"}, "answers: expected a list of non-empty texts, got 'x'"),
        ({"answers": ["x", " "]}, "answers: expected a list of non-empty texts, got ['x', '']"),
        ({"answers": ["x"], "answer": "x"}, "answers: the question has `answer` too; remove one of the two fields"),
        (
            {"answers": ["x"], "options": ["x", "y"]},
            "answers: the question has `options` too; remove one of the two fields",
        ),
        (
            {"answers": ["x"], "options": ["x", "y"], "answer": "A"},
            "answers: the question has `options` too; remove one of the two fields",
        ),
    ],
)
def test_invalid_answers_are_an_error(tmp_path, changes, words):
    """An open question with a missing, empty or doubtful answer raises an error with the file, line and field."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, lines([{"question": "Who?", **changes}]))
    assert str(caught.value).startswith(f"{tmp_path / 'q.jsonl'}:1: {words}")


# The benchmark file


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ('scoring = "bleu"\n', "scoring"),
        ('scoring = ["letter", "f1"]\n', "scoring"),
        ('scoring = ["f1", "f1"]\n', 'expected distinct values, but "f1" appears twice'),
        ("scoring = []\n", "scoring"),
        ("max_tokens = 5\n", "max_tokens: applies only to generated answers; add `scoring` with one of: exact, f1"),
        ('scoring = "letter"\nstop = ["."]\n', "stop: applies only to generated answers"),
        ('scoring = "f1"\ntolerance = 0.1\n', "tolerance: needs the metric `number` in `scoring`"),
        ('scoring = "number"\ntolerance = -0.1\n', "tolerance"),
        ('scoring = "f1"\nlanguage = "English"\n', "language"),
        ('scoring = "f1"\nstop = [""]\n', "stop"),
    ],
)
def test_wrong_keys_of_generated_answers_are_errors(bench, task, words):
    """Wrong metrics and keys without effect are errors in the benchmark file, with the key's line."""
    bench.write_toy(task=task)
    with pytest.raises(SpecError) as caught:
        bench.plan()
    assert words in str(caught.value)


def test_a_wrong_metric_is_the_only_mistake(bench):
    """A wrong metric is reported alone, although other keys of the task need a metric."""
    keys = 'max_tokens = 5\nstop = ["."]\nlanguage = "de"\nabstentions = ["x"]\nlabels = "labels.csv"\n'
    for scoring in ('"contain"', '["f1", "contain"]', "[]"):
        bench.write_toy(task=f"scoring = {scoring}\n{keys}")
        result = bench.call("check", bench.spec)
        assert result.exit_code == 2
        assert result.output.count("bench.toml:") == result.output.count(": tasks.people.scoring") == 1


def test_questions_without_options_need_a_metric(bench):
    """A task without `scoring` whose questions have no options fails, and the error states which key to add."""
    bench.write_toy(questions=lines(OPEN))
    result = bench.call("check", bench.spec)
    assert result.exit_code == 2
    assert "question bo-0: the question has no options; add `scoring` with the metric" in " ".join(
        result.output.replace(OPEN[0]["id"], "bo-0").split()
    )


def test_number_needs_accepted_numbers(bench):
    """The metric `number` rejects a question without a number among its accepted answers, before any request."""
    bench.write_toy(task='scoring = "number"\n', questions=lines(OPEN))
    result = bench.call("check", bench.spec)
    assert result.exit_code == 2
    assert 'the metric "number" needs a number in every accepted answer' in " ".join(result.output.split())


# Runs


def test_accepted_answers_that_may_be_misread_are_named(bench):
    """`kib check` names an article at the end of an answer, and a point that separates thousands in the language."""
    rows = [{"question": f"What is {n}?", "answer": answer} for n, answer in enumerate(["vitamin A", "2.500 km", "A"])]
    bench.write_toy(task='scoring = "contains"\n', questions=lines(rows))
    said = " ".join(bench.call("check", bench.spec).output.split())
    assert (
        "the accepted answer 'vitamin A' ends with a word that is ignored as an article, so that 'vitamin' is compared"
    ) in said
    bench.write_toy(task='scoring = "number"\nlanguage = "de"\n', questions=lines(rows[1:2]))
    said = " ".join(bench.call("check", bench.spec).output.split())
    assert "the accepted answer '2.500 km' contains a number that is read as 2,500, because numbers in the" in said
    assert "vitamin" not in said


@pytest.fixture
def measured(bench):
    """Return the toy benchmark measured with open questions: the toy model answers `It is …` if a passage says so."""
    bench.write_toy(task='scoring = ["f1", "contains", "exact"]\nmax_tokens = 12\n', questions=lines(OPEN))
    assert not bench.run()
    return bench


def test_generated_answers_are_scored_by_every_metric(measured):
    """With a gold passage, the output `It is X` contains the answer, has F1 < 1 and is not exactly the answer."""
    cells = {place: measured.results.cell(cell) for place, cell in measured.cells().items()}
    base, oracle = cells["m/base/people,0-shot"], cells["m/oracle/people,0-shot"]
    assert (base.metric, base.correct, base.other_metrics) == ("f1", 0, {"contains": 0, "exact": 0})
    assert oracle.other_metrics == {"contains": 1, "exact": 0}
    lengths = [len(row["answer"].split()) for row in OPEN]
    assert oracle.correct == pytest.approx(sum(2 * length / (2 * length + 2) for length in lengths))
    for score, row in zip(measured.scores("m/oracle/people,0-shot"), OPEN, strict=True):
        assert score.output == f" It is {row['answer']}."
        assert (score.prediction, score.logprobs) == (None, ())


def test_options_are_not_shown_to_a_model_that_generates(bench):
    """If a task generates answers, questions with options are asked without options and give the same results."""
    results = []
    for questions in (lines(OPEN), 18):
        bench.write_toy(task='scoring = "f1"\n', questions=questions)
        assert not bench.run()
        results.append([(one.prompt, one.output, one.score) for one in bench.scores("m/rag,k=1/people,0-shot")])
    assert results[0] == results[1]


def test_the_table_names_all_metrics(measured):
    """The table names the metric that ranks the rows, and shows the means of the other metrics."""
    output = " ".join(measured.call("leaderboard", measured.results.folder).output.split())
    assert "18 questions · scored by f1" in output
    assert "contains 100.0, exact 0.0" in output
    assert "f1: the F1 score of the output's words" in output
    assert "or 20,000 random sign flips" in output
    table = json.loads(measured.call("leaderboard", measured.results.folder, "--format", "json").output)
    (oracle,) = [row for row in table["rows"] if row["arm"] == "oracle"]
    assert (oracle["metric"], oracle["graded"], oracle["other_metrics"]["contains"]) == ("f1", True, 1)
    assert 0 < oracle["accuracy_low"] < oracle["accuracy"] < oracle["accuracy_high"] < 1


def test_probes_lead_from_the_file_to_the_table(bench):
    """`kib check` counts the probes of a file, and `--by probe` needs only the results folder of the run."""
    rows = [*OPEN[:2], *({**row, "probe": ["direct", "reverse"][number % 2]} for number, row in enumerate(OPEN[2:]))]
    bench.write_toy(task='scoring = "contains"\n', questions=lines(rows))
    assert "task people: probes: no probe 2, direct 8, reverse 8\n" in bench.call("check", bench.spec).output
    assert not bench.run()
    output = bench.call("leaderboard", bench.results.folder, "--by", "probe", "--format", "json").output
    found = {(one["arm"], one["probe"]): one for one in json.loads(output)["probes"]}
    assert (found["oracle", "reverse"]["gain"], found["oracle", "reverse"]["n"]) == (1, 8)
    assert found["base", None]["n"] == 2
    stored = (bench.results.cell_folder(bench.cells()["m/base/people,0-shot"]) / "questions.jsonl").read_text()
    assert stored.count('"probe"') == 16


def test_show_prints_outputs_and_accepted_answers(measured):
    """`kib show` prints each output with its score between 0 and 1 and the accepted answers."""
    name = OPEN[0]["id"]
    shown = measured.call("show", "m/oracle/people,0-shot", name).output
    right = OPEN[0]["answer"]
    assert f"answer: ' It is {right}.' (score 0.50, contains 1.00, exact 0.00)" in shown
    assert f"accepted: '{right}'" in shown
    listed = measured.call("show", "m/oracle/people,0-shot").output
    assert f"~  {name}  ' It is {right}.' -> '{right}'  (0.50)" in listed


def test_the_same_run_is_repeated_byte_by_byte(measured):
    """A deleted result is measured again from stored answers, with the same bytes."""
    before = measured.files("times.json")
    measured.results.discard(measured.cells()["m/rag,k=1/people,0-shot"])
    assert not measured.run()
    assert measured.files("times.json") == before


def test_settings_of_the_generation_belong_to_the_identity(bench):
    """Each key that changes answers or scores changes the identity of a cell; other tasks keep their identities."""
    found = []
    for task in (
        "",
        'scoring = "text"\n',
        'scoring = "f1"\n',
        'scoring = ["f1", "exact"]\n',
        'scoring = "f1"\nmax_tokens = 5\n',
        'scoring = "f1"\nstop = ["."]\n',
        'scoring = "f1"\nlanguage = "de"\n',
    ):
        bench.write_toy(task=task)
        found.append(bench.plan().cells[0].cell.identity)
    assert found[0] == found[1]
    assert len(set(found)) == len(found) - 1


def test_a_chat_begins_with_an_instruction_and_has_no_stop_text(bench):
    """With a chat template, the system message asks for the answer alone, and only the model's turn ends the answer."""
    bench.write_toy(model="chat_template = true\n", task='scoring = "f1"\n', questions=lines(OPEN))
    assert not bench.run()
    shown = bench.call("show", "m/base/people,0-shot", OPEN[0]["id"]).output
    assert f"<system>{INSTRUCTION}</>" in shown


@pytest.mark.parametrize(
    ("model", "stop", "outputs"),
    [
        ("", "", {"\n\n Ostend \nQ": 1, "In town\nOstend": 0, "\n": 0}),
        ("chat_template = true\n", "", {"\n\n Ostend \nQ": 0, "Ostend\n": 1, "\n": 0}),
        ("", 'stop = [";"]\n', {"Ostend\n": 1, "\nOstend\nQ": 0}),
    ],
)
def test_the_answer_is_the_first_line_without_a_chat(bench, model, stop, outputs):
    """The answer is the first line that is not empty; in a chat, or with stop texts, the answer is the whole output."""
    row = {**OPEN[0], "answer": "Ostend"}
    bench.write_toy(model=model, task=f'scoring = "exact"\n{stop}', questions=lines([row]))
    plan, steps = bench.plan(), SharedSteps(bench.plan(), bench.work, SilentProgress())
    (cell,) = [one for one in plan.cells if one.cell.method == "base"]
    task = steps.rendered_task("people", "test")
    (requests,) = steps.prepared(cell).requests
    found = {output: task.score(0, requests, [output]) for output in outputs}
    assert {output: outcome.score for output, outcome in found.items()} == outputs
    assert [outcome.output for outcome in found.values()] == list(outputs)


def test_examples_show_the_first_accepted_answer(bench):
    """A few-shot example ends with its first accepted answer."""
    bench.write("", examples_jsonl=lines([{"question": "Is it?", "answers": ["yes", "yeah"]}]))
    task = 'scoring = "f1"\nshots = [1]\nexamples = "examples.jsonl"\n'
    bench.write_toy(task=task, questions=lines(OPEN))
    assert not bench.run()
    shown = bench.call("show", "m/base/people,1-shot", OPEN[0]["id"]).output
    assert f"Question: Is it?\nAnswer: yes\n\nQuestion: {OPEN[0]['question']}\nAnswer:" in shown


def test_reworded_open_questions_split_the_gains(bench):
    """Reworded open questions must have the same accepted answers, and give gains on known and unknown questions."""
    reworded = [{**row, "question": f"Say: {row['question']}"} for row in OPEN]
    bench.write("", reworded_jsonl=lines(reworded))
    bench.write_toy(task='scoring = "contains"\nreworded = "reworded.jsonl"\n', questions=lines(OPEN))
    assert not bench.run()
    table = json.loads(bench.call("leaderboard", bench.results.folder, "--format", "json").output)
    (oracle,) = [row for row in table["rows"] if row["arm"] == "oracle"]
    assert (oracle["n_known"], oracle["n_unknown"], oracle["gain_unknown"]) == (None, 18, 1)
    without_groups = [{key: value for key, value in row.items() if key != "group"} for row in reworded]
    bench.write("", reworded_jsonl=lines(without_groups))
    bench.write_toy(task='scoring = "contains"\nreworded = "reworded.jsonl"\n', questions=lines(OPEN))
    assert not bench.run()
    table = json.loads(bench.call("leaderboard", bench.results.folder, "--format", "json").output)
    assert [row["n_unknown"] for row in table["rows"] if row["arm"] == "oracle"] == [18]
    bench.write("", reworded_jsonl=lines([{**reworded[0], "answer": "other"}, *reworded[1:]]))
    bench.write_toy(task='scoring = "contains"\nreworded = "reworded.jsonl"\n', questions=lines(OPEN))
    result = bench.call("check", bench.spec)
    assert f"the correct answer is 'other' instead of '{OPEN[0]['answer']}'" in " ".join(result.output.split())
