"""The one-time cost and the cost per question of each arm, and the break-even numbers of questions."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import floor, fsum
from typing import Any, NamedTuple

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.table_records import Cost
from kib.records import UNKNOWN_DEVICE
from kib.store.result_records import CellResult, Times, TrainingRecord
from kib.store.results import Results

__all__ = ["costs"]

HOUR = 3600.0

TOKEN_PRICES = ("input_tokens_million", "output_tokens_million")
"""The prices that a method may state for a model trained elsewhere."""

Pick = Callable[[Cost], float | None]


class _Pace(NamedTuple):
    """The mean measured seconds per prompt token and per training operation; None if nothing was measured."""

    token: float | None
    operation: float | None


def costs(
    results: Results, arms: Sequence[Arm], gaining: Collection[Arm], prices: Mapping[str, float], *, times: bool
) -> dict[Arm, Cost]:
    """Return the costs of the measured arms in a block, including measured seconds and memory if `times` is set.

    Break-even points are computed only between the arms in `gaining`, which have a significant gain over base.
    """
    seconds = {one.cell: results.times(one.cell) for arm in arms for one in arm.results}
    pace = _pace([(one, seconds[one.cell]) for arm in arms for one in arm.results])
    found = {}
    for arm in arms:
        own = {**prices, **{name: price for name, price in arm.method.cost.items() if name in TOKEN_PRICES}}
        found[arm] = _mean([_cost(one, seconds[one.cell], own, pace) for one in arm.results])
        if arm.method.trained_as:
            found[arm] = _with_entered(found[arm], arm)
    # Arms with gold passages have no break-even point, because gold passages are not available in any application.
    contenders = [arm for arm in arms if arm in gaining and arm.kind == ""]
    rivals = [arm for arm in contenders if not arm.method.is_trained and arm.method.retrieve is not None]
    for arm in (arm for arm in contenders if arm.method.is_trained):
        found[arm] = replace(
            found[arm],
            fewer_operations_from=_break_even(
                found, arm, rivals, lambda one: one.operations_once, lambda one: one.operations
            ),
            less_money_from=_break_even(found, arm, rivals, lambda one: one.money_once, lambda one: one.money),
        )
    return found if times else {arm: _without_times(cost) for arm, cost in found.items()}


def _pace(cells: Sequence[tuple[CellResult, Times | None]]) -> _Pace:
    """Return the mean measured time per prompt token and per training operation of all cells in a block."""
    asked = [(times.asking, one.prompt_tokens) for one, times in cells if times and one.prompt_tokens]
    trained = [
        (times.training, one.training.flops) for one, times in cells if times and one.training and one.training.flops
    ]
    return _Pace(_ratio(asked), _ratio(trained))


def _ratio(pairs: Sequence[tuple[float, float]]) -> float | None:
    return fsum(above for above, _ in pairs) / fsum(below for _, below in pairs) if pairs else None


def _cost(result: CellResult, times: Times | None, prices: Mapping[str, float], pace: _Pace) -> Cost:
    """Return the cost of one cell."""
    n, training = result.n, result.training or TrainingRecord()
    tokens = None if result.prompt_tokens is None else result.prompt_tokens / n
    writing = _writing(training, prices)
    money, once = _money(result, tokens, times, prices, pace)
    counted = Cost(
        prompt_tokens=tokens,
        operations=None if result.flops is None else result.flops / n,
        trained_tokens=training.trained_tokens,
        operations_once=training.flops if result.training else 0.0,
        written_requests=training.written_requests,
        written_input_tokens=training.written_input_tokens,
        written_output_tokens=training.written_output_tokens,
        money=money,
        money_once=None if once is None or writing is None else once + writing,
        money_writing=writing,
        latency=result.system.seconds / n if result.system else None,
        reported=result.system.cost / n if result.system and result.system.cost is not None else None,
    )
    if times is None:
        return counted
    return replace(
        counted,
        index_bytes=times.index_bytes,
        asking=times.asking / n,
        searching=times.searching / n,
        indexing=times.indexing,
        training=times.training,
        peak_bytes=times.peak_bytes,
    )


def _money(
    result: CellResult, tokens: float | None, times: Times | None, prices: Mapping[str, float], pace: _Pace
) -> tuple[float | None, float | None]:
    """Return the monetary cost per question and the one-time monetary cost, both unknown for a system.

    The time for answering and training follows from the counted tokens and operations, so that the random variation of
    measured times cannot change the order of the arms. If the model is remote or device hours have no price, the
    amounts are based on token prices instead, including the price of generated tokens that a server counted.
    """
    if result.system is not None:
        return None, None  # the prices in the spec are not the prices of the system
    hour, million = prices.get("device_hour"), prices.get("input_tokens_million")
    remote = all(environment.device == UNKNOWN_DEVICE for environment in result.environments)
    by_tokens = None if million is None or tokens is None else million * tokens / 1e6
    if by_tokens is not None and result.output_tokens:
        written = prices.get("output_tokens_million")
        by_tokens = None if written is None else by_tokens + written * result.output_tokens / result.n / 1e6
    once = 0.0 if by_tokens is not None and not result.training else None
    if hour is not None and times is not None:
        once = hour / HOUR * (times.indexing + _training_seconds(result, times, pace))
        if not remote:
            return _money_for_time(tokens, times.searching / result.n, hour, pace), once
    return (by_tokens, once) if hour is None or remote else (None, None)


def _money_for_time(tokens: float | None, searching: float, hour: float, pace: _Pace) -> float | None:
    """Return the cost of the time for one question, or None if its tokens are not counted."""
    if tokens is None or pace.token is None:
        return None
    return hour / HOUR * (tokens * pace.token + searching)


def _training_seconds(result: CellResult, times: Times, pace: _Pace) -> float:
    """Return the training time, which is the measured time only if the operations are not counted."""
    if result.training is None or result.training.flops is None or pace.operation is None:
        return times.training
    return result.training.flops * pace.operation


def _writing(training: TrainingRecord, prices: Mapping[str, float]) -> float | None:
    """Return the cost of writing the training text, or None if a token count or a price is unknown.

    Every arm is charged the full cost, even if several arms share the text.
    """
    total = 0.0
    counts = (training.written_input_tokens, training.written_output_tokens)
    for count, price in zip(counts, TOKEN_PRICES, strict=True):
        million = prices.get(price)
        if count is None or (count and million is None):
            return None
        total += count * (million or 0.0) / 1e6
    return total


def _with_entered(cost: Cost, arm: Arm) -> Cost:
    """Return the cost of an arm with the entered cost of training elsewhere; what was not entered is unknown."""
    entered = arm.method.cost
    indexing = cost.money_once if arm.method.retrieve is not None else cost.money_once or 0.0
    known = "money" in entered and indexing is not None
    return replace(
        cost,
        entered=entered,
        trained_tokens=entered.get("tokens"),
        operations_once=None,
        training=HOUR * entered["hours"] if "hours" in entered else None,
        money_once=entered["money"] + (indexing or 0.0) if known else None,
        money_writing=None,
        written_requests=None,
        written_input_tokens=None,
        written_output_tokens=None,
    )


def _mean(seeds: Sequence[Cost]) -> Cost:
    """Return the mean over seeds of every cost component, or None for a component that is unknown for any seed."""
    names = [name for name in Cost.__slots__ if name != "entered" and not name.endswith("_from")]
    columns = {name: [getattr(seed, name) for seed in seeds] for name in names}
    means: dict[str, Any] = {name: fsum(some) / len(some) for name, some in columns.items() if None not in some}
    return Cost(**means)


def _break_even(found: Mapping[Arm, Cost], arm: Arm, rivals: Sequence[Arm], once: Pick, each: Pick) -> dict[str, int]:
    """Return the smallest number of questions for which `arm` costs less in total, for each more expensive rival."""
    least = {}
    ours_once, ours = once(found[arm]), each(found[arm])
    for rival in rivals:
        theirs_once, theirs = once(found[rival]), each(found[rival])
        if ours_once is None or ours is None or theirs_once is None or theirs is None or ours >= theirs:
            continue
        if not _is_shorter(found[arm], found[rival]):
            continue  # the remaining difference is the measured search time, which varies randomly
        least[rival.name] = max(1, floor((ours_once - theirs_once) / (theirs - ours)) + 1)
    return least


def _is_shorter(ours: Cost, theirs: Cost) -> bool:
    """Return whether the prompts of `ours` are shorter than the prompts of `theirs`, by counted tokens."""
    if ours.prompt_tokens is None or theirs.prompt_tokens is None:
        return False
    return ours.prompt_tokens < theirs.prompt_tokens


def _without_times(cost: Cost) -> Cost:
    return replace(cost, asking=None, searching=None, indexing=None, training=None, peak_bytes=None)
