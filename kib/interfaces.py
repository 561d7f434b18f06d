"""The plugin interfaces: one protocol per entry-point group, and optional protocols for additional features.

kib creates a plugin as `cls(options)`; the constructor must not read files, use the network or import heavy packages.
At module level, a plugin imports only the standard library, pydantic and kib; heavy imports belong inside methods.
"""

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from kib.records import (
    AnswerToJudge,
    Document,
    Hit,
    JudgedQuery,
    Passage,
    Query,
    Question,
    Recipient,
    ServedAnswer,
    Text,
    Trained,
    UnjudgedAnswer,
    Verdict,
    Weights,
)

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask

__all__ = [
    "GROUPS",
    "AliasedCorpus",
    "ApartRetriever",
    "BackendModel",
    "ChatModel",
    "ChatOnlyModel",
    "CheckedModel",
    "CheckedTrainer",
    "CitingPlugin",
    "CodePlugin",
    "Corpus",
    "CountedCorpus",
    "DescribedModel",
    "DraftQuestion",
    "Estimate",
    "Forecast",
    "ForecastingModel",
    "ForecastingTrainer",
    "GeneratingModel",
    "GoldRetriever",
    "HarnessTask",
    "InputPath",
    "Judge",
    "JudgedCorpus",
    "LoadedSystem",
    "Model",
    "NamedModel",
    "NotInIdentity",
    "NotedCorpus",
    "OnlinePlugin",
    "Options",
    "PaidJudge",
    "PaidWriter",
    "Plugin",
    "ProbedJudge",
    "ProbedModel",
    "ProbedSystem",
    "PromptedJudge",
    "QuestionWriter",
    "RemarkingRetriever",
    "RemarkingTask",
    "RememberingCorpus",
    "RememberingRetriever",
    "ReportingRetriever",
    "Reranker",
    "Retriever",
    "SelectiveWriter",
    "SendingPlugin",
    "SeparateBackend",
    "ServedRetriever",
    "SizedModel",
    "SkippedPassage",
    "Spending",
    "System",
    "Task",
    "TextOnlyTrainer",
    "TokenizerModel",
    "Trainer",
    "TrainingForecast",
    "Workload",
    "Writer",
]

GROUPS = ("models", "corpora", "retrievers", "tasks", "writers", "trainers", "judges", "systems")
"""The kinds of plugins. Entry points are in the group `kib.<kind>`, and tables of a spec are `[<kind>.<name>]`."""


