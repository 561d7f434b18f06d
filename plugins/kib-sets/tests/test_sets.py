import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Document, Gold, Question
from kib.testing import check_task, make_plugin
from kib_sets.counterfact import CounterFactCorpus, CounterFactTask
from kib_sets.hotpotqa import HotpotCorpus, HotpotTask
from kib_sets.popqa import PopqaTask
from kib_sets.squad import SquadCorpus, SquadTask, XquadCorpus, XquadTask

DATA = Path(os.environ.get("KIB_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
XQUAD = DATA / "xquad" / "xquad.en.json"

Write = Callable[..., Path]


def read(cls: type[Any], path: Path, split: str = "test", **options: Any) -> list[Question]:
    """Return the questions of a set."""
    return list(make_plugin(cls, {"path": path, **options}).questions(split))


def test_squad(write: Write) -> None:
    """A question of SQuAD has all distinct answers, the range of the first answer, and its article as the group."""
    task = make_plugin(SquadTask, {"path": write("squad")})
    assert list(task.questions("test")) == [
        Question(
            "m1",
            "When was the mill built?",
            gold=(Gold("Old_Mill/1", 22, 26, "1704"),),
            group="Old Mill",
            accepted=("1704", "in 1704"),
        ),
        Question("m2", "Who built it?", group="Old Mill", unanswerable=True),
        Question(
            "p1",
            "How deep?",
            gold=(Gold("Old_Mill/2", 12, 21, "nine feet"),),
            group="Old Mill",
            accepted=("nine feet",),
        ),
    ]
    assert task.remarks("test") == ["removed white space around texts of 1 question of the split test"]
    documents = list(make_plugin(SquadCorpus, {"path": write("squad")}).documents())
    assert [(one.id, one.title) for one in documents] == [("Old_Mill/1", "Old Mill"), ("Old_Mill/2", "Old Mill")]


@pytest.mark.skipif(not XQUAD.is_file(), reason=f"no {XQUAD}; KIB_TEST_DATA names the folder of test data")
def test_xquad() -> None:
    """The official file of XQuAD has 1,190 questions and 240 paragraphs, and each range contains its quote."""
    check_task(lambda: make_plugin(XquadTask, {"path": XQUAD}), lambda: make_plugin(XquadCorpus, {"path": XQUAD}))
    texts = {one.id: one.text for one in make_plugin(XquadCorpus, {"path": XQUAD}).documents()}
    questions = read(XquadTask, XQUAD)
    assert (len(texts), len(questions), len({question.group for question in questions})) == (240, 1190, 48)
    golds = [question.gold[0] for question in questions]
    assert all(texts[gold.document][gold.start : gold.end] == gold.quote for gold in golds)


def test_popqa(write: Write) -> None:
    """A question of PopQA has all possible answers, its subject as the group and, if requested, a gold document."""
    politician, miller = read(PopqaTask, write("popqa"), gold=True)
    accepted = ("politician", "political leader")
    name, text = "4222362", "What is George Rankin's occupation?"
    probe = "popularity 100 to 999"
    expected = Question(
        name, text, gold=(Gold("George Rankin"),), group="George Rankin", accepted=accepted, probe=probe
    )
    assert politician == expected
    assert (miller.gold, miller.group) == ((Gold("Ada (miller)"),), "Ada")
    assert all(question.gold == () for question in read(PopqaTask, write("popqa")))


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"min_popularity": 142}, ["4222362", "1"]),
        ({"min_popularity": 143}, ["1"]),
        ({"max_popularity": 9000}, ["4222362"]),
    ],
)
def test_popularity(write: Write, options: dict[str, int], ids: list[str]) -> None:
    """Questions are selected by the popularity of the subject, and a remark states the number of other questions."""
    task = make_plugin(PopqaTask, {"path": write("popqa"), **options})
    assert [question.id for question in task.questions("test")] == ids
    omitted = "omitted 1 question with a popularity outside the range of the options"
    assert task.remarks("test") == ([omitted] if len(ids) == 1 else [])


