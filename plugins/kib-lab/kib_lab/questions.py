"""The questions of the world: what is asked about a person, with the right answer and where it stands."""

from collections.abc import Iterator
from typing import Literal

from kib.records import Gold, Question
from kib_lab.draw import Draw
from kib_lab.words import EMPLOYER_ATTRIBUTES, PERSON_ATTRIBUTES, REVERSE_QUESTIONS, Phrasings, values
from kib_lab.world import Entity, World, describe

__all__ = ["KINDS", "SPLITS", "Kind", "ask", "split_of"]

Kind = Literal["direct", "reworded", "reverse", "two-hop"]

KINDS: tuple[Kind, ...] = ("direct", "reworded", "reverse", "two-hop")

SPLITS = ("test", "validation", "examples", "reworded")
"""The last asks the test questions in other words, under the same ids."""

BLOCK = 20
"""Of so many pairs of neighbours in the world, one is for examples and two are for validation."""


def split_of(index: int) -> str:
    """The split that a person belongs to, by place in the world; a taught person and one only told of go together."""
    place = index // 2 % BLOCK
    return "examples" if place == 0 else "validation" if place <= 2 else "test"


def ask(lab: World, kind: Kind, seed: int, people: str, split: str) -> Iterator[Question]:
    """Questions about the people of a split, each attribute once a person, neighbours asked for different ones."""
    again = split == "reworded"
    chosen = [(i, person) for i, person in enumerate(lab.people) if split_of(i) == ("test" if again else split)]
    asked = {"reverse": ["name"], "two-hop": list(EMPLOYER_ATTRIBUTES)}.get(kind, list(PERSON_ATTRIBUTES))
    for turn in range(len(asked)):
        for i, person in chosen:
            attribute = asked[(turn + i) % len(asked)]
            yield _question(lab, person, attribute, kind, seed, people, again)


def _question(lab: World, person: Entity, attribute: str, kind: Kind, seed: int, people: str, again: bool) -> Question:
    draw = Draw("kib-lab", "question", person.id, attribute, kind, seed)
    if kind == "reverse":
        right, pool = person.name.split()[1], [other.name.split()[1] for other in lab.people]
    elif kind == "two-hop":
        employer = lab.employers[person.facts["employer"]]
        right, pool = employer.facts[attribute], list(values(attribute, people))
    else:
        right, pool = person.facts[attribute], list(values(attribute, people))
    others = list(dict.fromkeys(value for value in pool if value != right))
    options = draw.shuffled([right, *draw.sample(others, 3)])
    text = _wording(draw, attribute, kind, again).format(
        n=person.name, p=person.facts["profession"], b=person.facts["birthplace"]
    )
    gold = _gold(lab, person, attribute, kind, seed)
    name = f"{person.id}-{attribute}-{kind}"
    return Question(name, text, tuple(options), options.index(right), gold, person.id)


def _wording(draw: Draw, attribute: str, kind: Kind, again: bool) -> str:
    """The wording of a question, or, where it is asked again, another one."""
    wording: Phrasings = {**PERSON_ATTRIBUTES, **EMPLOYER_ATTRIBUTES, "name": REVERSE_QUESTIONS}[attribute]
    first = draw.choice(wording.reworded) if kind == "reworded" else wording.direct
    return draw.choice([other for other in wording.reworded if other != first]) if again else first


def _gold(lab: World, person: Entity, attribute: str, kind: Kind, seed: int) -> tuple[Gold, ...]:
    """The sentence of each fact that the answer follows from."""
    if kind == "reverse":
        return _range(person, seed, "profession", "birthplace")
    if kind == "two-hop":
        employer = lab.employers[person.facts["employer"]]
        return (*_range(person, seed, "employer"), *_range(employer, seed, attribute))
    return _range(person, seed, attribute)


def _range(entity: Entity, seed: int, *attributes: str) -> tuple[Gold, ...]:
    document, ranges = describe(entity, seed)
    return tuple(Gold(document.id, *ranges[attribute]) for attribute in attributes)
