"""SQuAD and XQuAD: questions on paragraphs of Wikipedia articles, in the JSON format of SQuAD."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from kib.interfaces import Options
from kib.records import Document, Gold, Question
from kib_sets.base import CorpusOptions, SetCorpus, SetTask, TaskOptions
from kib_sets.citations import SQUAD, XQUAD
from kib_sets.json_nodes import Node, read_json

__all__ = ["SquadCorpus", "SquadTask", "XquadCorpus", "XquadTask"]


class SquadTaskOptions(TaskOptions):
    """The options of `squad` and `xquad`."""


class SquadCorpusOptions(CorpusOptions):
    """The options of the corpora `squad` and `xquad`."""


class SquadTask(SetTask):
    """The questions of SQuAD 1.1 or 2.0, with all accepted answers; the article is the group."""

    Options: ClassVar[type[Options]] = SquadTaskOptions
    bibliography = SQUAD

    def read(self, path: Path, remarks: list[str]) -> Iterator[Question]:  # noqa: ARG002 - nothing is omitted
        """Yield the questions; the gold text is the first answer in its paragraph."""
        for name, title, paragraph in _paragraphs(path):
            for asked in paragraph.at("qas").items():
                yield _question(asked, name, title)


class XquadTask(SquadTask):
    """The questions of XQuAD in one language."""

    bibliography = f"{XQUAD}\n\n{SQUAD}"


class SquadCorpus(SetCorpus):
    """The paragraphs of SQuAD; the id of a document is the title of the article and the number of the paragraph."""

    Options: ClassVar[type[Options]] = SquadCorpusOptions
    bibliography = SQUAD
    source = "SQuAD"
    licence = "CC BY-SA 4.0"

    def read(self, path: Path) -> Iterator[Document]:
        """Yield one document per paragraph."""
        for name, title, paragraph in _paragraphs(path):
            yield self.document(name, title, paragraph.at("context").text())


class XquadCorpus(SquadCorpus):
    """The paragraphs of XQuAD in one language."""

    bibliography = f"{XQUAD}\n\n{SQUAD}"
    source = "XQuAD"


def _paragraphs(path: Path) -> Iterator[tuple[str, str, Node]]:
    """Yield the id of the document, the title of the article, and the paragraph."""
    for article in read_json(path).at("data").items():
        title = article.at("title").text()
        for number, paragraph in enumerate(article.at("paragraphs").items(), 1):
            yield f"{title}/{number}", title.replace("_", " "), paragraph


def _question(asked: Node, document: str, title: str) -> Question:
    name, text = asked.at("id").name(), asked.at("question").text()
    if asked.has("is_impossible") and asked.at("is_impossible").value is True:
        return Question(name, text, group=title, unanswerable=True)
    answers = asked.at("answers").items()
    if not answers:
        raise asked.at("answers").error("expected at least one answer; the test files of SQuAD are not published")
    accepted = tuple(answer.at("text").text() for answer in answers)
    start = answers[0].at("answer_start").number()
    gold = Gold(document, start, start + len(accepted[0]), accepted[0])
    return Question(name, text, gold=(gold,), group=title, accepted=accepted)
