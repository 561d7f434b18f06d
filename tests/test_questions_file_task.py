"""The `file` task, which reads the user's own questions: accepted fields and error messages."""

import csv
import json
import re
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.interfaces import Task
from kib.plugins.builtin.questions_file_task import FileTask
from kib.records import Gold, Question
from kib.support.characters import remove_invisible
from kib.support.ids import normal_id
from kib.support.question_text import trimmed
from kib.testing import check_fingerprint, check_options, check_task, make_plugin

SIGNS = st.characters(codec="utf-8") | st.sampled_from("\u2028\u2029\x85\x0b\x0c\n\r\",;\\'\t{}[]桥🚧é")
FILLED = st.text(SIGNS, min_size=1, max_size=30).map(trimmed).filter(bool)
VISIBLE = FILLED.filter(lambda text: bool(remove_invisible(text).strip()))
NAME = FILLED.map(normal_id)
GOLD = st.one_of(
    NAME.map(Gold),
    st.builds(lambda name, start, size: Gold(name, start, start + size), NAME, st.integers(0, 99), st.integers(1, 9)),
)
GOLDS = st.lists(GOLD, max_size=3).map(tuple)


@st.composite
def questions(draw, gold=GOLDS):
    options = tuple(draw(st.lists(VISIBLE, min_size=2, max_size=5, unique=True)))
    answer = draw(st.integers(0, len(options) - 1))
    group = draw(st.none() | NAME)
    name = draw(NAME.filter(str.isprintable))
    return Question(name, draw(VISIBLE), options, answer, draw(gold), group)


def as_json(question):
    """Return a question as a JSON row with a letter as its answer."""
    row = {"id": question.id, "question": question.text, "options": list(question.options)}
    row["answer"] = string.ascii_uppercase[question.answer]
    if question.gold:
        row["document"] = [{"document": gold.document, "start": gold.start, "end": gold.end} for gold in question.gold]
    return row if question.group is None else {**row, "group": question.group}


def task(path, **more):
    return make_plugin(FileTask, {"path": str(path), **{key: str(value) for key, value in more.items()}})


def read(path, split="test"):
    return list(task(path).questions(split))


@given(st.lists(questions(), min_size=1, max_size=4, unique_by=lambda question: question.id), st.booleans())
def test_json_lines_are_read_unchanged(tmp_path, asked, ascii_only):
    """Questions with arbitrary characters, written as JSON lines, are read unchanged."""
    assume(not any(set(question.options) & set(string.ascii_uppercase) for question in asked))
    lines = [json.dumps(as_json(question), ensure_ascii=ascii_only) for question in asked]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    assert read(path) == asked


@given(
    st.lists(questions(gold=st.lists(GOLD, max_size=1).map(tuple)), min_size=1, max_size=4, unique_by=lambda q: q.id)
)
@example([Question("1", 'a "b", c\nd', ("x\ny", "z"), 1, (Gold("d", 0, 4),), "g")])
def test_csv_is_read_unchanged(tmp_path, asked):
    """Questions written as CSV are read unchanged, including line breaks and quotes in fields."""
    assume(not any(set(question.options) & set(string.ascii_uppercase) for question in asked))
    letters = string.ascii_uppercase[: max(len(question.options) for question in asked)]
    path = tmp_path / "questions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", *letters, "answer", "document", "start", "end", "group"])
        for question in asked:
            gold = question.gold[0] if question.gold else Gold("")
            blank = [""] * (len(letters) - len(question.options))
            letter = string.ascii_uppercase[question.answer]
            row = [question.id, question.text, *question.options, *blank, letter, gold.document, gold.start, gold.end]
            writer.writerow(["" if value is None else value for value in [*row, question.group]])
    assert read(path) == asked


def write(tmp_path, *rows, name="q.jsonl"):
    path = tmp_path / name
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


GOOD = {"question": "Who?", "options": ["Ada", "Ben", "Cho"], "answer": "B"}


def one(tmp_path, **changes):
    """Return the question from a valid row with some fields changed; a field set to None is omitted."""
    row = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return read(write(tmp_path, row))[0]


