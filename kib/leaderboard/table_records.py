"""The records of a leaderboard: one row per arm, one average per model and arm, and the cells without a result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kib.records import Environment, Setting
from kib.statistics.gains import LEVEL, Accuracy, Average, Gain
from kib.statistics.human_labels import Agreement, Corrected

__all__ = [
    "AnswerShares",
    "ArmRow",
    "AverageRow",
    "BenchmarkLine",
    "Cost",
    "CrossOriginRanking",
    "LabelledArm",
    "LabelledBlock",
    "Missing",
    "Origin",
    "PairwiseComparison",
    "ProbeGain",
    "RankedRow",
    "RepeatedBase",
    "RetrievalQuality",
    "Status",
    "Table",
]

Origin = Literal["measured", "published"]
Status = Literal["measured", "incomplete", "missing", "failed"]


@dataclass(frozen=True, slots=True)
class BenchmarkLine:
    """A benchmark in a table; `family` is the number of gains in Holm's correction.

    `no_probe` maps a target task to the reason why its gains are not split into known and unknown questions.
    """

    name: str
    title: str
    family: int
    no_probe: tuple[tuple[str, str], ...] = ()
    origin: Origin = "measured"


@dataclass(frozen=True, slots=True)
class Missing:
    """A planned cell without a result, with the reason for the missing result.

    The state of a failed cell is "unavailable" if the reason is a server that did not answer.
    """

    benchmark: str
    cell: str
    state: Literal["missing", "failed", "unavailable"]
    reason: str


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an arm, averaged over its seeds; None marks an unknown cost.

    Tokens and operations are counted. Seconds and memory are measured, and are None unless requested. Monetary costs
    are in the same currency as the prices in the spec.
    """

    prompt_tokens: float | None = None  # the number of prompt tokens per question
    operations: float | None = None  # operations to read the prompt of one question: 2 x parameters x tokens
    trained_tokens: float | None = None  # the number of tokens in all training steps
    operations_once: float | None = None  # operations for training; 0 without training
    written_requests: float | None = None  # the number of requests to paid writers of the training text
    written_input_tokens: float | None = None  # the number of tokens read by paid writers
    written_output_tokens: float | None = None  # the number of tokens written by paid writers
    index_bytes: float | None = None  # the size of the index in bytes
    asking: float | None = None  # seconds per question for answering
    searching: float | None = None  # seconds per question for retrieval
    indexing: float | None = None  # seconds for building the index
    training: float | None = None  # seconds for training
    peak_bytes: float | None = None  # the peak memory in bytes
    money: float | None = None  # the monetary cost per question
    money_once: float | None = None  # the one-time monetary cost of the index, the training and the training text
    money_writing: float | None = None  # the monetary cost of the training text, which is part of `money_once`
    entered: Mapping[str, float] = field(default_factory=dict)  # what the spec states about training elsewhere
    latency: float | None = None  # seconds per question until the answer of a system is complete
    reported: float | None = None  # the cost per question that a system reports, in a currency of the system's own
    fewer_operations_from: Mapping[str, int] = field(default_factory=dict)  # break-even question count by other arm
    less_money_from: Mapping[str, int] = field(default_factory=dict)  # break-even question count by other arm


@dataclass(frozen=True, slots=True)
class RetrievalQuality:
    """The quality of retrieval by an arm; None marks an unknown value.

    All values except size and seconds refer to the `judged` questions, which have a gold passage in the corpus.
    """

    judged: int
    recall: Accuracy | None  # the share of questions with a retrieved gold passage
    mrr: Accuracy | None  # the mean of 1 / rank of the first gold passage (0 if no gold passage was retrieved)
    ndcg: Accuracy | None  # nDCG of the gold passages, with the number of retrieved passages as the cutoff
    found: Accuracy | None  # the accuracy on questions with a retrieved gold passage
    missed: Accuracy | None  # the accuracy on questions without a retrieved gold passage
    accuracy: float | None = None  # the accuracy on all judged questions
    index_bytes: float | None = None  # the size of the index in bytes
    indexing: float | None = None  # seconds for building the index
    searching: float | None = None  # seconds per question for retrieval


@dataclass(frozen=True, slots=True)
class AnswerShares:
    """The shares of generated answers that are right, wrong or abstentions, over all seeds.

    `right`, `abstained` and `wrong` refer to answerable questions and add up to 1; `declined` is the share of
    abstentions on unanswerable questions. A share is None if there are no such questions.
    """

    right: float | None
    abstained: float | None
    wrong: float | None
    unanswerable: int  # the number of unanswerable questions
    declined: float | None


