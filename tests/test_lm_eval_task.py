"""The `lm-eval` task, which loads tasks by name and can read their data from local files."""

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.harness.tasks import RenderedTask
from kib.interfaces import HarnessTask
from kib.plugins.builtin.lm_eval_task import LmEvalTask, _rows
from kib.testing import check_fingerprint, check_options, make_plugin


def task(name, metric=None, **data):
    options = {"task": name, "metric": metric, "data": {key: str(value) for key, value in data.items()} or None}
    return make_plugin(LmEvalTask, {key: value for key, value in options.items() if value is not None})


def rows(path, **data):
    return _rows(path, task("any", test=path).options.data.model_copy(update=data))


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8", newline="")
    return path


MMLU = [
    ["Which bone?", "femur", "tibia", "ulna", "rib", "A"],
    ['Which\nline, or "quote"?', "a,b", 'say "c"', "d\ne", "ü 桥", "D"],
]


def mmlu_csv(path, some=MMLU):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(some)
    return path


# Files


def test_mmlu_csv_files_are_read(tmp_path):
    """An MMLU file has no header; its columns are question, four options and letter, and fields may span lines."""
    found = rows(mmlu_csv(tmp_path / "t.csv"), layout="mmlu")
    assert found == [{"question": row[0], "choices": row[1:5], "answer": "ABCD".index(row[5])} for row in MMLU]


@pytest.mark.parametrize(
    "row",
    [
        ["Q", "a", "b", "c", "d"],
        ["Q", "a", "b", "c", "d", "A", "A"],
        ["Q", "a", "b", "c", "d", ""],
        ["Q", "a", "b", "c", "d", "E"],
        ["Q", "a", "b", "c", "d", "a"],
        ["Q", "a", "b", "c", "d", "AB"],
        ["Q", "a", "b", "c", "d", "BCD"],
        ["Q", "a", "b", "c", "d", "0"],
        ["question", "A", "B", "C", "D", "answer"],
    ],
)
def test_a_faulty_mmlu_row_is_an_error(tmp_path, row):
    """A row of an MMLU file with a wrong number of columns or an invalid letter raises an error with the row number."""
    with pytest.raises(InputError) as caught:
        rows(mmlu_csv(tmp_path / "t.csv", [MMLU[0], row]), layout="mmlu")
    words = "row 2: expected a question, four options and a letter from A to D, got "
    assert str(caught.value).startswith(f"{tmp_path / 't.csv'}: {words}")


TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\u2028\u2029\x85\x0b\x0c\n\r",桥🚧'), max_size=20)
TABLE = st.lists(st.fixed_dictionaries({"question": TEXT, "answer": TEXT}), min_size=1, max_size=4)


def as_csv(table):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["question", "answer"])
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


FORMS = {
    ".csv": as_csv,
    ".json": lambda table: json.dumps(table, ensure_ascii=False, indent=1),
    ".jsonl": lambda table: "\n".join(json.dumps(row, ensure_ascii=False) for row in table) + "\n\n",
}


@given(TABLE, st.sampled_from(sorted(FORMS)))
def test_rows_are_read_unchanged(tmp_path, table, ending):
    """Rows with arbitrary characters, written as CSV, JSON or JSON lines, are read unchanged."""
    assert rows(write(tmp_path / f"t{ending}", FORMS[ending](table))) == table


def test_parquet_is_read(tmp_path):
    """Rows of a Parquet file are read correctly, including list values."""
    from datasets import Dataset

    table = [{"question": "Q?", "choices": ["a", "ü"], "answer": 1}]
    Dataset.from_list(table).to_parquet(str(tmp_path / "t.parquet"))
    assert rows(tmp_path / "t.parquet") == table


def test_fields_are_renamed(tmp_path):
    """The option `fields` renames the listed fields, and all other fields keep their names."""
    path = write(tmp_path / "t.json", [{"stem": "Q?", "key": 1, "more": 2}])
    assert rows(path, fields={"question": "stem", "answer": "key"}) == [{"question": "Q?", "answer": 1, "more": 2}]