@pytest.mark.parametrize("answer", ["B", "Ben", 1])
def test_an_answer_is_a_letter_a_text_or_a_number(tmp_path, answer):
    """An answer is the letter, the text or the one-based number of the correct option."""
    assert one(tmp_path, answer=answer).answer == 1


def test_an_ambiguous_answer_is_an_error(tmp_path):
    """An answer that matches two options raises an error that suggests an unambiguous form."""
    with pytest.raises(
        InputError,
        match="answer: B is the text of one option and the letter of a different option; use the zero-based index",
    ):
        one(tmp_path, options=["B", "A"], answer="B")
    with pytest.raises(
        InputError,
        match="answer: 2 is the text of one option and the index of a different option; use the option's letter",
    ):
        read(write(tmp_path, "question,A,B,C,answer\nWho?,1,2,3,2\n", name="q.csv"))
    assert one(tmp_path, options=["B", "A"], answer=0).answer == 0
    assert one(tmp_path, options=["1", "2", "3"], answer="2").answer == 1
    assert one(tmp_path, options=["A", "B"], answer="B").answer == 1


@pytest.mark.parametrize(
    ("fields", "gold"),
    [
        ({}, ()),
        ({"document": "d"}, (Gold("d"),)),
        ({"document": "d", "start": 0, "end": 3}, (Gold("d", 0, 3),)),
        ({"document": [{"document": "d"}, {"document": "e", "start": 1, "end": 2}]}, (Gold("d"), Gold("e", 1, 2))),
        ({"document": []}, ()),
        ({"document": 7}, (Gold("7"),)),
        ({"document": [{"document": 7, "start": 0, "end": 3}]}, (Gold("7", 0, 3),)),
        ({"document": "Pru\u0308fung.txt"}, (Gold("Pr\u00fcfung.txt"),)),
        ({"document": "d", "start": 4, "end": 7, "quote": "red"}, (Gold("d", 4, 7, "red"),)),
        ({"document": [{"document": "d", "quote": "red"}]}, (Gold("d", quote="red"),)),
        ({"document": None, "start": None, "end": None}, ()),
    ],
)
def test_gold_is_a_document_a_range_or_several(tmp_path, fields, gold):
    """Gold is optional, and may be a document, a range in a document, or a list of documents and ranges."""
    assert one(tmp_path, **fields).gold == gold


def test_a_question_without_an_id_is_numbered_by_its_row(tmp_path):
    """A question without an id gets its row number as the id, and blank lines are not counted as rows."""
    path = write(tmp_path, GOOD, "\n", GOOD, {**GOOD, "id": "own"}, {**GOOD, "id": 77})
    assert [question.id for question in read(path)] == ["1", "2", "own", "77"]


def test_a_whole_number_names_the_same_thing_as_its_digits(tmp_path):
    """In JSON, the ids of questions, documents and groups may be whole numbers."""
    numbers = one(tmp_path, id=7, document=8, group=9)
    assert numbers == one(tmp_path, id="7", document="8", group="9")
    for name in ("id", "document", "group"):
        for value in (7.0, True, ["7"]):
            if (name, value) != ("document", ["7"]):
                with pytest.raises(InputError, match=f"{name}: expected text or a whole number, got"):
                    one(tmp_path, **{name: value})


def test_a_byte_order_mark_is_ignored(tmp_path):
    """A byte order mark and Windows line endings in a questions file are ignored."""
    (tmp_path / "q.csv").write_bytes("\ufeffquestion,A,B,answer\r\nWho?,x,y,A\r\n".encode())
    (tmp_path / "q.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert read(tmp_path / "q.csv")[0].text == "Who?"
    assert read(tmp_path / "q.jsonl")[0].text == "Who?"


SPACED = {"id": "q ", "question": "\nWho?", "options": [" x", "\u00a0y\r\n"], "answer": "y ", "group": " g"}
SPACED |= {"document": "d", "start": 0, "end": 4}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.csv", "id,question,A,B,C,answer,document,start,end,group\n q , Who? , x ,\ty,  , B, d , 0 , 4 , g\n"),
        ("q.csv", 'id,question,options,answer,document,start,end,group\nq,Who?,"[""x "", ""y""]", y,d,0,4,g\n'),
        ("q.jsonl", json.dumps(SPACED)),
    ],
)
def test_white_space_around_texts_is_removed_and_counted(tmp_path, name, content):
    """White space around the texts of a question is removed, and a remark states the number of affected questions."""
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    made = task(tmp_path / name)
    assert list(made.questions("test")) == [Question("q", "Who?", ("x", "y"), 1, (Gold("d", 0, 4),), "g")]
    assert made.remarks("test") == ["removed white space around texts of 1 question of the split test"]


