"""Statistics kept beside the results, by the identities and digests of what they were computed from.

`statistics.json` is a cache: it holds what the last table of each view used, and can be deleted. A view is what gains
are measured against: "" for base, else the method or arm named.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, TypeVar

from kib.leaderboard.compute.row_warnings import Traits
from kib.statistics.gains import REVISION, Accuracy, Average, Gain, Interval
from kib.store.results import Results

__all__ = ["Measure", "Split", "Stored"]

T = TypeVar("T")
Split = tuple[Gain | None, Gain | None]
"""Gains on what the base knew before and on what it did not."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What an arm's own questions say; `recall` is None without gold or retrieval."""

    accuracy: Accuracy
    recall: float | None
    traits: Traits


class Stored:
    """The statistics of one results folder, seen from one view."""

    def __init__(self, results: Results, view: str) -> None:
        self._results = results
        self._view = view
        self._file = results.statistics()
        fresh = self._file.get("revision") == REVISION
        self._arms = _mapping(self._file.get("arms")) if fresh else {}
        self._views = (
            {key: _mapping(value) for key, value in _mapping(self._file.get("views")).items()} if fresh else {}
        )
        self._known = {key: value for section in self._views.values() for key, value in section.items()}
        self._used_arms: dict[str, Any] = {}
        self._used: dict[str, Any] = {}

    def has(self, key: str) -> bool:
        """Whether an arm was measured in this or an earlier table."""
        return key in self._arms or key in self._used_arms

    def measure(self, key: str, compute: Callable[[], Measure]) -> Measure:
        """What an arm's own questions say, stored or computed."""
        return _get(self._arms, self._used_arms, key, _unpack_measure, _pack_measure, compute)

    def gain(self, key: str, compute: Callable[[], Gain | str]) -> Gain | str:
        """A gain, or the reason why two arms are not comparable."""
        return _get(self._known, self._used, f"gain {key}", _unpack_gain, _pack_gain, compute)

    def p_value(self, key: str, compute: Callable[[], float]) -> float:
        """The p of an arm and the first one of its rank or of the rank above."""
        return _get(self._known, self._used, f"p {key}", _unpack_p, _pack_p, compute)

    def split(self, key: str, compute: Callable[[], Split]) -> Split:
        """Gains on what was known before and on what was not."""
        return _get(self._known, self._used, f"split {key}", _unpack_split, _pack_split, compute)

    def average(self, key: str, compute: Callable[[], Average]) -> Average:
        """An average over tasks."""
        return _get(self._known, self._used, f"average {key}", _unpack_average, _pack_average, compute)

    def save(self, names: Container[str]) -> None:
        """Keep what this view used; views of other names than these are dropped. Unchanged bytes are not written."""
        views = {view: section for view, section in self._views.items() if not view or view in names}
        value = {"revision": REVISION, "arms": self._used_arms, "views": {**views, self._view: self._used}}
        if value != self._file:
            self._results.save_statistics(value)


def _get(
    known: dict[str, Any],
    used: dict[str, Any],
    key: str,
    unpack: Callable[[Any], T],
    pack: Callable[[T], Any],
    compute: Callable[[], T],
) -> T:
    try:
        value = unpack(known[key])
    except (KeyError, TypeError, ValueError):
        value = compute()
        used[key] = pack(value)
    else:
        used[key] = known[key]
    return value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: Any, length: int, nullable: Container[int]) -> list[Any]:
    """A stored list of numbers, null at some positions only; ValueError for anything else."""
    if not isinstance(value, list) or len(value) != length:
        raise ValueError("not a stored statistic")
    for position, number in enumerate(value):
        if type(number) not in (int, float) and (number is not None or position not in nullable):
            raise ValueError("not a stored statistic")
    return value


def _pack_measure(measure: Measure) -> Any:
    one, its = measure.accuracy, measure.traits
    numbers = [one.mean, one.interval.low, one.interval.high, one.n, one.groups, measure.recall]
    return [[*numbers, its.chance, its.repeated, its.short], [its.prompts, *its.answers]]


def _unpack_measure(value: Any) -> Measure:
    numbers, digests = value
    mean, low, high, n, groups, recall, chance, repeated, short = _numbers(numbers, 9, (5, 6))
    if not isinstance(digests, list) or len(digests) < 2 or not all(isinstance(one, str) for one in digests):
        raise ValueError("not a stored statistic")
    prompts, *answers = digests
    accuracy = Accuracy(mean, Interval(low, high), n, groups)
    return Measure(accuracy, recall, Traits(chance, repeated, short, prompts, tuple(answers)))


def _pack_gain(gain: Gain | str) -> Any:
    if isinstance(gain, str):
        return gain
    low, high = gain.interval.low, gain.interval.high
    return [gain.absolute, gain.relative, low, high, gain.p, gain.wins, gain.ties, gain.losses]


def _unpack_gain(value: Any) -> Gain | str:
    if isinstance(value, str):
        return value
    absolute, relative, low, high, p, wins, ties, losses = _numbers(value, 8, (1,))
    return Gain(absolute, relative, Interval(low, high), p, wins, ties, losses)


def _pack_p(p: float) -> Any:
    return [p]


def _unpack_p(value: Any) -> float:
    return float(_numbers(value, 1, ())[0])


def _pack_split(split: Split) -> Any:
    return [None if part is None else _pack_gain(part) for part in split]


def _unpack_split(value: Any) -> Split:
    known, unknown = (None if part is None else _unpack_gain(part) for part in value)
    if isinstance(known, str) or isinstance(unknown, str):
        raise TypeError("not a stored statistic")
    return known, unknown


def _pack_average(one: Average) -> Any:
    relative = one.relative_interval
    ends = [None, None] if relative is None else [relative.low, relative.high]
    return [one.tasks, one.absolute, one.interval.low, one.interval.high, one.relative, *ends]


def _unpack_average(value: Any) -> Average:
    tasks, absolute, low, high, relative, relative_low, relative_high = _numbers(value, 7, (4, 5, 6))
    ends = None if relative_low is None or relative_high is None else Interval(relative_low, relative_high)
    return Average(tasks, absolute, Interval(low, high), relative, ends)
