"""The sentences that state the facts about the world, and the questions that ask for these facts."""

from dataclasses import dataclass

__all__ = [
    "EMPLOYER_ATTRIBUTES",
    "EMPLOYER_PAIRS",
    "PERSON_ATTRIBUTES",
    "REVERSE_QUESTIONS",
    "REVERSE_STATEMENTS",
    "Phrasings",
]


@dataclass(frozen=True, slots=True)
class Phrasings:
    """The sentences and questions for one attribute, with `{n}` for the name and, in sentences, `{v}` for the value.

    `plain` sentences state the name before the value; `reverse` sentences state the value before the name. Tests use
    the `direct` question and, as paraphrases, the `reworded` questions. Only training pairs use the `pair` questions.
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
"""The attributes of a person; a change in their order would change the world."""

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
"""The attributes of an employer; questions about them name a person instead of the employer (two hops)."""

REVERSE_STATEMENTS = ("The {p} born in {b} is {n}.", "The {p} from {b} is called {n}.")
"""Sentences that identify a person by profession and birthplace, which together are unique in the world."""

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
"""Questions that name the employer, for training pairs only."""
