"""The options that select a world, shared by the corpus and the task."""

from typing import Self

from pydantic import Field, model_validator

from kib.interfaces import Options
from kib_lab.world import KNOWN_PEOPLE, MAX_NEW_PEOPLE, People, World, generate_world

__all__ = ["DEFAULT_NEW_PEOPLE", "MIN_PEOPLE", "WorldOptions"]

MIN_PEOPLE = 40
"""The minimum number of people in a world; in a smaller world, some splits would lack people from one half."""

DEFAULT_NEW_PEOPLE = 200


class WorldOptions(Options):
    """Options that select the people in a world; the same options produce the same world on every machine."""

    people: People = Field(
        description=(
            "group of people: facts about `known` people were part of the pre-training of the lab's model; facts "
            "about `new` people were not"
        )
    )
    seed: int = Field(
        0, ge=0, description="seed that generates the new people and their employers; must be 0 for known people"
    )
    count: int | None = Field(
        None,
        ge=MIN_PEOPLE,
        description=f"number of people (default: {DEFAULT_NEW_PEOPLE} new people, or all {KNOWN_PEOPLE} known people)",
    )

    @model_validator(mode="after")
    def _is_an_existing_world(self) -> Self:
        most = KNOWN_PEOPLE if self.people == "known" else MAX_NEW_PEOPLE
        if self.count is not None and self.count > most:
            raise ValueError(f"count: expected at most {most} {self.people} people, got {self.count}")
        if self.people == "known" and self.seed != 0:
            raise ValueError(f"seed: expected 0 for known people, who form a single fixed set, got {self.seed}")
        return self

    def world(self) -> World:
        """Return the people and employers selected by the options."""
        default = KNOWN_PEOPLE if self.people == "known" else DEFAULT_NEW_PEOPLE
        return generate_world(self.people, self.count or default, self.seed)