class Options(BaseModel):
    """The options of a plugin, which are the keys in `[kind.name]`; every field needs a description."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NotInIdentity:
    """Marks an option that does not affect results, such as a device or a URL; identities omit the option.

    Use: `device: Annotated[str, NotInIdentity] = Field("cpu", description=...)`.
    """


def __getattr__(name: str) -> Any:
    """Return `NotInIdentity` for its former name `Local`, with a warning."""
    if name != "Local":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "kib.interfaces.Local has been renamed to kib.interfaces.NotInIdentity", DeprecationWarning, stacklevel=2
    )
    return NotInIdentity


VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Expand `${VAR}` and resolve a relative path against the spec file's folder."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not os.environ.get(name):
            raise ValueError(f"the environment variable {name} is not set")
        return os.environ[name]

    expanded = Path(VARIABLE.sub(value, str(path))).expanduser()
    folder: Path = (info.context or {}).get("folder", Path())
    return expanded if expanded.is_absolute() else folder / expanded


InputPath = Annotated[Path, NotInIdentity, AfterValidator(_resolve)]
"""A path relative to the spec file, with `${VAR}` expanded. Identities use the `fingerprint` instead of the path."""


class Plugin(Protocol):
    """The methods and attributes that all plugins have in common."""

    Options: ClassVar[type[Options]]
    revision: ClassVar[int]
    """Increase this number when equal options and inputs produce different output than before."""

    def __init__(self, options: Any) -> None: ...

    def fingerprint(self) -> str:
        """Return a digest of the data that the options refer to (file bytes, a hub commit), or "" without such data.

        Raises InputError if the data is missing.
        """
        ...


@runtime_checkable
class OnlinePlugin(Protocol):
    """A plugin of any kind that needs a network; `kib check` lists its downloads if there is no network."""

    def online(self) -> Sequence[str]:
        """Return sentences that list the plugin's servers and downloads, including cached downloads.

        The method uses no network.
        """
        ...


@runtime_checkable
class SendingPlugin(Protocol):
    """A plugin of any kind that sends text or a credential to a server.

    If a recipient is not allowed, kib rejects the table before the plugin reads any data (`kib.support.recipients`).
    The plugin itself calls `require_allowed` with the same recipients before it opens a connection.
    """

    def recipients(self) -> Sequence[Recipient]:
        """Return every server that the plugin may contact, as determined by the options and the environment.

        The method uses no network. Raises InputError if an address or a login in the environment is invalid.
        """
        ...


@runtime_checkable
class CodePlugin(Protocol):
    """A plugin of any kind that runs code that its table names; kib rejects the table without --trust-remote-code.

    The methods `fingerprint`, `online` and `recipients` must not run the code.
    """

    code_option: ClassVar[str]
    """The option that names the code."""


@runtime_checkable
class CitingPlugin(Protocol):
    """A plugin of any kind that builds on published work; `kib cite` prints the BibTeX entries of this work."""

    def bibtex(self) -> str:
        """Return BibTeX entries for these options; kib omits text between entries, and entries with duplicate keys."""
        ...


@runtime_checkable
class Model(Plugin, Protocol):
    """A model that lm-eval can score, with its tokenizer."""

    def tokens(self) -> Callable[[str], list[int]] | None:
        """Return the tokenizer as a function that adds special tokens as the model does.

        kib uses the tokenizer to split documents, fit prompts and forecast costs. Return None if the backend does not
        expose its tokenizer; kib then neither counts nor shortens prompts.
        """
        ...

    def context_length(self) -> int | None:
        """Return the maximum number of tokens in a request's prompt and answer, or None if the maximum is unknown."""
        ...

    def weights(self) -> Weights | None:
        """Return the folder of a transformers model from which training starts; None if the model cannot be trained."""
        ...

    def load(self, weights: Weights | None = None) -> "LM":
        """Return the model ready to score requests, with a trainer's weights if `weights` is given."""
        ...


@runtime_checkable
class CheckedModel(Protocol):
    """A model or a system that can detect problems before it is loaded; `kib check` calls `check`."""

    def check(self) -> None:
        """Raise InputError if the model cannot be loaded, for example because a package is missing. Loads no model."""
        ...


@runtime_checkable
class ProbedModel(Protocol):
    """A model on a server; `kib check` sends test requests to find out what the server can do."""

    def probed_server(self) -> str | None:
        """Return the address of the server that receives the test requests; None if there is no server to test."""
        ...

    def probe(self, kinds: Collection[str]) -> Mapping[str, str]:
        """Send one short test request of each kind, and return the reason for every kind that the server cannot answer.

        A kind is a request type of lm-eval, such as "loglikelihood". The requests contain no text of the user. Raises
        InputError if the model cannot be loaded, and ServerUnavailableError if the server does not respond.
        """
        ...


@runtime_checkable
class GeneratingModel(Protocol):
    """A model with its own limit on the length of generated answers, which forecasts use."""

    def generated_tokens(self) -> int | None:
        """Return the maximum number of tokens to generate if a request does not set it; None for lm-eval's default."""
        ...


@runtime_checkable
class DescribedModel(Protocol):
    """A model that can be described before its weights are downloaded, for the check of a `CheckedTrainer`."""

    def described(self) -> Weights:
        """Return the folder of `weights` with its configuration and tokenizer; the weight files may be missing."""
        ...