@pytest.mark.parametrize(
    ("name", "content", "data", "words"),
    [
        ("t.json", "[1]", {}, "expected a JSON list of objects"),
        ("t.json", "{}", {}, "expected a JSON list of objects"),
        ("t.json", "[{]", {}, ":1: invalid JSON: "),
        ("t.json", '[{"a": 1},\n{"a": 1, "a": 2}]', {}, ':2: the key "a" appears twice in one object'),
        ("t.jsonl", '{"a": 1}\n{"a": 1, "a": 2}', {}, ':2: the key "a" appears twice in one object'),
        ("t.csv", "a,b,a\n1,2,3\n", {}, ":1: the column 'a' appears twice in the header"),
        ("t.jsonl", '{"a": 1}\n{"a"\n', {}, ":2: invalid JSON: "),
        ("t.jsonl", '{"a": 1}\n[]\n', {}, ":2: expected a JSON object"),
        ("t.jsonl", "", {}, ": no rows found"),
        ("t.json", "[]", {}, ": no rows found"),
        ("t.csv", "a,b\n", {}, ": no rows found"),
        ("t.csv", "a,b\n1,2,3\n", {}, ": row 1: the row and the header have different numbers of fields"),
        ("t.csv", "a,b\n1,2\n1\n", {}, ": row 2: the row and the header have different numbers of fields"),
        ("t.csv", 'a,b\n"1,2\n', {}, ": not CSV: "),
        ("t.csv", '"a\n', {"layout": "mmlu"}, ": not CSV: "),
        ("t.csv", "", {"layout": "mmlu"}, ": no rows found"),
        ("t.txt", "a", {}, ": unsupported file type; expected one of .csv, .json, .jsonl, .parquet"),
        (
            "t.json",
            '[{"a": 1}, {"b": 2}]',
            {"fields": {"question": "a"}},
            ": row 2: the row has no field a; fields found: b",
        ),
    ],
)
def test_an_unreadable_file_is_an_error(tmp_path, name, content, data, words):
    """An unreadable data file raises an error with the path and, if known, the line or row."""
    path = write(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        rows(path, **data)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.jsonl", "mmlu.csv"])
def test_a_file_that_is_not_utf8_is_an_error(tmp_path, name):
    """A data file that is not UTF-8 raises an error that names its path."""
    (tmp_path / name).write_bytes(b'"\xff"')
    with pytest.raises(InputError, match=f"{name}: not UTF-8 at byte 1"):
        rows(tmp_path / name, **({"layout": "mmlu"} if name == "mmlu.csv" else {}))


def test_a_missing_file_is_named(tmp_path):
    """Computing the fingerprint of a missing data file raises an error that names its path."""
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        task("mmlu_anatomy", test=tmp_path / "nowhere.csv").fingerprint()


def test_the_fingerprint_depends_on_the_files(tmp_path):
    """The fingerprint changes with a file's content and split, but not with its modification time."""
    path = mmlu_csv(tmp_path / "t.csv")
    check_fingerprint(lambda: task("mmlu_anatomy", test=path), change=lambda: mmlu_csv(path, MMLU[:1]), same=path.touch)
    assert task("mmlu_anatomy", test=path).fingerprint() != task("mmlu_anatomy", dev=path).fingerprint()


def test_options():
    """Data paths are accepted under any split name, but `layout` accepts only known layouts."""
    check_options(
        LmEvalTask,
        accepts=[{"task": "mmlu_anatomy"}, {"task": "t", "metric": "acc,none", "data": {"test": "t.csv"}}],
        refuses=[{}, {"task": ""}, {"task": "t", "data": {"layout": "squad"}}, {"task": "t", "data": {"test": 3}}],
    )
    assert isinstance(task("mmlu_anatomy"), HarnessTask)


# The first test builds lm-eval's task index, which takes seconds.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mmlu_anatomi", "lm-eval has no task mmlu_anatomi; did you mean mmlu_anatomy"),
        ("zzzzqqqq", "lm-eval has no task zzzzqqqq; list the tasks with `lm-eval ls tasks`"),
        ("mmlu", "mmlu is a group of lm-eval tasks; declare a separate table for each task of the group"),
        (
            "mmlu_stem_tasks",
            "mmlu_stem_tasks is a group of lm-eval tasks; declare a separate table for each task of the group",
        ),
    ],
)
def test_a_wrong_name_suggests_the_nearest(name, words):
    """The error for an unknown task suggests the nearest name, and the error for a task group suggests single tasks."""
    with pytest.raises(InputError) as caught:
        task(name).harness_task()
    assert str(caught.value).startswith(words)


