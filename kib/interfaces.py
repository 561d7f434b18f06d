"""What a plugin must implement: one protocol per entry-point group, and optional protocols for extras.

kib builds a plugin as `cls(options)`; building reads no file, uses no network and imports nothing heavy. The top of a
plugin's module imports only the standard library, pydantic and kib; heavy imports belong inside methods.
"""

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from kib.records import Document, Hit, JudgedQuery, Passage, Query, Question, Text, Trained, Weights

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask

__all__ = [
    "GROUPS",
    "AliasedCorpus",
    "ChatModel",
    "CheckedTrainer",
    "CitingPlugin",
    "Corpus",
    "DescribedModel",
    "DraftQuestion",
    "Forecast",
    "GoldRetriever",
    "HarnessTask",
    "InputPath",
    "JudgedCorpus",
    "Model",
    "NotInIdentity",
    "NotedCorpus",
    "OnlinePlugin",
    "Options",
    "PaidWriter",
    "Plugin",
    "QuestionWriter",
    "RemarkingRetriever",
    "RememberingRetriever",
    "Reranker",
    "Retriever",
    "SelectiveWriter",
    "ServedRetriever",
    "SizedModel",
    "Spending",
    "Task",
    "TokenizerModel",
    "Trainer",
    "Writer",
]

GROUPS = ("models", "corpora", "retrievers", "tasks", "writers", "trainers")
"""The kinds of plugin. Entry points are in the group `kib.<kind>`, tables of a spec are `[<kind>.<name>]`."""


class Options(BaseModel):
    """The plugin's own keys in `[kind.name]`; every field needs a description."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NotInIdentity:
    """Marks an option that changes no result, such as a device, a batch size or a URL; identities ignore it.

    Use: `device: Annotated[str, NotInIdentity] = Field("cpu", description=...)`.
    """


def __getattr__(name: str) -> Any:
    """Return `NotInIdentity` for its former name `Local`, with a warning."""
    if name != "Local":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("kib.interfaces.Local is now NotInIdentity", DeprecationWarning, stacklevel=2)
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
"""A path option, relative to the spec file, with `${VAR}` expanded. Identities use the `fingerprint`, not the path."""


class Plugin(Protocol):
    """The part that all plugins share."""

    Options: ClassVar[type[Options]]
    revision: ClassVar[int]
    """Raise this number when equal options and inputs produce different output."""

    def __init__(self, options: Any) -> None: ...

    def fingerprint(self) -> str:
        """Return a digest of the data behind the options (file bytes, a hub commit), "" if there are none.

        Raises InputError if the data are missing.
        """
        ...


@runtime_checkable
class OnlinePlugin(Protocol):
    """A plugin of any kind that needs a network; `kib check` lists its needs if the network is missing."""

    def online(self) -> Sequence[str]:
        """Return what the plugin downloads or contacts, in words, even if it is cached; uses no network."""
        ...


@runtime_checkable
class CitingPlugin(Protocol):
    """A plugin of any kind that builds on published work; `kib cite` lists that work."""

    def bibtex(self) -> str:
        """Return BibTeX entries for these options; text between entries is dropped, as are repeated keys."""
        ...


@runtime_checkable
class Model(Plugin, Protocol):
    """A model that lm-eval can score, with its tokenizer."""

    def tokens(self) -> Callable[[str], list[int]] | None:
        """Return the tokenizer as a function, adding special tokens as the model does.

        kib splits documents, fits prompts and forecasts costs with it. None if the backend does not expose its
        tokenizer: prompts are then neither counted nor shortened.
        """
        ...

    def context_length(self) -> int | None:
        """Return the most tokens per request, prompt and answer together; None if unknown."""
        ...

    def weights(self) -> Weights | None:
        """Return a transformers folder to train from; None if the model cannot be trained."""
        ...

    def load(self, weights: Weights | None = None) -> "LM":
        """Return the model ready to score, with a trainer's weights if given."""
        ...


@runtime_checkable
class DescribedModel(Protocol):
    """A model that can describe itself before its weights are downloaded, for the check of a `CheckedTrainer`."""

    def described(self) -> Weights:
        """Return the folder of `weights` with configuration and tokenizer; the weight files may be missing."""
        ...


@runtime_checkable
class SizedModel(Protocol):
    """A model with a known size, from which kib counts operations."""

    def parameters(self) -> int:
        """Return the number of parameters without loading them."""
        ...


