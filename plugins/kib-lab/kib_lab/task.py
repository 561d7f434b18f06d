"""The task `lab`, which asks questions about people in a world, with four one-word options per question."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from kib.interfaces import Options
from kib.records import Question
from kib_lab.questions import KINDS, SPLITS, Kind, generate_questions
from kib_lab.world import is_taught
from kib_lab.world_options import WorldOptions

__all__ = ["LabTask", "TaskOptions"]


class TaskOptions(WorldOptions):
    """The options that a `[tasks.NAME]` table with `plugin = "lab"` may contain."""

    kind: Kind | Literal["all"] = Field(
        "direct",
        description=(
            "kind of question: `direct` and `reworded` ask for a fact about a person, `reverse` asks for the person "
            "described by two facts, `two-hop` asks for a fact about a person's employer, and `all` asks all four "
            "kinds of questions, each as a probe"
        ),
    )
    half: Literal["all", "taught", "told"] = Field(
        "all",
        description=(
            "group of known people that the questions are about: `taught` selects people whose questions were part of "
            "the pre-training, `told` selects people with only biographies in the pre-training, `all` selects both"
        ),
    )

    @model_validator(mode="after")
    def _is_an_existing_half(self) -> Self:
        if self.half != "all" and self.people == "new":
            raise ValueError(
                f'half: only known people are divided into halves; expected "all" for new people, got "{self.half}"'
            )
        return self


class LabTask:
    """The task `lab`, which assigns 85 % of people to the split `test`, 10 % to `validation` and 5 % to `examples`."""

    Options: ClassVar[type[Options]] = TaskOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: TaskOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty string because no option refers to a file."""
        return ""

    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits; `reworded` contains paraphrased test questions."""
        return SPLITS

    def questions(self, split: str) -> Iterator[Question]:
        """Yield the questions in a split; yield nothing for an unknown split."""
        o = self.options
        world = o.world()
        half = {p.id for i, p in enumerate(world.people) if o.half == "all" or is_taught(i) == (o.half == "taught")}
        for kind in KINDS if o.kind == "all" else (o.kind,):
            for question in generate_questions(world, kind, o.seed, o.people, split):
                if question.group in half:
                    yield replace(question, probe=kind) if o.kind == "all" else question