@pytest.mark.slow
def test_a_task_reads_local_data(tmp_path):
    """A task with local data keeps its prompt, takes examples from `dev` and takes questions from `test`."""
    path = mmlu_csv(tmp_path / "t.csv")
    made = RenderedTask("anatomy", task("mmlu_anatomy", dev=path, test=path, layout="mmlu").harness_task())
    first = made.ask(1)[0]
    assert first.head == (
        "The following are multiple choice questions (with answers) about anatomy.\n\n"
        "Which bone?\nA. femur\nB. tibia\nC. ulna\nD. rib\nAnswer: A\n\n"
    )
    assert first.ask == "Which bone?\nA. femur\nB. tibia\nC. ulna\nD. rib\nAnswer:"
    assert [asked.query for asked in made.ask(0)] == [row[0] for row in MMLU]
    assert [asked.answer for asked in made.ask(0)] == [0, 3]
    assert made.metric == "acc"


@pytest.mark.slow
def test_each_call_creates_a_new_task(tmp_path):
    """Each call creates a new task instance that shares no state with other instances."""
    path = mmlu_csv(tmp_path / "t.csv")
    plugin = task("mmlu_anatomy", dev=path, test=path, layout="mmlu")
    one, other = plugin.harness_task(), plugin.harness_task()
    one.set_config("doc_to_text", "changed")
    assert other.config.doc_to_text != "changed"
    mmlu_csv(path, MMLU[1:])
    assert len(plugin.harness_task().eval_docs) == 1


ARC = [
    {"question": "Which floats?", "choices": {"text": ["a stone", "a cork"], "label": ["A", "B"]}, "answerKey": "B"},
    {"question": "Which sinks?", "choices": {"text": ["a stone", "a cork"], "label": ["1", "2"]}, "answerKey": "1"},
]


@pytest.mark.slow
def test_templates_of_tasks_work_on_local_rows(tmp_path):
    """Templates for options and answers work on local rows in the format of the original data set on the hub."""
    path = write(tmp_path / "t.json", ARC)
    made = RenderedTask("arc", task("arc_easy", "acc_norm", test=path, train=path, validation=path).harness_task())
    assert [(asked.ask, asked.options, asked.answer, asked.query) for asked in made.ask(0)] == [
        ("Question: Which floats?\nAnswer:", ("a stone", "a cork"), 1, "Which floats?"),
        ("Question: Which sinks?\nAnswer:", ("a stone", "a cork"), 0, "Which sinks?"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        (
            "winogrande",
            {"sentence": "The _ ran.", "option1": "cat", "option2": "dog", "answer": "1"},
            "the options are the contexts, so there is no single position for passages in the prompt",
        ),
        (
            "wikitext",
            {"page": "A page of text."},
            "the output type loglikelihood_rolling has no correct or incorrect answers",
        ),
        (
            "gsm8k_cot_self_consistency",
            {"question": "2 + 2?", "answer": "#### 4"},
            "the task asks each question several times",
        ),
    ],
)
def test_unsupported_tasks_are_rejected(tmp_path, name, row, words):
    """An lm-eval task with an unsupported format or metric is rejected with a reason."""
    path = write(tmp_path / "t.json", [row])
    splits = dict.fromkeys(("train", "validation", "test"), path)
    with pytest.raises(InputError) as caught:
        RenderedTask("t", task(name, **splits).harness_task())
    assert str(caught.value).startswith("tasks.t")
    assert words in str(caught.value)


@pytest.mark.slow
def test_a_task_with_graded_scores_is_measured(tmp_path):
    """TruthfulQA's `mc2` gives each question the probability of all right answers together, which is a graded score."""
    targets = {"choices": ["a", "b", "c"], "labels": [1, 1, 0]}
    row = {"question": "Who?", "mc1_targets": {**targets, "labels": [1, 0, 0]}, "mc2_targets": targets}
    path = write(tmp_path / "t.json", [row])
    made = RenderedTask("t", task("truthfulqa_mc2", validation=path).harness_task())
    (asked,) = made.ask(0)
    requests = made.requests(0, asked.head + asked.ask)
    outcome = made.score(0, requests, [(math.log(0.2), False), (math.log(0.1), False), (math.log(0.1), True)])
    assert outcome.score == pytest.approx(0.75)


@pytest.mark.slow
def test_local_data_may_lack_the_splits_that_are_not_needed(tmp_path):
    """Local data need a file only for the questions; few-shot examples need a file for the split of the examples."""
    path = mmlu_csv(tmp_path / "t.csv")
    made = RenderedTask("t", task("mmlu_anatomy", test=path, layout="mmlu").harness_task())
    assert [asked.query for asked in made.ask(0)] == [row[0] for row in MMLU]
    with pytest.raises(InputError, match=r"1-shot prompts: the examples are those of the split dev; add `dev = PATH`"):
        made.ask(1)