@runtime_checkable
class TokenizerModel(Protocol):
    """A model whose tokenizer can be identified apart from its weights.

    Passages split by tokens then outlive a change of the model's other options.
    """

    def tokenizer_fingerprint(self) -> str:
        """Return a digest of everything that determines the result of `tokens`."""
        ...


@runtime_checkable
class ChatModel(Protocol):
    """A model with a chat template; used only if a spec sets `chat_template = true`."""

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Return a conversation formatted with the model's template. Raises InputError if the model has none."""
        ...


@runtime_checkable
class Corpus(Plugin, Protocol):
    """A source of documents that hold the knowledge."""

    def documents(self) -> Iterator[Document]:
        """Yield every document once, in a fixed order, with unique ids."""
        ...


@runtime_checkable
class JudgedCorpus(Protocol):
    """A corpus that is a test collection: it has queries with judgments of its documents."""

    def judged_queries(self) -> Iterator[JudgedQuery]:
        """Yield every judged query once, in a fixed order. Raises InputError if a judged document is missing."""
        ...


@runtime_checkable
class AliasedCorpus(Protocol):
    """A corpus whose documents have aliases, such as redirecting titles; gold may use an alias."""

    def aliases(self) -> Mapping[str, str]:
        """Return the document id per alias; complete after `documents` has been read to its end."""
        ...


@runtime_checkable
class NotedCorpus(Protocol):
    """A corpus with a record of its own, such as a source and a date."""

    def notes(self) -> Mapping[str, Any]:
        """Return `source`, `date` and counts for the record; complete after `documents` has been read to its end."""
        ...


@runtime_checkable
class Task(Plugin, Protocol):
    """A set of questions with options."""

    def questions(self, split: str) -> Iterator[Question]:
        """Yield a split's questions in a fixed order; nothing if the split does not exist.

        Results come from "test", settings are chosen on "validation", few-shot examples come from "examples", and
        "reworded" has the test questions in other words, with the same ids.
        """
        ...

    def splits(self) -> Collection[str]:
        """Return the names of the existing splits, from the options alone."""
        ...


@runtime_checkable
class HarnessTask(Plugin, Protocol):
    """A task of lm-eval with its own prompt, few-shot examples and metric, such as the core plugin `lm-eval`."""

    def harness_task(self) -> "ConfigurableTask":
        """Return a new lm-eval task with its data loaded."""
        ...

    def metric(self) -> str | None:
        """Return the metric that gives a question's 0/1 score; None for the task's default."""
        ...


@runtime_checkable
class Retriever(Plugin, Protocol):
    """A search over passages."""

    def build(self, passages: Iterable[Passage], folder: Path) -> None:
        """Write an index into `folder`, which may contain an interrupted build of the same index."""
        ...

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """Return at most `k` hits per query, best first, ties by passage id; queries do not affect each other."""
        ...


@runtime_checkable
class RememberingRetriever(Protocol):
    """A retriever that caches expensive values per passage, such as vectors, beyond the life of an index.

    A changed corpus needs a new index; with the cache, only changed passages are computed again.
    """

    def memory(self) -> str:
        """Return a name, `[a-z0-9-]+`, for everything that determines the cached values; equal names share a folder."""
        ...

    def build(self, passages: Iterable[Passage], folder: Path, memory: Path | None = None) -> None:
        """Write an index into `folder`; read cached values from the folder `memory` and add new ones at once.

        `memory` may contain the values of a killed build, and other processes may use it at the same time.
        """
        ...


@runtime_checkable
class RemarkingRetriever(Protocol):
    """A retriever with remarks about its index, for example on passages that it had to truncate."""

    def remarks(self, folder: Path) -> Sequence[str]:
        """Return sentences that a reader of the results should know; kib shows and stores them."""
        ...


@runtime_checkable
class ServedRetriever(Protocol):
    """A retriever with its index on a server; the folder only holds metadata."""

    def holds(self, folder: Path) -> bool:
        """Return whether the server still has the complete index of the folder; if not, kib builds it again."""
        ...

    def index_bytes(self, folder: Path) -> int:
        """Return the size of the server's index in bytes."""
        ...


