"""Gold of questions is found in the corpus by document, range and quote, and copies of gold text are recognised."""

import json
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.records import Document, Gold
from kib.run.chunking import split_documents
from kib.run.steps.corpus_statistics import CorpusStatistics
from kib.run.steps.gold_passages import GoldText, locate_gold
from kib.run.steps.passages import Passages, write_passages
from kib.spec.load import Chunk


def stored(folder, *documents, chunk=None):
    """Return passages after storing and reading them in the same way as a run."""
    statistics = CorpusStatistics(None)
    made = statistics.count_documents(Document(name, name.title(), text) for name, text in documents)
    write_passages(statistics.count_passages(split_documents(made, chunk), lambda _: None), folder)
    statistics.record(folder)
    return Passages(folder)


GOLDEN = "One two. Three four. Five six."


@pytest.fixture
def golden(tmp_path):
    return stored(tmp_path, ("a", GOLDEN), ("b", "Seven. Eight."), chunk=Chunk(sentences=1))


@pytest.mark.parametrize(
    ("gold", "expected"),
    [
        ([Gold("b")], ("b#0", "b#1")),
        ([Gold("a", 0, 3)], ("a#0",)),
        ([Gold("a", 4, 12)], ("a#0", "a#1")),
        ([Gold("a", 9, 20)], ("a#1",)),
        ([Gold("a", 0, 30)], ("a#0", "a#1", "a#2")),
        ([Gold("b", 0, 1), Gold("a", 0, 1)], ("b#0", "a#0")),
        ([Gold("a", 0, 1), Gold("a", 0, 2), Gold("a")], ("a#0", "a#1", "a#2")),
        ([], ()),
    ],
)
def test_gold_passages_overlap_the_gold_range(golden, gold, expected):
    """Gold passages are the passages that overlap a gold range, without duplicates."""
    assert locate_gold({"q": gold}, golden).passages == {"q": expected}


def test_a_missing_gold_document_is_an_error(golden):
    """Gold documents missing from the corpus raise an error that states their number and names."""
    with pytest.raises(InputError) as caught:
        locate_gold({"q1": [Gold("a")], "q2": [Gold("x")], "q3": [Gold("y"), Gold("b")]}, golden)
    assert str(caught.value) == "2 gold documents of the questions are not in the corpus: 'x', 'y'"


@pytest.mark.parametrize("gold", [Gold("a", 0, 31), Gold("a", 500, 510), Gold("a", 0, 100_000)])
def test_a_gold_range_beyond_its_document_is_an_error(golden, gold):
    """A gold range beyond the end of its document raises an error that names the question and the length."""
    words = (
        rf"question q7: the gold range from {gold.start} to {gold.end} extends beyond .*'a', which has 30 characters"
    )
    with pytest.raises(InputError, match=words):
        locate_gold({"q": [Gold("a")], "q7": [Gold("a", 0, 3), gold]}, golden)


def test_a_gold_range_without_text_is_an_error(golden):
    """A gold range between two passages raises an error."""
    with pytest.raises(InputError, match="question q: no passage overlaps the gold range from 8 to 9"):
        locate_gold({"q": [Gold("a", 8, 9)]}, golden)


@given(st.integers(0, 29), st.integers(1, 30))
def test_a_gold_range_with_text_overlaps_a_passage(tmp_path, start, length):
    """A gold range that contains any text overlaps at least one passage."""
    end = min(start + length, len(GOLDEN))
    assume(GOLDEN[start:end].strip())
    passages = stored(tmp_path, ("a", GOLDEN), chunk=Chunk(sentences=1))
    found = locate_gold({"q": [Gold("a", start, end)]}, passages).passages["q"]
    for passage in passages:
        assert (passage.id in found) == bool(set(range(passage.start, passage.end)) & set(range(start, end)))


PUMP = "Pump 7 is switched off by the red lever. It was built in 1931. The oil is changed every nine weeks."
LEVER = "switched off by the red lever"
HEAD = "Read this notice first. It is long.\n\n"


def quoted(start, quote=LEVER, document="pump"):
    return Gold(document, start, start + len(quote), quote)


@pytest.fixture
def edited(tmp_path):
    """Return the passages of a document with text added at its top, and of a document with a sentence twice."""
    twice = "It rains in Tarn. The sun shines. It rains in Tarn."
    return stored(tmp_path, ("pump", HEAD + PUMP), ("twice", twice), chunk=Chunk(sentences=1))


def test_a_quote_is_found_again_after_an_edit(edited):
    """If text was added above a gold range, the range moves to its quote, and a remark names and counts the moves."""
    located = locate_gold({"q": [quoted(10)], "r": [quoted(10 + len(HEAD))], "s": [Gold("pump")]}, edited)
    assert located.gold["q"] == located.gold["r"] == (quoted(10 + len(HEAD)),)
    assert located.passages["q"] == located.passages["r"] == ("pump#2",)
    assert located.moved == ("question q, pump: 10 to 47",)
    assert located.remarks() == [
        "documents were edited, and 1 gold range moved to the new position of the quote: question q, pump: 10 to 47"
    ]