def test_popularity_is_a_probe(write: Write) -> None:
    """The probe of a question is the power of ten of its subject's popularity; a bound belongs to the higher probe."""
    expected = {
        "popularity below 100": ("0", "2", "99"),
        "popularity 100 to 999": ("100", "999"),
        "popularity 1,000 to 9,999": ("1000", "9999"),
        "popularity 10,000 to 99,999": ("10000", "99999"),
        "popularity from 100,000": ("100000", "1258934"),
    }
    views = [number for numbers in expected.values() for number in numbers]
    head, row, *_ = write("popqa").read_text().splitlines()
    rows = [row.replace("4222362\t", f"{number}\t").replace("\t142\t", f"\t{number}\t") for number in views]
    path = write("popqa", "\n".join([head, *rows]))
    probes: dict[str | None, tuple[str, ...]] = {}
    for question in read(PopqaTask, path):
        probes[question.probe] = (*probes.get(question.probe, ()), question.id)
    assert probes == expected


def test_hotpotqa(write: Write) -> None:
    """Each supporting fact of HotpotQA is gold, and facts that the file does not contain are counted."""
    path = write("hotpotqa")
    task = make_plugin(HotpotTask, {"path": path})
    mill, pond = task.questions("test")
    assert mill.gold == (Gold("Mill", 17, 36, "It dates from 1704."), Gold("Pond", 0, 25, "The pond dates from 1890."))
    assert (mill.accepted, mill.group) == (("yes",), None)
    assert pond.gold == (Gold("Pond"),)
    assert task.remarks("test") == [
        "1 supporting fact of 1 question are not gold, because the question's own paragraphs do not contain them",
        "1 supporting fact with a wrong sentence number: the whole paragraph is gold",
    ]
    documents = {one.id: one.text for one in make_plugin(HotpotCorpus, {"path": path}).documents()}
    assert list(documents) == ["Mill", "Pond", "Ferry"]
    assert documents["Mill"] == "The mill is old. It dates from 1704."


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("rewrite", [("7", "The mother tongue of Danielle Darrieux is", "English")]),
        (
            "paraphrase",
            [
                ("7-1", "Nothing happened. Danielle Darrieux spoke", "English"),
                ("7-2", "Danielle Darrieux, a native", "English"),
            ],
        ),
        ("neighborhood", [("7-1", "The mother tongue of Léon Blum is", "French")]),
    ],
)
def test_counterfact(write: Write, prompts: str, expected: list[tuple[str, str, str]]) -> None:
    """The new object is correct for the new fact, and the true object is correct for facts that must not change."""
    questions = read(CounterFactTask, write("counterfact"), prompts=prompts)
    assert [(one.id, one.text, *one.correct) for one in questions] == expected
    assert {tuple(sorted(one.options)) for one in questions} == {("English", "French")}
    assert {one.gold for one in questions} == {() if prompts == "neighborhood" else (Gold("7"),)}
    assert {one.group for one in questions} == {"Danielle Darrieux"}


def test_counterfact_documents(write: Write) -> None:
    """The document of a new fact is one sentence."""
    [document] = make_plugin(CounterFactCorpus, {"path": write("counterfact")}).documents()
    text = "The mother tongue of Danielle Darrieux is English."
    assert document == Document("7", "Danielle Darrieux", text, "CounterFact", "MIT")


def test_the_position_of_the_correct_option(write: Write) -> None:
    """The correct option is about equally often the first and the second."""
    records = [{**json.loads(write("counterfact").read_text())[0], "case_id": number} for number in range(60)]
    answers = [question.answer for question in read(CounterFactTask, write("counterfact", records))]
    assert 15 < sum(answer or 0 for answer in answers) < 45


def test_splits(write: Write) -> None:
    """In a folder, each split has a file of its own, and a corpus may have several files."""
    first, second = json.loads(write("hotpotqa").read_text())
    write("hotpotqa", [first], "dev.json")
    folder = write("hotpotqa", [second], "train.json").parent
    files = {"test": "dev.json", "examples": "train.json"}
    assert [one.id for one in read(HotpotTask, folder, "examples", files=files)] == ["h2"]
    assert [one.id for one in read(HotpotTask, folder, files=files)] == ["h1"]
    assert read(HotpotTask, folder, "validation", files=files) == []
    corpus = make_plugin(HotpotCorpus, {"path": folder, "files": ["dev.json", "train.json"]})
    assert [one.id for one in corpus.documents()] == ["Mill", "Pond", "Ferry"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "nowhere.json"}, "nowhere.json: no such file"),
        ({"path": "."}, "this is a folder; set `files` to the names of the files to read"),
        ({"path": "set", "files": {"test": "a"}}, "`files` applies only to a folder"),
        ({"path": ".", "files": {"test": "a"}}, "a: no such file"),
    ],
)
def test_missing_files(write: Write, options: dict[str, Any], words: str) -> None:
    """A missing file, a folder without `files` and a file with `files` raise an error that states what to change."""
    folder = write("squad").parent
    with pytest.raises(InputError) as caught:
        make_plugin(SquadTask, options, folder).fingerprint()
    assert words in str(caught.value)


