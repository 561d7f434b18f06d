"""The world: people with six attributes, employers with three, and the documents that tell of them.

`known` people are those that the lab's model was taught; there is one set of them. `new` people follow from a seed.
Names are reserved: those of new people never occur in the model's pre-training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from kib.records import Document
from kib_lab.draw import Draw
from kib_lab.words import EMPLOYER_ATTRIBUTES, PERSON_ATTRIBUTES, REVERSE_STATEMENTS, Phrasings, names, values

__all__ = [
    "KNOWN",
    "MOST_NEW",
    "Entity",
    "People",
    "World",
    "describe",
    "is_taught",
    "name_is_reserved",
    "phrasings",
    "random_facts",
    "reverse_statement",
    "sentence",
    "tell",
    "world",
]

People = Literal["known", "new"]

KNOWN = 400
"""How many people the model was taught."""

MOST_NEW = 1000
"""How many new people a world holds at most; beyond that professions and birthplaces would not single them out."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A person or an employer: what the documents say of it."""

    id: str
    name: str
    facts: Mapping[str, str]

    @property
    def is_person(self) -> bool:
        """Say whether its facts are a person's; an entity may hold some of them only."""
        return not self.facts.keys() & EMPLOYER_ATTRIBUTES.keys()


@dataclass(frozen=True, slots=True)
class World:
    """People and the employers that they work for, by name."""

    people: tuple[Entity, ...]
    employers: Mapping[str, Entity]


def name_is_reserved(first: int, family: int) -> bool:
    """Say whether the name made of these two places is kept for new people; a quarter of all names are."""
    return (first + family) % 4 == 0


def is_taught(index: int) -> bool:
    """Say whether the model saw questions about the known person of this number; of the others biographies alone."""
    return index % 2 == 0


def random_facts(draw: Draw, attributes: Mapping[str, Phrasings], people: str) -> dict[str, str]:
    """A value for each attribute, each equally likely."""
    return {attribute: draw.choice(values(attribute, people)) for attribute in attributes}


def _people(draw: Draw, people: People, count: int, taken: set[tuple[str, str]]) -> tuple[Entity, ...]:
    """`count` people; no two share a name, or both profession and birthplace (`taken`, which grows)."""
    words = names()
    found: list[Entity] = []
    used: set[str] = set()
    while len(found) < count:
        first, family = draw.below(len(words.first)), draw.below(len(words.family))
        name = f"{words.first[first]} {words.family[family]}"
        facts = random_facts(draw, PERSON_ATTRIBUTES, people)
        mark = (facts["profession"], facts["birthplace"])
        if name_is_reserved(first, family) != (people == "new") or name in used or mark in taken:
            continue
        used.add(name)
        taken.add(mark)
        found.append(Entity(f"{people}-{len(found):04d}", name, facts))
    return tuple(found)


@cache
def world(people: People, count: int, seed: int = 0) -> World:
    """The first `count` known people, or new people of a seed, and all employers of that kind.

    The first people of a larger world are those of a smaller one. The known world has no seed but 0.
    """
    taken: set[tuple[str, str]] = set()
    if people == "new":
        taken = {(p.facts["profession"], p.facts["birthplace"]) for p in world("known", KNOWN).people}
    found = _people(Draw("kib-lab", "people", people, seed), people, count, taken)
    draw = Draw("kib-lab", "employers", people, seed)
    employers = {
        name: Entity(f"{people}-employer-{i:02d}", name, random_facts(draw, EMPLOYER_ATTRIBUTES, people))
        for i, name in enumerate(values("employer", people))
    }
    return World(found, employers)


def sentence(entity: Entity, attribute: str, template: str) -> str:
    """A phrasing of one fact; the attribute "reverse" is profession and birthplace together."""
    if attribute == "reverse":
        return template.format(n=entity.name, p=entity.facts["profession"], b=entity.facts["birthplace"])
    return template.format(n=entity.name, v=entity.facts[attribute])


def phrasings(entity: Entity) -> Mapping[str, Phrasings]:
    """The attributes of an entity with their phrasings."""
    return PERSON_ATTRIBUTES if entity.is_person else EMPLOYER_ATTRIBUTES


def tell(entity: Entity, draw: Draw, reverse: int = 0) -> list[tuple[str, str]]:
    """Attribute and sentence of every fact in random order and wording; `reverse` percent tell the value first."""
    told = []
    for attribute, wording in phrasings(entity).items():
        templates = wording.reverse if reverse and draw.chance(reverse) else wording.plain
        told.append((attribute, sentence(entity, attribute, draw.choice(templates))))
    return draw.shuffled(told)


def describe(entity: Entity, seed: int) -> tuple[Document, dict[str, tuple[int, int]]]:
    """The document of a person or employer, and the character range of each fact in it."""
    told = tell(entity, Draw("kib-lab", "document", entity.id, seed))
    ranges, start = {}, 0
    for attribute, text in told:
        ranges[attribute] = (start, start + len(text))
        start += len(text) + 1
    text = " ".join(text for _, text in told)
    return Document(entity.id, entity.name, text, "kib-lab", "CC0-1.0"), ranges


def reverse_statement(entity: Entity, draw: Draw) -> str:
    """A sentence that names a person by profession and birthplace."""
    return sentence(entity, "reverse", draw.choice(REVERSE_STATEMENTS))
