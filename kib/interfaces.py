"""What a plugin promises. Six entry-point groups, one protocol each (retrievers have two).

A plugin is built as `cls(options)`; building it reads no file, touches no network and imports nothing heavy.
Its module imports only the standard library, pydantic and kib at its top; heavy imports happen inside methods.
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
"""The kinds of plugin; the entry-point group of each is `kib.<kind>`, its tables in a spec are `[<kind>.<name>]`."""


class Options(BaseModel):
    """The keys under `[kind.name]` besides kib's own; every field has a description."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NotInIdentity:
    """Marks an option that changes no result (device, batch size, URL): it stays out of every identity.

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
    """Expand `${VAR}` and read a relative path from the folder of the spec file."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not os.environ.get(name):
            raise ValueError(f"the environment variable {name} is not set")
        return os.environ[name]

    expanded = Path(VARIABLE.sub(value, str(path))).expanduser()
    folder: Path = (info.context or {}).get("folder", Path())
    return expanded if expanded.is_absolute() else folder / expanded


InputPath = Annotated[Path, NotInIdentity, AfterValidator(_resolve)]
"""A path option: relative to the spec file, `${VAR}` expanded; it counts by `fingerprint`, not by its name."""


class Plugin(Protocol):
    """What all plugins share."""

    Options: ClassVar[type[Options]]
    revision: ClassVar[int]
    """Raise it when the same options and inputs give other output."""

    def __init__(self, options: Any) -> None: ...

    def fingerprint(self) -> str:
        """Digest of what the options point at (file bytes, a hub commit), "" where they point at nothing.

        Raises InputError if it is not there.
        """
        ...


@runtime_checkable
class OnlinePlugin(Protocol):
    """A plugin of any kind that takes something from a network; `kib check` names it where not all is there."""

    def online(self) -> Sequence[str]:
        """What that is, in words, whether or not it is on this machine already; known without a network."""
        ...


@runtime_checkable
class CitingPlugin(Protocol):
    """A plugin of any kind that stands on the work of others; `kib cite` names it."""

    def bibtex(self) -> str:
        """BibTeX entries of that work, by the options; what stands round them is left out, a key counts once."""
        ...


@runtime_checkable
class Model(Plugin, Protocol):
    """Something lm-eval can score, with its tokenizer."""

    def tokens(self) -> Callable[[str], list[int]] | None:
        """The tokenizer alone, special tokens included as the model reads them: for chunks, budgets and `kib check`.

        None where the backend keeps it to itself: prompts are then neither counted nor fitted.
        """
        ...

    def context_length(self) -> int | None:
        """How many tokens the model reads at once, prompt and answer together; None where it cannot be known."""
        ...

    def weights(self) -> Weights | None:
        """A transformers folder to train from; None: this model cannot be trained."""
        ...

    def load(self, weights: Weights | None = None) -> "LM":
        """The model ready to score, on a trainer's weights where given."""
        ...


@runtime_checkable
class DescribedModel(Protocol):
    """A model whose weights may have to be downloaded first; a `CheckedTrainer` is asked without them."""

    def described(self) -> Weights:
        """The folder of `weights`, with configuration and tokenizer, the weights themselves there or not."""
        ...


@runtime_checkable
class SizedModel(Protocol):
    """A model that knows its size; operations are counted from it."""

    def parameters(self) -> int:
        """The number of its parameters, known without loading them."""
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
    """A model with a chat template; asked only where a spec says `chat_template = true`."""

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """The text of a conversation in the model's own template; InputError where it has none."""
        ...


@runtime_checkable
class Corpus(Plugin, Protocol):
    """Documents that hold the knowledge."""

    def documents(self) -> Iterator[Document]:
        """Each document once, in a fixed order, ids unique."""
        ...


@runtime_checkable
class JudgedCorpus(Protocol):
    """A corpus that is a test collection: it brings queries and says which documents answer them."""

    def judged_queries(self) -> Iterator[JudgedQuery]:
        """Each query that has a judgment once, in a fixed order; InputError where a judged id is not there."""
        ...


