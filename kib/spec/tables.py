"""The tables of a benchmark file: kib's own keys, each with its type, default and one line of description."""

import re
from collections.abc import Hashable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from kib.interfaces import GROUPS
from kib.spec.messages import show

__all__ = [
    "KINDS",
    "SINGULAR",
    "TABLES",
    "Chunk",
    "CorpusTable",
    "Head",
    "MethodTable",
    "ModelTable",
    "PluginTable",
    "PriceTable",
    "PromptTable",
    "Replay",
    "RetrieverTable",
    "Table",
    "TaskTable",
    "TextKey",
    "TrainerTable",
    "Unseen",
    "WriterTable",
    "own_keys",
]

KINDS = (*GROUPS, "methods")
"""The kinds of named table in a benchmark file."""

SINGULAR = {
    "models": "model",
    "corpora": "corpus",
    "retrievers": "retriever",
    "tasks": "task",
    "writers": "writer",
    "trainers": "trainer",
    "methods": "method",
}
"""What one table of a kind is called in a sentence."""

NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,62}")
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")

Setting = str | int | float | bool
Item = TypeVar("Item", bound=Hashable)


def check_name(name: str) -> str:
    """Give back a name that can be a folder; ValueError with the rule where it cannot."""
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            "names become folders: expected at most 63 characters from a-z, 0-9 and . _ + -, beginning with a letter "
            f"or digit and without two dots in a row, got {show(name)}"
        )
    return name


def _unlike(values: tuple[Item, ...]) -> tuple[Item, ...]:
    seen: set[tuple[type, Hashable]] = set()
    for value in values:
        if (type(value), value) in seen:
            raise ValueError(f"expected each value once, but {show(value)} stands twice")
        seen.add((type(value), value))
    return values


def _folders(values: tuple[Setting, ...]) -> tuple[Setting, ...]:
    for value in values:
        if isinstance(value, str) and (not FOLDER.fullmatch(value) or ".." in value):
            raise ValueError(
                "varied values become folder names: expected at most 63 letters, digits and . _ + -, beginning with a "
                f"letter or digit and without two dots in a row, got {show(value)}"
            )
    return values


def _as_name(value: str) -> str:
    if not value.startswith("as:") or value == "as:":
        raise ValueError(f'expected "as:NAME" with the name of another trainer, got {show(value)}')
    return value