@dataclass(frozen=True, slots=True)
class ProbeGain:
    """The accuracy and the gain of an arm on the questions of one probe; `probe` is None for questions without a probe.

    `gain` is None for the reference, and for an arm that is not comparable with its reference. `p_adjusted` and
    `lowest_p`, the smallest p value that the number of groups allows, are adjusted over all arms and probes of a
    benchmark, and are None for gains outside Holm's family.
    """

    probe: str | None
    accuracy: Accuracy
    gain: Gain | None
    p_adjusted: float | None = None
    lowest_p: float | None = None

    @property
    def name(self) -> str:
        """The name of the probe in a table."""
        return "(no probe)" if self.probe is None else self.probe

    @property
    def p(self) -> float | None:
        """The decisive p value, which is adjusted if the gain belongs to Holm's family."""
        if self.gain is None:
            return None
        return self.gain.p if self.p_adjusted is None else self.p_adjusted

    @property
    def significant(self) -> bool:
        """Whether the decisive p value is below the significance level."""
        return self.p is not None and self.p < LEVEL


@dataclass(frozen=True, slots=True)
class LabelledArm:
    """The automatic scores of an arm compared with the verdicts of people, and the corrected accuracy and gain.

    `reason` explains why the arm cannot be compared with the labels; otherwise, `reason` is "". `gain` is None for the
    reference, and for an arm that is not comparable with its reference.
    """

    agreement: Agreement | None
    accuracy: Corrected | None
    gain: Corrected | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LabelledBlock:
    """The labelled sample of a block, and the agreement over the outputs of all arms.

    `drawn` of `population` questions were drawn; `questions` of them, in `groups` groups, have all verdicts.
    """

    benchmark: str
    model: str
    task: str
    shots: int
    population: int
    drawn: int
    questions: int
    groups: int
    agreement: Agreement | None


@dataclass(frozen=True, slots=True)
class ArmRow:
    """An arm on a task: the cells that differ only in their seed. Accuracies and gains are fractions, not percentages.

    `kind` is "base" (neither training nor retrieval), "ceiling" (gold passages), "control" (random passages) or "".
    `reason` explains why an accuracy is missing, or why a gain is missing because the two arms are not comparable;
    otherwise, `reason` is "". `p_adjusted` is None for gains outside Holm's family: control tasks, the gold passage and
    random passages.
    """

    benchmark: str
    place: str
    model: str
    method: str
    arm: str
    settings: tuple[tuple[str, Setting], ...]
    task: str
    role: str
    corpus: str | None
    shots: int
    kind: str
    trained: bool
    retrieving: bool
    seeds: tuple[int, ...]
    cells: tuple[str, ...]
    status: Status
    reason: str = ""
    n: int | None = None
    metric: str | None = None
    graded: bool = False  # whether any question has a score between 0 and 1
    other_metrics: Mapping[str, float] = field(default_factory=dict)  # the means of further metrics, over all seeds
    answers: AnswerShares | None = None  # None: the options of the questions are scored
    environments: tuple[int, ...] = ()  # zero-based indexes into the table's `environments`
    accuracy: Accuracy | None = None
    seed_accuracies: tuple[float, ...] = ()
    spread: float | None = None  # the sample standard deviation of the seeds' accuracies
    reference: str | None = None  # the name of the arm that the gain is measured against
    gain: Gain | None = None
    p_adjusted: float | None = None
    lowest_p: float | None = None  # the smallest value of `p` that the number of groups allows; None if unpaired
    gold_share: float | None = None  # gain / gain from the gold passage, if the latter is significant
    rank: int | None = None  # None if the number of groups is too small to find any difference between arms
    compared: bool = False  # whether the arm is compared with the other arms of its block
    tied: bool = False  # whether the arm shares its rank with arms that do not differ significantly
    known: Gain | None = None  # the gain on questions that a second measurement of base answered correctly
    unknown: Gain | None = None  # the gain on questions that a second measurement of base answered incorrectly
    chosen: bool = False  # whether the settings of the arm were chosen on validation questions
    validation: float | None = None  # the accuracy on validation questions, averaged over seeds
    best_on_test: tuple[str, float] | None = None  # the arm with the highest test accuracy, and this accuracy
    mark: str = ""  # "forgets" or "harmed" for a significant drop on a control task
    warnings: tuple[str, ...] = ()  # reasons to doubt the row; see `kib.leaderboard.compute.row_warnings`
    recall: float | None = None  # the share of judged questions with a retrieved gold passage
    dropped_passages: int = 0  # the number of passages dropped to meet the token budget; maximum over seeds
    dropped_questions: int = 0  # the number of questions with a dropped passage; maximum over seeds
    prompt_tokens: float | None = None  # the mean number of prompt tokens per question
    perplexity: tuple[float, float] | None = None  # the perplexity of held-out text before and after training
    cost: Cost | None = None  # None unless costs are requested and the arm is measured
    retrieval: RetrievalQuality | None = None  # None unless requested and the arm retrieves passages
    probes: tuple[ProbeGain, ...] = ()  # empty unless requested and any question names a probe
    system: str | None = None  # the system that answered the questions
    labelled: LabelledArm | None = None  # None unless people judged outputs of the task
    origin: Origin = "measured"
    trained_as: str | None = None  # the model that gave the answers, if it was trained elsewhere from the row's model

    @property
    def p(self) -> float | None:
        """The decisive p value, which is adjusted if the gain belongs to Holm's family."""
        if self.gain is None:
            return None
        return self.gain.p if self.p_adjusted is None else self.p_adjusted

    @property
    def undecidable(self) -> bool:
        """Whether the number of groups is too small for any gain to be significant."""
        return self.lowest_p is not None and self.lowest_p >= LEVEL