@runtime_checkable
class SizedModel(Protocol):
    """A model with a known number of parameters, from which kib estimates the number of arithmetic operations."""

    def parameters(self) -> int:
        """Return the number of parameters without loading the weights."""
        ...


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind that a model has not answered yet; identical requests and identical prompts count once.

    `kind` is a kind of `Request`.
    `read_tokens` is the number of tokens in all prompts, each with its longest answer if answers are scored.
    `scored_tokens` is the number of tokens in all scored answers, and `written_tokens` is the maximum number of tokens
    to generate. `longest` is the number of tokens in the longest prompt with its answer. The counts of tokens that
    require a tokenizer are None if the model has no public tokenizer.
    """

    kind: str
    requests: int
    read_tokens: int | None
    scored_tokens: int | None
    written_tokens: int
    longest: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated number of floating-point operations and the peak memory in bytes of a computation."""

    operations: float
    peak_bytes: int


@runtime_checkable
class NamedModel(Protocol):
    """A model or a judge that knows the name of its language model.

    kib compares the names, because judges tend to prefer the answers of their own model and of related models.
    """

    def language_model(self) -> str:
        """Return the name of the language model, such as `gpt-4o` or the name of its folder, from the options alone."""
        ...


@runtime_checkable
class ForecastingModel(Protocol):
    """A model that estimates the cost of requests; `kib check` and `kib plan` show the time and the memory."""

    def estimate(self, workload: Workload) -> Estimate | None:
        """Return the cost of answering requests without loading weights, or None if the cost is unknown.

        kib calls the method only if the counts of tokens are known.
        """
        ...

    def operations_per_second(self) -> float:
        """Return the speed of this machine in floating-point operations per second, measured in about a second."""
        ...


@runtime_checkable
class TokenizerModel(Protocol):
    """A model with a tokenizer that has its own identity, independent of the weights.

    Passages split by tokens can therefore be reused if other options of the model change.
    """

    def tokenizer_fingerprint(self) -> str:
        """Return a digest of everything that affects the result of `tokens`."""
        ...


@runtime_checkable
class ChatModel(Protocol):
    """A model with a chat template, which is used only if a spec sets `chat_template = true`."""

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Return a conversation formatted with the model's template. Raises InputError if the model has no template."""
        ...


@runtime_checkable
class ChatOnlyModel(ChatModel, Protocol):
    """A model that reads only chats; its prompts are chats even without `chat_template = true` in the spec."""

    chat_only: ClassVar[bool]
    """Always true; marks models that read only chats."""


@runtime_checkable
class BackendModel(Protocol):
    """A model plugin with several backends, which may send the same prompt in different forms.

    A model trained elsewhere is compared with its base only if both have the same backend.
    """

    def backend(self) -> str:
        """Return the name of the backend, determined only by the options."""
        ...

    def sends_chats(self) -> bool:
        """Return whether the backend sends each prompt as a chat, even without `chat_template = true` in the spec."""
        ...


@runtime_checkable
class SeparateBackend(Protocol):
    """What `Model.load` returns for a server on which no answer depends on the other requests.

    kib then asks only for missing answers, and stores each answer as soon as the answer arrives.
    """

    def answer_each(self, requests: "Sequence[Instance]", store: Callable[[int, ServedAnswer], None]) -> None:
        """Call `store` with the index and the answer of each request, in any order, but only in the calling thread.

        All requests are of the kind `generate_until`. Raises MissingAnswersError after all other requests have been
        answered if some requests have no answer, and a different KibError if the server cannot be used.
        """
        ...


@runtime_checkable
class Corpus(Plugin, Protocol):
    """A source of documents that contain the knowledge to inject."""

    def documents(self) -> Iterator[Document]:
        """Yield every document once, in a fixed order, with unique ids."""
        ...


@runtime_checkable
class JudgedCorpus(Protocol):
    """A test collection: a corpus that includes queries with relevance judgments of its documents."""

    def judged_queries(self) -> Iterator[JudgedQuery]:
        """Yield every judged query once, in a fixed order. Raises InputError if a judged document is missing."""
        ...


