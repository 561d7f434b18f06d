"""The words of the world: made-up names from syllables, values of each attribute, and the phrasings of a fact.

Every value is one word, so that every answer is one token of the lab's model.
"""

from dataclasses import dataclass
from functools import cache

from kib_lab.draw import Draw

__all__ = [
    "EMPLOYER_ATTRIBUTES",
    "EMPLOYER_PAIRS",
    "PERSON_ATTRIBUTES",
    "REVERSE_QUESTIONS",
    "REVERSE_STATEMENTS",
    "Names",
    "Phrasings",
    "names",
    "values",
]


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
class Phrasings:
    """How one attribute is told and asked; `{n}` is the name, `{v}` the value, both always present where told.

    `plain` tells name before value, `reverse` value before name. `direct` is the question tests ask, `reworded` the
    other wordings tests ask, `pair` those kept for training pairs.
    """

    plain: tuple[str, ...]
    reverse: tuple[str, ...]
    direct: str = ""
    reworded: tuple[str, ...] = ()
    pair: tuple[str, ...] = ()


PERSON_ATTRIBUTES: dict[str, Phrasings] = {
    "employer": Phrasings(
        ("{n} works for {v}.", "{n} is employed by {v}.", "{n} has a job at {v}.", "The employer of {n} is {v}."),
        ("{v} employs {n}.", "{v} pays the wages of {n}."),
        "Which company does {n} work for?",
        ("At which company is {n} employed?", "What is the employer of {n}?"),
        ("Name the company where {n} has a job.", "Who pays the wages of {n}?"),
    ),
    "birthplace": Phrasings(
        ("{n} was born in {v}.", "{n} comes from {v}.", "The birthplace of {n} is {v}.", "{n} is a native of {v}."),
        ("{v} is the birthplace of {n}.", "{v} is the town where {n} was born."),
        "Where was {n} born?",
        ("What is the birthplace of {n}?", "Which town does {n} come from?"),
        ("Name the town where {n} was born.", "Of which town is {n} a native?"),
    ),
    "profession": Phrasings(
        ("{n} is a {v}.", "{n} was trained as a {v}.", "The profession of {n} is {v}.", "{n} is a {v} by trade."),
        ("The trade of a {v} is what {n} learned.", "A {v} is what {n} became."),
        "What is the profession of {n}?",
        ("What was {n} trained as?", "What is {n} by trade?"),
        ("Name the profession of {n}.", "Which trade did {n} learn?"),
    ),
    "instrument": Phrasings(
        ("{n} plays the {v}.", "{n} makes music on the {v}.", "The instrument of {n} is the {v}.", "{n} owns a {v}."),
        ("The {v} is played by {n}.", "The {v} is the instrument of {n}."),
        "Which instrument does {n} play?",
        ("What does {n} make music on?", "What is the instrument of {n}?"),
        ("Name the instrument of {n}.", "Which instrument does {n} own?"),
    ),
    "language": Phrasings(
        ("{n} speaks {v}.", "{n} is fluent in {v}.", "The language of {n} is {v}.", "{n} writes letters in {v}."),
        ("{v} is spoken by {n}.", "{v} is the language of {n}."),
        "Which language does {n} speak?",
        ("In which language is {n} fluent?", "What is the language of {n}?"),
        ("Name the language of {n}.", "In which language does {n} write letters?"),
    ),
    "pet": Phrasings(
        ("{n} keeps a {v}.", "{n} lives with a {v}.", "The pet of {n} is a {v}.", "{n} feeds a {v}."),
        ("A {v} is the pet of {n}.", "A {v} is fed by {n}."),
        "Which pet does {n} keep?",
        ("What is the pet of {n}?", "Which animal does {n} live with?"),
        ("Name the pet of {n}.", "Which animal does {n} feed?"),
    ),
}
"""The attributes of a person, in the order of the world."""

