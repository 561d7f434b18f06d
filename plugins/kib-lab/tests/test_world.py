from itertools import chain

import pytest
from pydantic import ValidationError

from kib.identity import digest_lines
from kib_lab.attribute_values import all_names
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.questions import KINDS, SPLITS, generate_questions
from kib_lab.random_stream import RandomStream
from kib_lab.vocabulary import UNKNOWN, encode, vocabulary
from kib_lab.world import KNOWN_PEOPLE, MAX_NEW_PEOPLE, describe, generate_world, is_name_reserved

DIGESTS = {
    ("known", 400, 0): "0dc18e92cd91dd74440bdeed7e95820e98b8b098611f1f13d0c0b4b999c5c2f9",
    ("new", 200, 0): "10f96ee59d941559bde12e0310b0f1f42660b5f7fc780ef25c54578589e4a8ce",
    ("new", 80, 7): "32cfb2d1a6f4329394dd99d4ac6a94d3a19efa43961eaa58b64ecf2b3bfb3c31",
}


def lines(people, count, seed):
    """Return all documents and questions of a world as text."""
    world = generate_world(people, count, seed)
    for entity in (*world.people, *world.employers.values()):
        document, _ = describe(entity, seed)
        yield f"{document.id}\t{document.title}\t{document.text}"
    for kind in KINDS:
        for split in SPLITS:
            for q in generate_questions(world, kind, seed, people, split):
                gold = [(g.document, g.start, g.end) for g in q.gold]
                yield f"{q.id}\t{q.text}\t{q.options}\t{q.answer}\t{gold}"


@pytest.mark.parametrize("key", DIGESTS, ids=str)
def test_digests(key):
    """A seed produces the same documents and questions on every machine and in every Python version."""
    assert digest_lines(lines(*key)) == DIGESTS[key]


def test_a_larger_world_begins_with_the_smaller_one():
    """A world with more people begins with the same people as a world with fewer people."""
    assert generate_world("new", 120).people[:60] == generate_world("new", 60).people


def test_seeds():
    """Different seeds produce different people and different facts about employers."""
    one, two = generate_world("new", 60, 1), generate_world("new", 60, 2)
    assert not {p.name for p in one.people} & {p.name for p in two.people}
    assert [e.facts for e in one.employers.values()] != [e.facts for e in two.employers.values()]


@pytest.mark.parametrize(("people", "count"), [("known", KNOWN_PEOPLE), ("new", MAX_NEW_PEOPLE)])
def test_name_and_trade_with_birthplace_are_unique(people, count):
    """No two people, whether known or new, share a name or the combination of profession and birthplace."""
    known, people_of_kind = generate_world("known", KNOWN_PEOPLE).people, generate_world(people, count).people
    everybody = {p.id: p for p in chain(known, people_of_kind)}.values()
    assert len({p.name for p in everybody}) == len(everybody)
    assert len({(p.facts["profession"], p.facts["birthplace"]) for p in everybody}) == len(everybody)


def test_names_of_new_people_are_reserved():
    """All new people have reserved names, and no known person has a reserved name."""
    names = all_names()
    for people, reserved in (("new", True), ("known", False)):
        for person in generate_world(people, 200).people:
            first, family = person.name.split()
            assert is_name_reserved(names.first.index(first), names.family.index(family)) is reserved


def test_names_are_unique():
    """No fictional name occurs twice in the lists of names for people, towns, employers and languages."""
    names = all_names()
    kinds = names.first, names.family, names.town, names.known_employer, names.new_employer, names.language
    everything = [name for kind in kinds for name in kind]
    assert len(everything) == len(set(everything))


@pytest.mark.parametrize("people", ["known", "new"])
def test_ranges(people):
    """The character range of a fact covers a sentence of the document that contains the fact's value and subject."""
    world = generate_world(people, 60)
    for entity in (*world.people, *world.employers.values()):
        document, ranges = describe(entity, 0)
        assert set(ranges) == set(entity.facts)
        for attribute, (start, end) in ranges.items():
            sentence = document.text[start:end]
            assert sentence.endswith(".")
            assert entity.facts[attribute] in sentence
            assert entity.name in sentence


def test_vocabulary():
    """Every word of every document is in the vocabulary, and every document fits into a passage of 128 tokens."""
    for people in ("known", "new"):
        for document in LabCorpus(CorpusOptions(people=people)).documents():
            tokens = encode(f"{document.title}\n{document.text}")
            assert vocabulary()[UNKNOWN] not in tokens
            assert len(tokens) <= 128


def test_corpus_without_employers():
    """The corpus has the same people with and without the documents about employers."""
    alone = list(LabCorpus(CorpusOptions(people="new", count=40, employers=False)).documents())
    both = list(LabCorpus(CorpusOptions(people="new", count=40)).documents())
    assert len(alone) == 40
    assert both[:40] == alone
    assert {d.id for d in both[40:]} == {e.id for e in generate_world("new", 40).employers.values()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"people": "known", "count": 401}, "at most 400 known people"),
        ({"people": "new", "count": 1001}, "at most 1000 new people"),
        ({"people": "known", "seed": 3}, "expected 0 for known people, who form a single fixed set"),
        ({"people": "new", "count": 39}, "greater than or equal to 40"),
    ],
)
def test_invalid_worlds(options, message):
    """World options outside the valid range raise an error that states the valid values."""
    with pytest.raises(ValidationError, match=message):
        CorpusOptions(**options)


def test_uniform_numbers():
    """Random numbers are uniformly distributed, within five standard deviations."""
    rng = RandomStream("test")
    seen = [rng.below(7) for _ in range(7000)]
    assert set(seen) == set(range(7))
    assert all(abs(seen.count(value) - 1000) < 5 * 30 for value in range(7))


def test_samples():
    """The method `sample` returns no item twice, and the method `shuffled` returns all items."""
    rng = RandomStream("test", 1)
    assert len(set(rng.sample(range(50), 20))) == 20
    assert sorted(rng.shuffled(range(50))) == list(range(50))
