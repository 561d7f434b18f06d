"""The base classes of all tasks and corpora of this package."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.interfaces import NotInIdentity, Options
from kib.records import Document, Question
from kib.support.phrases import counted
from kib.support.question_text import trimmed
from kib_sets.set_files import FileName, LocationOptions, SetFiles

__all__ = ["CorpusOptions", "SetCorpus", "SetTask", "TaskOptions"]

TEST = "test"


class TaskOptions(LocationOptions):
    """The options of a task: the location of the set, and the file of each split."""

    files: Annotated[dict[Literal["test", "validation", "examples"], FileName], NotInIdentity] = Field(
        default={},
        description=(
            "Names of the files with test questions, validation questions and few-shot examples, in the folder `path` "
            "or in the data set `hub`."
        ),
    )

    @model_validator(mode="after")
    def _check_test(self) -> Self:
        if self.files and TEST not in self.files:
            raise ValueError("`files` must contain the file of the `test` questions")
        return self


class CorpusOptions(LocationOptions):
    """The options of a corpus: the location of the set, and the files with the documents."""

    files: Annotated[list[FileName], NotInIdentity] = Field(
        default=[], description="Names of the files to read in the folder `path` or in the data set `hub`."
    )


class SetTask(ABC):
    """A task of one set; a subclass reads the questions of a file."""

    Options: ClassVar[type[Options]] = TaskOptions
    revision: ClassVar[int] = 1
    bibliography: ClassVar[str]
    """The BibTeX entries of the set."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.files = SetFiles(options, options.files)
        self._remarks: dict[str, list[str]] = {}

    def splits(self) -> Collection[str]:
        """Return the splits with a file; a single file contains the test questions."""
        return self.files.roles(TEST)

    def fingerprint(self) -> str:
        """Return a digest of the files or of the commit; raise InputError if a file is missing."""
        return self.files.fingerprint()

    def online(self) -> list[str]:
        """Return the files to download from the hub, if any."""
        return self.files.online()

    def bibtex(self) -> str:
        """Return the BibTeX entries of the set."""
        return self.bibliography

    def questions(self, split: str) -> Iterator[Question]:
        """Yield the questions of a split in file order; raise InputError at the first invalid question."""
        if split not in self.splits():
            return
        path = self.files.path(split)
        seen: set[str] = set()
        remarks: list[str] = []
        changed = 0
        for written in self.read(path, remarks):
            question = _trimmed(written)
            changed += question != written
            if question.id in seen:
                raise InputError(f"{path}: the id {question.id!r} appears twice; ids must be unique")
            seen.add(question.id)
            yield question
        if not seen:
            raise InputError(f"{path}: no questions found")
        if changed:
            remarks.append(f"removed white space around texts of {counted(changed, 'question')} of the split {split}")
        self._remarks[split] = remarks

    def remarks(self, split: str) -> list[str]:
        """Return sentences about removed white space and omitted data, after the split was read."""
        return self._remarks.get(split, [])

    @abstractmethod
    def read(self, path: Path, remarks: list[str]) -> Iterator[Question]:
        """Yield the questions of a file; add sentences about omitted data to `remarks`."""


class SetCorpus(ABC):
    """A corpus of one set; a subclass reads the documents of a file."""

    Options: ClassVar[type[Options]] = CorpusOptions
    revision: ClassVar[int] = 1
    bibliography: ClassVar[str]
    """The BibTeX entries of the set."""
    source: ClassVar[str]
    licence: ClassVar[str]

    def __init__(self, options: Any) -> None:
        self.options = options
        self.files = SetFiles(options, {name: name for name in options.files})

    def fingerprint(self) -> str:
        """Return a digest of the files or of the commit; raise InputError if a file is missing."""
        return self.files.fingerprint()

    def online(self) -> list[str]:
        """Return the files to download from the hub, if any."""
        return self.files.online()

    def bibtex(self) -> str:
        """Return the BibTeX entries of the set."""
        return self.bibliography

    def documents(self) -> Iterator[Document]:
        """Yield the documents of all files in order; raise InputError if two different documents have the same id."""
        seen: dict[str, str] = {}
        for role in self.files.roles(""):
            path = self.files.path(role)
            for document in self.read(path):
                if document.id not in seen:
                    seen[document.id] = document.text
                    yield document
                elif seen[document.id] != document.text:
                    raise InputError(
                        f"{path}: two different documents have the id {document.id!r}; read the files as two corpora"
                    )
        if not seen:
            raise InputError(f"{self.options.path or self.options.hub}: no documents found")

    def notes(self) -> dict[str, Any]:
        """Return the source and the licence of the set, for the corpus record."""
        return {"source": self.source, "licence": self.licence}

    @abstractmethod
    def read(self, path: Path) -> Iterator[Document]:
        """Yield the documents of a file."""

    def document(self, name: str, title: str, text: str) -> Document:
        """Return a document with the source and the licence of the set."""
        return Document(name, title, text, self.source, self.licence)


def _trimmed(question: Question) -> Question:
    """Return a question without white space around its texts, and with each accepted answer only once."""
    return replace(
        question,
        text=trimmed(question.text),
        options=_texts(question.options),
        accepted=tuple(dict.fromkeys(_texts(question.accepted))),
        group=trimmed(question.group) if question.group else None,
    )


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(trimmed(text) for text in texts)
