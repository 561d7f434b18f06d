"""The immutable records that the stages of a run exchange, linked to each other only by question ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

__all__ = [
    "FINGERPRINT",
    "SERVED_MODEL",
    "UNKNOWN_DEVICE",
    "Answer",
    "AnswerToJudge",
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
    "Recipient",
    "RenderedQuestion",
    "Request",
    "Score",
    "ServedAnswer",
    "Split",
    "Text",
    "Trained",
    "UnjudgedAnswer",
    "Verdict",
    "Weights",
    "document_id",
]

Setting = str | int | float | bool
"""The value of a varied option."""

Settings = tuple[tuple[str, Setting], ...]
"""The varied options of an arm, with their values."""

Split = Literal["test", "validation", "probe", "repeat"]
"""The questions of a cell: test questions, questions for choosing settings, reworded or repeated test questions."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a corpus; its `id` is printable and unique in the corpus."""

    id: str
    title: str
    text: str
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document: `text == document.text[start:end]` in characters; its `id` is `<document>#<number>`."""

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
    """The location of a question's answer: a document and, if known, a character range in this document.

    `quote` is the text in the range, if the question states this text. If the document was edited, kib finds the range
    again by its quote. A longer range is narrowed to its quote.
    """

    document: str
    start: int | None = None
    end: int | None = None
    quote: str | None = None

    def covers(self, passage: Passage) -> bool:
        """Return whether `passage` is gold: whether it overlaps the range or, without a range, is from the document."""
        if passage.document != self.document:
            return False
        if self.start is None or self.end is None:
            return True
        return passage.start < self.end and self.start < passage.end


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its correct answer and optional gold documents.

    A question either has `options` and the index of the correct option (`answer`), or it is an open question with the
    texts that count as correct answers (`accepted`). If an open question is `unanswerable`, because the documents hold
    no answer, `accepted` is empty, and an output that declines to answer is right. `group` names something that several
    questions share, such as a document or a person; questions in the same group are not independent. `probe` names
    what the question tests, such as "direct" or "two-hop"; the table can show the gains of each probe separately.
    """

    id: str
    text: str
    options: tuple[str, ...] = ()
    answer: int | None = None
    gold: tuple[Gold, ...] = ()
    group: str | None = None
    accepted: tuple[str, ...] = ()
    unanswerable: bool = False
    probe: str | None = None

    @property
    def correct(self) -> tuple[str, ...]:
        """The texts of all correct answers: the text of the correct option, or the accepted answers."""
        return self.accepted if self.answer is None else (self.options[self.answer],)


@dataclass(frozen=True, slots=True)
class Query:
    """The search query for a question, without the question's gold documents."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query of a test collection with relevance grades by document id; grade 0 means not relevant.

    `left_out` contains the ids of documents that do not count as hits, such as the document with the query's own text.
    """

    id: str
    text: str
    relevance: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage retrieved for a query, with the retriever's score (higher is better)."""

    passage: str
    score: float


