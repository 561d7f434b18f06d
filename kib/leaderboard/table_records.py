"""The records of a leaderboard: a row an arm, an average a model and arm, and the cells that have no number."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kib.records import Environment, Setting
from kib.statistics.gains import Accuracy, Average, Gain

__all__ = [
    "Across",
    "AverageRow",
    "BenchmarkLine",
    "Cost",
    "Duel",
    "Missing",
    "Origin",
    "Place",
    "Retrieval",
    "Row",
    "Status",
    "Table",
]

Origin = Literal["measured", "published"]
Status = Literal["measured", "incomplete", "missing", "failed"]


@dataclass(frozen=True, slots=True)
class BenchmarkLine:
    """A benchmark in a table; `family` is the number of gains that Holm's correction counts.

    `no_probe` says, target by target, why gains are not split into known and unknown before.
    """

    name: str
    title: str
    family: int
    no_probe: tuple[tuple[str, str], ...] = ()
    origin: Origin = "measured"


@dataclass(frozen=True, slots=True)
class Missing:
    """A cell of the plan without a number, and why."""

    benchmark: str
    cell: str
    state: Literal["missing", "failed"]
    reason: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm costs, the mean over its seeds; None where it is not known.

    Tokens and operations are counted; seconds and memory were measured, and are None unless they are asked for. Money
    is in the currency of the spec's prices.
    """

    prompt_tokens: float | None = None  # a question
    operations: float | None = None  # of reading a question: 2 x parameters x tokens
    trained_tokens: float | None = None
    operations_once: float | None = None  # of the training; 0 without one
    written_requests: float | None = None  # to the writers of the text trained on; 0 where none was paid for
    written_input_tokens: float | None = None  # that these read
    written_output_tokens: float | None = None  # and wrote
    index_bytes: float | None = None
    asking: float | None = None  # seconds a question
    searching: float | None = None  # seconds a question
    indexing: float | None = None
    training: float | None = None
    peak_bytes: float | None = None
    money: float | None = None  # a question
    money_once: float | None = None  # of index, training and text
    money_writing: float | None = None  # of the text, in `money_once`
    fewer_operations_from: Mapping[str, int] = field(default_factory=dict)  # number of questions by the other arm
    less_money_from: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well an arm's passages hold what answers the questions; None where nothing is known of it.

    All but the size and the seconds are over the `judged` questions, those with a gold passage in the corpus.
    """

    judged: int
    recall: Accuracy | None  # share of questions with a gold passage among those retrieved
    mrr: Accuracy | None  # 1 over the rank of the first gold passage, 0 without one
    ndcg: Accuracy | None  # of all gold passages, cut at the number retrieved
    found: Accuracy | None  # accuracy on questions of which a gold passage was retrieved
    missed: Accuracy | None  # and on the others
    accuracy: float | None = None  # on all of them
    index_bytes: float | None = None
    indexing: float | None = None  # seconds
    searching: float | None = None  # seconds a question


@dataclass(frozen=True, slots=True)
class Row:
    """An arm on a task: the cells that differ only by seed. Accuracies and gains are fractions, not per cent.

    `kind` is "base" (neither trained nor retrieving), "ceiling" (the gold passage), "control" (random passages) or "".
    `reason` says why there is no accuracy, or no gain where the sides are not comparable; "" where nothing is amiss.
    `p_adjusted` is None for gains outside Holm's family: of control tasks, of the ceiling and of random passages.
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
    environments: tuple[int, ...] = ()  # positions in the table's `environments`
    accuracy: Accuracy | None = None
    seed_accuracies: tuple[float, ...] = ()
    spread: float | None = None  # standard deviation of the seeds' accuracies (n - 1)
    reference: str | None = None  # the arm that the gain is measured against
    gain: Gain | None = None
    p_adjusted: float | None = None
    gold_share: float | None = None  # absolute gain over the ceiling's absolute gain
    rank: int | None = None
    tied: bool = False  # shares its rank: the arms of a rank do not differ from its first by more than chance
    known: Gain | None = None  # on questions that another measurement of the base got right
    unknown: Gain | None = None  # on those that it got wrong
    chosen: bool = False  # its settings were picked on validation questions
    validation: float | None = None  # accuracy on those, the mean over seeds
    rival: tuple[str, float] | None = (
        None  # of a chosen arm: what choosing on test would have claimed, and its accuracy
    )
    mark: str = ""  # "forgets" or "harmed": a control task's drop by more than chance
    alarms: tuple[str, ...] = ()  # reasons to doubt the row; `kib.leaderboard.compute.row_warnings` says what they mean
    recall: float | None = None  # share of questions with a gold passage among those retrieved
    dropped_passages: int = 0  # did not fit the token budget; of one seed
    dropped_questions: int = 0
    prompt_tokens: float | None = None  # mean a question
    perplexity: tuple[float, float] | None = None  # of held-out text before and after training
    cost: Cost | None = None  # where it is asked for and the arm was measured
    retrieval: Retrieval | None = None  # where it is asked for and the arm retrieves
    origin: Origin = "measured"

    @property
    def p(self) -> float | None:
        """The p that decides: adjusted where the gain is of Holm's family."""
        if self.gain is None:
            return None
        return self.gain.p if self.p_adjusted is None else self.p_adjusted


@dataclass(frozen=True, slots=True)
class AverageRow:
    """An arm over all target tasks of a model at one number of shots; `accuracy` is the mean of the tasks' accuracies.

    `average` is None, with the reason, where a task has no gain. `shots` is None where the row is over all numbers of
    shots.
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
    origin: Origin = "measured"


@dataclass(frozen=True, slots=True)
class Duel:
    """Two arms of a benchmark over all target blocks that have both: how many each wins, by accuracy as it stands."""

    benchmark: str
    arm: str
    other: str
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class Place:
    """A row's place among measured and published ones of the same questions."""

    row: Row
    rank: int
    tied: bool


@dataclass(frozen=True, slots=True)
class Across:
    """Measured and published rows of the same questions, shots and scoring, ranked together by unpaired p."""

    questions: str
    shots: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The leaderboard: rows in the order of reading. `against` is None where gains are over base."""

    benchmarks: tuple[BenchmarkLine, ...]
    against: str | None
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    averages: tuple[AverageRow, ...]
    cells: int
    missing: tuple[Missing, ...]
    environments: tuple[Environment, ...]
    cost: bool = False  # whether costs were asked for
    times: bool = False  # whether measured seconds and memory were
    retrieval: bool = False  # whether the quality of retrieval was
    remarks: tuple[str, ...] = ()  # where published numbers come from, and what a paper's tables tell of each other
    duels: tuple[Duel, ...] = ()  # of published benchmarks
    across: tuple[Across, ...] = ()  # what is ranked together although its origins differ
    apart: tuple[str, ...] = ()  # why measured and published rows are not

    @property
    def complete(self) -> bool:
        """Whether every cell of every plan has its number."""
        return not self.missing
