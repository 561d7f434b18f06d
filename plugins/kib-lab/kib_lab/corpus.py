"""The corpus `lab`: a biography of each person, and a document on each employer."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from kib.interfaces import Options
from kib.records import Document
from kib_lab.options import WorldOptions
from kib_lab.world import describe

__all__ = ["CorpusOptions", "LabCorpus"]


class CorpusOptions(WorldOptions):
    """Keys of `[corpora.NAME]` with `plugin = "lab"`."""

    employers: bool = Field(
        True, description="whether the documents on employers belong to it; two-hop questions need them"
    )


class LabCorpus:
    """Biographies of six sentences, then employers of three; one fact a sentence, order and wording by the seed."""

    Options: ClassVar[type[Options]] = CorpusOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: CorpusOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """The options point at nothing."""
        return ""

    def documents(self) -> Iterator[Document]:
        """People in the world's order, then employers."""
        lab = self.options.world()
        for person in lab.people:
            yield describe(person, self.options.seed)[0]
        if self.options.employers:
            for employer in lab.employers.values():
                yield describe(employer, self.options.seed)[0]