@dataclass(frozen=True, slots=True)
class Text:
    """A training text: a passage, a paraphrase of a passage, or a question with its answer (a pair).

    In a pair, `text` is the question, `answer` the right answer, and `options` the options, including the answer, in
    the order in which a prompt lists them; `options` is empty for a question without options. kib sets `prompt` and
    `target` before a pair is passed to a trainer: `prompt` is the whole 0-shot prompt in which a task asks the
    question, and `target` is the text that continues the prompt with the right answer.
    """

    passage: str
    kind: Literal["document", "paraphrase", "pair"]
    text: str
    answer: str | None = None
    options: tuple[str, ...] = ()
    prompt: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        """Convert a list of options, as in JSON, to a tuple."""
        object.__setattr__(self, "options", tuple(self.options))


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder with a transformers model (safetensors), and an optional adapter folder that modifies the model.

    `add_bos_token` states whether prompts start with the BOS token; if it is None, the tokenizer's own setting applies.
    """

    folder: Path
    adapter: Path | None = None
    add_bos_token: bool | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training run.

    `text_tokens` is the number of tokens with a loss in one pass over the text, and `trained_tokens` is the number of
    tokens with a loss in all steps. Losses are means in nats per token: `first_loss` and `last_loss` are the losses on
    the text before and after training, `held_out_*` are the losses on held-out text, and `validation_loss` is the loss
    on the validation text after training. Values after training refer to the saved weights; `unrounded_loss` is the
    last loss before the weights were rounded for saving, if the weights were rounded. `change` is the norm of the
    update divided by the norm of the weights. `flops` is the number of floating-point operations. `seconds` is the
    total training time, including interrupted runs, if the trainer reports this time; the training time is not part of
    a result.
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
    """One measurement: a model with a method and its settings on a task, with `shots` examples and a seed.

    `corpus` is the corpus used for retrieval or training; None if the method uses no corpus. `identity` is the digest
    of everything that determines the score.
    """

    model: str
    method: str
    settings: tuple[tuple[str, Setting], ...]
    task: str
    corpus: str | None
    shots: int
    seed: int
    identity: str
    names_corpus: bool = False  # the id of a control contains the corpus that the weights were trained on
    split: Split = "test"

    @property
    def arm(self) -> str:
        """The method with its settings, as written on the command line, such as `rag,k=3`."""
        return ",".join([self.method, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def place(self) -> str:
        """The id without seed and digest, shared by all cells of an arm, such as `tiny/rag,k=3/new-people,0-shot`."""
        corpus = f",corpus={self.corpus}" if self.names_corpus else ""
        split = f",{self.split}" if self.split != "test" else ""
        return f"{self.model}/{self.arm}/{self.task},{self.shots}-shot{corpus}{split}"

    @property
    def id(self) -> str:
        """The cell's id, which is also its folder's path, such as `tiny/rag,k=3/new-people,0-shot/s0-1f3a9c2e`."""
        return f"{self.place}/s{self.seed}-{self.identity[:8]}"


@dataclass(frozen=True, slots=True)
class RenderedQuestion:
    """A rendered question: `head` contains the instruction and the few-shot examples, and `ask` is the question itself.

    Passages are inserted between `head` and `ask`. `options`, `answer` and `accepted` are used by `kib show`; if the
    task generates text, `options` is empty and `answer` is None, and `accepted` contains the accepted answers of the
    user's own questions.
    """

    question_id: str
    head: str
    ask: str
    query: str
    options: tuple[str, ...] = ()
    answer: int | None = None
    gold: tuple[Gold, ...] = ()
    group: str | None = None
    accepted: tuple[str, ...] = ()
    unanswerable: bool = False
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text that a model reads for a question, its passages (best first), and the number of dropped passages."""

    question_id: str
    text: str
    passages: tuple[str, ...] = ()
    dropped: int = 0
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a backend; `arguments` are the arguments of lm-eval's request as JSON values.

    The arguments are (context, continuation) for loglikelihood, (text,) for loglikelihood_rolling and (context,
    settings) for generate_until.
    """

    kind: Literal["loglikelihood", "loglikelihood_rolling", "generate_until"]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A backend's answer: [log-probability in nats, is_greedy], a log-probability, or generated text.

    `seconds` is the answer's share of the batch's wall-clock time, in proportion to the length of the request.
    """

    value: Any
    environment: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """An answer of a server or a system, with what it reports about itself and about the answer.

    `server` contains for example the name of the model and the fingerprint of the server's configuration. A count is
    None if the server does not report it. Only systems report the remaining values: `passages` are the ids or the texts
    of the passages that the answer is based on, best first, `seconds` is the time until the answer was complete, and
    `cost` is the price of the answer in a currency of the system's own. None means that a value is not reported.
    """

    value: str
    server: Mapping[str, str] = field(default_factory=dict)
    input_tokens: int | None = None
    output_tokens: int | None = None
    passages: tuple[str, ...] | None = None
    seconds: float | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerToJudge:
    """A generated answer, with its question and the accepted answers; without any, the documents hold no answer."""

    question: str
    accepted: tuple[str, ...]
    output: str


