"""CounterFact: false facts to teach, and prompts that show whether a model learned them and kept its other facts."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from kib.identity import digest
from kib.interfaces import Options
from kib.records import Document, Gold, Question
from kib_sets.base import CorpusOptions, SetCorpus, SetTask, TaskOptions
from kib_sets.citations import COUNTERFACT
from kib_sets.json_nodes import Node, read_json

__all__ = ["CounterFactCorpus", "CounterFactTask"]


class CounterFactTaskOptions(TaskOptions):
    """The options of `counterfact`."""

    prompts: Literal["rewrite", "paraphrase", "neighborhood"] = Field(
        default="rewrite",
        description=(
            "The prompts to ask: the new fact itself (`rewrite`), the new fact in other words (`paraphrase`), or facts "
            "about similar subjects that must not change (`neighborhood`)."
        ),
    )


class CounterFactCorpusOptions(CorpusOptions):
    """The options of the corpus `counterfact`."""


class CounterFactTask(SetTask):
    """Prompts with two options, the new object and the true object; the subject of the new fact is the group."""

    Options: ClassVar[type[Options]] = CounterFactTaskOptions
    bibliography = COUNTERFACT

    def read(self, path: Path, remarks: list[str]) -> Iterator[Question]:  # noqa: ARG002 - nothing is omitted
        """Yield one question per prompt."""
        kind = self.options.prompts
        for record in read_json(path).items():
            case, rewrite = record.at("case_id").name(), record.at("requested_rewrite")
            if kind == "rewrite":
                prompts = {case: _statement(rewrite)}
            else:
                listed = enumerate(record.at(f"{kind}_prompts").items(), 1)
                prompts = {f"{case}-{number}": prompt.text() for number, prompt in listed}
            for name, prompt in prompts.items():
                yield _question(rewrite, name, prompt, case if kind != "neighborhood" else None)


class CounterFactCorpus(SetCorpus):
    """The new facts of CounterFact, each as a document of one sentence; the id of a document is the `case_id`."""

    Options: ClassVar[type[Options]] = CounterFactCorpusOptions
    bibliography = COUNTERFACT
    source = "CounterFact"
    licence = "MIT"

    def read(self, path: Path) -> Iterator[Document]:
        """Yield one document per record."""
        for record in read_json(path).items():
            rewrite = record.at("requested_rewrite")
            text = f"{_statement(rewrite)} {_target(rewrite, 'target_new')}."
            yield self.document(record.at("case_id").name(), rewrite.at("subject").text(), text)


def _statement(rewrite: Node) -> str:
    """Return the beginning of the fact: the prompt with its subject."""
    prompt = rewrite.at("prompt")
    if prompt.text().count("{}") != 1:
        raise prompt.error("expected one place {} for the subject")
    return prompt.text().replace("{}", rewrite.at("subject").text())


def _target(rewrite: Node, key: str) -> str:
    return rewrite.at(key).at("str").text().strip()


def _question(rewrite: Node, name: str, prompt: str, document: str | None) -> Question:
    """Return a question whose correct option is the new object, or the true object for a question without document."""
    targets = _target(rewrite, "target_new"), _target(rewrite, "target_true")
    if targets[0] == targets[1]:
        raise rewrite.error("expected different objects in target_new and target_true")
    correct = targets[0] if document else targets[1]
    swapped = int(digest(name), 16) % 2  # a fixed order would make the position a hint to the answer
    options = targets[::-1] if swapped else targets
    gold = (Gold(document),) if document else ()
    group = rewrite.at("subject").text()
    return Question(name, prompt, options, options.index(correct), gold=gold, group=group)
