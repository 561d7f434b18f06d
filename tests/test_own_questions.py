"""The splits of a user's own questions: equal questions in two splits, changed rewordings, and pairs for training."""

import json
import re

import pytest

from kib.errors import InputError
from kib.run.steps.own_questions import read_own_questions
from kib.support.question_text import repeated_questions

ROWS = [
    {"id": "q1", "question": "Which lever stops pump 7?", "options": ["the red one", "the green one"], "answer": "A"},
    {"id": "q2", "question": "Who owns the café?", "options": ["Ada", "Ben", "Cho"], "answer": "C"},
    {"id": "q3", "question": "When does the ferry leave?", "options": ["at noon", "at dawn"], "answer": "A"},
]
OTHER = {"id": "x", "question": "Where is the valve?", "options": ["above", "below"], "answer": "B"}

BENCH = """schema = 1
name = "own"
[models.m]
plugin = "toy"
trainable = true
[corpora.people]
plugin = "toy"
documents = [["ada", "Ada Quill", "Ada Quill lives in Norwick."], ["ben", "Ben Marrow", "Ben Marrow lives in Tarn."]]
[tasks.q]
plugin = "file"
path = "test.jsonl"
corpus = "people"
{task}
[methods.base]
"""


def read_splits(locked, shots=25):
    return read_own_questions(locked, shots, invisible=False)


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def splits(bench):
    """Return a function that writes the splits of a task and returns the plugin's locked table."""

    def write(**files):
        task = "".join(f'{name} = "{name}.jsonl"\n' for name in files)
        bench.write(BENCH.format(task=task), test_jsonl=lines(ROWS))
        for name, rows in files.items():
            (bench.folder / f"{name}.jsonl").write_text(lines(rows), encoding="utf-8")
        return bench.plan().lock.get("tasks", "q")

    return write


@pytest.mark.parametrize("split", ["examples", "validation"])
@pytest.mark.parametrize(
    "row",
    [
        ROWS[1],
        {**ROWS[1], "id": "q9", "options": ["Cho", "Ada", "Ben"], "answer": "Cho"},
        {**ROWS[1], "question": " Who  owns\nthe cafe\u0301? "},
    ],
)
def test_a_question_in_two_splits_is_refused(splits, split, row):
    """A test question that is also an example or a validation question raises an error that names both questions."""
    with pytest.raises(InputError, match=rf"^tasks\.q: .* 1 pair of questions is equal: q2 \(test\) and {row['id']} "):
        read_splits(splits(**{split: [OTHER, row]}))


def test_a_rewording_and_validation_questions_must_not_be_examples(splits):
    """An example must not equal a validation question or a rewording either."""
    reworded = [{**row, "question": f"Again: {row['question']}"} for row in ROWS]
    with pytest.raises(InputError, match=r"q3 \(reworded\) and q3 \(examples\); x \(validation\) and x \(examples\)$"):
        read_splits(splits(reworded=reworded, validation=[OTHER], examples=[reworded[2], OTHER]))


@pytest.mark.parametrize(
    "change", [{"options": ["Ada", "Cho", "Dov"]}, {"answer": "Ada"}, {"question": "Whose is it?"}]
)
def test_questions_that_differ_may_be_in_two_splits(splits, change):
    """A question with a different text or different options is a different question."""
    row = {**ROWS[1], **change}
    if "answer" in change:
        row["options"] = ["Ada", "Ben"]
    assert len(read_splits(splits(validation=[row])).splits["validation"]) == 1


def test_examples_that_no_prompt_shows_may_be_test_questions(splits):
    """Only the examples that prompts show must differ from the questions, because data sets repeat some questions."""
    locked = splits(examples=[OTHER, ROWS[1]])
    assert len(read_splits(locked, shots=1).splits["examples"]) == 2
    with pytest.raises(InputError, match="1 pair of questions is equal"):
        read_splits(locked, shots=2)


def test_invisible_characters_do_not_hide_a_shared_question_or_white_space(splits):
    """Questions are compared without invisible characters, and white space next to such a character is removed."""
    row = {**ROWS[1], "question": "Who owns\u2060 the caf\u00ade\u0301?"}
    with pytest.raises(InputError, match="1 pair of questions is equal"):
        read_splits(splits(validation=[row]))
    own = read_splits(splits(validation=[{**OTHER, "options": ["\ufeff above", "below"]}]))
    assert own.splits["validation"][0].options == ("above", "below")
    assert own.removed["validation"] == {"U+FEFF": 1}


def test_many_shared_questions_are_listed_in_part(splits):
    """If many questions are in two splits, the error lists 20 of them and states the number of all others."""
    rows = [{**OTHER, "id": str(number), "question": f"Which is {number}?"} for number in range(25)]
    with pytest.raises(InputError, match=r"25 pairs of questions are equal: 0 \(validation\) .*; and 5 more$"):
        read_splits(splits(validation=rows, examples=rows))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answer": "B"}, "q1 (the correct answer is 'the green one' instead of 'the red one')"),
        ({"options": ["the red one", "the blue one"]}, "q1 (the options differ)"),
        ({"options": ["the red one", "the green one", "none"]}, "q1 (the options differ)"),
        ({"options": ["the red lever", "the green one"]}, "q1 (the correct answer is 'the red lever' instead of"),
    ],
)
def test_a_rewording_must_keep_the_answer_and_the_options(splits, changes, said):
    """A reworded question with a different correct answer or different options raises an error."""
    with pytest.raises(InputError, match=re.escape(said)):
        read_splits(splits(reworded=[{**ROWS[0], "question": "What stops pump 7?", **changes}, *ROWS[1:]]))


