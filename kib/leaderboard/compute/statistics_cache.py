"""The cache of statistics in `statistics.json`, keyed by the identities and digests of the summarized results.

The cache contains the statistics used by the last table of each view. The cache may be deleted at any time. A view is
named after the method or arm that serves as the reference for gains; in the view "", gains are measured over base.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from kib.leaderboard.compute.row_warnings import WarningFacts
from kib.statistics.gains import REVISION, Accuracy, Average, Gain, Interval, bounds
from kib.store.results import Results

__all__ = ["ArmMeasure", "KnowledgeSplit", "Repetition", "StatisticsCache"]

Record = TypeVar("Record")
KnowledgeSplit = tuple[Gain | None, Gain | None]
"""The gains on questions that base answered correctly in the probe, and on all other questions."""


Repetition = tuple[int, Gain]
"""The number of identical answers to repeated questions, and the change of their scores."""


@dataclass(frozen=True, slots=True)
class ArmMeasure:
    """The accuracy and recall of an arm; `recall` is None if there are no gold passages or no hits."""

    accuracy: Accuracy
    recall: float | None
    warning_facts: WarningFacts


class StatisticsCache:
    """The stored statistics of one results folder, for one view.

    Statistics of an earlier revision are used only if they cannot be computed again because questions are missing;
    `outdated` states whether this is the case.
    """

    def __init__(self, results: Results, view: str) -> None:
        self._results = results
        self._view = view
        self._file = results.statistics()
        revision = self._file.get("revision")
        self.outdated = isinstance(revision, int) and revision < REVISION and not results.has_all_questions()
        current = revision == REVISION or self.outdated
        self._arms = _mapping(self._file.get("arms")) if current else {}
        views = _mapping(self._file.get("views")) if current else {}
        self._views = {name: _mapping(section) for name, section in views.items()}
        self._known = {key: value for section in self._views.values() for key, value in section.items()}
        self._used_arms: dict[str, Any] = {}
        self._used: dict[str, Any] = {}

    @property
    def any_stored(self) -> bool:
        """Whether an earlier table has stored statistics of this view."""
        return bool(self._views.get(self._view))

    @property
    def used(self) -> dict[str, Any]:
        """The statistics used so far, in the form that `add` accepts in another process."""
        return {"arms": self._used_arms, "view": self._used}

    def add(self, used: Mapping[str, Any]) -> int:
        """Add statistics that another process has computed, and return the number of their arms."""
        arms = _mapping(used.get("arms"))
        self._arms |= arms
        self._known |= _mapping(used.get("view"))
        return len(arms)

    def has(self, key: str) -> bool:
        """Return whether the cache contains the statistics of an arm."""
        return key in self._arms or key in self._used_arms

    def measure(self, key: str, compute: Callable[[], ArmMeasure]) -> ArmMeasure:
        """Return the accuracy and recall of an arm, from the cache if possible."""
        return _MEASURE.get(self._arms, self._used_arms, key, compute)

    def gain(self, key: str, compute: Callable[[], Gain | str]) -> Gain | str:
        """Return the gain of an arm over a reference, or the reason why the two arms are not comparable."""
        return _GAIN.get(self._known, self._used, f"gain {key}", compute)

    def p_value(self, key: str, compute: Callable[[], float]) -> float:
        """Return the p value that decides whether two arms share a rank."""
        return _P_VALUE.get(self._known, self._used, f"p {key}", compute)

    def split(self, key: str, compute: Callable[[], KnowledgeSplit]) -> KnowledgeSplit:
        """Return the gains on known and on unknown questions."""
        return _SPLIT.get(self._known, self._used, f"split {key}", compute)

    def repetition(self, key: str, compute: Callable[[], Repetition]) -> Repetition:
        """Return how the second answers to repeated questions differ from the first answers."""
        return _REPETITION.get(self._known, self._used, f"repeat {key}", compute)

    def average(self, key: str, compute: Callable[[], Average]) -> Average:
        """Return the average gain over tasks, from the cache if possible."""
        return _AVERAGE.get(self._known, self._used, f"average {key}", compute)

    def save(self, names: Container[str]) -> None:
        """Store the statistics used by this view, and drop other views not in `names`.

        The file is not rewritten if nothing has changed, or if it contains statistics of an earlier revision.
        """
        views = {view: section for view, section in self._views.items() if not view or view in names}
        if self.outdated:  # the questions are missing, so the statistics cannot be computed again
            return
        value = {"revision": REVISION, "arms": self._used_arms, "views": {**views, self._view: self._used}}
        if value != self._file:
            self._results.save_statistics(value)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


Number = Annotated[float, Field(strict=True, ge=-1e9, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]


class _StoredNumbers(NamedTuple):
    """The numbers of an `ArmMeasure` in stored order."""

    mean: Number
    low: Number | None
    high: Number | None
    n: Count
    groups: Count
    recall: Number | None
    chance: Number | None
    repeated: Count
    short: Count


class _StoredGain(NamedTuple):
    """A paired `Gain` in stored order."""

    absolute: Number
    relative: Number | None
    low: Number | None
    high: Number | None
    p: Number | None
    wins: Count
    ties: Count
    losses: Count


class _StoredAverage(NamedTuple):
    """The fields of an `Average`, in the order in which they are stored."""

    tasks: Count
    absolute: Number
    low: Number | None
    high: Number | None
    relative: Number | None
    relative_low: Number | None
    relative_high: Number | None


class _StoredForm(Generic[Record]):
    """Converts a record to the list stored in the cache file, and back; pydantic validates the content of the file."""

    def __init__(self, stored: Any, pack: Callable[[Record], Any], unpack: Callable[[Any], Record]) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(stored)
        self._pack = pack
        self._unpack = unpack

    def get(self, known: dict[str, Any], used: dict[str, Any], key: str, compute: Callable[[], Record]) -> Record:
        """Return the record stored under `key` in `known`, computing it if it is missing.

        The stored form of the record is added to `used`.
        """
        try:
            record = self._unpack(self._adapter.validate_python(known[key]))
        except (KeyError, ValidationError):
            record = compute()
            used[key] = self._adapter.dump_python(self._pack(record), mode="json")
        else:
            used[key] = known[key]
        return record


def _pack_measure(measure: ArmMeasure) -> tuple[_StoredNumbers, list[str]]:
    accuracy, facts = measure.accuracy, measure.warning_facts
    numbers = _StoredNumbers(
        *(accuracy.mean, *bounds(accuracy.interval), accuracy.n, accuracy.groups, measure.recall),
        *(facts.chance, facts.repeated, facts.short),
    )
    return numbers, [facts.prompts, *facts.answers]


def _unpack_measure(stored: tuple[_StoredNumbers, list[str]]) -> ArmMeasure:
    numbers, (prompts, *answers) = stored
    accuracy = Accuracy(numbers.mean, _interval(numbers.low, numbers.high), numbers.n, numbers.groups)
    facts = WarningFacts(numbers.chance, numbers.repeated, numbers.short, prompts, tuple(answers))
    return ArmMeasure(accuracy, numbers.recall, facts)


def _pack_gain(gain: Gain) -> tuple[float | None, ...]:
    return (gain.absolute, gain.relative, *bounds(gain.interval), gain.p, gain.wins, gain.ties, gain.losses)


def _unpack_gain(stored: _StoredGain) -> Gain:
    interval = _interval(stored.low, stored.high)
    questions = (stored.wins, stored.ties, stored.losses)
    return Gain(stored.absolute, stored.relative, interval, stored.p, *questions)


def _pack_average(average: Average) -> _StoredAverage:
    ends, relative_ends = bounds(average.interval), bounds(average.relative_interval)
    return _StoredAverage(average.tasks, average.absolute, *ends, average.relative, *relative_ends)


def _unpack_average(stored: _StoredAverage) -> Average:
    relative_interval = _interval(stored.relative_low, stored.relative_high)
    interval = _interval(stored.low, stored.high)
    return Average(stored.tasks, stored.absolute, interval, stored.relative, relative_interval)


def _interval(low: float | None, high: float | None) -> Interval | None:
    return None if low is None or high is None else Interval(low, high)


Digests = Annotated[list[str], Field(min_length=2)]

_MEASURE = _StoredForm(tuple[_StoredNumbers, Digests], _pack_measure, _unpack_measure)
_GAIN = _StoredForm[Gain | str](
    str | _StoredGain,
    lambda one: one if isinstance(one, str) else _pack_gain(one),
    lambda stored: stored if isinstance(stored, str) else _unpack_gain(stored),
)
_P_VALUE = _StoredForm[float](tuple[Number], lambda p: (p,), lambda stored: stored[0])
_SPLIT = _StoredForm[KnowledgeSplit](
    tuple[_StoredGain | None, _StoredGain | None],
    lambda split: tuple(None if part is None else _pack_gain(part) for part in split),
    lambda stored: (stored[0] and _unpack_gain(stored[0]), stored[1] and _unpack_gain(stored[1])),
)
_REPETITION = _StoredForm[Repetition](
    tuple[Count, _StoredGain],
    lambda one: (one[0], _pack_gain(one[1])),
    lambda stored: (stored[0], _unpack_gain(stored[1])),
)
_AVERAGE = _StoredForm(_StoredAverage, _pack_average, _unpack_average)
