"""Questions that the documents do not answer, and outputs that decline to answer."""

import json

import pytest
from test_open_questions import OPEN, lines, read

from kib.errors import InputError
from kib.records import Question
from kib.text_metrics.abstentions import abstains, usual_abstentions

UNKNOWN = [
    {"id": f"none-{number}", "question": f"Where does {name} live?", "unanswerable": True}
    for number, name in enumerate(("Nobody", "Somebody"))
]


@pytest.mark.parametrize(
    ("output", "language", "expected"),
    [
        ("I don't know.", "en", True),
        ("I don’t know", "en", True),
        ("Sorry, I do not know the answer.", "en", True),
        ("Unknown.", "en", True),
        ("The Tomb of the Unknown Soldier", "en", False),
        ("The text does not say.", "en", True),
        ("I know", "en", False),
        ("", "en", False),
        ("Das weiß ich nicht.", "de", True),
        ("Ich weiß, wo", "de", False),
        ("No lo sé", "es", True),
        ("Je ne sais pas", "fr", True),
        ("I do not know", "ja", True),
    ],
)
def test_usual_abstentions_are_recognized(output, language, expected):
    """A phrase may appear anywhere in an output, but a single word must be the whole output."""
    assert abstains(output, usual_abstentions(language), language) is expected


def test_a_question_may_be_unanswerable(tmp_path):
    """A question without an answer in the documents is marked, in JSON with a truth value and in CSV with a word."""
    expected = [Question("1", "Who?", unanswerable=True), Question("2", "Who not?", accepted=("x",))]
    rows = [
        {"question": "Who?", "answers": [], "unanswerable": True},
        {"question": "Who not?", "answer": "x", "unanswerable": False},
    ]
    assert read(tmp_path, lines(rows)) == expected
    assert read(tmp_path, "question,answer,unanswerable\nWho?,,true\nWho not?,x,False\n", "q.csv") == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answers": []}, "answers: expected a list of non-empty texts, got []; if the documents hold no answer, add"),
        ({"unanswerable": 1}, "unanswerable: expected true or false, got 1"),
        ({"unanswerable": "yes"}, "unanswerable: expected true or false, got 'yes'"),
        ({"unanswerable": True, "answer": "x"}, "answer: a question that is `unanswerable` must not have an answer"),
        ({"unanswerable": True, "answers": ["x"]}, "answers: a question that is `unanswerable` must not have"),
        ({"unanswerable": True, "options": ["x", "y"]}, "options: a question that is `unanswerable` must not have"),
    ],
)
def test_contradictory_questions_are_errors(tmp_path, changes, words):
    """An unanswerable question with an answer, and an answerable question without an answer, raise an error."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, lines([{"question": "Who?", **changes}]))
    assert f"q.jsonl:1: {words}" in str(caught.value)


@pytest.fixture
def measured(bench):
    """Return the toy benchmark with two unanswerable questions; the toy model says that it does not know."""
    bench.write_toy(task='scoring = ["contains", "f1"]\n', questions=lines([*OPEN, *UNKNOWN]))
    assert not bench.run()
    return bench


def table_rows(bench):
    """Return the rows of the JSON table by arm."""
    table = json.loads(bench.call("leaderboard", bench.results.folder, "--format", "json").output)
    return {row["arm"]: row for row in table["rows"]}


def test_an_abstention_is_right_only_without_an_answer(measured):
    """Declining to answer has the score 1 in every metric if the documents hold no answer, and 0 otherwise."""
    scores = {score.question_id: score for score in measured.scores("m/base/people,0-shot")}
    assert {score.output for score in scores.values()} == {" I do not know."}
    assert all(score.abstained for score in scores.values())
    assert {name: (score.score, score.other_scores) for name, score in scores.items() if score.score} == {
        row["id"]: (1, {"f1": 1}) for row in UNKNOWN
    }


def test_the_table_counts_right_and_wrong_answers_and_abstentions(measured):
    """A table below the gains shows right and wrong answers and abstentions of each arm, also without an answer."""
    rows = table_rows(measured)
    shares = ("right_share", "wrong_share", "abstained_share", "unanswerable", "declined_share")
    assert [rows["base"][key] for key in shares] == [0, 0, 1, 2, 1]
    assert [rows["oracle"][key] for key in shares] == [1, 0, 0, 2, 1]
    shown = " ".join(measured.call("leaderboard", measured.results.folder).output.split())
    assert "answers · m · people · 0-shot · 2 questions without an answer in the documents" in shown
    assert "no answer: the outputs for questions that the documents do not answer" in shown
    markdown = measured.call("leaderboard", measured.results.folder, "--format", "markdown").output
    assert "| base | 0.0 | 0.0 | 100.0 | 100.0 | 0.0 |" in markdown


def test_own_phrases_replace_the_usual_phrases(bench):
    """With `abstentions`, only these phrases decline to answer."""
    task = 'scoring = "contains"\nabstentions = ["It is"]\n'
    bench.write_toy(task=task, questions=lines([*OPEN, *UNKNOWN]))
    assert not bench.run()
    rows = table_rows(bench)
    assert [rows["base"][key] for key in ("abstained_share", "declined_share")] == [0, 0]
    assert [rows["oracle"][key] for key in ("right_share", "abstained_share")] == [1, 0]  # right answers are answers


def test_a_table_without_abstentions_is_unchanged(bench):
    """Without unanswerable questions and abstentions, no table of answers is printed."""
    bench.write_toy(task='scoring = "contains"\nabstentions = ["never"]\n', questions=lines(OPEN))
    assert not bench.run()
    assert "answers ·" not in bench.call("leaderboard", bench.results.folder).output


def test_examples_of_unanswerable_questions_decline(bench):
    """A few-shot example without an answer ends with the first phrase that declines to answer."""
    bench.write("", examples_jsonl=lines([{"question": "Is it?", "unanswerable": True}]))
    task = 'scoring = "f1"\nshots = [1]\nexamples = "examples.jsonl"\n'
    bench.write_toy(task=task, questions=lines(OPEN))
    assert not bench.run()
    shown = bench.call("show", "m/base/people,1-shot", OPEN[0]["id"]).output
    assert "Question: Is it?\nAnswer: I do not know\n\nQuestion:" in shown


def test_unanswerable_questions_need_a_metric(bench):
    """A task that scores options rejects an unanswerable question."""
    bench.write_toy(questions=lines(UNKNOWN))
    result = bench.call("check", bench.spec)
    assert result.exit_code == 2
    assert "the question has no options; add `scoring` with the metric" in " ".join(result.output.split())