@runtime_checkable
class AliasedCorpus(Protocol):
    """A corpus with document aliases, such as titles of redirects; a gold document may be identified by an alias."""

    def aliases(self) -> Mapping[str, str]:
        """Return the document id for each alias; complete only after `documents` has been read to its end."""
        ...


@runtime_checkable
class RememberingCorpus(Protocol):
    """A corpus that caches expensive conversions, such as the text of PDF files, independently of its passages."""

    def memory(self) -> str:
        """Return a name (`[a-z0-9-]+`); corpora with equal names share a cache folder."""
        ...

    def documents(self, memory: Path | None = None) -> Iterator[Document]:
        """Yield the documents as `Corpus.documents` does; read cached conversions from the folder `memory`.

        Other processes may use the folder at the same time.
        """
        ...


@runtime_checkable
class CountedCorpus(Protocol):
    """A corpus that knows how many documents it may yield, so that the progress display can show the remaining time."""

    def document_count(self) -> int:
        """Return the largest possible number of documents, without reading them."""
        ...


@runtime_checkable
class NotedCorpus(Protocol):
    """A corpus with metadata, such as a source and a date."""

    def notes(self) -> Mapping[str, Any]:
        """Return `source`, `date` and counts as metadata; complete only after `documents` has been read to its end.

        kib displays the sentences in the list `remarks`, for example about text that was left out.
        """
        ...


@runtime_checkable
class Task(Plugin, Protocol):
    """A task: a set of questions with options."""

    def questions(self, split: str) -> Iterator[Question]:
        """Yield the questions of a split in a fixed order, or nothing if the split does not exist.

        Results are measured on "test", settings are chosen on "validation", few-shot examples are drawn from
        "examples", and "reworded" contains the test questions in different words, with the same ids.
        """
        ...

    def splits(self) -> Collection[str]:
        """Return the names of the existing splits, determined only by the options."""
        ...


@runtime_checkable
class HarnessTask(Plugin, Protocol):
    """An lm-eval task with its own prompt, few-shot examples and metric, such as the core plugin `lm-eval`."""

    def harness_task(self) -> "ConfigurableTask":
        """Return a new lm-eval task with its data loaded."""
        ...

    def metric(self) -> str | None:
        """Return the metric that gives each question its score from 0 to 1; None selects the default metric."""
        ...


@runtime_checkable
class RemarkingTask(Protocol):
    """A task that reports remarks about its questions, for example about white space that was removed."""

    def remarks(self, split: str) -> Sequence[str]:
        """Return sentences that a reader of the results should know; kib displays and stores these sentences.

        kib calls the method after `harness_task`, or after `questions(split)` has been read to its end.
        """
        ...


@runtime_checkable
class Retriever(Plugin, Protocol):
    """A retriever, which searches the passages of a corpus."""

    def build(self, passages: Iterable[Passage], folder: Path) -> None:
        """Write an index into `folder`, which may contain an interrupted build of the same index."""
        ...

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """Return at most `k` hits per query, best first, with ties sorted by passage id.

        The hits for a query must not depend on the other queries.
        """
        ...


@runtime_checkable
class RememberingRetriever(Protocol):
    """A retriever that caches expensive values per passage, such as vectors, independently of any index.

    If a corpus changes, the index must be rebuilt, but only the values of changed passages are recomputed.
    """

    def memory(self) -> str:
        """Return a name (`[a-z0-9-]+`) for everything that affects the cached values.

        Retrievers with equal names share a cache folder.
        """
        ...

    def build(self, passages: Iterable[Passage], folder: Path, memory: Path | None = None) -> None:
        """Write an index into `folder`; read cached values from the folder `memory`, and add new values immediately.

        `memory` may contain values of an interrupted build, and other processes may use the folder at the same time.
        """
        ...


