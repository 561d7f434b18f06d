"""The tables of a benchmark file: kib's own keys with their types, defaults and descriptions."""

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from kib.interfaces import GROUPS, InputPath
from kib.records import Setting
from kib.spec.messages import show_value
from kib.support.phrases import join
from kib.support.templates import DEFAULT_LIMITS, TemplateLimits

__all__ = [
    "ANSWER_METRICS",
    "GENERATION_KEYS",
    "KINDS",
    "SINGULAR",
    "TABLES",
    "Chunk",
    "CorpusTable",
    "Head",
    "JudgeTable",
    "MethodCost",
    "MethodTable",
    "ModelTable",
    "PluginTable",
    "PriceTable",
    "PromptTable",
    "Replay",
    "RetrieverTable",
    "SystemTable",
    "Table",
    "TaskTable",
    "TextKey",
    "TrainerTable",
    "Unseen",
    "WriterTable",
    "measured_models",
    "models_not_trained_elsewhere",
    "own_keys",
]

KINDS = (*GROUPS, "methods")
"""The kinds of named tables in a benchmark file."""

SINGULAR = {
    "models": "model",
    "corpora": "corpus",
    "retrievers": "retriever",
    "tasks": "task",
    "writers": "writer",
    "trainers": "trainer",
    "judges": "judge",
    "systems": "system",
    "methods": "method",
}
"""The word for one table of each kind, as used in messages."""

NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,62}")
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")

Item = TypeVar("Item", bound=Hashable)


def check_name(name: str) -> str:
    """Return a name that is also a valid folder name; for any other name, raise ValueError that states the rule."""
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            "expected a valid folder name (at most 63 characters from a-z, 0-9 and . _ + -, starting with a letter "
            f"or digit, without consecutive dots), got {show_value(name)}"
        )
    return name


