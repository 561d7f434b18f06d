"""The rows that the lab's model is pre-trained on, each a function of a seed, a step and a place.

Four kinds: documents of the known world (`known`), questions about half of its people (`asked`), a stranger's
biography told twice (`twice`), and questions about strangers in kib's own prompt (`read`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kib.prompts import ask_question, render_passages
from kib.records import Passage
from kib_lab.draw import Draw
from kib_lab.vocabulary import END, encode, vocabulary
from kib_lab.words import EMPLOYER_ATTRIBUTES, EMPLOYER_PAIRS, PERSON_ATTRIBUTES, REVERSE_QUESTIONS, Phrasings, names
from kib_lab.world import (
    KNOWN,
    Entity,
    World,
    is_taught,
    name_is_reserved,
    phrasings,
    random_facts,
    reverse_statement,
    sentence,
    tell,
    world,
)

__all__ = ["KINDS", "SECOND", "Row", "make_row"]

KINDS = ("known", "asked", "twice", "recall", "read")

BRANCHES = 6
"""Questions asked of one context. Each sees the context and itself alone, as if it had been asked by itself."""

TEMPLATE_WEIGHT = 0.1
"""Weight in the loss of a word that depends on the phrasing drawn; a fact's own word has 1."""

REVERSE = 15
"""Percent of sentences that tell the value before the name."""

CURRICULUM = (
    (4, (1,)),
    (8, (1, 2)),
    (12, (1, 2, 3)),
    (14, (1, 2, 3, 4)),
    (17, (1, 2, 2, 2)),
    (19, (2, 2, 3, 3)),
    (22, (2, 3, 3, 4)),
    (30, (1, 2, 3, 3, 4, 4, 5, 5, 6)),
)
"""Until which thirtieth of the way a context has how many passages, each number as often as it stands there."""

LAST = 22 / 30
"""Where contexts become as long as they get, and questions about known people are mixed in."""

SECOND = 14 / 30
"""Where the second stage begins: names in a context are learned too (one that stood there before can be foretold by
looking back, which is how a question finds its passage), and strangers also work for known employers, whose names the
model tells apart already."""

NAME_WEIGHT = 0.25
"""Weight in the loss of a family name that stood after the same first name before."""


@dataclass(slots=True)
class Row:
    """Tokens with the branch (0: seen by all), position and loss weight of each."""

    tokens: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, tokens: Sequence[int], weights: Sequence[float] | float = 0.0, branch: int = 0, at: int = -1) -> None:
        """Append tokens of a branch; `at` is the position of the first, by default the next."""
        start = len(self.tokens) if at < 0 else at
        self.tokens += tokens
        self.branches += [branch] * len(tokens)
        self.positions += range(start, start + len(tokens))
        self.weights += [weights] * len(tokens) if isinstance(weights, float) else weights


def make_row(kind: str, seed: int, step: int, place: int, progress: float) -> Row:
    """One row; `progress` from 0 to 1 is how far the curriculum has come."""
    draw = Draw("kib-lab", "rows", seed, kind, step, place)
    if kind == "known":
        return _known(draw)
    if kind == "asked":
        return _asked(draw)
    if kind == "recall":
        return _recall(draw, progress)
    return _twice(draw, progress) if kind == "twice" else _read(draw, progress)


def _known(draw: Draw) -> Row:
    lab = world("known", KNOWN)
    row = Row()
    if draw.chance(10):
        person = draw.choice(lab.people)
        text = encode(reverse_statement(person, draw))
        name = set(encode(person.name))
        row.add(text, [1.0 if token in name else 0.0 for token in text])
        return row
    entity = draw.choice(list(lab.employers.values())) if draw.chance(12) else draw.choice(lab.people)
    _add_document(row, entity, draw, learn=True)
    row.add(encode_end(), TEMPLATE_WEIGHT)
    return row


def encode_end() -> list[int]:
    """The token that ends a document."""
    return [vocabulary()[END]]


def _add_document(row: Row, entity: Entity, draw: Draw, learn: bool) -> None:
    row.add(encode(entity.name + "\n"))
    for attribute, text in tell(entity, draw, REVERSE):
        tokens = encode(text)
        value = vocabulary()[entity.facts[attribute]]
        row.add(tokens, [1.0 if token == value else TEMPLATE_WEIGHT for token in tokens] if learn else 0.0)


