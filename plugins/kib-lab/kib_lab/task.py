"""The task `lab`: questions about the people of a world, four options of one word each."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from kib.interfaces import Options
from kib.records import Question
from kib_lab.options import WorldOptions
from kib_lab.questions import SPLITS, Kind, ask
from kib_lab.world import is_taught

__all__ = ["LabTask", "TaskOptions"]


class TaskOptions(WorldOptions):
    """Keys of `[tasks.NAME]` with `plugin = "lab"`."""

    kind: Kind = Field(
        "direct",
        description='"direct" and "reworded" ask for a fact of a person, "reverse" for the person of two facts, '
        '"two-hop" for a fact of the person\'s employer',
    )
    half: Literal["all", "taught", "told"] = Field(
        "all",
        description='of the known people those whose questions the model saw ("taught"), or of whom it saw '
        'biographies only ("told")',
    )

    @model_validator(mode="after")
    def _has_halves(self) -> Self:
        if self.half != "all" and self.people == "new":
            raise ValueError(
                f'half: only known people are taught or told of; with new people expected "all", got "{self.half}"'
            )
        return self


class LabTask:
    """The splits ask about different people: 85 % of them in test, 10 % in validation, 5 % in examples."""

    Options: ClassVar[type[Options]] = TaskOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: TaskOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """The options point at nothing."""
        return ""

    def splits(self) -> tuple[str, ...]:
        """Test, validation, examples, and the test questions re-worded."""
        return SPLITS

    def questions(self, split: str) -> Iterator[Question]:
        """Questions of a split; none of a split that there is not."""
        o = self.options
        lab = o.world()
        wanted = {p.id for i, p in enumerate(lab.people) if o.half == "all" or is_taught(i) == (o.half == "taught")}
        for question in ask(lab, o.kind, o.seed, o.people, split):
            if question.group in wanted:
                yield question
