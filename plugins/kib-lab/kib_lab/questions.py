"""Questions about the people in a world, each with one correct option, three wrong options and gold sentences."""

from collections.abc import Iterator
from typing import Literal

from kib.records import Gold, Question
from kib_lab.attribute_values import values_of
from kib_lab.phrasings import EMPLOYER_ATTRIBUTES, PERSON_ATTRIBUTES, REVERSE_QUESTIONS, Phrasings
from kib_lab.random_stream import RandomStream
from kib_lab.world import Entity, World, describe

__all__ = ["KINDS", "SPLITS", "Kind", "generate_questions", "split_of"]

Kind = Literal["direct", "reworded", "reverse", "two-hop"]

KINDS: tuple[Kind, ...] = ("direct", "reworded", "reverse", "two-hop")

SPLITS = ("test", "validation", "examples", "reworded")
"""The splits; `reworded` contains the test questions with different wording and the same ids."""

BLOCK = 20
"""Of every `BLOCK` consecutive pairs of people, one pair is in the split `examples` and two are in `validation`."""


def split_of(index: int) -> str:
    """Return the split of the person at an index; the people at indices 2n and 2n + 1 are in the same split."""
    position = index // 2 % BLOCK
    return "examples" if position == 0 else "validation" if position <= 2 else "test"


def generate_questions(world: World, kind: Kind, seed: int, people: str, split: str) -> Iterator[Question]:
    """Yield the questions in a split: one per person and attribute, with attributes varying from person to person."""
    reworded = split == "reworded"
    people_split = "test" if reworded else split
    chosen = [(i, person) for i, person in enumerate(world.people) if split_of(i) == people_split]
    attributes = {"reverse": ["name"], "two-hop": list(EMPLOYER_ATTRIBUTES)}.get(kind, list(PERSON_ATTRIBUTES))
    for turn in range(len(attributes)):
        for i, person in chosen:
            attribute = attributes[(turn + i) % len(attributes)]
            yield _question(world, person, attribute, kind, seed, people, reworded)


def _question(
    world: World, person: Entity, attribute: str, kind: Kind, seed: int, people: str, reworded: bool
) -> Question:
    rng = RandomStream("kib-lab", "question", person.id, attribute, kind, seed)
    if kind == "reverse":
        right, values = person.name.split()[1], [other.name.split()[1] for other in world.people]
    elif kind == "two-hop":
        employer = world.employers[person.facts["employer"]]
        right, values = employer.facts[attribute], list(values_of(attribute, people))
    else:
        right, values = person.facts[attribute], list(values_of(attribute, people))
    wrong = list(dict.fromkeys(value for value in values if value != right))
    options = rng.shuffled([right, *rng.sample(wrong, 3)])
    text = _template(rng, attribute, kind, reworded).format(
        n=person.name, p=person.facts["profession"], b=person.facts["birthplace"]
    )
    gold = _gold(world, person, attribute, kind, seed)
    question_id = f"{person.id}-{attribute}-{kind}"
    return Question(question_id, text, tuple(options), options.index(right), gold, person.id)


def _template(rng: RandomStream, attribute: str, kind: Kind, reworded: bool) -> str:
    """Return the template for a question; the split `reworded` has its own templates."""
    phrasings: Phrasings = {**PERSON_ATTRIBUTES, **EMPLOYER_ATTRIBUTES, "name": REVERSE_QUESTIONS}[attribute]
    first = rng.choice(phrasings.reworded) if kind == "reworded" else phrasings.direct
    return rng.choice([other for other in phrasings.reworded if other != first]) if reworded else first


def _gold(world: World, person: Entity, attribute: str, kind: Kind, seed: int) -> tuple[Gold, ...]:
    """Return the gold sentences that imply the answer to a question."""
    if kind == "reverse":
        return _sentences(person, seed, "profession", "birthplace")
    if kind == "two-hop":
        employer = world.employers[person.facts["employer"]]
        return (*_sentences(person, seed, "employer"), *_sentences(employer, seed, attribute))
    return _sentences(person, seed, attribute)


def _sentences(entity: Entity, seed: int, *attributes: str) -> tuple[Gold, ...]:
    document, ranges = describe(entity, seed)
    return tuple(
        Gold(document.id, *ranges[attribute], document.text[slice(*ranges[attribute])]) for attribute in attributes
    )