@runtime_checkable
class ReportingRetriever(Protocol):
    """A retriever that reports its own progress, because reading a passage takes less time than indexing it."""

    reports_progress: ClassVar[bool]
    """Always true; marks retrievers with a parameter `advance` in `build`."""

    def build(
        self,
        passages: Iterable[Passage],
        folder: Path,
        *memory: Path,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        """Write an index as in `Retriever.build`, and call `advance` with each number of newly indexed passages.

        `memory` contains the cache folder if the retriever is a `RememberingRetriever`, and is empty otherwise.
        """
        ...


@runtime_checkable
class RemarkingRetriever(Protocol):
    """A retriever that reports remarks about its index, for example about passages that had to be truncated."""

    def remarks(self, folder: Path) -> Sequence[str]:
        """Return sentences that a reader of the results should know; kib displays and stores these sentences."""
        ...


@runtime_checkable
class ServedRetriever(Protocol):
    """A retriever with an index on a server; the local folder contains only metadata."""

    def holds(self, folder: Path) -> bool:
        """Return whether the server still stores the folder's complete index; if not, kib rebuilds the index."""
        ...

    def index_bytes(self, folder: Path) -> int:
        """Return the size of the server's index in bytes."""
        ...


@runtime_checkable
class GoldRetriever(Plugin, Protocol):
    """A retriever that knows the gold passages and needs no index: the core plugins `oracle` and `random`."""

    needs_gold: ClassVar[bool]
    role: ClassVar[Literal["ceiling", "control"]]
    """The retriever's role: "ceiling" measures the upper bound of retrieval, "control" the effect of any passage."""

    def fixed_k(self) -> int | None:
        """Return the number of passages for a method without `top_k`; None if `top_k` is required."""
        ...

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:
        """Return at most `k` hits for a question id, given the ids of its gold passages and of all passages."""
        ...


@runtime_checkable
class ApartRetriever(Protocol):
    """A `GoldRetriever` that also returns non-gold passages, none of which may repeat the gold text.

    A corpus may contain copies of the gold document; a control that shows a copy would measure retrieval.
    """

    def choose_apart(
        self,
        question: str,
        gold: Sequence[str],
        passages: Sequence[str],
        k: int,
        repeats: Callable[[str], bool],
    ) -> list[Hit]:
        """Return the hits of `choose`, excluding non-gold passages for which `repeats` returns True.

        `repeats` reads the passage with the given id, so call it only for passages that are about to be returned.
        """
        ...


@runtime_checkable
class Reranker(Plugin, Protocol):
    """A retriever that reranks or fuses the stored hits of other retrievers, which are listed in the option `of`."""

    def sources(self) -> Mapping[str, int]:
        """Return the number of hits to read from each source retriever, by the retriever's name in the spec."""
        ...

    def rerank(
        self, query: Query, hits: Mapping[str, Sequence[Hit]], passages: Mapping[str, Passage], k: int
    ) -> list[Hit]:
        """Return at most `k` hits, best first; `hits` contains the hits of each source retriever."""
        ...


@runtime_checkable
class Writer(Plugin, Protocol):
    """A source of new text derived from passages."""

    def write(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[Text]:
        """Yield `count` texts per passage, each with its passage and kind ("paraphrase" or "pair").

        A pair has a question and an answer, and may have options, in which the right answer must not always have the
        same position. kib renders the pair in the form of the task.

        `kept` stores paid answers permanently: store every paid answer in `kept`, under a unique key, before using the
        answer.
        """
        ...


@runtime_checkable
class SelectiveWriter(Protocol):
    """A writer of several kinds of text; kib requests only the kinds that a trainer uses."""

    def kinds(self) -> Collection[str]:
        """Return the kinds of text that the writer can produce, determined only by the options."""
        ...

    def only(self, kinds: Collection[str]) -> Writer:
        """Return a writer that produces only these kinds (at least one); the restriction must not change any text."""
        ...


@dataclass(frozen=True, slots=True)
class Forecast:
    """A cost forecast for a writer: the number of requests, and estimates of input and output tokens."""

    calls: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Spending:
    """The cost of written text: answered requests and counted tokens; a token count is None if it is incomplete.

    The cost is computed from the stored paid answers, and therefore never changes later.
    """

    requests: int
    input_tokens: int | None
    output_tokens: int | None


@runtime_checkable
class PaidWriter(Protocol):
    """A writer that costs money; `kib check` and `--dry-run` show its forecast.

    The record of every cell trained on the written text includes the cost.
    """

    def forecast(
        self,
        passages: Sequence[Passage],
        count: int,
        seed: int = 0,
        kept: Mapping[str, str] | None = None,
        what: Literal["text", "questions"] = "text",
    ) -> Forecast:
        """Return the remaining cost of `write` or `questions` with these arguments, without sending any request."""
        ...

    def spent(self, passages: Sequence[Passage], count: int, seed: int, kept: Mapping[str, str]) -> Spending:
        """Return the cost of the answers in `kept` that `write` requested with these arguments.

        The cost includes answers from earlier runs and unusable answers.
        """
        ...

    def ready(self) -> None:
        """Raise InputError if the writer cannot work here, for example without an API key; no request is sent."""
        ...


@dataclass(frozen=True, slots=True)
class DraftQuestion:
    """A question from a writer: the correct option, the incorrect options, and a quote from the passage as evidence."""

    passage: str
    text: str
    right: str
    wrong: tuple[str, ...]
    quote: str


@dataclass(frozen=True, slots=True)
class SkippedPassage:
    """A passage for which a writer could not write any question, with the reason as a clause or sentence.

    `allowed` states whether the writer's options allow this passage to remain without questions; if not,
    `kib questions` saves all other questions and then fails.
    """

    passage: str
    reason: str
    allowed: bool = False


@runtime_checkable
class QuestionWriter(Protocol):
    """A writer that also drafts questions with options; `kib questions` checks these questions."""

    def questions(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> "Iterator[DraftQuestion | SkippedPassage]":
        """Yield `count` questions per passage, the most specific question first, each with three incorrect options.

        Yield a `SkippedPassage` instead of the questions if no question about a passage can be written. `kept` stores
        paid answers, as described in `Writer.write`.
        """
        ...


@runtime_checkable
class Judge(Plugin, Protocol):
    """A judge, which grades generated answers against the accepted answers of their questions."""

    def judge(
        self, answers: Sequence[AnswerToJudge], kept: MutableMapping[str, str]
    ) -> "Iterator[Verdict | UnjudgedAnswer]":
        """Yield one verdict per answer, in the order of `answers`; a verdict must not depend on the other answers.

        Yield an `UnjudgedAnswer` if one answer cannot be judged, and raise an error if no answer can. `kept` stores
        paid answers, as described in `Writer.write`; the keys cover everything that decides a verdict.
        """
        ...


@runtime_checkable
class PaidJudge(Protocol):
    """A judge that costs money; `kib check` shows its forecast, and the record of every judged cell its cost."""

    def forecast(self, answers: Sequence[AnswerToJudge], kept: Mapping[str, str]) -> Forecast:
        """Return the remaining cost of `judge` with these answers, without sending any request."""
        ...

    def spent(self, answers: Sequence[AnswerToJudge], kept: Mapping[str, str]) -> Spending:
        """Return the cost of the verdicts on these answers in `kept`, including unusable replies and earlier runs."""
        ...

    def ready(self) -> None:
        """Raise InputError if the judge cannot work here, for example without an API key; no request is sent."""
        ...


@runtime_checkable
class ProbedJudge(Protocol):
    """A judge on a server; `kib check` asks for a verdict on an answer that contains no text of the user."""

    def probed_server(self) -> str:
        """Return the address of the server that receives the test request."""
        ...

    def probe(self, answer: AnswerToJudge) -> "Verdict | UnjudgedAnswer":
        """Return the verdict on a test answer, without retries. Raises KibError if the server cannot be used."""
        ...


@runtime_checkable
class PromptedJudge(Protocol):
    """A judge that reads a prompt, which `kib check` shows."""

    def prompt(self, answer: AnswerToJudge) -> str:
        """Return the prompt with which the judge grades an answer."""
        ...


@runtime_checkable
class Trainer(Plugin, Protocol):
    """A method of training a model on text."""

    def train(
        self,
        start: Weights,
        text: Sequence[Text],
        folder: Path,
        seed: int,
        log: Callable[[Mapping[str, Any]], None],
        validation: Sequence[Text] = (),
        held_out: Sequence[Text] = (),
    ) -> Trained:
        """Write trained safetensors to `folder`, which may contain a checkpoint of the same training run.

        A question-answer pair is trained as its field `prompt` followed by its field `target`, with a loss on `target`.
        Call `log` with one record per step: `step` and `steps`, `tokens` trained so far, `loss` in nats per token.
        Measure the loss on `validation` during training to decide on early stopping, and report the last value, because
        kib may choose arms by this loss. Measure the loss on `held_out` before and after training. Raises InputError if
        training would lose tokens of the text.
        """
        ...


@runtime_checkable
class TextOnlyTrainer(Protocol):
    """A trainer that only declares a text for `kib export`; no method can train with it."""

    text_only: ClassVar[bool]
    """Always true; marks trainers that train nothing."""


@dataclass(frozen=True, slots=True)
class TrainingForecast:
    """The size and the estimated cost of a training run.

    `tokens` is the number of tokens in all training steps, including tokens without a loss. `operations` is the number
    of floating-point operations in all training steps and loss measurements, and `peak_bytes` is the peak memory.
    """

    tokens: int
    steps: int
    operations: float
    peak_bytes: int


@runtime_checkable
class ForecastingTrainer(Protocol):
    """A trainer that estimates the cost of a training run; `kib check` and `kib plan` show the time and the memory."""

    def forecast(
        self, start: Weights, text: Sequence[Text], validation: Sequence[Text] = (), held_out: Sequence[Text] = ()
    ) -> TrainingForecast | None:
        """Return the cost of `train` with these texts, or None if the cost is unknown. Reads no weights.

        Raises InputError if training would fail because of the texts.
        """
        ...

    def operations_per_second(self) -> float:
        """Return the speed of this machine in floating-point operations per second, measured in about a second."""
        ...


@runtime_checkable
class CheckedTrainer(Protocol):
    """A trainer that can detect problems before training; `kib check` calls `check`."""

    def check(self, start: Weights, validation: bool) -> None:
        """Raise InputError if the options conflict with the model, the machine or each other. Reads no weights.

        `start` may lack weight files if the model is a `DescribedModel`; `validation` states whether validation text
        will be provided.
        """
        ...


@runtime_checkable
class System(Plugin, Protocol):
    """A complete system that answers questions, such as a RAG service; kib sees only its answers."""

    def reads_ids(self) -> bool:
        """Return whether answers may depend on the ids of questions; if so, equal questions are asked once per id."""
        ...

    def load(self) -> "LoadedSystem":
        """Return the system ready to answer; no question is sent. Raises InputError if the system cannot be used."""
        ...


class LoadedSystem(Protocol):
    """What `System.load` returns; kib calls the method `release`, if there is one, after the last question."""

    @property
    def concurrency(self) -> int:
        """The maximum number of questions to ask at the same time; with 1, only one thread calls `answer`."""
        ...

    def answer(self, question: str, question_id: str) -> ServedAnswer:
        """Return the answer to a question, with everything that the system reports about the answer.

        kib calls the method in up to `concurrency` threads, and measures `seconds` if the answer does not state the
        time. `question_id` is "" unless `reads_ids` returns True. Raises NoAnswerError if this question has no answer,
        so that the other questions are still asked, and a different InputError if no question can be answered.
        """
        ...


@runtime_checkable
class ProbedSystem(Protocol):
    """A system on a server; `kib check` asks one test question."""

    def probed_server(self) -> str:
        """Return the address that receives the test question."""
        ...

    def probe(self) -> ServedAnswer:
        """Ask one question that contains no text of the user, without retries. Raises InputError without an answer."""
        ...
