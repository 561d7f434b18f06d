from itertools import chain

import pytest
from pydantic import ValidationError

from kib.identity import digest_lines
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.draw import Draw
from kib_lab.questions import KINDS, SPLITS, ask
from kib_lab.vocabulary import UNKNOWN, encode, vocabulary
from kib_lab.words import names
from kib_lab.world import KNOWN, MOST_NEW, describe, name_is_reserved, world

DIGESTS = {
    ("known", 400, 0): "0dc18e92cd91dd74440bdeed7e95820e98b8b098611f1f13d0c0b4b999c5c2f9",
    ("new", 200, 0): "10f96ee59d941559bde12e0310b0f1f42660b5f7fc780ef25c54578589e4a8ce",
    ("new", 80, 7): "32cfb2d1a6f4329394dd99d4ac6a94d3a19efa43961eaa58b64ecf2b3bfb3c31",
}


def _lines(people, count, seed):
    lab = world(people, count, seed)
    for entity in (*lab.people, *lab.employers.values()):
        document, _ = describe(entity, seed)
        yield f"{document.id}\t{document.title}\t{document.text}"
    for kind in KINDS:
        for split in SPLITS:
            for q in ask(lab, kind, seed, people, split):
                gold = [(g.document, g.start, g.end) for g in q.gold]
                yield f"{q.id}\t{q.text}\t{q.options}\t{q.answer}\t{gold}"


@pytest.mark.parametrize("key", DIGESTS, ids=str)
def test_world_is_the_same_everywhere(key):
    """A seed gives the same documents and questions on every machine and Python."""
    assert digest_lines(_lines(*key)) == DIGESTS[key]


def test_a_larger_world_begins_with_the_smaller_one():
    """More people change nothing about those who were there."""
    assert world("new", 120).people[:60] == world("new", 60).people


def test_seeds_give_other_worlds():
    """Another seed gives other people and other facts about employers."""
    one, two = world("new", 60, 1), world("new", 60, 2)
    assert not {p.name for p in one.people} & {p.name for p in two.people}
    assert [e.facts for e in one.employers.values()] != [e.facts for e in two.employers.values()]


@pytest.mark.parametrize(("people", "count"), [("known", KNOWN), ("new", MOST_NEW)])
def test_name_and_trade_with_birthplace_are_unique(people, count):
    """No two people share a name, or both profession and birthplace, known ones included."""
    everybody = {p.id: p for p in chain(world("known", KNOWN).people, world(people, count).people)}.values()
    assert len({p.name for p in everybody}) == len(everybody)
    assert len({(p.facts["profession"], p.facts["birthplace"]) for p in everybody}) == len(everybody)


def test_names_of_new_people_are_reserved():
    """A new person's name is of the kind that pre-training never uses, a known one's is not."""
    words = names()
    for people, reserved in (("new", True), ("known", False)):
        for person in world(people, 200).people:
            first, family = person.name.split()
            assert name_is_reserved(words.first.index(first), words.family.index(family)) is reserved


def test_made_up_words_name_one_thing():
    """No made-up word stands for two things."""
    words = names()
    everything = [
        *words.first,
        *words.family,
        *words.town,
        *words.known_employer,
        *words.new_employer,
        *words.language,
    ]
    assert len(everything) == len(set(everything))


@pytest.mark.parametrize("people", ["known", "new"])
def test_ranges_hold_their_facts(people):
    """The range of a fact is a sentence of the document that names its value and its subject."""
    lab = world(people, 60)
    for entity in (*lab.people, *lab.employers.values()):
        document, ranges = describe(entity, 0)
        assert set(ranges) == set(entity.facts)
        for attribute, (start, end) in ranges.items():
            told = document.text[start:end]
            assert told.endswith(".")
            assert entity.facts[attribute] in told
            assert entity.name in told


def test_the_model_knows_every_word():
    """No text of the world holds a word outside the vocabulary, and a biography fits a passage of 128 tokens."""
    for people in ("known", "new"):
        for document in LabCorpus(CorpusOptions(people=people)).documents():
            tokens = encode(f"{document.title}\n{document.text}")
            assert vocabulary()[UNKNOWN] not in tokens
            assert len(tokens) <= 128


def test_corpus_leaves_out_employers_where_told():
    """Without `employers` the corpus holds people alone, with it the same people first."""
    alone = list(LabCorpus(CorpusOptions(people="new", count=40, employers=False)).documents())
    both = list(LabCorpus(CorpusOptions(people="new", count=40)).documents())
    assert len(alone) == 40
    assert both[:40] == alone
    assert {d.id for d in both[40:]} == {e.id for e in world("new", 40).employers.values()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"people": "known", "count": 401}, "at most 400 known people"),
        ({"people": "new", "count": 1001}, "at most 1000 new people"),
        ({"people": "known", "seed": 3}, "one set of known people"),
        ({"people": "new", "count": 39}, "greater than or equal to 40"),
    ],
)
def test_a_world_that_does_not_exist_is_refused(options, words):
    """Options that name no world are refused with what would be right."""
    with pytest.raises(ValidationError, match=words):
        CorpusOptions(**options)


def test_draws_are_even_and_in_range():
    """A draw below n takes every value equally often, within five standard deviations."""
    draw = Draw("test")
    seen = [draw.below(7) for _ in range(7000)]
    assert set(seen) == set(range(7))
    assert all(abs(seen.count(value) - 1000) < 5 * 30 for value in range(7))


def test_a_sample_has_no_place_twice():
    """A sample has different places, and a shuffle has all."""
    draw = Draw("test", 1)
    assert len(set(draw.sample(range(50), 20))) == 20
    assert sorted(draw.shuffled(range(50))) == list(range(50))
