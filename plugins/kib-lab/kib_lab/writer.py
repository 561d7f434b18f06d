"""The writer `lab`: tells the facts of a passage in other words, in another order, or as questions with answers."""

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from typing import ClassVar, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.interfaces import Options
from kib.records import Passage, Text
from kib_lab.draw import Draw
from kib_lab.words import EMPLOYER_ATTRIBUTES, EMPLOYER_PAIRS, PERSON_ATTRIBUTES, REVERSE_QUESTIONS
from kib_lab.world import Entity, phrasings, reverse_statement, sentence

__all__ = ["LabWriter", "WriterOptions"]

PATIENCE = 200
"""Draws in a row that bring nothing new before a passage counts as exhausted."""


class WriterOptions(Options):
    """Keys of `[writers.NAME]` with `plugin = "lab"`."""

    reword: bool = Field(True, description="each fact in a wording drawn from several")
    reorder: bool = Field(True, description="the facts in an order drawn at random")
    reverse: bool = Field(False, description="about half of the facts told from the value to the name")
    pairs: bool = Field(
        False, description="as many questions with answers, in wordings that no test asks, beside the paraphrases"
    )

    @model_validator(mode="after")
    def _writes(self) -> Self:
        if not (self.reword or self.reorder or self.reverse or self.pairs):
            raise ValueError("expected at least one of reword, reorder, reverse and pairs to be true")
        return self


class LabWriter:
    """Reads the lab's own sentences; nothing but the passage decides what it writes."""

    Options: ClassVar[type[Options]] = WriterOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: WriterOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """The options point at nothing."""
        return ""

    def write(
        self,
        passages: Sequence[Passage],
        count: int,
        seed: int,
        kept: MutableMapping[str, str] | None = None,  # noqa: ARG002 - it pays for nothing
    ) -> Iterator[Text]:
        """`count` paraphrases a passage, then `count` pairs where asked for, no two alike.

        InputError for a passage that is not made of the lab's sentences, or that cannot be told in so many ways.
        """
        o = self.options
        for passage in passages:
            entity, told = read(passage)
            draw = Draw("kib-lab", "writer", passage.id, passage.text, seed)
            if o.reword or o.reorder or o.reverse:
                yield from self._paraphrases(passage, entity, told, count, draw)
            if o.pairs:
                yield from _pairs(passage, entity, count, draw)

    def _paraphrases(
        self, passage: Passage, entity: Entity, told: Mapping[str, str], count: int, draw: Draw
    ) -> Iterator[Text]:
        seen, idle = {passage.text}, 0
        while len(seen) <= count:
            text = self._paraphrase(entity, told, draw)
            idle = 0 if text not in seen else idle + 1
            if idle > PATIENCE:
                raise _too_many(passage, len(seen) - 1, "paraphrases", count)
            if not idle:
                seen.add(text)
                head = f"{passage.title}\n" if passage.title else ""
                yield Text(passage.id, "paraphrase", head + text)

    def _paraphrase(self, entity: Entity, told: Mapping[str, str], draw: Draw) -> str:
        o = self.options
        lines = []
        for attribute, original in told.items():
            wording = phrasings(entity)[attribute]
            if o.reverse and draw.chance(50):
                lines.append(sentence(entity, attribute, draw.choice(wording.reverse)))
            elif o.reword:
                lines.append(sentence(entity, attribute, draw.choice(wording.plain)))
            else:
                lines.append(original)
        if o.reverse and "profession" in told and "birthplace" in told and draw.chance(50):
            lines.append(reverse_statement(entity, draw))
        return " ".join(draw.shuffled(lines) if o.reorder else lines)


def _pairs(passage: Passage, entity: Entity, count: int, draw: Draw) -> Iterator[Text]:
    asked = []
    for attribute, value in entity.facts.items():
        wordings = PERSON_ATTRIBUTES[attribute].pair if attribute in PERSON_ATTRIBUTES else EMPLOYER_PAIRS[attribute]
        asked += [(wording.format(n=entity.name), value) for wording in wordings]
    if {"profession", "birthplace"} <= set(entity.facts):
        asked += [
            (wording.format(p=entity.facts["profession"], b=entity.facts["birthplace"]), entity.name.split()[1])
            for wording in REVERSE_QUESTIONS.pair
        ]
    if count > len(asked):
        raise _too_many(passage, len(asked), "questions", count)
    for question, answer in draw.sample(asked, count):
        yield Text(passage.id, "pair", question, answer)


def _too_many(passage: Passage, most: int, what: str, count: int) -> InputError:
    return InputError(
        f"passage {passage.id} allows {most} different {what} with these options of the writer, not {count}; "
        "ask for fewer, or switch on more of reword, reorder and reverse"
    )


def _pattern(template: str, name: str) -> re.Pattern[str]:
    text = re.escape(template).replace(r"\{n\}", f"(?P<n>{name})").replace(r"\{v\}", r"(?P<v>\w+)")
    return re.compile(text)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Attribute and pattern of every sentence in which the lab tells a fact."""
    kinds = ((PERSON_ATTRIBUTES, r"[A-Z]\w+ [A-Z]\w+"), (EMPLOYER_ATTRIBUTES, r"[A-Z]\w+"))
    return tuple(
        (attribute, _pattern(template, name))
        for wordings, name in kinds
        for attribute, wording in wordings.items()
        for template in (*wording.plain, *wording.reverse)
    )


def read(passage: Passage) -> tuple[Entity, dict[str, str]]:
    """Whom a passage tells of, and its sentence for each attribute; InputError where it is not the lab's."""
    facts: dict[str, str] = {}
    told: dict[str, str] = {}
    found: set[str] = set()
    for line in re.findall(r"[^.]+\.?", passage.text):
        text = line.strip()
        matches = [(attribute, match) for attribute, p in _patterns() if (match := p.fullmatch(text))]
        if not matches:
            raise InputError(
                f"passage {passage.id}: the lab's writer tells the lab's own sentences in other words, and {text!r} is "
                "none; use it with a corpus of plugin `lab` whose chunks hold whole sentences"
            )
        attribute, match = matches[0]
        facts[attribute], told[attribute] = match["v"], text
        found.add(match["n"])
    if len(found) != 1:
        raise InputError(f"passage {passage.id} tells of {len(found)} names, but a document of the lab tells of one")
    return Entity(passage.document, found.pop(), facts), told