@runtime_checkable
class GoldRetriever(Plugin, Protocol):
    """A retriever that is told the gold passages and needs no index: the core's `oracle` and `random`."""

    needs_gold: ClassVar[bool]
    role: ClassVar[Literal["ceiling", "control"]]
    """The meaning of its rows: "ceiling" is the upper bound of retrieval, "control" the effect of any passages."""

    def fixed_k(self) -> int | None:
        """Return the number of passages for a method without `top_k`; None if `top_k` is required."""
        ...

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:
        """Return at most `k` hits for a question id, from the ids of its gold passages and of all passages."""
        ...


@runtime_checkable
class Reranker(Plugin, Protocol):
    """A retriever that reorders or fuses the stored hits of other retrievers, named in the option `of`."""

    def sources(self) -> Mapping[str, int]:
        """Return the number of hits to read per source retriever, by its name in the spec."""
        ...

    def rerank(
        self, query: Query, hits: Mapping[str, Sequence[Hit]], passages: Mapping[str, Passage], k: int
    ) -> list[Hit]:
        """Return at most `k` hits, best first; `hits` holds the hits per source retriever."""
        ...


@runtime_checkable
class Writer(Plugin, Protocol):
    """A source of new text made from passages."""

    def write(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[Text]:
        """Yield `count` texts per passage, each with its passage and kind ("paraphrase" or "pair").

        `kept` stores paid answers and outlives the call: put every paid answer there, under a unique key, before
        using it.
        """
        ...


@runtime_checkable
class SelectiveWriter(Protocol):
    """A writer of several kinds of text; kib requests only the kinds that a trainer uses."""

    def kinds(self) -> Collection[str]:
        """Return the kinds of text that the writer can write, from the options alone."""
        ...

    def only(self, kinds: Collection[str]) -> Writer:
        """Return a writer of only these kinds, at least one; each text is the same as without the restriction."""
        ...


@dataclass(frozen=True, slots=True)
class Forecast:
    """A cost forecast for a writer: the number of requests, and estimates of input and output tokens."""

    calls: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Spending:
    """The cost of written text: answered requests and counted tokens; None if some tokens were not counted.

    The sums come from the stored paid answers, so they are the same at any time.
    """

    requests: int
    input_tokens: int | None
    output_tokens: int | None


@runtime_checkable
class PaidWriter(Protocol):
    """A writer that costs money; `kib check` and `--dry-run` show its forecast.

    The record of every cell trained on the text contains the cost.
    """

    def forecast(
        self,
        passages: Sequence[Passage],
        count: int,
        seed: int = 0,
        kept: Mapping[str, str] | None = None,
        what: Literal["text", "questions"] = "text",
    ) -> Forecast:
        """Return the remaining cost of `write` or `questions` with these arguments, without sending anything."""
        ...

    def spent(self, passages: Sequence[Passage], count: int, seed: int, kept: Mapping[str, str]) -> Spending:
        """Return the cost of the answers in `kept` that belong to `write` with these arguments.

        The sum includes answers from earlier runs and answers that could not be used.
        """
        ...

    def ready(self) -> None:
        """Raise InputError if the writer cannot work here, for example without a key; nothing is sent."""
        ...


@dataclass(frozen=True, slots=True)
class DraftQuestion:
    """A writer's question: the right option, the wrong options, and a quote from the passage as evidence."""

    passage: str
    text: str
    right: str
    wrong: tuple[str, ...]
    quote: str


@runtime_checkable
class QuestionWriter(Protocol):
    """A writer that also makes questions with options; `kib questions` checks them."""

    def questions(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[DraftQuestion]:
        """Yield `count` questions per passage, the most specific first, each with three wrong options.

        `kept` stores paid answers; see `Writer.write`.
        """
        ...


@runtime_checkable
class Trainer(Plugin, Protocol):
    """A way to train text into a model's weights."""

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
        """Write safetensors into `folder`, which may contain a checkpoint of the same training run.

        Call `log` with one record per step: `step` and `steps`, `tokens` trained so far, `loss` in nats per token.
        Measure the loss on `validation` during training, to stop early, and report the last value, because arms may be
        chosen by it. Measure the loss on `held_out` before and after. Raises InputError if tokens would be lost.
        """
        ...


@runtime_checkable
class CheckedTrainer(Protocol):
    """A trainer that can find problems before training; `kib check` calls it."""

    def check(self, start: Weights, validation: bool) -> None:
        """Raise InputError if the options do not fit the model, the machine or each other. Reads no weights.

        `start` may lack weight files if the model is a `DescribedModel`; `validation` says whether there will be
        validation text.
        """
        ...
