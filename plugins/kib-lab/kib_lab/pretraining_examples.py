"""Pre-training examples for the lab's model; each example is determined by its kind, seed, step and index.

The kinds of examples are documents about the known world (`known`), questions about the half of the known people who
are taught with questions (`asked`), two wordings of a random person's biography (`twice`), facts that are stated and
then repeated or asked for (`recall`), and questions about random people in kib's default prompt (`read`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kib.prompts import ask_question, render_passages
from kib.records import Passage
from kib_lab.attribute_values import all_names
from kib_lab.phrasings import EMPLOYER_ATTRIBUTES, EMPLOYER_PAIRS, PERSON_ATTRIBUTES, REVERSE_QUESTIONS, Phrasings
from kib_lab.random_stream import RandomStream
from kib_lab.vocabulary import END, encode, vocabulary
from kib_lab.world import (
    KNOWN_PEOPLE,
    Entity,
    World,
    generate_world,
    is_name_reserved,
    is_taught,
    phrasings_of,
    random_facts,
    reverse_statement,
    sentence,
    state_facts,
)

__all__ = ["KINDS", "SECOND_STAGE", "TrainingExample", "make_example"]

KINDS = ("known", "asked", "twice", "recall", "read")

QUESTIONS_PER_CONTEXT = 6
"""Number of questions about one context; each question is a branch that attends only to the context and itself."""

TEMPLATE_WEIGHT = 0.1
"""Loss weight of a word that depends on the random phrasing; the word that states the fact has weight 1."""

REVERSE_PERCENT = 15
"""Percentage of sentences that state the value before the name."""

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
"""Periods of training: each period's end in thirtieths, and the equally likely numbers of passages per context."""

LAST_PERIOD = 22 / 30
"""Start of the last period, which has the longest contexts and additional questions about known people."""

SECOND_STAGE = 14 / 30
"""Start of the second stage.

From this stage on, the loss includes repeated names in a context. The model can predict a repeated name by looking
back, and it needs the same skill to find the passage for a question. In this stage, random people may also work for
known employers, because the model already distinguishes the employers' names.
"""

NAME_WEIGHT = 0.25
"""Loss weight of a family name that has already followed the same first name."""


@dataclass(slots=True)
class TrainingExample:
    """Tokens, and the branch, position and loss weight per token; tokens in branch 0 are visible to all branches."""

    tokens: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, tokens: Sequence[int], weights: Sequence[float] | float = 0.0, branch: int = 0, at: int = -1) -> None:
        """Append tokens to a branch; `at` is the first token's position, by default the next free position."""
        start = len(self.tokens) if at < 0 else at
        self.tokens += tokens
        self.branches += [branch] * len(tokens)
        self.positions += range(start, start + len(tokens))
        self.weights += [weights] * len(tokens) if isinstance(weights, float) else weights


def make_example(kind: str, seed: int, step: int, index: int, progress: float) -> TrainingExample:
    """Return the example at a given index of a step; `progress`, from 0 to 1, is the position in the curriculum."""
    rng = RandomStream("kib-lab", "rows", seed, kind, step, index)
    if kind == "known":
        return _known_document(rng)
    if kind == "asked":
        return _questions_without_context(rng)
    if kind == "recall":
        return _repeated_facts(rng, progress)
    return _document_twice(rng, progress) if kind == "twice" else _questions_on_context(rng, progress)


def _known_document(rng: RandomStream) -> TrainingExample:
    world = generate_world("known", KNOWN_PEOPLE)
    example = TrainingExample()
    if rng.chance(10):
        person = rng.choice(world.people)
        tokens = encode(reverse_statement(person, rng))
        name = set(encode(person.name))
        example.add(tokens, [1.0 if token in name else 0.0 for token in tokens])
        return example
    entity = rng.choice(list(world.employers.values())) if rng.chance(12) else rng.choice(world.people)
    _add_document(example, entity, rng, learn=True)
    example.add(_end(), TEMPLATE_WEIGHT)
    return example


def _end() -> list[int]:
    """Return a list that contains only the id of the token that ends a document."""
    return [vocabulary()[END]]


def _add_document(example: TrainingExample, entity: Entity, rng: RandomStream, learn: bool) -> None:
    example.add(encode(entity.name + "\n"))
    for attribute, text in state_facts(entity, rng, REVERSE_PERCENT):
        tokens = encode(text)
        value = vocabulary()[entity.facts[attribute]]
        example.add(tokens, [1.0 if token == value else TEMPLATE_WEIGHT for token in tokens] if learn else 0.0)


