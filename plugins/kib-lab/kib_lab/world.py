"""The world: people with six attributes, employers with three attributes, and a document about each entity.

The lab's model is pre-trained on the single set of `known` people. `new` people are generated from a seed; their names
are reserved and never occur in the pre-training data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from kib.records import Document
from kib_lab.attribute_values import all_names, values_of
from kib_lab.phrasings import EMPLOYER_ATTRIBUTES, PERSON_ATTRIBUTES, REVERSE_STATEMENTS, Phrasings
from kib_lab.random_stream import RandomStream

__all__ = [
    "KNOWN_PEOPLE",
    "MAX_NEW_PEOPLE",
    "Entity",
    "People",
    "World",
    "describe",
    "generate_world",
    "is_name_reserved",
    "is_taught",
    "phrasings_of",
    "random_facts",
    "reverse_statement",
    "sentence",
    "state_facts",
]

People = Literal["known", "new"]

KNOWN_PEOPLE = 400
"""The number of known people."""

MAX_NEW_PEOPLE = 1000
"""The maximum number of new people, up to which a profession and a birthplace identify a single person."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A person or an employer: the subject of a document."""

    id: str
    name: str
    facts: Mapping[str, str]

    @property
    def is_person(self) -> bool:
        """Whether the entity is a person, that is, has no attributes of an employer."""
        return not self.facts.keys() & EMPLOYER_ATTRIBUTES.keys()


@dataclass(frozen=True, slots=True)
class World:
    """The people in a world, and a mapping from the employers' names to the employers."""

    people: tuple[Entity, ...]
    employers: Mapping[str, Entity]


def is_name_reserved(first: int, family: int) -> bool:
    """Return whether a name, given by the indices of its parts, is in the quarter of names reserved for new people."""
    return (first + family) % 4 == 0


def is_taught(index: int) -> bool:
    """Return whether pre-training includes questions about the known person at this index, not just biographies."""
    return index % 2 == 0


def random_facts(rng: RandomStream, attributes: Mapping[str, Phrasings], people: str) -> dict[str, str]:
    """Return a mapping from each attribute to a uniformly random value."""
    return {attribute: rng.choice(values_of(attribute, people)) for attribute in attributes}


def _generate_people(rng: RandomStream, people: People, count: int, used: set[tuple[str, str]]) -> tuple[Entity, ...]:
    """Return `count` people with unique names and unique profession-birthplace pairs, and add the pairs to `used`."""
    names = all_names()
    generated: list[Entity] = []
    used_names: set[str] = set()
    while len(generated) < count:
        first, family = rng.below(len(names.first)), rng.below(len(names.family))
        name = f"{names.first[first]} {names.family[family]}"
        facts = random_facts(rng, PERSON_ATTRIBUTES, people)
        identifying = (facts["profession"], facts["birthplace"])
        if is_name_reserved(first, family) != (people == "new") or name in used_names or identifying in used:
            continue
        used_names.add(name)
        used.add(identifying)
        generated.append(Entity(f"{people}-{len(generated):04d}", name, facts))
    return tuple(generated)


@cache
def generate_world(people: People, count: int, seed: int = 0) -> World:
    """Return a world of `count` people, known or generated from a seed, and all employers of the same kind.

    A larger world begins with the people from any smaller world with the same seed. The seed of the known world is
    always 0.
    """
    used: set[tuple[str, str]] = set()
    if people == "new":
        known = generate_world("known", KNOWN_PEOPLE).people
        used = {(person.facts["profession"], person.facts["birthplace"]) for person in known}
    generated = _generate_people(RandomStream("kib-lab", "people", people, seed), people, count, used)
    rng = RandomStream("kib-lab", "employers", people, seed)
    employers = {
        name: Entity(f"{people}-employer-{i:02d}", name, random_facts(rng, EMPLOYER_ATTRIBUTES, people))
        for i, name in enumerate(values_of("employer", people))
    }
    return World(generated, employers)


def sentence(entity: Entity, attribute: str, template: str) -> str:
    """Fill a template with a fact or, for the attribute "reverse", with the profession and birthplace."""
    if attribute == "reverse":
        return template.format(n=entity.name, p=entity.facts["profession"], b=entity.facts["birthplace"])
    return template.format(n=entity.name, v=entity.facts[attribute])


def phrasings_of(entity: Entity) -> Mapping[str, Phrasings]:
    """Return an entity's attributes with their phrasings."""
    return PERSON_ATTRIBUTES if entity.is_person else EMPLOYER_ATTRIBUTES


def state_facts(entity: Entity, rng: RandomStream, reverse: int = 0) -> list[tuple[str, str]]:
    """Return the entity's attributes, each with a sentence in a random wording, in random order.

    `reverse` is the percentage of sentences that state the value before the name.
    """
    stated = []
    for attribute, phrasings in phrasings_of(entity).items():
        templates = phrasings.reverse if reverse and rng.chance(reverse) else phrasings.plain
        stated.append((attribute, sentence(entity, attribute, rng.choice(templates))))
    return rng.shuffled(stated)


def describe(entity: Entity, seed: int) -> tuple[Document, dict[str, tuple[int, int]]]:
    """Return the document about an entity, and the character range of each attribute's sentence in the document."""
    stated = state_facts(entity, RandomStream("kib-lab", "document", entity.id, seed))
    ranges, start = {}, 0
    for attribute, text in stated:
        ranges[attribute] = (start, start + len(text))
        start += len(text) + 1
    text = " ".join(text for _, text in stated)
    return Document(entity.id, entity.name, text, "kib-lab", "CC0-1.0"), ranges


def reverse_statement(entity: Entity, rng: RandomStream) -> str:
    """Return a sentence that identifies a person by profession and birthplace."""
    return sentence(entity, "reverse", rng.choice(REVERSE_STATEMENTS))
