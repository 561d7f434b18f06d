"""Questions that a writer generates from the user's own documents: filtering, saving and splitting."""

import json
from collections import Counter

import pytest

from kib.commands.questions import (
    QuestionFilter,
    QuestionRequest,
    check_free,
    normalised,
    save,
    split,
    summary,
)
from kib.commands.writer_costs import describe_cost
from kib.errors import InputError
from kib.interfaces import DraftQuestion, Forecast
from kib.plugins.builtin.questions_file_task import FileTask
from kib.records import Gold, Passage
from kib.spec.load import PriceTable
from kib.support.quotes import find_quote
from kib.testing import make_plugin

BRIDGE = "The bridge of Tarn was built in 1970.\nIt carries\n two roads, and a ferry runs below it."
PASSAGES = (
    Passage("tarn#0", "tarn", "Tarn", BRIDGE, 100, 100 + len(BRIDGE)),
    Passage("pump#0", "pump", "Pump", "Pump 7 is switched off by the red lever.", 0, 40),
)


def draft(text="When was the bridge of Tarn built?", right="1970", quote="built in 1970", **other):
    given = {"passage": "tarn#0", "text": text, "right": right, "wrong": ("1971", "1972", "1973"), "quote": quote}
    return DraftQuestion(**{**given, **other})


def sieved(*drafts, keep=2, group="document"):
    question_filter = QuestionFilter(PASSAGES, QuestionRequest("c", keep=keep, group=group))
    for one in drafts:
        question_filter.add(one)
    return question_filter.result()


def test_gold_range_is_the_range_of_the_quote():
    """The gold range of an accepted question is the character range of its quote, even if line breaks differ."""
    made = sieved(draft(quote="carries two\nroads"), draft("Who?", quote="1970"))
    starts = [(row["document"], row["start"] - 100, row["end"] - 100) for row in made.rows]
    assert starts == [("tarn", 41, 59), ("tarn", 32, 36)]
    assert [row["quote"] for row in made.rows] == [BRIDGE[41:59], "1970"]
    assert BRIDGE[41:59].split() == ["carries", "two", "roads"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"quote": "built in 1971"}, "the quote is not in the passage"),
        ({"quote": " "}, "the quote is not in the passage"),
        ({"quote": "BUILT in 1970"}, "the quote is not in the passage"),
        ({"wrong": ("1971", "1970 ", "1973")}, "the options are not distinct"),
        ({"wrong": ("1971", "1972")}, "the options are not distinct"),
        ({"wrong": ("1971", "", "1973")}, "the options are not distinct"),
        ({"text": "Was the bridge of 1970 built in Tarn?"}, "the answer is part of the question"),
        ({"text": "What does this passage tell of Tarn?"}, "the question refers to its passage"),
        ({"text": "The text says what of Tarn?"}, "the question refers to its passage"),
    ],
)
def test_useless_questions_are_rejected(wrong, reason):
    """A question that fails a quality check is rejected and counted under the reason for rejection."""
    made = sieved(draft(**wrong))
    assert made.rejected == {reason: 1}
    assert not made.rows
    assert made.written == 1


@pytest.mark.parametrize(
    "right",
    [
        {"right": "-5", "wrong": ("5", "+5", "50")},
        {"text": "Was it built before or after 1970?", "right": "before", "wrong": ("after", "then", "never")},
        {"text": "Which passage to the north does Tarn have?"},
    ],
)
def test_valid_questions_are_kept(right):
    """Valid questions with signed numbers, listed options or words such as "sea passage" are accepted."""
    assert len(sieved(draft(**right)).rows) == 1


def test_the_first_questions_are_kept():
    """The first valid questions for each passage are kept, and rejected questions do not count towards the limit."""
    made = sieved(draft("One?", quote="nowhere"), draft("Two?"), draft("Three?"), draft("Four?"), keep=2)
    assert [row["question"] for row in made.rows] == ["Two?", "Three?"]
    assert [row["id"] for row in made.rows] == ["tarn#0-1", "tarn#0-2"]
    assert made.rejected == {
        "the quote is not in the passage": 1,
        "the question is less specific than the kept questions": 1,
    }


def test_a_repeated_question_is_rejected():
    """A repeated question is rejected, even if its passage, case, spacing or punctuation differs."""
    other = draft("WHEN was the bridge of  Tarn built", passage="pump#0", quote="red lever")
    assert sieved(draft(), other).rejected == {"the question was asked before": 1}