@pytest.mark.parametrize(
    "gold",
    [
        Gold("pump", quote=LEVER),
        Gold("pump", 0, 100_000, LEVER),
        Gold("pump", 10, 20, "switched  off\nby the red lever"),
        Gold("pump", 47, 47 + len(LEVER), "switched off by\tthe red lever"),
    ],
)
def test_a_quote_determines_the_range(edited, gold):
    """A quote without a range, with a wrong range or with different white space determines the gold range."""
    assert locate_gold({"q": [gold]}, edited).passages == {"q": ("pump#2",)}


def test_a_quote_at_its_position_may_occur_twice(edited):
    """A range that holds its quote stays where it is, even if the quote occurs elsewhere too."""
    assert locate_gold({"q": [quoted(34, "It rains", "twice")]}, edited).passages == {"q": ("twice#2",)}


@pytest.mark.parametrize(
    ("gold", "located", "passages"),
    [
        (Gold("pump", 37, 90, LEVER), "37-90 to 47-76", {"pump#2"}),
        (Gold("pump", 0, 100_000, LEVER), "0-100000 to 47-76", {"pump#2"}),
        (Gold("pump", 50, 60, LEVER), "50-60 to 47-76", {"pump#2"}),
        (Gold("twice", 20, 51, "It rains"), "20-51 to 34-42", {"twice#2"}),
        (Gold("twice", 0, 17, "It rains in"), "0-17 to 0-11", {"twice#0"}),
    ],
)
def test_a_range_is_fitted_to_its_quote(edited, gold, located, passages):
    """A range that contains its quote, or is a part of the quote, becomes the quote's range, and nothing was edited."""
    found = locate_gold({"q": [gold]}, edited)
    assert set(found.passages["q"]) == passages
    assert found.remarks() == [
        f"1 gold range was narrowed or extended to the quote: question q, {gold.document}: {located}"
    ]


def test_a_range_with_several_quotes_is_kept(edited):
    """A range that contains its quote more than once is not changed."""
    gold = Gold("twice", 0, 51, "It rains in Tarn.")
    located = locate_gold({"q": [gold]}, edited)
    assert located.gold["q"] == (gold,)
    assert not located.remarks()


def test_lost_quotes_are_listed(edited):
    """Quotes that do not occur exactly once raise one error that lists every question."""
    wanted = {
        "a": [quoted(3, "It rains", "twice")],
        "b": [quoted(10, "switched off by the green lever")],
        "c": [Gold("pump", quote="lever lever")],
        "e": [Gold("twice", 0, 900, "It rains")],
        "d": [quoted(47)],
    }
    with pytest.raises(InputError) as caught:
        locate_gold(wanted, edited)
    assert str(caught.value).splitlines() == [
        "4 gold texts are not where the questions expect them:",
        "  question a: the quote 'It rains' occurs 2 times in document 'twice', and not from 3 to 11",
        "  question b: the quote 'switched off by the green lever' is not in document 'pump', and not from 10 to 41",
        "  question c: the quote 'lever lever' is not in document 'pump'",
        "  question e: the quote 'It rains' occurs 2 times in document 'twice', and not from 0 to 900",
    ]


@pytest.mark.parametrize("quote", ["Pr\u00fc\u00adfung am", "Pru\u0308fung am", "Pr\u00fcfung\u200b am"])
def test_a_quote_may_be_written_differently(tmp_path, quote):
    """A quote is found if it has invisible characters, or accented letters in a different Unicode form."""
    passages = stored(tmp_path, ("a", "It rains. Die Pr\u00fcfung am Montag."), chunk=Chunk(sentences=1))
    assert locate_gold({"q": [Gold("a", 0, 5, quote)]}, passages).passages == {"q": ("a#1",)}


def test_a_quote_is_not_found_inside_a_longer_word(tmp_path):
    """A quote at the start of a longer word does not count if the quote also occurs as a word."""
    passages = stored(tmp_path, ("a", "A hundred. It is red. Reddish."), chunk=Chunk(sentences=1))
    assert locate_gold({"q": [Gold("a", quote="red")]}, passages).passages == {"q": ("a#1",)}
    assert locate_gold({"q": [Gold("a", quote="Redd")]}, passages).passages == {"q": ("a#2",)}


DECOMPOSED = unicodedata.normalize("NFD", "Prüfung.txt")


def test_ids_are_compared_in_composed_form(bench):
    """A document id in decomposed Unicode, as macOS writes file names, is found under its composed form."""
    bench.write_toy(documents=[*bench.people, [DECOMPOSED, "", "The exam is on Monday."]])
    row = {"id": "q", "question": "When?", "options": ["Monday", "Friday"], "answer": "A", "document": "Prüfung.txt"}
    bench.write(bench.spec.read_text(encoding="utf-8"), people_jsonl=json.dumps(row) + "\n")
    assert bench.run() == {}
    assert [score.relevant for score in bench.scores("m/oracle/people,0-shot")] == [1]