def changed(value: Any, place: str, new: Any) -> Any:
    """Return a copy of a JSON value with one value replaced or, if `new` is None, removed."""
    copy = deepcopy(value)
    *keys, last = [int(key) if key.isdecimal() else key for key in place.split(".")]
    inner = copy
    for key in keys:
        inner = inner[key]
    if new is None:
        del inner[last]
    else:
        inner[last] = new
    return copy


@pytest.mark.parametrize(
    ("cls", "name", "place", "new", "words"),
    [
        (SquadTask, "squad", "data", None, "the key 'data' is missing"),
        (SquadTask, "squad", "data", [], "no questions found"),
        (SquadTask, "squad", "data.0.title", " ", "data[0].title: expected a text, got ' '"),
        (
            SquadTask,
            "squad",
            "data.0.paragraphs.0.qas.0.answers",
            [],
            "data[0].paragraphs[0].qas[0].answers: expected at",
        ),
        (SquadTask, "squad", "data.0.paragraphs.1.qas.0.id", "m1", "the id 'm1' appears twice"),
        (SquadTask, "squad", "data.0.paragraphs.1.qas.0.answers.0.answer_start", -1, "answer_start: expected a whole"),
        (
            SquadCorpus,
            "squad",
            "data.0.paragraphs.0.context",
            7,
            "data[0].paragraphs[0].context: expected a text, got 7",
        ),
        (HotpotTask, "hotpotqa", "0.answer", None, "[0]: the key 'answer' is missing; the test file of HotpotQA"),
        (HotpotTask, "hotpotqa", "0.context.0", ["Mill"], "[0].context[0]: expected a title and a list of sentences"),
        (HotpotTask, "hotpotqa", "0.context.0.1", [1], "[0].context[0][1]: expected a list of texts"),
        (
            HotpotTask,
            "hotpotqa",
            "0.supporting_facts.0",
            "Mill",
            "[0].supporting_facts[0]: expected a list, got 'Mill'",
        ),
        (HotpotCorpus, "hotpotqa", "1.context.0.1.0", "Other.", "two different documents have the id 'Pond'"),
        (CounterFactTask, "counterfact", "0.requested_rewrite.prompt", "No place", "expected one place {} for the"),
        (CounterFactTask, "counterfact", "0.requested_rewrite.target_new.str", "French", "expected different objects"),
        (CounterFactTask, "counterfact", "0", "x", "[0]: expected an object, got 'x'"),
    ],
)
def test_invalid_json(write: Write, cls: type[Any], name: str, place: str, new: Any, words: str) -> None:
    """An invalid value raises an error with the file and the path of the value."""
    path = write(name, changed(json.loads(write(name).read_text()), place, new))
    plugin = make_plugin(cls, {"path": path})
    with pytest.raises(InputError) as caught:
        list(plugin.questions("test") if hasattr(plugin, "questions") else plugin.documents())
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "possible_answers\n",
            "answers\n",
            ":1: the columns `possible_answers` are missing; expected the official file",
        ),
        ("\t142\t", "\tmany\t", ":2: s_pop: expected a whole number, got 'many'"),
        ("\tGeorge Rankin\t", "\t\t", ":2: subj: the cell is empty"),
        ('"[""miller""]"', "miller", ":3: possible_answers: invalid JSON"),
        ('"[""miller""]"', "[]", ":3: possible_answers: expected a JSON list of texts, got []"),
        ('\t"[""miller""]"', "", ":3: the row and the header have different numbers of fields"),
        ('"[""miller""]"', '"x', ": not a table with tabs: unexpected end of data"),
    ],
)
def test_invalid_table(write: Write, old: str, new: str, words: str) -> None:
    """An invalid row raises an error with the file and the line."""
    path = write("popqa", write("popqa").read_text().replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        read(PopqaTask, path)
    assert str(caught.value).startswith(f"{path}{words}")


@pytest.mark.parametrize(("cls", "name"), [(SquadTask, "squad"), (PopqaTask, "popqa")])
def test_not_utf8(tmp_path: Path, cls: type[Any], name: str) -> None:
    """A file that is not UTF-8 raises an error."""
    (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8 at byte 0"):
        read(cls, tmp_path / name)
