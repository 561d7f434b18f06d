"""The options that choose a world, shared by the corpus and the task."""

from typing import Self

from pydantic import Field, model_validator

from kib.interfaces import Options
from kib_lab.world import KNOWN, MOST_NEW, People, World, world

__all__ = ["LEAST", "NEW", "WorldOptions"]

LEAST = 40
"""The fewest people of a world: fewer would leave a split without people of both halves."""

NEW = 200
"""New people where no count is given."""


class WorldOptions(Options):
    """Which people; the same options give the same world on every machine."""

    people: People = Field(
        description='"known" people were taught to the lab\'s model in its pre-training, "new" ones it never saw'
    )
    seed: int = Field(0, ge=0, description="of the new people and their employers; known people have no seed but 0")
    count: int | None = Field(
        None, ge=LEAST, description=f"how many people; left out: {NEW} new ones, or all {KNOWN} known ones"
    )

    @model_validator(mode="after")
    def _exists(self) -> Self:
        most = KNOWN if self.people == "known" else MOST_NEW
        if self.count is not None and self.count > most:
            raise ValueError(f"count: there are at most {most} {self.people} people, got {self.count}")
        if self.people == "known" and self.seed != 0:
            raise ValueError(f"seed: the model was taught one set of known people, that of seed 0, got {self.seed}")
        return self

    def world(self) -> World:
        """The people and employers that these options name."""
        return world(self.people, self.count or (KNOWN if self.people == "known" else NEW), self.seed)