def _unlike(values: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return a list of distinct values; raise ValueError if a value appears twice."""
    seen: set[tuple[type, Hashable]] = set()
    for value in values:
        if (type(value), value) in seen:
            raise ValueError(f"expected distinct values, but {show_value(value)} appears twice")
        seen.add((type(value), value))
    return values


def _folders(values: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """Return the values to vary if each value is valid in a folder name; otherwise, raise ValueError."""
    for value in values:
        if isinstance(value, str) and (not FOLDER.fullmatch(value) or ".." in value):
            raise ValueError(
                "expected a value that can be part of a folder name (at most 63 letters, digits and . _ + -, "
                f"starting with a letter or digit, without consecutive dots), got {show_value(value)}"
            )
    return values


def _as_name(value: str) -> str:
    if not value.startswith("as:") or value == "as:":
        raise ValueError(f'expected "as:NAME" with the name of a different trainer, got {show_value(value)}')
    return value


Name = Annotated[str, AfterValidator(check_name)]
AsName = Annotated[str, AfterValidator(_as_name), Field(json_schema_extra={"pattern": "^as:.+$"})]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Natural = Annotated[int, Field(ge=0)]
Different = Field(min_length=1, json_schema_extra={"uniqueItems": True})
Naturals = Annotated[tuple[Natural, ...], Different, AfterValidator(_unlike)]
Seeds = Annotated[tuple[Seed, ...], Different, AfterValidator(_unlike)]
Positives = Annotated[tuple[Positive, ...], Different, AfterValidator(_unlike)]
Names = Annotated[tuple[str, ...], Different, AfterValidator(_unlike)]
Tolerance = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
StopText = Annotated[str, Field(min_length=1)]
Scoring = Literal["letter", "letter-text", "text", "text-norm", "exact", "f1", "contains", "number", "rouge-l", "judge"]
AnswerMetric = Literal["exact", "f1", "contains", "number", "rouge-l", "judge"]
AnswerMetrics = Annotated[tuple[AnswerMetric, ...], Different, AfterValidator(_unlike)]
Values = Annotated[tuple[Setting, ...], Different, AfterValidator(_unlike), AfterValidator(_folders)]


ANSWER_METRICS = get_args(AnswerMetric)
"""The metrics of generated answers."""

GENERATION_KEYS = ("max_tokens", "stop", "language", "tolerance", "abstentions")
"""The keys of a task that apply only to generated answers."""


class _Strict(BaseModel):
    """A table that rejects unknown keys and values of the wrong type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Chunk(_Strict):
    """Specifies how documents are split into passages: by `tokens` or by `sentences`."""

    tokens: Positive | None = Field(None, description="the maximum number of tokens per passage")
    sentences: Positive | None = Field(None, description="the number of sentences per passage")
    overlap: Natural = Field(
        0, description="the number of tokens or sentences that a passage shares with the previous passage"
    )
    tokenizer: str | None = Field(
        None,
        description=(
            "the model whose tokenizer counts the tokens; required with `tokens` if the file declares several models"
        ),
    )
    language: str = Field(
        "en",
        min_length=2,
        description="the language of the documents as an ISO 639 code, used to detect sentence boundaries",
    )

    @model_validator(mode="after")
    def _one_size(self) -> "Chunk":
        size = self.tokens if self.sentences is None else self.sentences
        if size is None or (self.tokens is not None and self.sentences is not None):
            raise ValueError("expected exactly one of `tokens` and `sentences`")
        if self.overlap >= size:
            raise ValueError(f"expected an overlap smaller than the passage size {size}, got {self.overlap}")
        if self.sentences is not None and self.tokenizer is not None:
            raise ValueError("`tokenizer` needs `tokens`; sentences are counted without a tokenizer")
        if self.tokens is not None and "language" in self.model_fields_set:
            raise ValueError("`language` needs `sentences`; tokens are counted without a language")
        return self


class TextKey(_Strict):
    """Text for a trainer in addition to the passages themselves, or instead of the passages."""

    writer: str = Field(description="the writer that generates the text")
    count: Positive = Field(1, description="the number of texts written per passage")
    originals: bool = Field(True, description="whether the model is also trained on the passages themselves")
    kind: Literal["documents", "pairs", "both"] = Field(
        "documents", description="the texts to train on: documents, question-answer pairs, or both"
    )
    as_task: str | None = Field(
        None,
        description=(
            "the task whose form the question-answer pairs get; needed only if the tasks about the corpus ask in "
            "different forms"
        ),
    )

    @model_validator(mode="after")
    def _pairs_for_a_task(self) -> "TextKey":
        if self.as_task is not None and self.kind == "documents":
            raise ValueError('`as_task` needs `kind = "pairs"` or `kind = "both"`; documents have no form')
        return self


class Replay(_Strict):
    """Text from a different corpus that is mixed into the training text to reduce forgetting."""

    corpus: str = Field(description="the corpus that provides the text")
    share: Share = Field(description="the share of this text in the whole training text")


class Unseen(_Strict):
    """Text that is excluded from training."""

    corpus: str = Field(description="the corpus that provides the text")


class Validation(_Strict):
    """Text for the validation loss: a different corpus, or additional texts written about the training passages."""

    corpus: str | None = Field(None, description="the corpus that provides the text")
    writer: str | None = Field(
        None,
        description=(
            "the writer that generates the validation text from the training passages; texts used for training are "
            "excluded"
        ),
    )
    count: Positive = Field(1, description="the number of texts written per passage; requires `writer`")
    passages: Positive | None = Field(
        None,
        description="the number of passages to write about, drawn at random; requires `writer`; default: all passages",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Validation":
        if (self.corpus is None) == (self.writer is None):
            raise ValueError("expected exactly one of `corpus` and `writer`")
        for key in ("count", "passages"):
            if self.writer is None and key in self.model_fields_set:
                raise ValueError(f"`{key}` needs `writer`; a corpus is always read completely")
        return self


class Table(_Strict):
    """A named table; `name` is the part after the dot in `[kind.name]`."""

    name: SkipJsonSchema[str]


class PluginTable(Table):
    """A table with a plugin; `options` contains all keys other than kib's own, unchanged."""

    plugin: str = Field(min_length=1, description="the entry-point name of the plugin")
    options: SkipJsonSchema[Mapping[str, Any]] = Field(default_factory=dict)


class ModelTable(PluginTable):
    """`[models.NAME]`: a model to measure."""

    chat_template: bool = Field(False, description="whether prompts use the model's chat template")
    repeat_questions: Natural | None = Field(
        None,
        description=(
            "the number of test questions per task that `base` is asked again at the end of a run, to find out whether "
            "the server of the model has changed; default: 100 for models that read only chats, and 0 for all others"
        ),
    )


class CorpusTable(PluginTable):
    """`[corpora.NAME]`: the documents that contain the knowledge."""

    chunk: Chunk | None = Field(
        None, description="how documents are split into passages; default: one passage per document"
    )
    invisible: Literal["remove", "keep"] = Field(
        "remove",
        description=(
            "whether invisible characters, such as soft hyphens, are removed from the documents and from questions "
            "about the documents"
        ),
    )


class RetrieverTable(PluginTable):
    """`[retrievers.NAME]`: a retriever, which finds passages."""


class WriterTable(PluginTable):
    """`[writers.NAME]`: a writer, which derives new text from passages."""


class TrainerTable(PluginTable):
    """`[trainers.NAME]`: a trainer, which trains a model on text."""

    text: TextKey | None = Field(None, description="training text generated by a writer; default: only the passages")
    vary: Mapping[str, Values] = Field(
        default_factory=dict,
        description="lists of values for options or for `text.count`; each combination of values yields one arm",
    )
    replay: Replay | None = Field(
        None, description="text from a different corpus, mixed into the training text to reduce forgetting"
    )
    tokens: AsName | None = Field(
        None, description="with the value `as:NAME`, train on as many tokens as the trainer NAME"
    )
    validation: Validation | None = Field(
        None, description="text for computing the validation loss, which is used to stop early or to choose settings"
    )
    held_out: Unseen | None = Field(
        None, description="unrelated text whose perplexity is measured before and after training to reveal side effects"
    )
    choose: Literal["validation", "loss"] | None = Field(
        None,
        description="also report the best arm of `vary`, chosen on the validation questions or by the validation loss",
    )


class JudgeTable(PluginTable):
    """`[judges.NAME]`: a judge, which grades generated answers."""


class SystemTable(PluginTable):
    """`[systems.NAME]`: a system that answers questions, of which kib sees only the answers."""


class TaskTable(PluginTable):
    """`[tasks.NAME]`: a task, which is a set of questions."""

    corpus: str | None = Field(None, description="the corpus with the knowledge required to answer the questions")
    role: Literal["target", "control"] = Field(
        "target",
        description=(
            "`target` for questions about the new knowledge; `control` for questions about knowledge that must not "
            "be forgotten"
        ),
    )
    shots: Naturals = Field(
        (0,), description="the numbers of few-shot examples before the question; each number yields a separate cell"
    )
    query: str | None = Field(
        None,
        min_length=1,
        description=(
            "Jinja template for the search query, which may use the fields of the question; default: the text of "
            "the question"
        ),
    )
    scoring: Scoring | AnswerMetrics | None = Field(
        None,
        description=(
            "the part of an option that is scored (`letter`, `text`, or `text-norm` for the text normalised by "
            "length), `letter-text` for the letter of an option in generated text, or the metric of a generated answer "
            "(`exact`, `f1`, `contains`, `number`, `rouge-l` or `judge`); rows are ranked by the first metric of a "
            "list; not for lm-eval tasks; default: `text`"
        ),
    )
    max_tokens: Positive = Field(32, description="the maximum number of tokens of a generated answer")
    stop: tuple[StopText, ...] | None = Field(
        None,
        description=(
            "the texts that end a generated answer; default: the answer is the first line of the output that is not "
            "empty or, with a chat template, the whole output"
        ),
    )
    language: str = Field(
        "en",
        pattern="^[a-z]{2,3}$",
        description=(
            "the language of the answers as an ISO 639 code, which determines the articles that metrics ignore and the "
            "decimal mark of numbers"
        ),
    )
    tolerance: Tolerance = Field(
        0.0, description="the relative difference to the accepted number up to which the metric `number` gives 1"
    )
    abstentions: Annotated[tuple[StopText, ...], Different, AfterValidator(_unlike)] | None = Field(
        None,
        description=(
            "the phrases with which an output declines to answer; default: usual phrases in `language`, such as `I do "
            "not know`"
        ),
    )
    judge: str | None = Field(
        None, description="the judge that grades the answers; required with the metric `judge` in `scoring`"
    )
    limit: Positive | None = Field(
        None, description="the number of questions in a fixed sample; default: all questions"
    )
    labels: InputPath | None = Field(
        None,
        description=(
            "the sheet (.csv or .xlsx) that `kib label` wrote, with a person's verdicts on generated answers; labels "
            "do not affect the measurements"
        ),
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of generated answers, or () if the task scores options or is an lm-eval task."""
        return _answer_metrics(self.scoring)

    @property
    def judged(self) -> bool:
        """Whether a judge grades the answers."""
        return "judge" in self.metrics

    @field_validator(*GENERATION_KEYS)
    @classmethod
    def _needs_metric(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse keys that have no effect on the scoring; do not check keys of a table with an invalid `scoring`."""
        if "scoring" not in info.data:
            return value
        metrics = _answer_metrics(info.data["scoring"])
        if not metrics:
            raise ValueError(
                f"applies only to generated answers; add `scoring` with one of: {join(ANSWER_METRICS, 'or')}"
            )
        if info.field_name == "tolerance" and "number" not in metrics:
            raise ValueError("needs the metric `number` in `scoring`")
        return value


def _answer_metrics(scoring: str | tuple[str, ...] | None) -> tuple[str, ...]:
    metrics = (scoring,) if isinstance(scoring, str) else scoring or ()
    return tuple(name for name in metrics if name in ANSWER_METRICS)


class MethodCost(_Strict):
    """`[methods.NAME.cost]`: the cost of a model trained elsewhere, entered by hand."""

    money: Price | None = Field(None, description="the price of the training, in the currency of `[prices]`")
    hours: Price | None = Field(None, description="the number of hours that the training took")
    tokens: Natural | None = Field(None, description="the number of trained tokens, over all epochs")
    input_tokens_million: Price | None = Field(
        None, description="the price per million input tokens of the trained model; default: the price in `[prices]`"
    )
    output_tokens_million: Price | None = Field(
        None, description="the price per million output tokens of the trained model; default: the price in `[prices]`"
    )

    @model_validator(mode="after")
    def _any_value(self) -> "MethodCost":
        if not self.model_fields_set:
            raise ValueError(f"expected at least one of {join(list(MethodCost.model_fields), 'and')}")
        return self


class MethodTable(Table):
    """`[methods.NAME]`: a method of providing knowledge to a model; an empty table denotes the base model.

    A method with `system` measures a system, which is compared with the base model.
    """

    train: str | None = Field(None, description="the trainer to use")
    trained_as: str | None = Field(
        None, description="the model that was trained elsewhere and answers instead of its base, which `models` names"
    )
    retrieve: str | None = Field(None, description="the retriever to use")
    top_k: Positives = Field(
        (), description="the numbers of passages in the prompt; each number yields a separate cell"
    )
    choose: Literal["validation"] | None = Field(
        None, description="also report the best `top_k`, chosen on the tasks' validation questions"
    )
    system: str | None = Field(
        None,
        description=(
            "the system that answers the questions; excludes `train`, `trained_as`, `retrieve`, `top_k`, `choose` and "
            "`cost`"
        ),
    )
    tasks: Names | None = Field(None, description="the tasks on which the method is measured; default: all tasks")
    models: Names | None = Field(
        None,
        description=(
            "the models with which the method is measured, or with `trained_as` the base; default: all models that no "
            "`trained_as` names"
        ),
    )
    cost: MethodCost | None = Field(
        None, description="the cost of the model in `trained_as`, entered by hand for the cost table"
    )

    @property
    def is_base(self) -> bool:
        """Whether the method measures the unchanged model without passages."""
        return not (self.train or self.trained_as or self.retrieve or self.system)


class PromptTable(_Strict):
    """`[prompt]`: the format of passages in prompts."""

    template: str | None = Field(None, min_length=1, description="Jinja template with the variable `passages`")
    order: Literal["best-first", "best-last"] = Field(
        "best-first", description="whether the best passage is shown first or last"
    )
    tokens: Positive | None = Field(
        None, description="the maximum number of tokens per prompt; default: the model's context length"
    )
    max_seconds: Seconds = Field(
        DEFAULT_LIMITS.seconds,
        description="the maximum number of seconds for rendering `template` or the `query` of a task once",
    )
    max_characters: Positive = Field(
        DEFAULT_LIMITS.characters,
        description="the maximum number of characters that `template` or the `query` of a task may produce",
    )

    def limits(self) -> TemplateLimits:
        """Return the limits of all templates in the file."""
        return TemplateLimits(self.max_seconds, self.max_characters)


class PriceTable(_Strict):
    """`[prices]`: prices, all in the same currency."""

    device_hour: Price | None = Field(None, description="the price per device hour")
    input_tokens_million: Price | None = Field(None, description="the price per million input tokens")
    output_tokens_million: Price | None = Field(None, description="the price per million output tokens")


class Head(_Strict):
    """The keys of a benchmark file above the first table."""

    schema_: Literal[1] = Field(alias="schema", description="the version of the file format")
    kind: Literal["benchmark", "published"] = Field("benchmark", description="the kind of file")
    name: Name = Field(description="the name of the benchmark and of its results folder")
    title: str = Field("", description="the research question in one line")
    seeds: Seeds = Field((0,), description="training seeds; each training run is repeated with every seed")
    prompt: PromptTable = Field(PromptTable.model_validate({}), description="how passages appear in prompts")
    prices: PriceTable | None = Field(None, description="the prices used in the cost table")


TABLES: Mapping[str, type[Table]] = {
    "models": ModelTable,
    "corpora": CorpusTable,
    "retrievers": RetrieverTable,
    "tasks": TaskTable,
    "writers": WriterTable,
    "trainers": TrainerTable,
    "judges": JudgeTable,
    "systems": SystemTable,
    "methods": MethodTable,
}


def measured_models(method: MethodTable, methods: Iterable[MethodTable], models: Iterable[str]) -> tuple[str, ...]:
    """Return the models to which the cells of a method belong: its `models`, or all models not trained elsewhere."""
    return method.models or models_not_trained_elsewhere(methods, models)


def models_not_trained_elsewhere(methods: Iterable[MethodTable], models: Iterable[str]) -> tuple[str, ...]:
    """Return the models that no method names in `trained_as`."""
    elsewhere = {method.trained_as for method in methods}
    return tuple(name for name in models if name not in elsewhere)


def own_keys(kind: str) -> tuple[str, ...]:
    """Return kib's own keys in the tables of a kind, including `plugin`, in the order of the documentation."""
    return tuple(key for key in TABLES[kind].model_fields if key not in ("name", "options"))