@pytest.mark.parametrize(("name", "shown"), [("Pump", "'Pump' (did you mean 'pump'?)"), ("ｐump", r"'\uff50ump' (did")])
def test_a_missing_document_suggests_the_nearest(edited, name, shown):
    """The error for a missing gold document suggests the most similar id, with escape sequences if both look alike."""
    with pytest.raises(InputError) as caught:
        locate_gold({"q": [Gold(name)]}, edited)
    assert shown in str(caught.value)


COPIES = (
    ("pump", PUMP),
    ("copy", PUMP.replace(" It", "\n\nIt")),
    ("appended", f"A longer notice about many machines stands here. {PUMP}"),
    ("other", "The relief valve opens at eleven bar. It was built in 1931. It is tested every spring."),
)


@pytest.mark.parametrize(
    ("gold", "repeating"),
    [
        (Gold("pump"), {"copy#0", "copy#1", "copy#2", "appended#1", "appended#3"}),
        (quoted(10), {"copy#0", "appended#1"}),
        (Gold("pump", 10, 20), {"copy#0", "appended#1"}),
        (Gold("pump", 41, 62), {"copy#1", "appended#2", "other#1"}),
    ],
)
def test_copies_of_gold_text_are_recognised(tmp_path, gold, repeating):
    """A passage repeats gold if it has a gold passage's text, contains the gold range, or lies in a copied document."""
    passages = stored(tmp_path, *COPIES, chunk=Chunk(sentences=1))
    text = GoldText(locate_gold({"q": [gold]}, passages), passages)
    found = {name for name in passages.ids if text.repeats("q", name)}
    assert found - {"appended#2", "other#1"} == repeating - {"appended#2", "other#1"}
    assert found >= repeating


def test_a_copied_document_may_be_split_differently(tmp_path):
    """Passages of a copied document repeat gold if they overlap the gold range, wherever the passages end."""
    parts = ("It rains in Tarn and", "the sun shines in Norwick.")
    write_passages(
        [
            *split_documents([Document("a", "", " ".join(parts))], None),
            *split_documents([Document("b", "", parts[0]), Document("c", "", parts[1])], None),
        ],
        tmp_path,
    )
    (tmp_path / "duplicates.json").write_text('{"documents": [["a", "b"]], "passages": []}', encoding="utf-8")
    passages = Passages(tmp_path)
    text = GoldText(locate_gold({"q": [Gold("a", 9, 30)]}, passages), passages)
    assert [text.repeats("q", name) for name in ("a#0", "b#0", "c#0")] == [False, True, False]


def test_controls_never_show_gold_text(bench):
    """Neither `random` nor the other passages of `oracle` contain a copy of the gold passage."""
    copies = [[f"copy-{number}", "", bench.people[number % 6][2] + " " * number] for number in range(60)]
    bench.write_toy(documents=[*bench.people, *copies])
    assert bench.run() == {}
    texts = {name: text for name, _, text in [*bench.people, *copies]}
    for place in ("m/oracle/people,0-shot", "m/random,k=2/people,0-shot"):
        for score in bench.scores(place):
            shown = [texts[name.partition("#")[0]].strip() for name in score.passages]
            gold = texts[score.question_id.partition("-")[0]]
            assert len(shown) == 2
            assert shown.count(gold) == (place.startswith("m/oracle"))


def test_all_commands_notice_an_edit(bench):
    """`kib check`, `kib retrieve` and `kib run` report moved gold and gold without a quote; lost gold is an error."""
    bench.write_toy()
    rows = [json.loads(line) for line in (bench.folder / "people.jsonl").read_text(encoding="utf-8").splitlines()]
    text = bench.people[0][2]
    where = text.index("lives in Norwick")
    rows[0] |= {"start": where, "end": where + 16, "quote": "lives in Norwick"}
    rows[1] |= {"start": 0, "end": 3}
    questions = "".join(json.dumps(row) + "\n" for row in rows)
    unquoted = "1 gold range without `quote`: kib would not notice if an edit of a document moved the gold text"
    remark = f"1 gold range moved to the new position of the quote: question ada-0, ada: {where} to {where + 9}"
    for document, code in (("A notice. " + text[1:], 0), (text.replace("lives in", "left"), 2)):
        bench.write_toy(documents=[["ada", "Ada Quill", document], *bench.people[1:]], questions=questions)
        for command in ("check", "retrieve", "run") if code == 0 else ("check",):
            result = bench.call(command, bench.spec)
            assert result.exit_code == code, result.output
            said = "the quote 'lives in Norwick' is not in document 'ada'" if code else remark
            assert result.output.count(said) == (2 if command == "run" else 1), command
            assert " ".join(result.output.split()).count(unquoted) == (0 if code else 1 + (command == "run")), command
