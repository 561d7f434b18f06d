"""The fictional names in the world, which are built from syllables, and the values of each attribute.

Every value is a single word, so every answer is a single token for the lab's model.
"""

from dataclasses import dataclass
from functools import cache

from kib_lab.random_stream import RandomStream

__all__ = ["EMBLEMS", "INSTRUMENTS", "PETS", "PRODUCTS", "PROFESSIONS", "Names", "all_names", "values_of"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ONSETS = _words("b br d dr f fl g gr h j k kl l m n p pr r s sk st t tr v w z")
VOWELS = _words("a a e e i o o u u ai")
LINKS = _words("b d g k l m n r s t v z")
CODAS = _words("l ld lm m n nd nt r rk rn sk st x")

PROFESSIONS = _words(
    "baker barber beekeeper blacksmith bookbinder botanist brewer bricklayer butcher carpenter chemist clockmaker "
    "cobbler cook courier dentist diver driver ferryman fisher gardener geologist glassblower goldsmith joiner judge "
    "librarian locksmith mason miller miner nurse painter pilot plumber potter roofer sailor surgeon tailor teacher "
    "translator watchman weaver welder"
)
INSTRUMENTS = _words(
    "banjo bassoon bugle cello clarinet cornet dulcimer fiddle flute gong guitar harmonica harp harpsichord horn lute "
    "lyre mandolin marimba piano piccolo recorder saxophone sitar tambourine triangle trombone trumpet tuba "
    "vibraphone viola violin xylophone zither"
)
PETS = _words(
    "badger beaver budgie camel canary cat chameleon cockatoo crow dachshund deer dog dove duck falcon ferret finch "
    "fox frog gecko goat goose hamster hare hedgehog hen lizard llama magpie mole newt parrot peacock pigeon pony "
    "poodle rabbit raven seal sheep snail sparrow spider squirrel swan tortoise turtle weasel"
)
PRODUCTS = _words(
    "barrels batteries bells bicycles blankets boots bottles bricks buckets buttons candles carpets chairs clocks "
    "combs compasses cushions dolls gloves hammers hats kettles knives ladders lamps lanterns locks mirrors mugs "
    "nails needles ovens pencils pipes ropes scissors spoons stoves tents umbrellas"
)
EMBLEMS = _words(
    "acorn anchor arrow beetle bridge castle clover comet crescent crown dolphin eagle feather fern fountain gate "
    "hive key leaf lighthouse lion moon mountain oak owl pyramid river rose sail shell ship star sun sword thistle "
    "tower tree tulip wave wheel windmill wolf"
)


@dataclass(frozen=True, slots=True)
class Names:
    """Fictional names, grouped by the kind of thing they denote; no name occurs twice."""

    first: tuple[str, ...]
    family: tuple[str, ...]
    town: tuple[str, ...]
    known_employer: tuple[str, ...]
    new_employer: tuple[str, ...]
    language: tuple[str, ...]


def _made_up_name(rng: RandomStream, ending: str) -> str:
    syllables = 1 + rng.below(2)
    body = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(syllables))
    if not ending:
        return (body + rng.choice(CODAS)).capitalize()
    return (body + (rng.choice(LINKS) if ending[0] in "aeio" else "") + ending).capitalize()


@cache
def all_names() -> Names:
    """Return the names used in all worlds; names do not depend on a world's seed, so the vocabulary is fixed."""
    rng = RandomStream("kib-lab", "names")
    used: set[str] = {word.capitalize() for pool in (PROFESSIONS, INSTRUMENTS, PETS) for word in pool}

    def fill(count: int, *endings: str) -> tuple[str, ...]:
        found: list[str] = []
        while len(found) < count:
            name = _made_up_name(rng, rng.choice(endings))
            if len(name) >= 4 and name not in used:
                used.add(name)
                found.append(name)
        return tuple(found)

    return Names(
        first=fill(160, "a", "o", "in", "el", "is"),
        family=fill(320, ""),
        town=fill(48, "burg", "ford", "haven", "stad", "mouth", "wick"),
        known_employer=fill(40, "co", "tec", "works", "corp"),
        new_employer=fill(40, "co", "tec", "works", "corp"),
        language=fill(40, "ish", "ese", "ian"),
    )


def values_of(attribute: str, people: str) -> tuple[str, ...]:
    """Return all possible values of an attribute; employers differ between `known` and `new` people."""
    if attribute == "employer":
        return all_names().known_employer if people == "known" else all_names().new_employer
    if attribute in {"birthplace", "seat"}:
        return all_names().town
    if attribute == "language":
        return all_names().language
    lists = {
        "profession": PROFESSIONS,
        "instrument": INSTRUMENTS,
        "pet": PETS,
        "product": PRODUCTS,
        "emblem": EMBLEMS,
    }
    return lists[attribute]
