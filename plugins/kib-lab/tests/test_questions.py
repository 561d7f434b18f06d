from dataclasses import replace
from functools import cache

import pytest
from pydantic import ValidationError

from kib.prompts import ask_question
from kib_lab.corpus import CorpusOptions, LabCorpus
from kib_lab.questions import KINDS, SPLITS
from kib_lab.task import LabTask, TaskOptions
from kib_lab.vocabulary import UNKNOWN, encode, vocabulary
from kib_lab.world import generate_world


@cache
def questions(split="test", **options):
    """Return the questions in a split of the task `lab`."""
    return list(LabTask(TaskOptions(**options)).questions(split))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("people", ["known", "new"])
def test_options(people, kind):
    """A question has four different options of one token each, and all its words are in the vocabulary."""
    for question in questions(people=people, kind=kind):
        assert len(set(question.options)) == 4
        assert all(len(encode(option)) == 1 for option in question.options)
        assert vocabulary()[UNKNOWN] not in encode(question.text + " ".join(question.options))


@pytest.mark.parametrize("kind", KINDS)
def test_position_of_the_right_option(kind):
    """The position of the correct option is uniformly distributed, within four standard deviations."""
    positions = [question.answer for question in questions(people="new", kind=kind)]
    deviation = (len(positions) * 0.25 * 0.75) ** 0.5
    assert all(abs(positions.count(position) - len(positions) / 4) < 4 * deviation for position in range(4))


@pytest.mark.parametrize("kind", ["direct", "reworded", "two-hop"])
def test_gold(kind):
    """The last gold text range of a question contains the correct option and no other option."""
    texts = {d.id: d.text for d in LabCorpus(CorpusOptions(people="new")).documents()}
    for question in questions(people="new", kind=kind):
        gold = question.gold[-1]
        words = texts[gold.document][gold.start : gold.end].replace(".", " ").split()
        assert [option in words for option in question.options].index(True) == question.answer


def test_two_hop():
    """A two-hop question has gold sentences about a person and about the employer, but does not name the employer."""
    world = generate_world("new", 200)
    for question in questions(people="new", kind="two-hop"):
        person = next(p for p in world.people if p.id == question.group)
        employer = world.employers[person.facts["employer"]]
        assert [gold.document for gold in question.gold] == [person.id, employer.id]
        assert employer.name not in question.text


def test_reverse():
    """A reverse question states a person's profession and birthplace and asks for the family name."""
    people = {person.id: person for person in generate_world("new", 200).people}
    for question in questions(people="new", kind="reverse"):
        person = people[question.group]
        assert question.options[question.answer] == person.name.split()[1]
        assert person.facts["profession"] in question.text
        assert person.facts["birthplace"] in question.text
        assert not set(person.name.split()) & set(question.text.split())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("people", ["known", "new"])
def test_splits(people, kind):
    """The splits `test`, `validation` and `examples` contain questions about disjoint sets of people."""
    groups = [{question.group for question in questions(split, people=people, kind=kind)} for split in SPLITS[:3]]
    assert all(groups)
    assert sum(len(group) for group in groups) == len(set.union(*groups))


def test_reworded_kind():
    """A reworded question never has the same text as a direct question."""
    direct = {question.text for question in questions(people="new")}
    reworded = {question.text for question in questions(people="new", kind="reworded")}
    assert not direct & reworded


def test_halves():
    """The two halves of the known people are disjoint and have 1,020 test questions each."""
    taught, told = questions(people="known", half="taught"), questions(people="known", half="told")
    assert len(taught) == len(told) == 1020
    assert not {question.group for question in taught} & {question.group for question in told}


def test_order():
    """The first questions of a split are about different people and together cover all attributes."""
    first = questions(people="new")[:170]
    assert len({question.group for question in first}) == 170
    assert len({question.id.split("-")[2] for question in first}) == 6


def test_ids_are_unique():
    """All questions of all kinds and splits have different ids."""
    ids = [q.id for kind in KINDS for split in SPLITS[:3] for q in questions(split, people="new", kind=kind)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_reworded_split(kind):
    """The questions in the split `reworded` differ from the test questions only in their text."""
    test, reworded = questions(people="new", kind=kind), questions("reworded", people="new", kind=kind)
    assert [replace(question, text="") for question in test] == [replace(question, text="") for question in reworded]
    assert not [a.text for a, b in zip(test, reworded, strict=True) if a.text == b.text]


def test_halves_of_new_people():
    """The option `half` is rejected for new people."""
    with pytest.raises(ValidationError, match="only known people are divided into halves"):
        TaskOptions(people="new", half="taught")


def test_token_boundary():
    """The tokens of a prompt with its answer are the prompt's tokens followed by the answer's tokens."""
    for question in questions(people="new")[:50]:
        prompt = ask_question(question.text, question.options, letters=False)
        for option in question.options:
            assert encode(f"{prompt} {option}") == encode(prompt) + encode(f" {option}")