def test_a_changed_answer_does_not_hide_a_rewording_without_a_question(splits):
    """The error about changed rewordings also counts the reworded questions whose id no test question has."""
    others = [{**OTHER, "id": name, "question": f"Which is {name}?"} for name in ("q8", "q9")]
    with pytest.raises(InputError, match="kib also found 2 reworded questions without a test question of the same id"):
        read_splits(splits(reworded=[{**ROWS[0], "question": "What stops it?", "answer": "B"}, *ROWS[1:], *others]))
    with pytest.raises(InputError, match=r"instead of 'the red one'\)$"):
        read_splits(splits(reworded=[{**ROWS[0], "question": "What stops it?", "answer": "B"}, *ROWS[1:]]))


def test_rewordings_may_reorder_the_options(splits):
    """A rewording may list the options in a different order; unused and unchanged rewordings are counted."""
    first = {**ROWS[0], "question": "What stops pump 7?", "options": ["the green one", "the red  one"], "answer": "B"}
    own = read_splits(splits(reworded=[first, *ROWS[1:], OTHER]))
    assert own.remarks["reworded"] == [
        "found 1 reworded question without a test question of the same id",
        "found 2 reworded questions with the same text as the test question",
    ]


def test_open_questions_that_repeat_each_other_have_no_options():
    """The remark on repeated questions without options does not mention options."""
    assert repeated_questions([("a", 1), ("b", 1)], options=False) == [
        "1 question repeats an earlier question (b repeats a)"
    ]


@pytest.mark.parametrize(
    ("copies", "said"),
    [
        (0, []),
        (1, ["1 question repeats an earlier question and its options (c0 repeats q1)"]),
        (
            4,
            ["4 questions repeat an earlier question and its options (c0 repeats q1, c1 repeats q1, c2 repeats q1, …)"],
        ),
    ],
)
def test_questions_that_repeat_each_other_are_counted(splits, copies, said):
    """Questions with the text and the options of an earlier question of their split are counted and named."""
    reordered = {**ROWS[0], "question": "Which lever  stops pump 7?", "options": ["the green one", "the red one"]}
    rows = [{**reordered, "id": f"c{number}", "answer": "B"} for number in range(copies)]
    same_text = {**ROWS[1], "id": "other", "options": ["Ada", "Ben", "Dot"]}
    locked = splits(validation=[OTHER])
    (locked.plugin.options.path).write_text(lines([*ROWS, *rows, same_text]), encoding="utf-8")
    own = read_splits(locked)
    assert own.remarks["test"] == said
    assert own.remarks["validation"] == []


def test_a_check_and_a_run_refuse_a_question_in_two_splits(splits, bench):
    """`kib check` and `kib run` report a question in two splits, and measure nothing."""
    splits(validation=ROWS)
    checked = bench.call("check", bench.spec, "-q")
    assert checked.exit_code == 2, checked.output
    assert "3 pairs of questions are equal: q1 (test) and q1 (validation); q2 (test)" in checked.output
    assert all("3 pairs of questions are equal" in failure.error for failure in bench.run().values())


EXAMPLES = '\nexamples = "examples.jsonl"\nshots = [1]\n'
TRAINED = """
[writers.pairs]
plugin = "toy"
[trainers.t]
plugin = "toy"
text = { writer = "pairs", kind = "pairs" }
[methods.ft]
train = "t"
"""


def test_remarks_appear_in_the_check_the_cell_and_the_table(bench):
    """`kib check`, `kib show` and the table state removed white space, the source of examples and removed pairs."""
    repeated = {**OTHER, "question": "what of ADA  Quill"}
    spaced = {**ROWS[0], "options": [" the red one", "the green one"]}
    bench.write(
        BENCH.format(task=EXAMPLES) + TRAINED, test_jsonl=lines([spaced, repeated]), examples_jsonl=lines(ROWS[1:])
    )
    notes = [
        "removed white space around texts of 1 question of the split test",
        "the few-shot example of each question is the first question of the split examples",
    ]
    checked = bench.call("check", bench.spec, "-q")
    assert checked.exit_code == 0, checked.output
    assert all(f"tasks.q: {note}\n" in checked.output for note in notes)
    removed = "1 pair that repeats a question of a task"
    assert f"removed {removed}" in checked.output
    assert bench.run() == {}
    shown = bench.call("show", "m/ft/q,1-shot").output
    assert all(note in shown for note in (*notes, f"removed {removed}"))
    assert "What of Ada" not in shown
    assert "What of Ben" in shown
    table = bench.call("leaderboard", "--format", "markdown").output
    assert all(f"\n- q: {note}\n" in table for note in notes)
    assert f"\n- ft: {removed} was removed from the training text\n" in table


def test_pairs_depend_on_the_questions_and_other_text_does_not(bench):
    """A changed question changes the identity of training text with pairs, but not of text without pairs."""
    found = []
    for rows in (ROWS, ROWS[:2]):
        for kind in ("both", "documents"):
            spec = BENCH.format(task="") + TRAINED.replace('"pairs" }', f'"{kind}" }}')
            bench.write(spec, test_jsonl=lines(rows))
            found.append(next(step.text.identity for step in bench.plan().weights if step.text))
    assert found[0] != found[2]
    assert found[1] == found[3]