def test_an_unknown_passage_is_an_error():
    """A question about an unknown passage raises an error that names the passage."""
    with pytest.raises(InputError, match="unknown passage 'moon#1'"):
        sieved(draft(passage="moon#1"))


def test_options_are_shuffled():
    """The correct option is equally likely at each position and is at the same position in every run."""
    drafts = [draft(f"Question {number}?") for number in range(400)]
    made = sieved(*drafts, keep=400)
    places = Counter(row["answer"] for row in made.rows)
    assert set(places) == set("ABCD")
    assert min(places.values()) > 70
    assert all(row["options"]["ABCD".index(row["answer"])] == "1970" for row in made.rows)
    assert sieved(*drafts, keep=400).rows == made.rows


def test_order_of_wrong_options_does_not_matter():
    """The order of the wrong options in the writer's output does not affect the shuffled order."""
    one = sieved(draft(wrong=("1971", "1972", "1973")))
    assert sieved(draft(wrong=("1973", "1971", "1972"))).rows == one.rows


def test_the_file_task_reads_saved_questions(tmp_path):
    """The `file` task reads saved questions with their gold and group, and characters of any script are preserved."""
    made = sieved(draft("Wann wurde die Brücke von Tarn 桥 gebaut?"), group="passage")
    save(made.rows, tmp_path / "q.jsonl")
    assert "Brücke von Tarn 桥" in (tmp_path / "q.jsonl").read_text(encoding="utf-8")
    (question,) = make_plugin(FileTask, {"path": str(tmp_path / "q.jsonl")}).questions("test")
    assert question.gold == (Gold("tarn", 123, 136, "built in 1970"),)
    assert question.gold[0].covers(PASSAGES[0])
    assert question.options[question.answer] == "1970"
    assert question.group == "tarn#0"


def rows(groups, each=2):
    return [{"group": f"g{number}", "question": f"{number}.{turn}"} for number in range(groups) for turn in range(each)]


def test_split_keeps_groups_together():
    """A split moves a fifth of the groups to validation, never divides a group, and keeps the questions in order."""
    test, validation = split(rows(20))
    assert len({row["group"] for row in validation}) == 4
    assert not {row["group"] for row in validation} & {row["group"] for row in test}
    assert sorted(map(str, [*test, *validation])) == sorted(map(str, rows(20)))
    assert [row for row in rows(20) if row in test] == test


def test_split_needs_two_groups():
    """Splitting a single group raises an error that suggests a different grouping."""
    assert [len(part) for part in split(rows(2))] == [2, 2]
    with pytest.raises(InputError, match="--group passage"):
        split(rows(1))


def test_files_are_not_overwritten(tmp_path):
    """An existing file is overwritten only with --force, and invalid or identical file names are rejected."""
    there = tmp_path / "q.jsonl"
    there.write_text("reviewed")
    with pytest.raises(InputError, match="may have been reviewed"):
        check_free([there], force=False)
    check_free([there], force=True)
    with pytest.raises(InputError, match=r"ends in \.jsonl"):
        check_free([tmp_path / "q.csv"], force=False)
    with pytest.raises(InputError, match="different files"):
        check_free([tmp_path / "r.jsonl", tmp_path / "r.jsonl"], force=False)


def test_summary():
    """The summary counts accepted questions, rejections by reason, and questions with the longest option correct."""
    made = sieved(draft(), draft("Which lever?", "the red lever", "red lever", passage="pump#0"), draft(quote="no"))
    assert summary(made, PASSAGES) == [
        "kept 2 of 3 questions, covering 2 of 2 passages",
        "rejected 1: the quote is not in the passage",
        "the correct option is the longest option in 50% of the questions (25% by chance)",
    ]


def test_few_documents_suggest_grouping_by_passage():
    """If all questions come from a few documents, the summary suggests grouping by passage."""
    passages = [Passage(f"d#{number}", "d", "", "a b c", number, number + 5) for number in range(3)]
    question_filter = QuestionFilter(passages, QuestionRequest("c"))
    for passage in passages:
        question_filter.add(draft(passage.id, passage=passage.id, quote="b"))
    assert "--group passage" in summary(question_filter.result(), passages)[-1]