class Verdict(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A judge's verdict on an answer: a score from 0 (wrong) to 1 (right), with the judge's reason in words.

    `abstained` states whether the output declines to answer; if it is None, the phrases of the task decide. `served`
    is what the judge's server reports about itself, such as the name of its model, or "" if it reports nothing.
    """

    score: int | float
    reason: str = ""
    abstained: bool | None = None
    served: str = ""


@dataclass(frozen=True, slots=True)
class UnjudgedAnswer:
    """An answer on which a judge could give no verdict, with the reason as a clause or sentence."""

    reason: str


class Score(Struct, frozen=True, forbid_unknown_fields=True, rename={"question_id": "question"}):
    """A line of a cell's `questions.jsonl`: the score of a question, with the data that the score is based on.

    A score is a number from 0 (wrong) to 1 (right); `other_scores` contains the scores of further metrics by name.

    For the answer of a system, `passages` are the ids or the texts of passages as the system reports them, and
    `seconds` and `cost` are the time and the price of the answer (`ServedAnswer`).

    The record is a msgspec struct because msgspec parses the lines of a large benchmark several times as fast as
    pydantic. `logprobs` contains the log-probability of each option in nats; `output` is the generated text of a
    question without options.
    """

    question_id: str
    group: str | None
    score: int | float
    prediction: int | None
    answer: int | None
    logprobs: tuple[float, ...] = ()
    output: str | None = None
    passages: tuple[str, ...] = ()
    gold: tuple[bool, ...] | None = None  # per retrieved passage, even if dropped; None: no gold in the task
    dropped: int = 0
    tokens: int | None = None
    prompt: str = ""  # the SHA-256 of the prompt's text
    relevant: int | None = None  # number of gold passages in the corpus; None: no gold, or no retrieval
    other_scores: dict[str, float] | None = None
    abstained: bool | None = None  # whether the output declines to answer; None: the options of the question are scored
    unanswerable: bool = False
    probe: str | None = None
    verdict: Verdict | None = None  # None: no judge grades the task
    seconds: float | None = None
    cost: float | None = None


SERVED_MODEL = "served model"
"""The name under which `ServedAnswer.server` contains the name of the model that the server reports."""

FINGERPRINT = "system_fingerprint"
"""The name under which `ServedAnswer.server` contains the fingerprint of the server's configuration."""

SERVED_MODEL = "served model"
"""The name under which `ServedAnswer.server` contains the name of the model that the server reports."""

UNKNOWN_DEVICE = "unknown"
"""The device of a model that does not name its device, for example because the model is on a server."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The device and the package versions used for an answer; only rows with equal environments are ranked together.

    For an answer of a server, `packages` also contains what the server reports about itself (`ServedAnswer.server`).
    Different fingerprints of its configuration cause a warning, because one endpoint may use several configurations.
    """

    device: str
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def device_in_words(self) -> str:
        """The device, or words for a device that kib does not know."""
        return "an unknown device, such as a server" if self.device == UNKNOWN_DEVICE else self.device


@dataclass(frozen=True, slots=True)
class Recipient:
    """A server that receives text of a benchmark, such as passages or prompts, and possibly a credential.

    `key` is the key path of the option with the address, or () if the address comes from the environment variable
    `address_variable` or from the plugin itself. `credential` is the name of the environment variable with the
    credential, or "" if there is no credential. `verified` is false if the client does not check the server's
    certificate.
    """

    key: tuple[str | int, ...]
    address: str
    credential: str = ""
    address_variable: str = ""
    verified: bool = True