@pytest.mark.slow
def test_a_validation_file_is_enough_for_a_task_with_test_questions(tmp_path):
    """If local data contain only validation questions, these questions are asked, and a note states their split."""
    path = write(tmp_path / "v.json", ARC)
    plugin = task("arc_easy", validation=path)
    made = RenderedTask("arc", plugin.harness_task(), notes=plugin.remarks("test"))
    assert [asked.query for asked in made.ask(0)] == ["Which floats?", "Which sinks?"]
    assert made.notes(0) == ["the questions are those of the split validation, because `data` has no test split"]
    examples = write(tmp_path / "t.json", [{**ARC[0], "question": f"Example {n}?"} for n in range(4)])
    made = RenderedTask("arc", task("arc_easy", validation=path, train=examples).harness_task())
    assert made.ask(2)[0].head.count("Example") == 2
    assert made.notes(2)[0].endswith("(seed 1234) from the questions of the split train")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hellaswag", "piqa"])
def test_a_validation_file_is_enough_for_a_task_without_test_questions(tmp_path, name):
    """A task with training and validation questions needs only a validation file if it is measured without examples."""
    rows = {
        "hellaswag": {"ind": 1, "activity_label": "A", "ctx_a": "He", "ctx_b": "runs", "ctx": "He runs", "label": "1",
                      "endings": ["off.", "on."]},
        "piqa": {"goal": "To sew", "sol1": "use a needle", "sol2": "use a hammer", "label": 0},
    }  # fmt: skip
    made = RenderedTask("t", task(name, validation=write(tmp_path / "v.json", [rows[name]] * 2)).harness_task())
    assert len(made.ask(0)) == 2
    with pytest.raises(InputError, match="add `train = PATH` to `data`"):
        made.ask(1)


@pytest.mark.slow
def test_a_question_of_the_only_split_is_not_its_own_example(tmp_path):
    """If lm-eval draws the examples of a task from its test questions, the asked question is left out."""
    options = {"A": "Glianorex", "B": "Thyroid", "C": "Pancreas", "D": "Pituitary"}
    rows = [{"question": f"Which is {n}?", "options": options, "answer_idx": "A", "language": "en"} for n in range(3)]
    made = RenderedTask("g", task("glianorex", test=write(tmp_path / "q.json", rows)).harness_task())
    for row, asked in enumerate(made.ask(2)):
        assert f"Which is {row}?" not in asked.head
        assert asked.head.count("Question: ") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"tset": "t.csv", "dev": "t.csv"},
            "data.tset: lm-eval task mmlu_anatomy has only the splits dev and test",
        ),
        (
            {"dev": "t.csv"},
            "data: lm-eval task mmlu_anatomy needs questions in a file for the split test",
        ),
    ],
)
def test_a_wrong_split_is_an_error(tmp_path, data, words):
    """A misspelled split, or local data without questions, raises an error that names the splits of the task."""
    mmlu_csv(tmp_path / "t.csv")
    with pytest.raises(InputError, match=f"^{words}"):
        task("mmlu_anatomy", **{split: tmp_path / name for split, name in data.items()}, layout="mmlu").harness_task()


@pytest.mark.slow
def test_errors_in_local_data_are_reported_plainly(tmp_path):
    """An error in local data is reported with the file and row instead of lm-eval's own message."""
    path = mmlu_csv(tmp_path / "t.csv", [["too", "short"]])
    with pytest.raises(InputError) as caught:
        task("mmlu_anatomy", dev=path, test=path, layout="mmlu").harness_task()
    assert str(caught.value).startswith(f"{path}: row 1: expected a question, four options")


@pytest.mark.slow
def test_without_data_and_network_the_hub_is_named(monkeypatch, tmp_path):
    """Without local data and network, the error states that the data cannot be loaded from the hub."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(InputError, match=r"lm-eval task mmlu_anatomy: cannot load the data from the hub \("):
        task("mmlu_anatomy").harness_task()


@pytest.mark.slow
def test_a_tasks_readme_is_cited():
    """The BibTeX entry for an lm-eval task is read from the task's README."""
    assert "@article{hendryckstest2021" in task("mmlu_anatomy").bibtex()
    assert task("no_such_task").bibtex() == ""