def _twice(draw: Draw, progress: float) -> Row:
    row = Row()
    person = stranger(draw, [], progress)
    _add_document(row, person, draw, learn=False)
    row.add(encode("\n\n"))
    _add_document(row, person, draw, learn=True)
    row.add(encode_end(), TEMPLATE_WEIGHT)
    return row


def _recall(draw: Draw, progress: float) -> Row:
    """One fact of each of several strangers or employers, then the same facts told or asked for in another order."""
    company: list[Entity] = []
    for _ in range(4 + draw.below(7)):
        company.append(stranger(draw, company, progress))
    if draw.chance(30):
        company = list(_employers(draw, [], len(company), progress).values())
    told = phrasings(company[0])
    attribute = draw.choice(list(told))
    row = Row()
    for entity in company:
        row.add(encode(sentence(entity, attribute, draw.choice(told[attribute].plain))))
    row.add(encode("\n\n"))
    asks = draw.chance(50)
    for entity in draw.shuffled(company):
        statement = sentence(entity, attribute, draw.choice(told[attribute].plain))
        text = _question_of(draw, entity, attribute) if asks else statement
        tokens, value = encode(text), vocabulary()[entity.facts[attribute]]
        family = vocabulary()[entity.name.split()[1]] if entity.is_person else -1
        row.add(tokens, [1.0 if t == value else 0.5 if t == family else 0.0 for t in tokens])
    return row


def _question_of(draw: Draw, entity: Entity, attribute: str) -> str:
    """A question for an entity's own fact with its answer and an empty line, as an example before a question stands."""
    asked = wordings(PERSON_ATTRIBUTES[attribute]) if entity.is_person else EMPLOYER_PAIRS[attribute]
    question = draw.choice(asked).format(n=entity.name)
    return f"{ask_question(question, (), letters=False)} {entity.facts[attribute]}\n\n"


def stranger(draw: Draw, company: Sequence[Entity], progress: float) -> Entity:
    """A person of no world; sometimes shares a name with one of the company, never with a known or a new person."""
    words, known = names(), {person.name for person in world("known", KNOWN).people}
    while True:
        first, family = draw.below(len(words.first)), draw.below(len(words.family))
        if company and draw.chance(15):
            one, two = draw.choice(company).name.split()
            first, family = (words.first.index(one), family) if draw.chance(50) else (first, words.family.index(two))
        name = f"{words.first[first]} {words.family[family]}"
        if not name_is_reserved(first, family) and name not in known and all(name != other.name for other in company):
            employers = draw.choice(("known", "new")) if progress >= SECOND else "new"
            return Entity("", name, random_facts(draw, PERSON_ATTRIBUTES, employers))


def wordings(phrasings: Phrasings) -> list[str]:
    """All ways to ask; the direct one twice as often."""
    return [phrasings.direct, phrasings.direct, *phrasings.reworded, *phrasings.pair]


def ask_about(draw: Draw, person: Entity) -> tuple[str, str]:
    """A question about one attribute of a person, and its answer."""
    attribute = draw.choice(list(PERSON_ATTRIBUTES))
    question = draw.choice(wordings(PERSON_ATTRIBUTES[attribute])).format(n=person.name)
    return question, person.facts[attribute]


def ask_employer(draw: Draw, person: Entity, employer: Entity) -> tuple[str, str]:
    """A question about a person's employer, and its answer."""
    attribute = draw.choice(list(EMPLOYER_ATTRIBUTES))
    question = draw.choice(wordings(EMPLOYER_ATTRIBUTES[attribute])).format(n=person.name)
    return question, employer.facts[attribute]


def ask_name(draw: Draw, person: Entity) -> tuple[str, str]:
    """A question for the family name of a person, and its answer."""
    template = draw.choice(wordings(REVERSE_QUESTIONS))
    return template.format(p=person.facts["profession"], b=person.facts["birthplace"]), person.name.split()[1]


def _ask_known(draw: Draw, lab: World) -> tuple[str, str]:
    person = draw.choice([p for i, p in enumerate(lab.people) if is_taught(i)])
    die = draw.below(100)
    if die < 10:
        return ask_employer(draw, person, lab.employers[person.facts["employer"]])
    return ask_name(draw, person) if die < 20 else ask_about(draw, person)


