"""The records stored in a results folder, and their conversion to and from JSON.

`plan.json` contains a `BenchmarkPlan`, `cell.json` a `CellResult`, `times.json` a `Times`, `failures.json` one
`Failure` per failed cell, and `questions.jsonl` one `Score` per line. Keys missing in older files receive the defaults
declared here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from kib.errors import InputError
from kib.records import Cell, Environment, Score
from kib.support.phrases import shortened

__all__ = [
    "CELL",
    "FAILURES",
    "PLAN",
    "SCORES",
    "STORED",
    "TIMES",
    "AnswerCounts",
    "BenchmarkPlan",
    "CellResult",
    "Failure",
    "JudgingRecord",
    "MethodEntry",
    "SystemReport",
    "TaskEntry",
    "Times",
    "TrainingRecord",
    "cell_from_json",
    "cell_to_json",
    "failures_to_json",
    "plan_from_json",
    "plan_to_json",
    "score_to_json",
    "total_score",
]

SCHEMA = 1

STORED_KEYS = {"question_id": "question"}
"""Stored keys by attribute, for attributes that are stored under a different key."""

STORED = ConfigDict(extra="forbid", alias_generator=lambda name: STORED_KEYS.get(name, name))
"""The pydantic configuration that maps dataclasses, including nested dataclasses, to stored objects."""

RENAMED_DISTRIBUTIONS = {"kib": "kib-bench", "kib-huggingface": "kib-datasets"}
"""Current names of distributions by their former names, which earlier results contain."""


def _present_packages(environments: Any) -> Any:
    """Replace former distribution names in recorded environments."""
    return [
        {**one, "packages": {RENAMED_DISTRIBUTIONS.get(name, name): at for name, at in one["packages"].items()}}
        if isinstance(one, Mapping)
        else one
        for one in environments
    ]


def _present_sources(value: Any) -> Any:
    """Replace former distribution names in recorded plugin sources, at any nesting depth."""
    if not isinstance(value, Mapping):
        return value
    former = value.get("distribution")
    present = RENAMED_DISTRIBUTIONS.get(former) if isinstance(former, str) else None
    renamed = {"distribution": present} if present else {}
    return {key: _present_sources(inner) for key, inner in value.items()} | renamed


Count = Annotated[int, Field(strict=True, ge=0, le=2**63)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A task in a plan; `n` is the number of questions, which is known once the questions have been read."""

    role: str
    corpus: str | None
    n: Count | None = None
    no_probe: str = ""  # reason why base is not measured a second time to determine what the model already knew
    limit: Count | None = None  # maximum number of questions (0: all); None: not recorded by older versions of kib


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A method in a plan; `retriever_role` is "ceiling" (gold passages), "control" (random passages) or ""."""

    train: str | None
    retrieve: str | None
    retriever_role: str = ""
    chosen: tuple[str, ...] = ()  # names of the settings chosen on validation questions or by loss
    by_loss: tuple[str, ...] = ()  # names of the settings in `chosen` that are chosen by the loss on validation text
    trained_as: str | None = None  # the model trained elsewhere that gives the answers instead of the cell's model
    cost: Mapping[str, Amount] = field(default_factory=dict)  # the cost of `trained_as`, as entered in the spec
    system: str | None = None

    @property
    def is_base(self) -> bool:
        """Whether the method is the unchanged model without passages, which is the baseline of all gains."""
        return not self.is_trained and self.retrieve is None and self.system is None

    @property
    def is_trained(self) -> bool:
        """Whether the answers come from trained weights, trained either by kib or elsewhere."""
        return self.train is not None or self.trained_as is not None


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """The content of `plan.json`: every cell of the benchmark, so that missing cells can be counted."""

    __pydantic_config__ = STORED

    name: str
    title: str
    tasks: Mapping[str, TaskEntry]
    methods: Mapping[str, MethodEntry]
    cells: tuple[Cell, ...]
    sources: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(_present_sources)] = field(
        default_factory=dict
    )  # the plugin, version and fingerprint of every table
    prompt: Mapping[str, Any] = field(default_factory=dict)  # template, passage order and token budget of prompts
    prices: Mapping[str, Amount] = field(default_factory=dict)  # the prices in the spec's table [prices]
    chats: tuple[str, ...] | None = None  # models prompted with their chat template; None: not recorded (older version)


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """The facts about a training run that appear in the table and in `kib show`; see `Trained` for the units.

    The `written_*` counts are sums over all texts of the training run. A count is 0 if no text was paid for, and None
    if a writer did not count the amount.
    """

    __pydantic_config__ = ConfigDict(extra="ignore")

    text_tokens: Count | None = None
    trained_tokens: Count | None = None
    steps: Count | None = None
    first_loss: Number | None = None
    last_loss: Number | None = None
    change: Number | None = None
    flops: Number | None = None
    held_out_first_loss: Number | None = None
    held_out_last_loss: Number | None = None
    validation_loss: Number | None = None
    unrounded_loss: Number | None = None
    written_requests: Count | None = 0
    written_input_tokens: Count | None = 0
    written_output_tokens: Count | None = 0
    open_pairs: Count = 0  # number of pairs trained in the open form, although the task asks in a different form


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """The numbers of generated answers that are right, wrong or abstentions; a score from 0.5 counts as right.

    The wrong answers are the answers to answerable questions that are neither right nor abstentions, and the answers
    to unanswerable questions that are no abstentions (`declined`).
    """

    answerable: Count
    right: Count
    abstained: Count
    unanswerable: Count
    declined: Count


@dataclass(frozen=True, slots=True)
class JudgingRecord:
    """The judge that graded the answers of a cell, and the cost of its verdicts; None if a count is unknown.

    `served` contains what the judge's server reported about itself, each distinct report once.
    """

    judge: str
    served: tuple[str, ...] = ()
    requests: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None


@dataclass(frozen=True, slots=True)
class SystemReport:
    """What a system reports about its answers: the sum of their times in seconds, and the sum of their prices.

    `cost` is in a currency of the system's own, and None if any answer has no price. `passages` is the number of
    answers with a list of passages.
    """

    seconds: Amount
    cost: Amount | None = None
    passages: Count = 0


@dataclass(frozen=True, slots=True)
class CellResult:
    """The content of `cell.json`: the result of a cell and the conditions of its measurement, without the questions."""

    __pydantic_config__ = STORED

    cell: Cell
    n: Annotated[Count, Field(ge=1)]
    correct: Count | Amount  # the sum of all scores: a whole number if every score is 0 or 1
    metric: str
    environments: Annotated[tuple[Environment, ...], BeforeValidator(_present_packages)]
    questions: str = ""  # the SHA-256 of the cell's questions.jsonl
    prompt_tokens: Count | None = None  # the total number of tokens in all prompts; None if nothing counts them
    flops: Number | None = None  # operations for reading all prompts: 2 x parameters x tokens, if known
    dropped_passages: Count = 0  # the number of passages dropped because prompts were too long
    dropped_questions: Count = 0  # the number of questions with at least one dropped passage
    steps: Mapping[str, str] = field(default_factory=dict)  # the identities of the cell's steps in the work folder
    notes: tuple[str, ...] = ()  # the backend's remarks on its computation, for example that it ran out of memory
    task_notes: tuple[str, ...] = ()  # remarks on the questions and the few-shot examples, such as their source
    corpus: Mapping[str, Any] = field(default_factory=dict)  # counts, digest, sources, licences and date of the corpus
    text: Mapping[str, Any] = field(default_factory=dict)  # the number, kinds and digest of the training texts
    training: Annotated[TrainingRecord | None, BeforeValidator(lambda value: value or None)] = None
    output_tokens: Count | None = None  # the total number of tokens of all answers, if a server counted them
    other_metrics: Mapping[str, Amount] = field(default_factory=dict)  # the means of further metrics
    answers: AnswerCounts | None = None  # None: the options of the questions are scored
    judging: JudgingRecord | None = None  # None: no judge grades the task
    system: SystemReport | None = None  # None: a model answered the questions
    empty_answers: Count = 0  # the number of generated answers without any text


@dataclass(frozen=True, slots=True)
class Times:
    """The time and memory that a cell needed on this machine, stored in `times.json`; only cost tables read this data.

    Seconds are wall-clock time. Shared answers and steps are counted in full for every cell that uses them.
    """

    __pydantic_config__ = STORED

    asking: Amount
    searching: Amount = 0.0
    indexing: Amount = 0.0
    training: Amount = 0.0
    peak_bytes: Count = 0
    index_bytes: Count = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a cell has no result: the failed step and its error message."""

    step: str
    error: str
    unavailable: bool = False  # whether a server that did not answer is the reason; older versions did not record it


