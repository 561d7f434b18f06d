"""HotpotQA: questions that need the facts of two paragraphs of Wikipedia."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from kib.interfaces import Options
from kib.records import Document, Gold, Question
from kib.support.phrases import counted
from kib_sets.base import CorpusOptions, SetCorpus, SetTask, TaskOptions
from kib_sets.citations import HOTPOTQA
from kib_sets.json_nodes import Node, read_json

__all__ = ["HotpotCorpus", "HotpotTask"]


class HotpotTaskOptions(TaskOptions):
    """The options of `hotpotqa`."""


class HotpotCorpusOptions(CorpusOptions):
    """The options of the corpus `hotpotqa`."""


@dataclass(frozen=True, slots=True)
class _Paragraph:
    title: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text of the paragraph; a sentence starts with the space that separates it from the previous sentence."""
        return "".join(self.sentences)

    def gold(self, number: int) -> Gold:
        """Return a sentence as gold, or the whole paragraph if there is no such sentence."""
        if number >= len(self.sentences) or not self.sentences[number].strip():
            return Gold(self.title)
        sentence = self.sentences[number]
        start = len("".join(self.sentences[:number])) + len(sentence) - len(sentence.lstrip())
        return Gold(self.title, start, start + len(sentence.strip()), sentence.strip())


@dataclass
class _Counts:
    """The numbers of supporting facts that the file does not contain."""

    paragraphs: int = 0
    sentences: int = 0
    ids: set[str] = field(default_factory=set)

    def remarks(self) -> list[str]:
        found = []
        if self.paragraphs:
            questions = counted(len(self.ids), "question")
            facts = counted(self.paragraphs, "supporting fact")
            found.append(
                f"{facts} of {questions} are not gold, because the question's own paragraphs do not contain them"
            )
        if self.sentences:
            facts = counted(self.sentences, "supporting fact")
            found.append(f"{facts} with a wrong sentence number: the whole paragraph is gold")
        return found


class HotpotTask(SetTask):
    """The questions of HotpotQA; each supporting fact is gold."""

    Options: ClassVar[type[Options]] = HotpotTaskOptions
    bibliography = HOTPOTQA

    def read(self, path: Path, remarks: list[str]) -> Iterator[Question]:
        """Yield the questions in file order."""
        counts = _Counts()
        for asked in read_json(path).items():
            if not asked.has("answer"):
                raise asked.error("the key 'answer' is missing; the test file of HotpotQA has no answers")
            name = asked.at("_id").name()
            gold = tuple(_gold(asked, name, counts))
            yield Question(name, asked.at("question").text(), gold=gold, accepted=(asked.at("answer").text(),))
        remarks += counts.remarks()


class HotpotCorpus(SetCorpus):
    """The paragraphs of all questions of HotpotQA, each paragraph once; the id of a document is its title."""

    Options: ClassVar[type[Options]] = HotpotCorpusOptions
    bibliography = HOTPOTQA
    source = "HotpotQA"
    licence = "CC BY-SA 4.0"

    def read(self, path: Path) -> Iterator[Document]:
        """Yield the paragraphs in the order in which the questions list them."""
        for asked in read_json(path).items():
            for paragraph in _paragraphs(asked):
                if paragraph.text.strip():
                    yield self.document(paragraph.title, paragraph.title, paragraph.text)


def _paragraphs(asked: Node) -> Iterator[_Paragraph]:
    for pair in asked.at("context").items():
        parts = pair.items()
        if len(parts) != 2:
            raise pair.error("expected a title and a list of sentences")
        sentences = [sentence.value for sentence in parts[1].items()]
        if not all(isinstance(sentence, str) for sentence in sentences):
            raise parts[1].error("expected a list of texts")
        yield _Paragraph(parts[0].text(), tuple(sentences))


def _gold(asked: Node, name: str, counts: _Counts) -> Iterator[Gold]:
    """Yield the gold of each supporting fact; count the facts that cannot be gold."""
    paragraphs = {paragraph.title: paragraph for paragraph in _paragraphs(asked)}
    for pair in asked.at("supporting_facts").items():
        parts = pair.items()
        if len(parts) != 2:
            raise pair.error("expected a title and the number of a sentence")
        title, number = parts[0].text(), parts[1].number()
        if title not in paragraphs:
            counts.paragraphs += 1
            counts.ids.add(name)
            continue
        gold = paragraphs[title].gold(number)
        counts.sentences += gold.start is None
        yield gold
