"""The option `columns` of the `file` task: question files with their own column names."""

import json

import pytest
from openpyxl import Workbook

from kib.errors import InputError
from kib.plugins.builtin.questions_file_task import FileTask
from kib.records import Gold, Question
from kib.testing import make_plugin

COLUMNS = {"id": "Nr", "question": "Question text", "answer": "Gold answer", "document": "Page", "group": "Page"}
ROWS = [
    {"Nr": "7", "Question text": " Who? ", "Gold answer": "Ada", "Page": "p1", "answer": "-", "Editor": "N"},
    {"Nr": "8", "Question text": "Where?", "Gold answer": "Ulm", "Page": "p2", "answer": "-", "Editor": ""},
]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_csv(path, rows):
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")


def write_xlsx(path, rows):
    book = Workbook()
    for line in [list(rows[0]), *(list(row.values()) for row in rows)]:
        book.active.append(line)
    book.save(path)


WRITERS = {"jsonl": write_jsonl, "csv": write_csv, "xlsx": write_xlsx}
each_format = pytest.mark.parametrize("ending", WRITERS)


def make(tmp_path, ending, rows=ROWS, columns=COLUMNS):
    path = tmp_path / f"q.{ending}"
    WRITERS[ending](path, rows)
    return make_plugin(FileTask, {"path": str(path), "columns": columns})


@each_format
def test_columns_are_mapped_to_fields(tmp_path, ending):
    """Fields are read from the mapped columns, and a remark counts and names the columns that were ignored."""
    made = make(tmp_path, ending)
    assert list(made.questions("test")) == [
        Question("7", "Who?", gold=(Gold("p1"),), group="p1", accepted=("Ada",)),
        Question("8", "Where?", gold=(Gold("p2"),), group="p2", accepted=("Ulm",)),
    ]
    assert made.remarks("test") == [
        "removed white space around texts of 1 question of the split test",
        "ignored 2 columns of the split test: answer, Editor",
    ]


@each_format
def test_a_missing_column_is_an_error(tmp_path, ending):
    """A mapped column that does not exist raises an error that offers the most similar name."""
    with pytest.raises(InputError) as caught:
        list(make(tmp_path, ending, columns={**COLUMNS, "question": "question txt"}).questions("test"))
    assert '`columns.question`: no column "question txt"; did you mean "Question text"? Known: ' in str(caught.value)


@each_format
def test_options_may_have_a_column_each(tmp_path, ending):
    """The fields A, B, C, … may be mapped to the columns of the options."""
    rows = [{"q": "Who?", "right": "B", "first": "x", "second": "y"}]
    columns = {"question": "q", "answer": "right", "A": "first", "B": "second"}
    assert list(make(tmp_path, ending, rows, columns).questions("test")) == [Question("1", "Who?", ("x", "y"), 1)]


@each_format
def test_an_error_names_the_column(tmp_path, ending):
    """An error about a field states the name of its column."""
    rows = [ROWS[0], {**ROWS[1], "Gold answer": ""}]
    with pytest.raises(InputError, match=r'answer \(column "Gold answer"\): '):
        list(make(tmp_path, ending, rows).questions("test"))


def test_a_key_may_be_missing_from_some_objects(tmp_path):
    """In JSON Lines, a mapped key must appear in at least one object."""
    rows = [{"q": "Who?", "a": ["Ada"]}, {"q": "Where?", "a": ["Ulm"], "topic": "towns"}]
    columns = {"question": "q", "answers": "a", "group": "topic"}
    found = list(make(tmp_path, "jsonl", rows, columns).questions("test"))
    assert [question.group for question in found] == [None, "towns"]


def test_only_mapped_columns_must_be_unique(tmp_path):
    """A repeated column raises an error only if a field is mapped to the column."""
    path = tmp_path / "q.csv"
    path.write_text("q,a,x,x\nWho?,Ada,1,2\n", encoding="utf-8")
    options = {"path": str(path), "columns": {"question": "q", "answer": "a"}}
    assert len(list(make_plugin(FileTask, options).questions("test"))) == 1
    path.write_text("q,a,a\nWho?,Ada,1\n", encoding="utf-8")
    with pytest.raises(InputError, match="the column 'a' appears twice in the header"):
        list(make_plugin(FileTask, options).questions("test"))


def test_columns_without_names_are_ignored(tmp_path):
    """In a spreadsheet with mapped columns, a column with text but without a name is ignored and counted."""
    made = make(tmp_path, "xlsx", [{"q": "Who?", "a": "Ada", "": "note"}], {"question": "q", "answer": "a"})
    assert len(list(made.questions("test"))) == 1
    assert made.remarks("test") == ["ignored 1 column of the split test: column C (without a name)"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"qestion": "q"}, "unknown field 'qestion'; did you mean \"question\"?"),
        ({"answer": "a"}, "`columns` must contain the field `question`"),
        ({"question": ""}, "at least 1 character"),
    ],
)
def test_invalid_columns_are_an_error(columns, words):
    """An unknown field, a mapping without the question, and an empty name are rejected."""
    with pytest.raises(ValueError, match="columns") as caught:
        make_plugin(FileTask, {"path": "q.csv", "columns": columns})
    assert words in str(caught.value)


def test_columns_belong_to_the_fingerprint(tmp_path):
    """The mapping changes the fingerprint; without a mapping, the fingerprint depends only on the files."""
    one, other = make(tmp_path, "csv"), make(tmp_path, "csv", columns={**COLUMNS, "answer": "answer"})
    assert len({one.fingerprint(), other.fingerprint(), make(tmp_path, "csv", columns={}).fingerprint()}) == 3


def test_a_wrong_field_is_located_in_the_benchmark_file(bench):
    """An unknown field in `columns` is an error with the line of its key."""
    bench.write_toy(task='columns = { qestion = "q" }\n')
    output = bench.call("plan", bench.spec).output
    assert "tasks.people.columns" in output
    assert 'did you mean "question"?' in " ".join(output.split())
