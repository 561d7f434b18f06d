"""The frozen vocabulary: what passes from stage to stage. The question's id is the only link between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "Answer",
    "Cell",
    "Document",
    "Environment",
    "Gold",
    "Hit",
    "JudgedQuery",
    "Passage",
    "Prompt",
    "Query",
    "Question",
    "RenderedQuestion",
    "Request",
    "Score",
    "Split",
    "Text",
    "Trained",
    "Weights",
    "document_id",
]

Setting = str | int | float | bool
"""The value of a varied option."""

Settings = tuple[tuple[str, Setting], ...]
"""The varied options of an arm with their values."""

Split = Literal["test", "validation", "probe"]
"""Questions that results are cited of; those that settings are chosen on; test questions asked in another way."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus; `id` is unique in it and printable."""

    id: str
    title: str
    text: str
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document: `text == document.text[start:end]` in characters; `id` is `<document>#<number>`."""

    id: str
    document: str
    title: str
    text: str
    start: int
    end: int


def document_id(passage_id: str) -> str:
    """Return the id of the document that a passage was split from."""
    return passage_id.rpartition("#")[0]


@dataclass(frozen=True, slots=True)
class Gold:
    """Where the answer of a question stands: a document and, where known, a character range of it."""

    document: str
    start: int | None = None
    end: int | None = None

    def covers(self, passage: Passage) -> bool:
        """Say whether `passage` is gold: it overlaps the range, or belongs to the document where there is no range."""
        if passage.document != self.document:
            return False
        if self.start is None or self.end is None:
            return True
        return passage.start < self.end and self.start < passage.end


@dataclass(frozen=True, slots=True)
class Question:
    """A question with options, the index of the right one, and optional evidence.

    `group` names what questions share (a document, a person): they are then not independent of each other.
    """

    id: str
    text: str
    options: tuple[str, ...]
    answer: int
    gold: tuple[Gold, ...] = ()
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for on behalf of a question; it carries no gold."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query of a test collection with its judgments: grades of relevance by document id, 0 is not relevant."""

    id: str
    text: str
    relevance: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found for a query, with the retriever's score (higher is better)."""

    passage: str
    score: float


@dataclass(frozen=True, slots=True)
class Text:
    """Training text: a passage itself, a paraphrase of one, or a question with its answer."""

    passage: str
    kind: Literal["document", "paraphrase", "pair"]
    text: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A transformers folder of safetensors, and the adapter folder on top of it where there is one."""

    folder: Path
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gave. Tokens are those with a loss, in one pass over the text and in all steps together.

    `first_loss` and `last_loss` are means over the text before and after, in nats a token, and so are those of text
    that was held out; `validation_loss` is that of the validation text after, where there was one; `change` is the norm
    of the update over that of the weights; `flops` are floating-point operations. What is told of the time after is of
    the weights as they are saved; `unrounded_loss` is the last loss before they were rounded for that, where they were.
    `seconds` are those of the training alone in all its sessions, where a trainer tells; they are no part of a result.
    """

    weights: Weights
    text_tokens: int
    trained_tokens: int
    steps: int
    first_loss: float
    last_loss: float
    change: float
    flops: float
    held_out_first_loss: float | None = None
    held_out_last_loss: float | None = None
    validation_loss: float | None = None
    unrounded_loss: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a benchmark: a model with a method and its settings on a task, with `shots` examples and a seed.

    `corpus` is the knowledge at stake: what is retrieved from or was trained on; None where neither applies.
    `identity` is the digest of everything that decides the number.
    """

    model: str
    method: str
    settings: tuple[tuple[str, Setting], ...]
    task: str
    corpus: str | None
    shots: int
    seed: int
    identity: str
    names_corpus: bool = False  # a control's id names the corpus that the weights were trained on
    split: Split = "test"

    @property
    def arm(self) -> str:
        """The method with its settings, as typed: `rag,k=3`."""
        return ",".join([self.method, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def place(self) -> str:
        """The id without seed and digest: `tiny/rag,k=3/new-people,0-shot`; cells of one place differ by seed."""
        corpus = f",corpus={self.corpus}" if self.names_corpus else ""
        split = f",{self.split}" if self.split != "test" else ""
        return f"{self.model}/{self.arm}/{self.task},{self.shots}-shot{corpus}{split}"

    @property
    def id(self) -> str:
        """Folder, table row and command-line argument: `tiny/rag,k=3/new-people,0-shot/s0-1f3a9c2e`."""
        return f"{self.place}/s{self.seed}-{self.identity[:8]}"


@dataclass(frozen=True, slots=True)
class RenderedQuestion:
    """A question as a task asks it, before any passage: `head` (instruction, few-shot examples) and `ask`.

    Passages go between the two and nowhere else. `options` and `answer` are what `kib show` prints;
    they are empty and None where the task generates freely.
    """

    question_id: str
    head: str
    ask: str
    query: str
    options: tuple[str, ...] = ()
    answer: int | None = None
    gold: tuple[Gold, ...] = ()
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text a model reads for a question, the passages in it (best first) and how many did not fit."""

    question_id: str
    text: str
    passages: tuple[str, ...] = ()
    dropped: int = 0
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One thing asked of an LM: `arguments` as lm-eval passes them, JSON values only.

    loglikelihood: (context, continuation); loglikelihood_rolling: (text,); generate_until: (context, settings).
    """

    kind: Literal["loglikelihood", "loglikelihood_rolling", "generate_until"]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an LM gave: [log-probability in nats, is_greedy], a log-probability, or generated text.

    `seconds` is its share of its batch's wall time, by the length of the request.
    """

    value: Any
    environment: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """A question's line in a cell's `questions.jsonl`: its 0/1 score and the evidence for it.

    `logprobs` are the options' summed log-probabilities in nats; `output` is generated text where there are no options.
    """

    question_id: str
    group: str | None
    score: int
    prediction: int | None
    answer: int | None
    logprobs: tuple[float, ...] = ()
    output: str | None = None
    passages: tuple[str, ...] = ()
    gold: tuple[bool, ...] | None = None  # for each retrieved passage, dropped ones included; None: task has no gold
    dropped: int = 0
    tokens: int | None = None
    prompt: str = ""  # sha256 of the prompt's text
    relevant: int | None = None  # gold passages in the corpus; None: no gold, or nothing is retrieved


@dataclass(frozen=True, slots=True)
class Environment:
    """Package versions and device that answers were computed with; only equal ones are ranked together."""

    device: str
    packages: Mapping[str, str] = field(default_factory=dict)