def _example(question: str, answer: str) -> list[int]:
    return encode(f"{ask_question(question, (), letters=False)} {answer}\n\n")


def _asked(draw: Draw) -> Row:
    lab, row = world("known", KNOWN), Row()
    if draw.chance(10):
        for _ in range(1 + draw.below(3)):
            row.add(_example(*_ask_known(draw, lab)))
    _add_question(row, *_ask_known(draw, lab), branch=0)
    return row


def _add_question(row: Row, question: str, answer: str, branch: int) -> None:
    """Append question, answer and end; in a branch right after what all branches see."""
    asked = encode(ask_question(question, (), letters=False))
    at = row.branches.count(0) if branch else -1
    tokens = [*asked, *encode(answer), *encode_end()]
    row.add(tokens, [0.0] * len(asked) + [1.0, TEMPLATE_WEIGHT], branch, at)


def _crowd(draw: Draw, progress: float) -> int:
    """How many passages a context has."""
    return draw.choice(next(counts for end, counts in CURRICULUM if round(30 * progress, 6) < end))


def _read(draw: Draw, progress: float) -> Row:
    row = Row()
    count = _crowd(draw, progress)
    with_employers = count > 1 and draw.chance(35)
    people: list[Entity] = []
    for _ in range(1 + draw.below((count + 1) // 2) if with_employers else count):
        people.append(stranger(draw, people, progress))
    employers = _employers(draw, people, count - len(people), progress)
    if draw.chance(12):
        for _ in range(1 + draw.below(3)):
            row.add(_example(*ask_about(draw, stranger(draw, [], progress))))
    passages = [_passage(draw, entity) for entity in draw.shuffled([*people, *employers.values()])]
    row.add(encode(render_passages(passages)))
    for branch in range(1, BRANCHES + 1):
        _add_question(row, *_ask_stranger(draw, people, employers, progress), branch)
    if progress >= SECOND:
        _learn_names(row)
    return row


def _learn_names(row: Row) -> None:
    """Give weight to each family name that stood after the same first name before, in the context or its branch."""
    family = {vocabulary()[name] for name in names().family}
    seen: dict[int, set[tuple[int, int]]] = {0: set()}
    for i in range(1, len(row.tokens)):
        pair, branch = (row.tokens[i - 1], row.tokens[i]), row.branches[i]
        if pair[1] not in family or row.weights[i] or row.branches[i - 1] != branch:
            continue
        if pair in seen[0] | seen.setdefault(branch, set()):
            row.weights[i] = NAME_WEIGHT
        seen[branch].add(pair)


def _employers(draw: Draw, people: Sequence[Entity], count: int, progress: float) -> dict[str, Entity]:
    """Employers with facts of this row alone: first those of the people, then others."""
    wanted = list(dict.fromkeys(person.facts["employer"] for person in people))
    pool = names().new_employer + (names().known_employer if progress >= SECOND else ())
    others = [name for name in pool if name not in wanted]
    chosen = (draw.shuffled(wanted) + draw.sample(others, count))[:count]
    return {name: Entity("", name, random_facts(draw, EMPLOYER_ATTRIBUTES, "new")) for name in chosen}


def _passage(draw: Draw, entity: Entity) -> Passage:
    told = [text for _, text in tell(entity, draw, REVERSE)]
    text = " ".join(told)
    return Passage("", "", entity.name, text, 0, len(text))


def _ask_stranger(
    draw: Draw, people: Sequence[Entity], employers: dict[str, Entity], progress: float
) -> tuple[str, str]:
    """A question whose answer stands in the context, or, later on and rarely, one about a person the model knows."""
    if progress >= LAST and draw.chance(8):
        return _ask_known(draw, world("known", KNOWN))
    person = draw.choice(people)
    marks = [(p.facts["profession"], p.facts["birthplace"]) for p in people]
    if person.facts["employer"] in employers and draw.chance(50):
        return ask_employer(draw, person, employers[person.facts["employer"]])
    if marks.count((person.facts["profession"], person.facts["birthplace"])) == 1 and draw.chance(12):
        return ask_name(draw, person)
    return ask_about(draw, person)