@runtime_checkable
class AliasedCorpus(Protocol):
    """A corpus whose documents have further names, such as titles that redirect; gold may name them by those."""

    def aliases(self) -> Mapping[str, str]:
        """The id of the document behind each further name; known once `documents` came to its end."""
        ...


@runtime_checkable
class NotedCorpus(Protocol):
    """A corpus that says more of itself than its documents do."""

    def notes(self) -> Mapping[str, Any]:
        """What is recorded with it: its `source` and `date`, and counts, known once `documents` came to its end."""
        ...


@runtime_checkable
class Task(Plugin, Protocol):
    """Questions with options."""

    def questions(self, split: str) -> Iterator[Question]:
        """Questions of a split in a fixed order; nothing where there is no such split.

        "test" is cited, "validation" is chosen on, "examples" are shown before a question, and "reworded" asks the
        test questions in other words, under the same ids.
        """
        ...

    def splits(self) -> Collection[str]:
        """The splits it has, known from its options alone."""
        ...


@runtime_checkable
class HarnessTask(Plugin, Protocol):
    """A task that brings its own prompt, few-shot examples and metric: an lm-eval task (the core's `lm-eval`)."""

    def harness_task(self) -> "ConfigurableTask":
        """The lm-eval task, freshly built, with its data loaded."""
        ...

    def metric(self) -> str | None:
        """The metric to take as a question's 0/1 score; None: the task's own default."""
        ...


@runtime_checkable
class Retriever(Plugin, Protocol):
    """Finds passages for queries."""

    def build(self, passages: Iterable[Passage], folder: Path) -> None:
        """Write an index into `folder`, which may hold an interrupted build of the same identity."""
        ...

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """At most `k` hits a query, best first, ties by passage id; a query's hits do not depend on the others."""
        ...


@runtime_checkable
class RememberingRetriever(Protocol):
    """A retriever whose passages are dear to index: what it computes of each one outlives the index.

    A changed corpus makes another index; with a memory, only the passages that changed are computed again.
    """

    def memory(self) -> str:
        """A name for all that decides what is remembered, `[a-z0-9-]+`; retrievers of one name share one folder."""
        ...

    def build(self, passages: Iterable[Passage], folder: Path, memory: Path | None = None) -> None:
        """As in `Retriever`: what is in `memory` is not computed again, what is computed is put there at once.

        The folder may hold what a killed build left, and another process may use it at the same time.
        """
        ...


@runtime_checkable
class RemarkingRetriever(Protocol):
    """A retriever that has something to say of an index that it built: passages that it could not read whole, say."""

    def remarks(self, folder: Path) -> Sequence[str]:
        """A sentence for each thing that a reader of its numbers should know; kib shows and keeps them."""
        ...


@runtime_checkable
class ServedRetriever(Protocol):
    """A retriever whose index lies on a server: the folder holds no more than a note of it."""

    def holds(self, folder: Path) -> bool:
        """Whether the server still has the index that was built for the folder, whole; if not, it is built again."""
        ...

    def index_bytes(self, folder: Path) -> int:
        """The size of that index."""
        ...


@runtime_checkable
class GoldRetriever(Plugin, Protocol):
    """The core's `oracle` and `random`: they see which passages are gold, and need no index."""

    needs_gold: ClassVar[bool]
    role: ClassVar[Literal["ceiling", "control"]]
    """What its rows are in a table: the most that retrieval can give, or what passages as such change."""

    def fixed_k(self) -> int | None:
        """The number of passages where a method gives no `top_k`; None: `top_k` is needed."""
        ...

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:
        """At most `k` hits for a question id, from the ids of its gold passages and of all passages."""
        ...