PLAN = TypeAdapter(BenchmarkPlan)
CELL = TypeAdapter(CellResult)
TIMES = TypeAdapter(Times)
FAILURES = TypeAdapter(dict[str, Failure], config=STORED)
SCORES = msgspec.json.Decoder(Score)


def plan_from_json(value: Any) -> BenchmarkPlan:
    """Return the plan stored in `plan.json`.

    Raises InputError for an unknown schema, and ValueError for damaged data.
    """
    if value.get("schema") != SCHEMA:
        schema = shortened(repr(value.get("schema")))
        raise InputError(f"the file has schema {schema}, but this version of kib reads schema {SCHEMA}")
    plan: BenchmarkPlan = PLAN.validate_python({key: one for key, one in value.items() if key != "schema"})
    for cell in plan.cells:
        if cell.method not in plan.methods or cell.task not in plan.tasks:
            raise ValueError(f"the cell {cell.id} has a method or a task that is not in the plan")
        if type(dict(cell.settings).get("k", 0)) is not int:
            raise ValueError(f"the cell {cell.id} has a number of passages that is not a whole number")
    return plan


def plan_to_json(plan: BenchmarkPlan) -> dict[str, Any]:
    """Convert a plan to the JSON object stored in `plan.json`."""
    fields = asdict(plan)
    for method in fields["methods"].values():
        for key in ("trained_as", "cost", "system"):  # as in plans without systems and models trained elsewhere
            if not method[key]:
                del method[key]
    return {"schema": SCHEMA, **fields}


