"""The writer `lab`, which restates a passage's facts in a different wording and order, or as question-answer pairs."""

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from typing import ClassVar, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.interfaces import Options
from kib.records import Passage, Text
from kib_lab.phrasings import EMPLOYER_ATTRIBUTES, EMPLOYER_PAIRS, PERSON_ATTRIBUTES, REVERSE_QUESTIONS
from kib_lab.random_stream import RandomStream
from kib_lab.world import Entity, phrasings_of, reverse_statement, sentence

__all__ = ["LabWriter", "WriterOptions", "parse_passage"]

MAX_REPETITIONS = 200
"""The number of consecutive draws without a new paraphrase after which the writer gives up on a passage."""


class WriterOptions(Options):
    """The options that a `[writers.NAME]` table with `plugin = "lab"` may contain."""

    reword: bool = Field(True, description="word each fact in one of several ways")
    reorder: bool = Field(True, description="state the facts in random order")
    reverse: bool = Field(False, description="put the value before the name in about half of the facts")
    pairs: bool = Field(
        False,
        description=(
            "also write as many question-answer pairs as paraphrases, worded differently from all test questions"
        ),
    )

    @model_validator(mode="after")
    def _writes_something(self) -> Self:
        if not (self.reword or self.reorder or self.reverse or self.pairs):
            raise ValueError("expected at least one of reword, reorder, reverse and pairs to be true")
        return self


class LabWriter:
    """The writer `lab`, which parses the lab's sentences; its output depends only on the passage, options and seed."""

    Options: ClassVar[type[Options]] = WriterOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: WriterOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty string because no option refers to a file."""
        return ""

    def write(
        self,
        passages: Sequence[Passage],
        count: int,
        seed: int,
        kept: MutableMapping[str, str] | None = None,  # noqa: ARG002 - this writer makes no paid requests
    ) -> Iterator[Text]:
        """Yield `count` distinct paraphrases per passage, then `count` distinct pairs if `pairs` is true.

        Raise InputError if a passage is not from the lab or yields fewer than `count` distinct texts.
        """
        o = self.options
        for passage in passages:
            entity, sentences = parse_passage(passage)
            rng = RandomStream("kib-lab", "writer", passage.id, passage.text, seed)
            if o.reword or o.reorder or o.reverse:
                yield from self._paraphrases(passage, entity, sentences, count, rng)
            if o.pairs:
                yield from _pairs(passage, entity, count, rng)

    def _paraphrases(
        self, passage: Passage, entity: Entity, sentences: Mapping[str, str], count: int, rng: RandomStream
    ) -> Iterator[Text]:
        existing, repetitions = {passage.text}, 0
        while len(existing) <= count:
            text = self._paraphrase(entity, sentences, rng)
            repetitions = 0 if text not in existing else repetitions + 1
            if repetitions > MAX_REPETITIONS:
                raise _too_many(passage, len(existing) - 1, "paraphrases", count)
            if not repetitions:
                existing.add(text)
                title = f"{passage.title}\n" if passage.title else ""
                yield Text(passage.id, "paraphrase", title + text)

    def _paraphrase(self, entity: Entity, sentences: Mapping[str, str], rng: RandomStream) -> str:
        o = self.options
        written = []
        for attribute, original in sentences.items():
            phrasings = phrasings_of(entity)[attribute]
            if o.reverse and rng.chance(50):
                written.append(sentence(entity, attribute, rng.choice(phrasings.reverse)))
            elif o.reword:
                written.append(sentence(entity, attribute, rng.choice(phrasings.plain)))
            else:
                written.append(original)
        if o.reverse and "profession" in sentences and "birthplace" in sentences and rng.chance(50):
            written.append(reverse_statement(entity, rng))
        return " ".join(rng.shuffled(written) if o.reorder else written)


def _pairs(passage: Passage, entity: Entity, count: int, rng: RandomStream) -> Iterator[Text]:
    possible = []
    for attribute, value in entity.facts.items():
        templates = PERSON_ATTRIBUTES[attribute].pair if attribute in PERSON_ATTRIBUTES else EMPLOYER_PAIRS[attribute]
        possible += [(template.format(n=entity.name), value) for template in templates]
    if {"profession", "birthplace"} <= set(entity.facts):
        possible += [
            (template.format(p=entity.facts["profession"], b=entity.facts["birthplace"]), entity.name.split()[1])
            for template in REVERSE_QUESTIONS.pair
        ]
    if count > len(possible):
        raise _too_many(passage, len(possible), "questions", count)
    for question, answer in rng.sample(possible, count):
        yield Text(passage.id, "pair", question, answer)


def _too_many(passage: Passage, most: int, what: str, count: int) -> InputError:
    return InputError(
        f"with the writer's options, passage {passage.id} allows only {most} different {what}, not {count}; "
        "reduce `count`, or enable more of `reword`, `reorder` and `reverse` for more paraphrases"
    )


def _pattern(template: str, name: str) -> re.Pattern[str]:
    text = re.escape(template).replace(r"\{n\}", f"(?P<n>{name})").replace(r"\{v\}", r"(?P<v>\w+)")
    return re.compile(text)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return an (attribute, regular expression) pair for every sentence template that can state a fact."""
    kinds = ((PERSON_ATTRIBUTES, r"[A-Z]\w+ [A-Z]\w+"), (EMPLOYER_ATTRIBUTES, r"[A-Z]\w+"))
    return tuple(
        (attribute, _pattern(template, name))
        for attributes, name in kinds
        for attribute, phrasings in attributes.items()
        for template in (*phrasings.plain, *phrasings.reverse)
    )


def parse_passage(passage: Passage) -> tuple[Entity, dict[str, str]]:
    """Return a passage's subject and sentences; raise InputError if the passage is not from the lab."""
    facts: dict[str, str] = {}
    sentences: dict[str, str] = {}
    names: set[str] = set()
    for part in re.findall(r"[^.]+\.?", passage.text):
        text = part.strip()
        matches = [(attribute, match) for attribute, p in _patterns() if (match := p.fullmatch(text))]
        if not matches:
            raise InputError(
                f"passage {passage.id}: {text!r} is not a sentence from the lab; use this writer only with a corpus of "
                "the plugin `lab` that is split into chunks of whole sentences"
            )
        attribute, match = matches[0]
        facts[attribute], sentences[attribute] = match["v"], text
        names.add(match["n"])
    if len(names) != 1:
        raise InputError(
            f"passage {passage.id} contains {len(names)} names; expected exactly one name, as in the lab's documents"
        )
    return Entity(passage.document, names.pop(), facts), sentences