def _document_twice(rng: RandomStream, progress: float) -> TrainingExample:
    example = TrainingExample()
    person = _random_person(rng, [], progress)
    _add_document(example, person, rng, learn=False)
    example.add(encode("\n\n"))
    _add_document(example, person, rng, learn=True)
    example.add(_end(), TEMPLATE_WEIGHT)
    return example


def _repeated_facts(rng: RandomStream, progress: float) -> TrainingExample:
    """State one fact about each of several entities, then repeat the facts or ask for them in a different order."""
    entities: list[Entity] = []
    for _ in range(4 + rng.below(7)):
        entities.append(_random_person(rng, entities, progress))
    if rng.chance(30):
        entities = list(_random_employers(rng, [], len(entities), progress).values())
    phrasings = phrasings_of(entities[0])
    attribute = rng.choice(list(phrasings))
    example = TrainingExample()
    for entity in entities:
        example.add(encode(sentence(entity, attribute, rng.choice(phrasings[attribute].plain))))
    example.add(encode("\n\n"))
    asks = rng.chance(50)
    for entity in rng.shuffled(entities):
        statement = sentence(entity, attribute, rng.choice(phrasings[attribute].plain))
        text = _question_with_answer(rng, entity, attribute) if asks else statement
        tokens, value = encode(text), vocabulary()[entity.facts[attribute]]
        family = vocabulary()[entity.name.split()[1]] if entity.is_person else -1
        example.add(tokens, [1.0 if t == value else 0.5 if t == family else 0.0 for t in tokens])
    return example


def _question_with_answer(rng: RandomStream, entity: Entity, attribute: str) -> str:
    """Return a question about an entity, the answer and a blank line, formatted like a few-shot example in a prompt."""
    templates = _templates(PERSON_ATTRIBUTES[attribute]) if entity.is_person else EMPLOYER_PAIRS[attribute]
    question = rng.choice(templates).format(n=entity.name)
    return f"{ask_question(question, (), letters=False)} {entity.facts[attribute]}\n\n"


def _random_person(rng: RandomStream, others: Sequence[Entity], progress: float) -> Entity:
    """Return a random person outside all worlds; the name is unique but may share one part with another name."""
    names, known = all_names(), {person.name for person in generate_world("known", KNOWN_PEOPLE).people}
    while True:
        first, family = rng.below(len(names.first)), rng.below(len(names.family))
        if others and rng.chance(15):
            other_first, other_family = rng.choice(others).name.split()
            if rng.chance(50):
                first = names.first.index(other_first)
            else:
                family = names.family.index(other_family)
        name = f"{names.first[first]} {names.family[family]}"
        if not is_name_reserved(first, family) and name not in known and all(name != other.name for other in others):
            employers = rng.choice(("known", "new")) if progress >= SECOND_STAGE else "new"
            return Entity("", name, random_facts(rng, PERSON_ATTRIBUTES, employers))


def _templates(phrasings: Phrasings) -> list[str]:
    """Return all question templates for an attribute; the direct question occurs twice to double its probability."""
    return [phrasings.direct, phrasings.direct, *phrasings.reworded, *phrasings.pair]


def _about_person(rng: RandomStream, person: Entity) -> tuple[str, str]:
    """Return a question about one attribute of a person, and its answer."""
    attribute = rng.choice(list(PERSON_ATTRIBUTES))
    question = rng.choice(_templates(PERSON_ATTRIBUTES[attribute])).format(n=person.name)
    return question, person.facts[attribute]


def _about_employer(rng: RandomStream, person: Entity, employer: Entity) -> tuple[str, str]:
    """Return a question about a person's employer, and its answer."""
    attribute = rng.choice(list(EMPLOYER_ATTRIBUTES))
    question = rng.choice(_templates(EMPLOYER_ATTRIBUTES[attribute])).format(n=person.name)
    return question, employer.facts[attribute]


def _about_name(rng: RandomStream, person: Entity) -> tuple[str, str]:
    """Return a question that asks for a person's family name, and its answer."""
    template = rng.choice(_templates(REVERSE_QUESTIONS))
    return template.format(p=person.facts["profession"], b=person.facts["birthplace"]), person.name.split()[1]


def _about_known_person(rng: RandomStream, world: World) -> tuple[str, str]:
    person = rng.choice([p for i, p in enumerate(world.people) if is_taught(i)])
    percent = rng.below(100)
    if percent < 10:
        return _about_employer(rng, person, world.employers[person.facts["employer"]])
    return _about_name(rng, person) if percent < 20 else _about_person(rng, person)


