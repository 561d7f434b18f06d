"""The one-time cost and the cost per question of each arm, and the break-even numbers of questions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import floor, fsum
from typing import Any

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.table_records import Cost
from kib.store.result_records import CellResult, Times, TrainingRecord
from kib.store.results import Results

__all__ = ["costs"]

HOUR = 3600.0
REMOTE = "unknown"
"""The device name of a model behind an endpoint."""

Pick = Callable[[Cost], float | None]


def costs(results: Results, arms: Sequence[Arm], prices: Mapping[str, float], *, times: bool) -> dict[Arm, Cost]:
    """Return the costs of the measured arms in a block, including measured seconds and memory if `times` is set."""
    found = {arm: _mean([_cost(one, results.times(one.cell), prices) for one in arm.results]) for arm in arms}
    rivals = [arm for arm in arms if arm.method.train is None and arm.method.retrieve is not None and arm.kind == ""]
    # Arms with gold passages have no break-even point, because gold passages are not available in any application.
    for arm in (arm for arm in arms if arm.method.train is not None and arm.kind == ""):
        found[arm] = replace(
            found[arm],
            fewer_operations_from=_break_even(
                found, arm, rivals, lambda one: one.operations_once, lambda one: one.operations
            ),
            less_money_from=_break_even(found, arm, rivals, lambda one: one.money_once, lambda one: one.money),
        )
    return found if times else {arm: _without_times(cost) for arm, cost in found.items()}


def _cost(result: CellResult, times: Times | None, prices: Mapping[str, float]) -> Cost:
    """Return the cost of one cell."""
    n, training = result.n, result.training or TrainingRecord()
    tokens = None if result.prompt_tokens is None else result.prompt_tokens / n
    writing = _writing(training, prices)
    money, once = _money(result, tokens, times, prices)
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
    result: CellResult, tokens: float | None, times: Times | None, prices: Mapping[str, float]
) -> tuple[float | None, float | None]:
    """Return the monetary cost per question and the one-time monetary cost, based on device hours.

    If the model is remote or device hours have no price, the amounts are based on token prices instead.
    """
    hour, million = prices.get("device_hour"), prices.get("input_tokens_million")
    remote = all(environment.device == REMOTE for environment in result.environments)
    by_hours = None if hour is None or times is None else hour / HOUR
    by_tokens = None if million is None or tokens is None else million * tokens / 1e6
    once = 0.0 if by_tokens is not None and not result.training else None
    if by_hours is not None and times is not None:
        once = by_hours * (times.indexing + times.training)
        if not remote:
            return by_hours * (times.asking + times.searching) / result.n, once
    return (by_tokens, once) if hour is None or remote else (None, None)


def _writing(training: TrainingRecord, prices: Mapping[str, float]) -> float | None:
    """Return the cost of writing the training text, or None if a token count or a price is unknown.

    Every arm is charged the full cost, even if several arms share the text.
    """
    total = 0.0
    for count, price in (
        (training.written_input_tokens, "input_tokens_million"),
        (training.written_output_tokens, "output_tokens_million"),
    ):
        million = prices.get(price)
        if count is None or (count and million is None):
            return None
        total += count * (million or 0.0) / 1e6
    return total


def _mean(seeds: Sequence[Cost]) -> Cost:
    """Return the mean over seeds of every cost component, or None for a component that is unknown for any seed."""
    names = [name for name in Cost.__slots__ if not name.endswith("_from")]
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
            continue  # a difference at equal prompt length is timing noise
        least[rival.name] = max(1, floor((ours_once - theirs_once) / (theirs - ours)) + 1)
    return least


def _is_shorter(ours: Cost, theirs: Cost) -> bool:
    """Return whether the prompts of `ours` are shorter than the prompts of `theirs`, or any length is unknown."""
    return ours.prompt_tokens is None or theirs.prompt_tokens is None or ours.prompt_tokens < theirs.prompt_tokens


def _without_times(cost: Cost) -> Cost:
    return replace(cost, asking=None, searching=None, indexing=None, training=None, peak_bytes=None)
