"""Questions on documents of one's own: what is kept of what a writer gives, and what becomes of it."""

import json
from collections import Counter

import pytest

from kib.commands.questions import (
    QuestionFilter,
    QuestionRequest,
    check_free,
    find_quote,
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


def test_gold_is_the_quote():
    """A kept question names its document and the quote's characters in the document, line breaks as they come."""
    made = sieved(draft(quote="carries two\nroads"), draft("Who?", quote="1970"))
    starts = [(row["document"], row["start"] - 100, row["end"] - 100) for row in made.rows]
    assert starts == [("tarn", 41, 59), ("tarn", 32, 36)]
    assert BRIDGE[41:59].split() == ["carries", "two", "roads"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"quote": "built in 1971"}, "quote not in the passage"),
        ({"quote": " "}, "quote not in the passage"),
        ({"quote": "BUILT in 1970"}, "quote not in the passage"),
        ({"wrong": ("1971", "1970 ", "1973")}, "options not distinct"),
        ({"wrong": ("1971", "1972")}, "options not distinct"),
        ({"wrong": ("1971", "", "1973")}, "options not distinct"),
        ({"text": "Was the bridge of 1970 built in Tarn?"}, "answer is part of the question"),
        ({"text": "What does this passage tell of Tarn?"}, "refers to its passage"),
        ({"text": "The text says what of Tarn?"}, "refers to its passage"),
    ],
)
def test_reasons(wrong, reason):
    """What makes a question useless leaves it out, and is counted under its name."""
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
def test_no_reason(right):
    """Signs tell numbers apart, and a question that offers its options or speaks of a sea passage is fine."""
    assert len(sieved(draft(**right)).rows) == 1


def test_the_first_are_kept():
    """Of a passage the first good questions are kept, those left out for a fault taking no place."""
    made = sieved(draft("One?", quote="nowhere"), draft("Two?"), draft("Three?"), draft("Four?"), keep=2)
    assert [row["question"] for row in made.rows] == ["Two?", "Three?"]
    assert [row["id"] for row in made.rows] == ["tarn#0-1", "tarn#0-2"]
    assert made.rejected == {"quote not in the passage": 1, "less specific than the kept questions": 1}


def test_asked_already():
    """The same question on another passage is left out, though case, space and signs differ."""
    other = draft("WHEN was the bridge of  Tarn built", passage="pump#0", quote="red lever")
    assert sieved(draft(), other).rejected == {"asked before": 1}


def test_a_foreign_passage():
    """A writer that invents a passage is said to do so."""
    with pytest.raises(InputError, match="unknown passage 'moon#1'"):
        sieved(draft(passage="moon#1"))


def test_options_are_shuffled():
    """The right option stands in every place about equally often, and in the same one in every run."""
    drafts = [draft(f"Question {number}?") for number in range(400)]
    made = sieved(*drafts, keep=400)
    places = Counter(row["answer"] for row in made.rows)
    assert set(places) == set("ABCD")
    assert min(places.values()) > 70
    assert all(row["options"]["ABCD".index(row["answer"])] == "1970" for row in made.rows)
    assert sieved(*drafts, keep=400).rows == made.rows


def test_order_of_writing_does_not_matter():
    """The order of the options is that of a draw, not that in which they were written."""
    one = sieved(draft(wrong=("1971", "1972", "1973")))
    assert sieved(draft(wrong=("1973", "1971", "1972"))).rows == one.rows


def test_the_file_task_reads_them(tmp_path):
    """What is written is what the task `file` reads, gold and group included, letters of any language as they are."""
    made = sieved(draft("Wann wurde die Brücke von Tarn 桥 gebaut?"), group="passage")
    save(made.rows, tmp_path / "q.jsonl")
    assert "Brücke von Tarn 桥" in (tmp_path / "q.jsonl").read_text(encoding="utf-8")
    (question,) = make_plugin(FileTask, {"path": str(tmp_path / "q.jsonl")}).questions("test")
    assert question.gold == (Gold("tarn", 123, 136),)
    assert question.gold[0].covers(PASSAGES[0])
    assert question.options[question.answer] == "1970"
    assert question.group == "tarn#0"


def rows(groups, each=2):
    return [{"group": f"g{number}", "question": f"{number}.{turn}"} for number in range(groups) for turn in range(each)]


def test_split_keeps_groups_together():
    """A fifth of the groups goes to validation, whole, and none of the questions is lost or moved."""
    test, validation = split(rows(20))
    assert len({row["group"] for row in validation}) == 4
    assert not {row["group"] for row in validation} & {row["group"] for row in test}
    assert sorted(map(str, [*test, *validation])) == sorted(map(str, rows(20)))
    assert [row for row in rows(20) if row in test] == test


def test_split_needs_two_groups():
    """One group cannot be split, and the message says what can."""
    assert [len(part) for part in split(rows(2))] == [2, 2]
    with pytest.raises(InputError, match="--group passage"):
        split(rows(1))