Name = Annotated[str, AfterValidator(check_name)]
AsName = Annotated[str, AfterValidator(_as_name), Field(json_schema_extra={"pattern": "^as:.+$"})]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Natural = Annotated[int, Field(ge=0)]
Different = Field(min_length=1, json_schema_extra={"uniqueItems": True})
Naturals = Annotated[tuple[Natural, ...], Different, AfterValidator(_unlike)]
Seeds = Annotated[tuple[Seed, ...], Different, AfterValidator(_unlike)]
Positives = Annotated[tuple[Positive, ...], Different, AfterValidator(_unlike)]
Names = Annotated[tuple[str, ...], Different, AfterValidator(_unlike)]
Values = Annotated[tuple[Setting, ...], Different, AfterValidator(_unlike), AfterValidator(_folders)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Chunk(_Strict):
    """How documents are cut into passages: by `tokens` or by `sentences`."""

    tokens: Positive | None = Field(None, description="the most tokens a passage may have")
    sentences: Positive | None = Field(None, description="how many sentences a passage has")
    overlap: Natural = Field(0, description="how many tokens or sentences a passage shares with the one before it")
    tokenizer: str | None = Field(
        None, description="the model whose tokens count; needed with `tokens` where there are several models"
    )
    language: str = Field("en", min_length=2, description="the language whose rules end a sentence (ISO 639 code)")

    @model_validator(mode="after")
    def _one_size(self) -> "Chunk":
        size = self.tokens if self.sentences is None else self.sentences
        if size is None or (self.tokens is not None and self.sentences is not None):
            raise ValueError("expected exactly one of `tokens` and `sentences`")
        if self.overlap >= size:
            raise ValueError(f"expected an overlap below the size of a passage, {size}, got {self.overlap}")
        if self.sentences is not None and self.tokenizer is not None:
            raise ValueError("`tokenizer` belongs to `tokens`; sentences are counted without one")
        if self.tokens is not None and "language" in self.model_fields_set:
            raise ValueError("`language` belongs to `sentences`; tokens are counted without one")
        return self


class TextKey(_Strict):
    """What a trainer reads beside, or instead of, the passages themselves."""

    writer: str = Field(description="the writer that makes the text")
    count: Positive = Field(1, description="how many texts it writes from a passage")
    originals: bool = Field(True, description="whether the passages themselves are trained on as well")
    kind: Literal["documents", "pairs", "both"] = Field(
        "documents", description="which of its texts count: running text, questions with answers, or both"
    )


class Replay(_Strict):
    """Text mixed in against forgetting."""

    corpus: str = Field(description="the corpus that the text comes from")
    share: Share = Field(description="its part of all that is trained on")


class Unseen(_Strict):
    """Text that is not trained on."""

    corpus: str = Field(description="the corpus that the text comes from")


class Validation(_Strict):
    """Text to watch the loss on: another corpus's, or a writer's further texts of the passages that are trained on."""

    corpus: str | None = Field(None, description="the corpus that the text comes from")
    writer: str | None = Field(
        None,
        description="or the writer that makes it, of the passages trained on; what is trained on is left out",
    )
    count: Positive = Field(1, description="with `writer`: how many texts it writes from a passage")
    passages: Positive | None = Field(
        None, description="with `writer`: of so many passages, drawn by chance; left out: of all"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Validation":
        if (self.corpus is None) == (self.writer is None):
            raise ValueError("expected exactly one of `corpus` and `writer`")
        for key in ("count", "passages"):
            if self.writer is None and key in self.model_fields_set:
                raise ValueError(f"`{key}` belongs to `writer`; a corpus is read whole")
        return self


class Table(_Strict):
    """A named table; `name` is what stands behind the dot in `[kind.name]`."""

    name: SkipJsonSchema[str]


class PluginTable(Table):
    """A table of a plugin: kib's own keys, and in `options` all others as they stand in the file."""

    plugin: str = Field(min_length=1, description="the plugin, by the name of its entry point")
    options: SkipJsonSchema[Mapping[str, Any]] = Field(default_factory=dict)


class ModelTable(PluginTable):
    """`[models.NAME]`: something that can be scored."""

    chat_template: bool = Field(False, description="whether prompts are put into the model's chat template")


class CorpusTable(PluginTable):
    """`[corpora.NAME]`: documents that hold the knowledge."""

    chunk: Chunk | None = Field(None, description="how documents are cut into passages; left out: one passage each")


class RetrieverTable(PluginTable):
    """`[retrievers.NAME]`: finds passages."""


class WriterTable(PluginTable):
    """`[writers.NAME]`: makes new text from passages."""


class TrainerTable(PluginTable):
    """`[trainers.NAME]`: puts text into a model's weights."""

    text: TextKey | None = Field(None, description="text of a writer; left out: the passages alone")
    vary: Mapping[str, Values] = Field(
        default_factory=dict, description="lists of values for options (or `text.count`): one arm for each combination"
    )
    replay: Replay | None = Field(None, description="text mixed in against forgetting")
    tokens: AsName | None = Field(None, description="`as:NAME`: train on as many tokens as that trainer does")
    validation: Validation | None = Field(
        None, description="text that the loss is watched on, to stop early or to choose by"
    )
    held_out: Unseen | None = Field(
        None, description="other text whose perplexity is measured before and after: what the training does to it"
    )
    choose: Literal["validation", "loss"] | None = Field(
        None,
        description="also pick one arm of `vary`: on validation questions, or by the `loss` on validation text",
    )


class TaskTable(PluginTable):
    """`[tasks.NAME]`: questions with options."""

    corpus: str | None = Field(None, description="the knowledge that the task asks for")
    role: Literal["target", "control"] = Field(
        "target", description="whether it asks for the knowledge or for what must not be forgotten"
    )
    shots: Naturals = Field((0,), description="how many examples stand before the question; one cell each")
    query: str | None = Field(
        None,
        min_length=1,
        description="jinja template of what is searched for, from the fields of a question; left out: the question",
    )
    scoring: Literal["letter", "text", "text-norm"] | None = Field(
        None, description="what is scored: an option's letter, its text, or its text a character; not on lm-eval tasks"
    )
    limit: Positive | None = Field(None, description="a fixed sample of that many questions; left out: all")


class MethodTable(Table):
    """`[methods.NAME]`: how the knowledge reaches the model; empty: not at all."""

    train: str | None = Field(None, description="the trainer")
    retrieve: str | None = Field(None, description="the retriever")
    top_k: Positives = Field((), description="how many passages are shown; each is reported")
    choose: Literal["validation"] | None = Field(
        None, description="also pick one `top_k` on the tasks' validation questions"
    )
    tasks: Names | None = Field(None, description="only these tasks; left out: all")
    models: Names | None = Field(None, description="only these models; left out: all")


class PromptTable(_Strict):
    """`[prompt]`: how passages are shown."""

    template: str | None = Field(None, min_length=1, description="jinja template of the passages, which are `passages`")
    order: Literal["best-first", "best-last"] = Field("best-first", description="which passage is shown first")
    tokens: Positive | None = Field(
        None, description="the most tokens of a prompt; left out: what the model reads at once"
    )


class PriceTable(_Strict):
    """`[prices]`: what things cost, in one currency of your own."""

    device_hour: Price | None = Field(None, description="an hour of the device")
    input_tokens_million: Price | None = Field(None, description="a million tokens read")
    output_tokens_million: Price | None = Field(None, description="a million tokens written")


class Head(_Strict):
    """The keys that stand above the tables."""

    schema_: Literal[1] = Field(alias="schema", description="the version of the file's format")
    kind: Literal["benchmark", "published"] = Field("benchmark", description="the kind of file")
    name: Name = Field(description="the benchmark's name and the name of its results folder")
    title: str = Field("", description="one line that says what is asked")
    seeds: Seeds = Field((0,), description="seeds of training; one arm each")
    prompt: PromptTable = Field(PromptTable.model_validate({}), description="how passages are shown")
    prices: PriceTable | None = Field(None, description="what things cost")


TABLES: Mapping[str, type[Table]] = {
    "models": ModelTable,
    "corpora": CorpusTable,
    "retrievers": RetrieverTable,
    "tasks": TaskTable,
    "writers": WriterTable,
    "trainers": TrainerTable,
    "methods": MethodTable,
}


def own_keys(kind: str) -> tuple[str, ...]:
    """Those keys of the tables of a kind that are kib's own, `plugin` among them, in the order of the documentation."""
    return tuple(key for key in TABLES[kind].model_fields if key not in ("name", "options"))