@pytest.mark.parametrize(
    ("one", "other"), [("Who?", "who"), ("a  b", "A, b!"), ("\ufb01lter", "filter"), ("cafe\u0301", "café")]
)
def test_same_words(one, other):
    """Texts that differ only in case, spacing, punctuation or Unicode form have the same normalised form."""
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("?", "!"), ("a b", "b a"), ("1.5", "15"), ("桥", "路")])
def test_different_words(one, other):
    """Texts with different words, word orders or decimal points have different normalised forms."""
    assert normalised(one) != normalised(other)


def test_quotes_are_literal():
    """A quote is matched literally, not as a regular expression."""
    assert find_quote("costs 5$ (net) in all", "5$ (net)") == (6, 14)
    assert find_quote("costs 5x net", "5. net") is None


def test_costs_in_words():
    """A cost forecast states the requests and tokens, and the price if both token prices are known."""
    prices = {"device_hour": None, "input_tokens_million": 2.0, "output_tokens_million": 10.0}
    said = "1,200 requests, about 3,000,000 input tokens and 500,000 output tokens"
    cost = Forecast(1200, 3_000_000, 500_000)
    said += ", about 2 min at the speed of an earlier run"
    assert describe_cost(cost, None, 120.0) == said
    assert describe_cost(cost, PriceTable(**prices), 120.0) == f"{said}, about 11.00 with [prices]"
    assert describe_cost(cost, PriceTable(**{**prices, "input_tokens_million": None}), 120.0) == said


SPEC = """schema = 1
name = "own"

[models.m]
plugin = "toy"

[corpora.notes]
plugin = "toy"
documents = [["a", "A", "Ada owns a ferret."]]

[writers.words]
plugin = "lab"

[tasks.own]
plugin = "file"
path = "questions.jsonl"
corpus = "notes"

[methods.base]
"""


def test_writers_without_questions(bench):
    """A writer plugin without multiple-choice support raises an error that names the writer and the plugin."""
    run = bench.write(SPEC).call("questions", bench.spec, "--corpus", "notes", "--out", "questions.jsonl")
    assert run.exit_code == 2
    assert (
        "writers.words: the plugin 'lab' cannot write multiple-choice questions; use a different plugin" in run.output
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--corpus", "note"], 'no table [corpora.note]; did you mean "notes"?'),
        (["--corpus", "notes", "--writer", "word"], "no table [writers.word]"),
        (["--corpus", "notes", "--keep", "5"], "--keep: expected at most 4 (the value of --count), got 5"),
    ],
)
def test_wrong_names(bench, arguments, said):
    """Unknown table names and invalid numbers are rejected with a valid value or the nearest name."""
    run = bench.write(SPEC).call("questions", bench.spec, "--out", "q.jsonl", *arguments)
    assert run.exit_code == 2
    assert said in run.output


def test_one_of_several_writers(bench, tmp_path):
    """If a benchmark file has several writers or none, the error explains how to select or add a writer."""
    two = SPEC + '[writers.more]\nplugin = "lab"\n'
    run = bench.write(two).call("questions", bench.spec, "--corpus", "notes", "--out", "q.jsonl")
    assert "2 writers; choose one with --writer: words, more" in run.output
    none = SPEC.replace('[writers.words]\nplugin = "lab"\n', "")
    run = bench.write(none).call("questions", bench.spec, "--corpus", "notes", "--out", "q.jsonl")
    assert "no writer; add a table [writers.NAME]" in run.output


def test_passages_are_those_of_a_run(bench):
    """`kib questions` reuses stored passages from a run instead of splitting the corpus again."""
    chunk = "\nchunk = { tokens = 40 }\n\n[retrievers.words]"
    bench.write_toy(more='\n[writers.again]\nplugin = "toy"\n')
    bench.write(bench.spec.read_text(encoding="utf-8").replace("\n[retrievers.words]", chunk))
    assert bench.run() == {}
    before = sorted((bench.folder / "work" / "passages").glob("*/done.json"))
    result = bench.call("questions", bench.spec, "--corpus", "people", "--out", "new.jsonl", "-q")
    assert result.exit_code == 0, result.output
    assert sorted((bench.folder / "work" / "passages").glob("*/done.json")) == before


def test_a_line_is_an_object(tmp_path):
    """A saved question is a JSON object that starts with the question, its options and its answer after the id."""
    save(sieved(draft()).rows, tmp_path / "q.jsonl")
    row = json.loads((tmp_path / "q.jsonl").read_text())
    assert list(row) == ["id", "question", "options", "answer", "document", "start", "end", "quote", "group"]