@runtime_checkable
class Reranker(Plugin, Protocol):
    """Reorders or fuses the frozen hits of other retrievers, those named by the option `of`."""

    def sources(self) -> Mapping[str, int]:
        """The retrievers it stands on, by their names in the spec, and how many hits of each it reads."""
        ...

    def rerank(
        self, query: Query, hits: Mapping[str, Sequence[Hit]], passages: Mapping[str, Passage], k: int
    ) -> list[Hit]:
        """At most `k` hits, best first, from the hits of each retriever in `of` by its name in the spec."""
        ...


@runtime_checkable
class Writer(Plugin, Protocol):
    """Makes new text from passages."""

    def write(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[Text]:
        """`count` texts a passage, each naming its passage and kind ("paraphrase" or "pair").

        `kept` outlives the call: what a writer pays for is put there under a key of its own before it is used.
        """
        ...


@runtime_checkable
class SelectiveWriter(Protocol):
    """A writer of several kinds of text; it is only asked for those that a trainer keeps."""

    def kinds(self) -> Collection[str]:
        """The kinds of text that it writes, known from its options alone."""
        ...

    def only(self, kinds: Collection[str]) -> Writer:
        """A writer of these kinds alone, at least one of its own: each text is as it is with the others beside it."""
        ...


@dataclass(frozen=True, slots=True)
class Forecast:
    """What writing would cost: requests, and estimates of the tokens that they hold and that come back."""

    calls: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What writing has cost: requests that were answered, and the tokens that were counted of them, None where not all.

    It adds up what is kept, so that it is the same whenever it is asked.
    """

    requests: int
    input_tokens: int | None
    output_tokens: int | None


@runtime_checkable
class PaidWriter(Protocol):
    """A writer that pays for what it writes; `kib check` and `--dry-run` say how much that would be.

    What it was stands in the record of every cell that was trained on the text.
    """

    def forecast(
        self,
        passages: Sequence[Passage],
        count: int,
        seed: int = 0,
        kept: Mapping[str, str] | None = None,
        what: Literal["text", "questions"] = "text",
    ) -> Forecast:
        """What `write`, or `questions`, would still have to pay for with these arguments; nothing is sent."""
        ...

    def spent(self, passages: Sequence[Passage], count: int, seed: int, kept: Mapping[str, str]) -> Spending:
        """What the answers in `kept` have cost that `write` used with these arguments, whenever they were paid for.

        Those that it could not use are among them.
        """
        ...

    def ready(self) -> None:
        """InputError where nothing could be paid for from here, without a key say; nothing is sent."""
        ...


@dataclass(frozen=True, slots=True)
class DraftQuestion:
    """A question as a writer gives it: the right option, the wrong ones, and a quote of the passage as its proof."""

    passage: str
    text: str
    right: str
    wrong: tuple[str, ...]
    quote: str


@runtime_checkable
class QuestionWriter(Protocol):
    """A writer that makes questions with options as well; `kib questions` checks what it gives."""

    def questions(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[DraftQuestion]:
        """`count` questions a passage, each with three wrong options, a passage's most specific ones first.

        `kept` as in `Writer.write`.
        """
        ...


@runtime_checkable
class Trainer(Plugin, Protocol):
    """Puts text into a model's weights."""

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
        """Safetensors in `folder`, which may hold a checkpoint of the same identity.

        `log` takes one record a step: `step` and `steps`, `tokens` trained so far, `loss` in nats a token. On
        `validation` the loss is watched, training may stop early, and the last loss is told, since arms may be chosen
        by it; on `held_out` it is measured before and after.
        InputError where tokens would be lost.
        """
        ...


@runtime_checkable
class CheckedTrainer(Protocol):
    """A trainer that knows before a training what it would stumble over; `kib check` asks it."""

    def check(self, start: Weights, validation: bool) -> None:
        """InputError for options that do not go with the model, the machine or each other; no weights are read.

        `start` is as of `DescribedModel` where the model is one; `validation` says whether there will be such a text.
        """
        ...