def test_line_ends_inside_texts_are_normalised(tmp_path):
    """Line ends inside a question and its options are read as line feeds, so that equal texts yield equal prompts."""
    (tmp_path / "q.csv").write_bytes(b'question,A,B,answer\r\n"Who\r\nis it?","x\ry",z,A\r\n')
    made = task(tmp_path / "q.csv")
    assert list(made.questions("test")) == [Question("1", "Who\nis it?", ("x\ny", "z"), 0)]
    assert len(made.remarks("test")) == 1
    (tmp_path / "q.csv").write_bytes(b'question,A,B,answer\r\n"Who\nis it?",x  y,z,A\r\n')
    assert [question.options for question in made.questions("test")] == [("x  y", "z")]
    assert made.remarks("test") == []


def test_csv_options_may_be_a_json_list(tmp_path):
    """A CSV file may have a single column that contains the options as a JSON list."""
    path = write(tmp_path, 'question,options,answer\nWho?,"[""x"", ""y""]",y\n', name="q.csv")
    assert read(path)[0] == Question("1", "Who?", ("x", "y"), 1)


LIST_OF_GOLD = "document: expected text, a whole number or a list of objects such as "


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"question": None}, "question: missing"),
        ({"question": " "}, "question: expected text, got ''"),
        ({"question": 7}, "question: expected text, got 7"),
        ({"options": "Ada"}, "options: expected a list of non-empty strings"),
        ({"options": ["Ada", 2]}, "options: expected a list of non-empty strings"),
        ({"options": ["Ada", ""]}, "options: expected a list of non-empty strings"),
        ({"options": ["Ada"]}, "options: expected 2 to 26 options, got 1"),
        ({"options": [str(number) for number in range(27)]}, "options: expected 2 to 26 options, got 27"),
        ({"options": ["Ada", "Ada"]}, "options: the option 'Ada' appears twice"),
        (
            {"options": ["Ada", "Ben", "Ada "]},
            "options: the option 'Ada' appears twice; surrounding white space is ignored",
        ),
        ({"options": ["A\r\nb", "A\nb"], "answer": "A"}, "options: the option 'A\\nb' appears twice"),
        (
            {"answer": None},
            "answer: expected a letter from A to C, the text of an option or a zero-based option index, got None",
        ),
        ({"answer": "D"}, "answer: expected a letter from A to C"),
        ({"answer": "b"}, "answer: expected a letter from A to C"),
        ({"answer": "AB"}, "answer: expected a letter from A to C"),
        ({"answer": ""}, "answer: expected a letter from A to C"),
        ({"answer": 3}, "answer: expected a letter from A to C"),
        ({"answer": -1}, "answer: expected a letter from A to C"),
        ({"answer": True}, "answer: expected a letter from A to C"),
        ({"answer": 1.0}, "answer: expected a letter from A to C"),
        ({"anwser": "A"}, "anwser: unknown field; known: id, question, options, answer"),
        ({"id": ""}, "id: expected text or a whole number, got ''"),
        ({"id": True}, "id: expected text or a whole number, got True"),
        ({"group": 5.5}, "group: expected text or a whole number, got 5.5"),
        ({"document": 5.5}, "document: expected text or a whole number, got 5.5"),
        ({"document": "d", "start": 4}, "start, end: expected whole numbers with 0 <= start < end, got 4 and None"),
        ({"document": "d", "start": 4, "end": 4}, "start, end: expected whole numbers with 0 <= start < end"),
        ({"document": "d", "start": -1, "end": 4}, "start, end: expected whole numbers"),
        ({"document": "d", "start": "0", "end": "4"}, "start, end: expected whole numbers"),
        ({"document": "d", "start": True, "end": 4}, "start, end: expected whole numbers"),
        *(
            ({"document": entries}, f'{LIST_OF_GOLD}{{"document": "pump", "start": 0, "end": 9}}, got an entry {wrong}')
            for entries, wrong in ((["d"], "'d'"), ([7, "a"], "7"), ([{"document": "d"}, None], "None"))
        ),
        ({"document": [{"document": [7, "a"]}]}, "document: expected text or a whole number, got [7, 'a']"),
        ({"document": [{"documnt": "d"}]}, "documnt: unknown field of a gold document; known: document, start, end"),
        ({"document": [{"document": "d"}], "quote": "red"}, "quote: expected this field in each object of the list"),
        ({"document": [{"start": 1, "end": 4}]}, "document: missing"),
        ({"start": 1, "end": 4}, "document: missing"),
    ],
)
def test_an_invalid_field_is_an_error(tmp_path, changes, words):
    """An invalid field raises an error with the file, line and field."""
    with pytest.raises(InputError) as caught:
        one(tmp_path, **changes)
    assert str(caught.value).startswith(f"{tmp_path / 'q.jsonl'}:1: {words}")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["{"], ":1: invalid JSON: "),
        (
            [GOOD, '{"question": "Who?", "answer": "A", "answer": "B"}'],
            ':2: the key "answer" appears twice in one object',
        ),
        ([GOOD, "[1]\n"], ":2: expected an object with the keys question and answer"),
        ([{**GOOD, "id": "a"}, "\n", {**GOOD, "id": "a"}], ":3: id 'a' appears twice; ids must be unique"),
        ([GOOD, {**GOOD, "id": "1"}], ":2: id '1' appears twice"),
        ([""], ": no questions found"),
    ],
)
def test_an_invalid_file_is_an_error(tmp_path, rows, words):
    """An invalid questions file raises an error with the line number, and blank lines are counted as lines."""
    path = write(tmp_path, *rows)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{words}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("question,A,B,answer\nWho?,x,y\n", ":2: the row and the header have different numbers of fields"),
        ("question,A,B,answer\nWho?,x,y,A,z\n", ":2: the row and the header have different numbers of fields"),
        ('question,A,B,answer\n"Who?,x,y,A\n', ": not CSV: unexpected end of data"),
        ("question,options,answer\nWho?,x|y,A\n", ":2: options: expected a JSON list of strings, or the columns A, B"),
        ("question,A,B,answer\nWho?, x,x,A\n", ":2: options: the option 'x' appears twice"),
        ('question,A,B,answer\nWho?, "x",y,A\n', ":2: A: remove the space before the quotation mark"),
        ('question,A,B,answer\nWho?, "x, z",y,A\n', ":2: A: remove the space before the quotation mark"),
        ("question,A,C,answer\nWho?,x,y,C\n", ":2: answer: expected a letter from A to B"),
        ("question,A,B,answer\nWho?,,y,B\n", ":2: options: expected a list of non-empty strings"),
        ("question,A,B,answer\n", ": no questions found"),
    ],
)
def test_invalid_csv_is_an_error(tmp_path, text, words):
    """A CSV row that does not match the header raises an error with the file and line."""
    path = write(tmp_path, text, name="q.csv")
    with pytest.raises(InputError) as caught:
        read(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_lone_surrogate_is_an_error(tmp_path):
    """A lone surrogate in JSON raises an error with its line number."""
    path = write(tmp_path, GOOD, '{"question": "\\ud800?", "options": ["a", "b"], "answer": "A"}\n')
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: question: ")


def test_a_file_that_is_not_utf8_is_an_error(tmp_path):
    """A questions file that is not UTF-8 raises an error."""
    (tmp_path / "q.jsonl").write_bytes(b'{"question": "\xff"}')
    with pytest.raises(InputError, match=r"q\.jsonl: not UTF-8 at byte 14"):
        read(tmp_path / "q.jsonl")


def test_other_extensions_are_rejected(tmp_path):
    """A questions file must have the extension .jsonl, .csv or .xlsx."""
    with pytest.raises(InputError, match=r"expected a \.jsonl, \.csv or \.xlsx file, got \.txt"):
        read(write(tmp_path, name="q.txt"))
    with pytest.raises(InputError, match="got a file without an extension"):
        read(write(tmp_path, name="q"))


def test_each_split_has_its_own_file(tmp_path):
    """Few-shot examples, validation questions and reworded questions are read from separate optional files."""
    files = {
        name: write(tmp_path, {**GOOD, "question": name}, name=f"{name}.jsonl") for name in ("examples", "validation")
    }
    made = task(write(tmp_path, GOOD), **files)
    assert [question.text for split in made.splits() for question in made.questions(split)] == [
        "Who?",
        "examples",
        "validation",
    ]
    assert list(made.questions("reworded")) == []


def test_a_missing_file_is_named(tmp_path):
    """Computing the fingerprint of a missing questions file raises an error that names its path."""
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        task(tmp_path / "nowhere.jsonl").fingerprint()
    with pytest.raises(InputError, match=r"examples\.jsonl: no such file"):
        task(write(tmp_path, GOOD), examples=tmp_path / "examples.jsonl").fingerprint()


def test_all_missing_files_are_reported_together(bench):
    """All missing files are reported together, each with the line number of its key in the benchmark file."""
    bench.write_toy(task='validation = "more.jsonl"\nreworded = "other.jsonl"\n')
    (bench.folder / "people.jsonl").unlink()
    output = bench.call("plan", bench.spec).output
    for key, name in (("path", "people"), ("validation", "more"), ("reworded", "other")):
        assert re.search(rf"^\S+:\d+: tasks\.people\.{key}: \S+{name}\.jsonl: no such file$", output, re.MULTILINE)
    assert len({line.split(": ")[0] for line in output.splitlines()}) == 3


def test_the_fingerprint_depends_on_the_files(tmp_path):
    """The fingerprint changes with a file's content and split, but not with its modification time."""
    path, examples = write(tmp_path, GOOD), write(tmp_path, GOOD, name="e.jsonl")
    check_fingerprint(lambda: task(path), change=lambda: write(tmp_path, {**GOOD, "answer": "A"}), same=path.touch)
    check_fingerprint(lambda: task(path, examples=examples), change=lambda: write(tmp_path, GOOD, GOOD, name="e.jsonl"))
    assert task(path, examples=examples).fingerprint() != task(path, validation=examples).fingerprint()


def test_it_passes_the_checks_of_task_plugins(tmp_path):
    """The `file` task passes the contract checks for task plugins."""
    path = write(tmp_path, *({**GOOD, "id": f"q{number}"} for number in range(5)))
    check_task(lambda: task(path))
    assert isinstance(task(path), Task)


def test_options():
    """Paths in the options of the `file` task must be strings, and unknown keys are rejected."""
    check_options(
        FileTask,
        accepts=[{"path": "q.csv"}, {"path": "a", "examples": "b", "validation": "c", "reworded": "d"}],
        refuses=[{}, {"path": 3}, {"path": ["q.csv"]}, {"path": "q", "layout": "mmlu"}],
    )


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id;question;A;B;answer", "q.csv:1: the columns are separated by ';'; expected commas"),
        ("id, question,A,B,answer", "q.csv:1: unknown column ' question'; did you mean question?"),
        ("question,A,B,answer,A", "q.csv:1: the column 'A' appears twice in the header"),
        ("id,Question,A,B,answer", "q.csv:1: unknown column 'Question'; did you mean question?"),
    ],
)
def test_a_faulty_header_is_an_error(tmp_path, header, words):
    """A wrong separator or a misspelled column name raises an error with the line number of the header."""
    path = tmp_path / "q.csv"
    path.write_text(f"{header}\n1,Who?,x,y,A\n")
    with pytest.raises(InputError) as error:
        read(path)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[" * 100_000, "lists and objects are nested too deeply"),
        ('{"answer": ' + "1" * 5000 + "}", "expected integers with at most 4,300 digits, got a longer integer"),
    ],
)
def test_json_beyond_the_limits_of_python_is_an_error(tmp_path, line, words):
    """JSON that is nested too deeply or contains a number with too many digits raises an error with its line number."""
    path = tmp_path / "q.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=rf"q\.jsonl:1: {words}$"):
        read(path)


def test_an_id_with_control_characters_is_rejected(tmp_path):
    """A question id with control characters is rejected."""
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"id": "a\u001b[31m", "question": "Who?", "options": ["x", "y"], "answer": 0}) + "\n")
    with pytest.raises(InputError, match="unprintable"):
        read(path)