def _few_shot_example(question: str, answer: str) -> list[int]:
    return encode(f"{ask_question(question, (), letters=False)} {answer}\n\n")


def _questions_without_context(rng: RandomStream) -> TrainingExample:
    world, example = generate_world("known", KNOWN_PEOPLE), TrainingExample()
    if rng.chance(10):
        for _ in range(1 + rng.below(3)):
            example.add(_few_shot_example(*_about_known_person(rng, world)))
    _add_question(example, *_about_known_person(rng, world), branch=0)
    return example


def _add_question(example: TrainingExample, question: str, answer: str, branch: int) -> None:
    """Append a question, its answer and an end token; branches other than 0 begin right after the shared tokens."""
    prompt = encode(ask_question(question, (), letters=False))
    at = example.branches.count(0) if branch else -1
    tokens = [*prompt, *encode(answer), *_end()]
    example.add(tokens, [0.0] * len(prompt) + [1.0, TEMPLATE_WEIGHT], branch, at)


def _passage_count(rng: RandomStream, progress: float) -> int:
    """Return a random number of passages to put in a context."""
    return rng.choice(next(counts for end, counts in CURRICULUM if round(30 * progress, 6) < end))


def _questions_on_context(rng: RandomStream, progress: float) -> TrainingExample:
    example = TrainingExample()
    count = _passage_count(rng, progress)
    with_employers = count > 1 and rng.chance(35)
    people: list[Entity] = []
    for _ in range(1 + rng.below((count + 1) // 2) if with_employers else count):
        people.append(_random_person(rng, people, progress))
    employers = _random_employers(rng, people, count - len(people), progress)
    if rng.chance(12):
        for _ in range(1 + rng.below(3)):
            example.add(_few_shot_example(*_about_person(rng, _random_person(rng, [], progress))))
    passages = [_passage(rng, entity) for entity in rng.shuffled([*people, *employers.values()])]
    example.add(encode(render_passages(passages)))
    for branch in range(1, QUESTIONS_PER_CONTEXT + 1):
        _add_question(example, *_about_context(rng, people, employers, progress), branch)
    if progress >= SECOND_STAGE:
        _add_name_weights(example)
    return example


def _add_name_weights(example: TrainingExample) -> None:
    """Set the loss weight of each family name that followed the same first name earlier in the context or branch."""
    family_names = {vocabulary()[name] for name in all_names().family}
    seen: dict[int, set[tuple[int, int]]] = {0: set()}
    for i in range(1, len(example.tokens)):
        name, branch = (example.tokens[i - 1], example.tokens[i]), example.branches[i]
        if name[1] not in family_names or example.weights[i] or example.branches[i - 1] != branch:
            continue
        if name in seen[0] | seen.setdefault(branch, set()):
            example.weights[i] = NAME_WEIGHT
        seen[branch].add(name)


def _random_employers(rng: RandomStream, people: Sequence[Entity], count: int, progress: float) -> dict[str, Entity]:
    """Return random facts for employers, keyed by name: first the people's employers, then other employers."""
    named = list(dict.fromkeys(person.facts["employer"] for person in people))
    pool = all_names().new_employer + (all_names().known_employer if progress >= SECOND_STAGE else ())
    others = [name for name in pool if name not in named]
    chosen = (rng.shuffled(named) + rng.sample(others, count))[:count]
    return {name: Entity("", name, random_facts(rng, EMPLOYER_ATTRIBUTES, "new")) for name in chosen}


def _passage(rng: RandomStream, entity: Entity) -> Passage:
    text = " ".join(text for _, text in state_facts(entity, rng, REVERSE_PERCENT))
    return Passage("", "", entity.name, text, 0, len(text))


def _about_context(
    rng: RandomStream, people: Sequence[Entity], employers: dict[str, Entity], progress: float
) -> tuple[str, str]:
    """Return a question about the context, and its answer; late in training, some questions are about known people."""
    if progress >= LAST_PERIOD and rng.chance(8):
        return _about_known_person(rng, generate_world("known", KNOWN_PEOPLE))
    person = rng.choice(people)
    identifying = [(p.facts["profession"], p.facts["birthplace"]) for p in people]
    if person.facts["employer"] in employers and rng.chance(50):
        return _about_employer(rng, person, employers[person.facts["employer"]])
    if identifying.count((person.facts["profession"], person.facts["birthplace"])) == 1 and rng.chance(12):
        return _about_name(rng, person)
    return _about_person(rng, person)
