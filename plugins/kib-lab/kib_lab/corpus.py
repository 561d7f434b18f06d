"""The corpus `lab`: a biography of each person and a document about each employer."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from kib.interfaces import Options
from kib.records import Document
from kib_lab.world import describe
from kib_lab.world_options import WorldOptions

__all__ = ["CorpusOptions", "LabCorpus"]


class CorpusOptions(WorldOptions):
    """The keys of a `[corpora.NAME]` table with `plugin = "lab"`."""

    employers: bool = Field(True, description="include the documents about employers, which two-hop questions require")


class LabCorpus:
    """Biographies of six sentences and employers of three, one fact per sentence; the seed sets order and wording."""

    Options: ClassVar[type[Options]] = CorpusOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty text, because no option names a file."""
        return ""

    def documents(self) -> Iterator[Document]:
        """Yield the documents about people in the order of the world, then those about employers."""
        world = self.options.world()
        for person in world.people:
            yield describe(person, self.options.seed)[0]
        if self.options.employers:
            for employer in world.employers.values():
                yield describe(employer, self.options.seed)[0]
