"""The corpus `lab`, which consists of one biography per person and one document per employer."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from kib.interfaces import Options
from kib.records import Document
from kib_lab.world import describe
from kib_lab.world_options import WorldOptions

__all__ = ["CorpusOptions", "LabCorpus"]


class CorpusOptions(WorldOptions):
    """The options that a `[corpora.NAME]` table with `plugin = "lab"` may contain."""

    employers: bool = Field(
        True, description="include documents about the people's employers, which two-hop questions require"
    )


class LabCorpus:
    """The corpus `lab`; each sentence in a document states one fact, in wording and order determined by the seed."""

    Options: ClassVar[type[Options]] = CorpusOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty string because no option refers to a file."""
        return ""

    def documents(self) -> Iterator[Document]:
        """Yield the documents about people in world order, then the documents about employers."""
        world = self.options.world()
        for person in world.people:
            yield describe(person, self.options.seed)[0]
        if self.options.employers:
            for employer in world.employers.values():
                yield describe(employer, self.options.seed)[0]