def test_files_are_not_overwritten(tmp_path):
    """A file that is there is left alone without --force, and names that cannot be right are refused."""
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
    """The summary counts what was kept and why the rest was not, and how often length gives the answer away."""
    made = sieved(draft(), draft("Which lever?", "the red lever", "red lever", passage="pump#0"), draft(quote="no"))
    assert summary(made, PASSAGES) == [
        "kept 2 of 3 questions, on 2 of 2 passages",
        "rejected 1: quote not in the passage",
        "the right option is the longest in 50% of the questions (25% by chance)",
    ]


def test_few_documents_are_said():
    """Where few documents are the groups, the way to more groups is shown."""
    passages = [Passage(f"d#{number}", "d", "", "a b c", number, number + 5) for number in range(3)]
    question_filter = QuestionFilter(passages, QuestionRequest("c"))
    for passage in passages:
        question_filter.add(draft(passage.id, passage=passage.id, quote="b"))
    assert "--group passage" in summary(question_filter.result(), passages)[-1]


@pytest.mark.parametrize(
    ("one", "other"), [("Who?", "who"), ("a  b", "A, b!"), ("\ufb01lter", "filter"), ("cafe\u0301", "café")]
)
def test_same_words(one, other):
    """Case, space, signs and forms of letters make no difference."""
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("?", "!"), ("a b", "b a"), ("1.5", "15"), ("桥", "路")])
def test_other_words(one, other):
    """Other words, another order and other signs alone do."""
    assert normalised(one) != normalised(other)


def test_quotes_are_no_patterns():
    """A quote is looked for as it stands, signs included."""
    assert find_quote("costs 5$ (net) in all", "5$ (net)") == (6, 14)
    assert find_quote("costs 5x net", "5. net") is None


def test_costs_in_words():
    """A forecast says requests and tokens, and money where both prices are known."""
    prices = {"device_hour": None, "input_tokens_million": 2.0, "output_tokens_million": 10.0}
    said = "1,200 requests, about 3,000,000 input tokens and 500,000 output tokens"
    cost = Forecast(1200, 3_000_000, 500_000)
    assert describe_cost(cost, None) == said
    assert describe_cost(cost, PriceTable(**prices)) == f"{said}, about 11.00 with [prices]"
    assert describe_cost(cost, PriceTable(**{**prices, "input_tokens_million": None})) == said


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
    """A writer that writes no questions with options is named, and one that does is offered."""
    run = bench.write(SPEC).call("questions", bench.spec, "--corpus", "notes", "--out", "questions.jsonl")
    assert run.exit_code == 2
    assert "writers.words: the plugin 'lab' cannot write multiple-choice questions; use a plugin that can" in run.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--corpus", "note"], 'no table [corpora.note]; did you mean "notes"?'),
        (["--corpus", "notes", "--writer", "word"], "no table [writers.word]"),
        (["--corpus", "notes", "--keep", "5"], "--keep: expected at most --count, 4, got 5"),
    ],
)
def test_wrong_names(bench, arguments, said):
    """A name that is not in the file, and a number that cannot be, are told before anything is done."""
    run = bench.write(SPEC).call("questions", bench.spec, "--out", "q.jsonl", *arguments)
    assert run.exit_code == 2
    assert said in run.output


def test_one_of_several_writers(bench, tmp_path):
    """Where there are several writers, or none, the message says what to do."""
    two = SPEC + '[writers.more]\nplugin = "lab"\n'
    run = bench.write(two).call("questions", bench.spec, "--corpus", "notes", "--out", "q.jsonl")
    assert "2 writers; choose one with --writer: words, more" in run.output
    none = SPEC.replace('[writers.words]\nplugin = "lab"\n', "")
    run = bench.write(none).call("questions", bench.spec, "--corpus", "notes", "--out", "q.jsonl")
    assert "no writer; add a table [writers.NAME]" in run.output


def test_passages_are_those_of_a_run(bench):
    """Questions are written on the passages of a run; the corpus is not split a second time."""
    chunk = "\nchunk = { tokens = 40 }\n\n[retrievers.words]"
    bench.write_toy(more='\n[writers.again]\nplugin = "toy"\n')
    bench.write(bench.spec.read_text(encoding="utf-8").replace("\n[retrievers.words]", chunk))
    assert bench.run() == {}
    before = sorted((bench.folder / "work" / "passages").glob("*/done.json"))
    result = bench.call("questions", bench.spec, "--corpus", "people", "--out", "new.jsonl", "-q")
    assert result.exit_code == 0, result.output
    assert sorted((bench.folder / "work" / "passages").glob("*/done.json")) == before


def test_a_line_is_an_object(tmp_path):
    """Each line is one JSON object with the fields in the order that a reader wants."""
    save(sieved(draft()).rows, tmp_path / "q.jsonl")
    row = json.loads((tmp_path / "q.jsonl").read_text())
    assert list(row) == ["id", "question", "options", "answer", "document", "start", "end", "group"]
