"""The records of human verdicts: the sample of questions whose outputs people judge, and the verdicts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter

from kib.identity import digest

__all__ = [
    "DESIGNS",
    "LABELS",
    "LabelDesign",
    "LabelledOutput",
    "Labels",
    "item_id",
    "output_digest",
    "population_digest",
]

STRICT = ConfigDict(extra="forbid")

Verdict = Annotated[float, Field(strict=True, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True, slots=True)
class LabelledOutput:
    """An output to judge: the id of its question, and the digest of its text."""

    question: str
    output: str


@dataclass(frozen=True, slots=True)
class LabelDesign:
    """The random sample of a task's questions that a sheet contains, with the outputs by item id.

    `population` is the number of test questions that the sample was drawn from, and `population_digest` the digest of
    their ids. `questions` contains the ids of the drawn questions in the order of the draw.
    """

    __pydantic_config__ = STRICT

    seed: Count
    population: Count
    population_digest: str
    questions: tuple[str, ...]
    items: Mapping[str, LabelledOutput]

    def extends(self, other: "LabelDesign") -> bool:
        """Return whether labels of the other design are labels of this design too, as far as outputs are equal."""
        same = (self.seed, self.population_digest) == (other.seed, other.population_digest)
        return same and set(other.questions) <= set(self.questions)


@dataclass(frozen=True, slots=True)
class Labels:
    """The verdicts of people on the outputs of drawn questions, from 0 (wrong) to 1 (right).

    `drawn` is the number of drawn questions. `questions` contains the drawn questions with a verdict on every output in
    the sheet; only these questions are compared. `verdicts` contains all verdicts by question id and digest of the
    output. The other fields are those of the design.
    """

    __pydantic_config__ = STRICT

    seed: Count
    population: Count
    population_digest: str
    drawn: Count
    questions: tuple[str, ...]
    verdicts: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)

    def verdict(self, question: str, output: str | None) -> float | None:
        """Return the verdict on an output, or None if nobody judged this output."""
        return None if output is None else self.verdicts.get(question, {}).get(output_digest(output))


DESIGNS = TypeAdapter(dict[str, LabelDesign])
LABELS = TypeAdapter(dict[str, Labels])


def output_digest(output: str) -> str:
    """Return the digest of an output; surrounding white space does not count, because nobody sees it in a sheet."""
    return digest(output.strip())


def population_digest(questions: Iterable[str]) -> str:
    """Return the digest of the ids of all test questions, in any order."""
    return digest(sorted(questions))


def item_id(task: str, seed: int, question: str, output: str) -> str:
    """Return the id of an output in a sheet, which shows neither the question nor the arm.

    The letter prevents spreadsheet programs from reading the id as a number.
    """
    return f"i{digest([task, seed, question, output_digest(output)])[:12]}"
