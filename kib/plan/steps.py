"""The steps of a plan, each with its identity. Steps are compared by value: equal steps count as one step."""

from collections.abc import Iterator
from dataclasses import dataclass

from kib.records import Cell, Setting, Split

__all__ = [
    "QUERIES",
    "HeldBackStep",
    "HitsStep",
    "IndexStep",
    "PairForm",
    "PassagesStep",
    "PlannedCell",
    "QuestionsStep",
    "Settings",
    "TextStep",
    "WeightsStep",
]

Settings = tuple[tuple[str, Setting], ...]
"""The settings that distinguish one arm of a method from its other arms, as (key, value) pairs."""

QUERIES = "(queries)"
"""The task name for queries that do not belong to a task; a real task cannot have this name."""


@dataclass(frozen=True, slots=True)
class PassagesStep:
    """Split a corpus into passages."""

    identity: str
    corpus: str


@dataclass(frozen=True, slots=True)
class IndexStep:
    """Build a retriever's index over the passages of a corpus."""

    identity: str
    retriever: str
    passages: PassagesStep


@dataclass(frozen=True, slots=True)
class QuestionsStep:
    """Render a task's questions with `shots` examples, in the chat template of the model `chat_of` (None: no chat).

    If `bare` is set, the questions are rendered for a system: each question alone, with its options if there are any.
    """

    identity: str
    task: str
    shots: int
    chat_of: str | None
    split: Split = "test"
    bare: bool = False


@dataclass(frozen=True, slots=True)
class HitsStep:
    """Find the first `depth` hits for a task's questions, using an index, other retrievers' hits or gold passages."""

    identity: str
    retriever: str
    passages: PassagesStep
    index: IndexStep | None
    asked: QuestionsStep
    depth: int
    of: tuple["HitsStep", ...] = ()
    family: str = ""  # equal for searches that differ only in depth

    def with_sources(self) -> Iterator["HitsStep"]:
        """Yield the search steps whose output this step reads, followed by the step itself."""
        for source in self.of:
            yield from source.with_sources()
        yield self


@dataclass(frozen=True, slots=True)
class TextStep:
    """Collect a trainer's text: passages, a writer's texts about the passages, and passages from a different corpus.

    `as_many_as` is the step with the text that determines the number of tokens to collect. `tasks` are the tasks whose
    questions must not be repeated by question-answer pairs; the tuple is empty if the text contains no pairs.
    """

    identity: str
    trainer: str
    passages: PassagesStep
    count: int
    tokenizer_of: str
    replay: PassagesStep | None = None
    as_many_as: "TextStep | None" = None
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldBackStep:
    """Write `count` validation texts per passage, all different from `text`, for `sample` passages (None: all)."""

    identity: str
    trainer: str
    text: TextStep
    writer: str
    count: int
    sample: int | None

    @property
    def passages(self) -> PassagesStep:
        """The passages of the training text."""
        return self.text.passages

    @property
    def place(self) -> str:
        """The key in the benchmark file that requests these texts."""
        return f"trainers.{self.trainer}.validation"


@dataclass(frozen=True, slots=True)
class PairForm:
    """The form in which question-answer pairs are trained: as `task` asks, in the chat template of `chat_of` or none.

    `identity` is None for the form of tasks that score the text of the options, without a chat template: a training run
    with this form has the same identity as in versions of kib without other forms. `others` are the target tasks about
    the corpus that ask in a different form.
    """

    identity: str | None
    task: str
    chat_of: str | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightsStep:
    """What answers the questions of cells: the model's own weights, weights that a trainer produced, or a system.

    `repeated` weights are a model's own weights that answer questions again: their answers are stored separately.
    A system does not use the model, which is the model whose base the system is compared with.
    """

    identity: str
    model: str
    trainer: str | None = None
    settings: Settings = ()
    text: TextStep | None = None
    validation: PassagesStep | HeldBackStep | None = None
    held_out: PassagesStep | None = None
    seed: int = 0
    pairs: PairForm | None = None  # None: the text contains no pairs
    repeated: bool = False
    system: str | None = None

    @property
    def title(self) -> str:
        """The name shown in progress bars and in `kib plan`."""
        if self.repeated:
            return f"{self.model} (repeated questions)"
        if self.system is not None:
            return f"system {self.system}"
        if self.trainer is None or self.text is None:
            return self.model
        values = "".join(f",{key}={value}" for key, value in self.settings)
        return f"{self.model}+{self.trainer}{values} on {self.text.passages.corpus}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with its steps; each prompt contains the first `k` hits, or all hits if `k` is None.

    `judge` is the judge that grades the answers, or None if kib computes the scores.
    `sample` is the number of questions in a fixed sample of the questions in `asked`; None means all questions.
    The passages that a system reports are compared with the passages `matched`, if the questions have a corpus.
    """

    cell: Cell
    weights: WeightsStep
    asked: QuestionsStep
    hits: HitsStep | None
    k: int | None
    judge: str | None = None
    sample: int | None = None
    matched: PassagesStep | None = None