@dataclass(frozen=True, slots=True)
class AverageRow:
    """An arm averaged over all target tasks of a model; `accuracy` is the mean of the task accuracies.

    If any task has no gain, `average` is None and the row states the reason. If the tasks have different metrics,
    `mixed_metrics` is true and there are no numbers at all. `shots` is None if the row covers all numbers of shots.
    """

    benchmark: str
    model: str
    method: str
    arm: str
    shots: int | None
    kind: str
    tasks: tuple[str, ...]
    accuracy: float | None
    average: Average | None
    reason: str = ""
    mixed_metrics: bool = False
    origin: Origin = "measured"


@dataclass(frozen=True, slots=True)
class PairwiseComparison:
    """Two arms of a published benchmark, compared by printed accuracy on every target row that contains both arms."""

    benchmark: str
    arm: str
    other: str
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class RepeatedBase:
    """Questions that a model answered for base and, at the end of the run, a second time.

    `change` is the accuracy of the second answers minus the accuracy of the first answers to the same questions.
    `p_adjusted` is adjusted by Holm's method over all repeated measurements of a benchmark. `first` and `second` are
    what the server reported with the answers: the names of served models and the fingerprints of configurations.
    """

    benchmark: str
    model: str
    method: str
    task: str
    shots: int
    n: int
    identical: int  # the number of questions with two identical answers
    change: Gain
    p_adjusted: float
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()

    @property
    def changed_scores(self) -> int:
        """The number of questions with two different scores."""
        return (self.change.wins or 0) + (self.change.losses or 0)

    @property
    def significant(self) -> bool:
        """Whether the scores changed significantly."""
        return self.p_adjusted < LEVEL


@dataclass(frozen=True, slots=True)
class RankedRow:
    """A row, and its rank among the measured and published rows with the same questions."""

    row: ArmRow
    rank: int
    tied: bool


@dataclass(frozen=True, slots=True)
class CrossOriginRanking:
    """Measured and published rows with equal questions, shots and scoring, ranked together by unpaired p values."""

    questions: str
    shots: int
    rows: tuple[RankedRow, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The leaderboard, in reading order. `against` is None if gains are measured against base."""

    benchmarks: tuple[BenchmarkLine, ...]
    against: str | None
    headlines: tuple[str, ...]
    rows: tuple[ArmRow, ...]
    averages: tuple[AverageRow, ...]
    cells: int
    missing: tuple[Missing, ...]
    environments: tuple[Environment, ...]
    cost: bool = False  # whether costs were requested
    times: bool = False  # whether measured seconds and memory were requested
    retrieval: bool = False  # whether retrieval quality was requested
    by_probe: bool = False  # whether gains by probe were requested
    trained_elsewhere: bool = False  # whether the answers of any row are those of a model trained elsewhere
    systems: bool = False  # whether any row is the result of a system
    remarks: tuple[str, ...] = ()  # sources of published numbers, and signs of a K chosen on test
    pairwise: tuple[PairwiseComparison, ...] = ()  # comparisons of the arms of published benchmarks
    cross_origin: tuple[CrossOriginRanking, ...] = ()
    labelled: tuple[LabelledBlock, ...] = ()  # one entry per block with outputs that people judged
    not_ranked_together: tuple[str, ...] = ()  # reasons why measured and published rows are not ranked together
    repeats: tuple[RepeatedBase, ...] = ()  # questions of base that were asked again at the end of a run

    @property
    def complete(self) -> bool:
        """Whether every planned cell has a result."""
        return not self.missing

    @property
    def awaits_server(self) -> bool:
        """Whether cells have no result, and the only reason is a server that did not answer."""
        return bool(self.missing) and all(one.state == "unavailable" for one in self.missing)