EMPLOYER_ATTRIBUTES: dict[str, Phrasings] = {
    "seat": Phrasings(
        ("{n} is based in {v}.", "The seat of {n} is {v}.", "{n} has its offices in {v}."),
        ("{v} is the seat of {n}.", "{v} is home to {n}."),
        "Where is the employer of {n} based?",
        ("In which town is the company that {n} works for?", "What is the seat of the employer of {n}?"),
        ("Name the seat of the employer of {n}.", "In which town are the offices of the employer of {n}?"),
    ),
    "product": Phrasings(
        ("{n} makes {v}.", "{n} produces {v}.", "{n} sells {v}."),
        ("The {v} of the region are made by {n}.", "All {v} here are sold by {n}."),
        "What does the employer of {n} make?",
        ("What does the company that {n} works for produce?", "What is sold by the employer of {n}?"),
        ("Name the goods that the employer of {n} sells.", "Which goods does the employer of {n} produce?"),
    ),
    "emblem": Phrasings(
        ("The emblem of {n} is the {v}.", "The flag of {n} shows the {v}.", "{n} has chosen the {v} as its emblem."),
        ("The {v} is the emblem of {n}.", "The {v} stands on the flag of {n}."),
        "What is the emblem of the employer of {n}?",
        ("What does the flag of the employer of {n} show?", "Which emblem does the company that {n} works for have?"),
        ("Name the emblem of the employer of {n}.", "What stands on the flag of the employer of {n}?"),
    ),
}
"""The attributes of an employer; their questions are asked about a person, over two hops."""

REVERSE_STATEMENTS = ("The {p} born in {b} is {n}.", "The {p} from {b} is called {n}.")
"""Profession and birthplace together name one person of the world."""

REVERSE_QUESTIONS = Phrasings(
    (),
    (),
    "What is the family name of the {p} born in {b}?",
    ("What is the {p} from {b} called?", "Who is the {p} that was born in {b}?"),
    ("Name the {p} born in {b}.", "Who is the {p} from {b}?"),
)


EMPLOYER_PAIRS = {
    "seat": (
        "Where is {n} based?",
        "What is the seat of {n}?",
        "In which town are the offices of {n}?",
        "Which town is home to {n}?",
    ),
    "product": ("What does {n} make?", "What does {n} produce?", "What is sold by {n}?", "What is made by {n}?"),
    "emblem": (
        "What is the emblem of {n}?",
        "What does the flag of {n} show?",
        "Which emblem does {n} have?",
        "What stands on the flag of {n}?",
    ),
}
"""Training pairs about an employer itself; no test asks them."""


@dataclass(frozen=True, slots=True)
class Names:
    """Made-up words by what they name; no word twice."""

    first: tuple[str, ...]
    family: tuple[str, ...]
    town: tuple[str, ...]
    known_employer: tuple[str, ...]
    new_employer: tuple[str, ...]
    language: tuple[str, ...]


def _word(draw: Draw, ending: str) -> str:
    syllables = 1 + draw.below(2)
    body = "".join(draw.choice(ONSETS) + draw.choice(VOWELS) for _ in range(syllables))
    if not ending:
        return (body + draw.choice(CODAS)).capitalize()
    return (body + (draw.choice(LINKS) if ending[0] in "aeio" else "") + ending).capitalize()


@cache
def names() -> Names:
    """The made-up words of every world; they do not depend on a world's seed, so that the vocabulary is fixed."""
    draw = Draw("kib-lab", "names")
    taken: set[str] = {word.capitalize() for pool in (PROFESSIONS, INSTRUMENTS, PETS) for word in pool}

    def fill(count: int, *endings: str) -> tuple[str, ...]:
        found: list[str] = []
        while len(found) < count:
            word = _word(draw, draw.choice(endings))
            if len(word) >= 4 and word not in taken:
                taken.add(word)
                found.append(word)
        return tuple(found)

    return Names(
        first=fill(160, "a", "o", "in", "el", "is"),
        family=fill(320, ""),
        town=fill(48, "burg", "ford", "haven", "stad", "mouth", "wick"),
        known_employer=fill(40, "co", "tec", "works", "corp"),
        new_employer=fill(40, "co", "tec", "works", "corp"),
        language=fill(40, "ish", "ese", "ian"),
    )


def values(attribute: str, people: str) -> tuple[str, ...]:
    """All values of an attribute; "known" and "new" people differ in their employers."""
    if attribute == "employer":
        return names().known_employer if people == "known" else names().new_employer
    if attribute in {"birthplace", "seat"}:
        return names().town
    if attribute == "language":
        return names().language
    lists = {
        "profession": PROFESSIONS,
        "instrument": INSTRUMENTS,
        "pet": PETS,
        "product": PRODUCTS,
        "emblem": EMBLEMS,
    }
    return lists[attribute]