def cell_from_json(value: Any) -> CellResult:
    """Return the result stored in `cell.json`. Raises ValueError if the counts contradict each other."""
    result = CELL.validate_python(value)
    if result.correct > result.n:
        raise ValueError(f"a total score of {result.correct} for {result.n} questions")
    return result


def cell_to_json(result: CellResult) -> dict[str, Any]:
    """Convert a cell result to the JSON object stored in `cell.json`; `training` is empty for an untrained model."""
    training = asdict(result.training) if result.training else {}
    costs = [key for key in training if key.startswith("written_")]
    if not any(training[key] != 0 for key in costs):
        training = {key: value for key, value in training.items() if key not in costs}
    if training.get("open_pairs") == 0:
        del training["open_pairs"]
    fields = {**asdict(result), "training": training}
    # as in results without written answers
    absent = {key for key in ("other_metrics", "answers", "judging", "system", "empty_answers") if not fields[key]}
    absent |= {"output_tokens"} if result.output_tokens is None else set()
    return {key: one for key, one in fields.items() if key not in absent}


def failures_to_json(failures: Mapping[str, Failure]) -> dict[str, dict[str, Any]]:
    """Convert failures to the JSON object stored in `failures.json`; `unavailable` is stored only if it is true."""
    fields = {cell: asdict(failure) for cell, failure in failures.items()}
    return {
        cell: {key: value for key, value in one.items() if key != "unavailable" or value}
        for cell, one in fields.items()
    }


def score_to_json(score: Score) -> dict[str, Any]:
    """Convert a score to the JSON object stored as one line of `questions.jsonl`."""
    line: dict[str, Any] = msgspec.to_builtins(score)
    # as in results without written answers, probes, judges and systems
    absent = {"other_scores": None, "abstained": None, "unanswerable": False, "probe": None, "verdict": None}
    absent |= {"seconds": None, "cost": None}
    return {key: value for key, value in line.items() if key not in absent or value != absent[key]}


def total_score(scores: Sequence[Score]) -> int | float:
    """Return the sum of all scores, which is a whole number if every score is 0 or 1."""
    total = fsum(score.score for score in scores)
    return int(total) if all(score.score in (0, 1) for score in scores) else total
