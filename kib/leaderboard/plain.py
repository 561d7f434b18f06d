"""Rows as plain values, the same in CSV and JSON: fractions (not per cent) at full precision, None for nothing."""

from collections.abc import Callable, Mapping
from typing import Any

from kib.gains import Gain, Interval
from kib.leaderboard.row import AverageRow, Cost, Row, Table

__all__ = ["AVERAGE", "COST", "ROW", "TIMES", "cost_keys", "plain_average", "plain_row"]


def _low(interval: Interval | None) -> float | None:
    return interval.low if interval else None


def _high(interval: Interval | None) -> float | None:
    return interval.high if interval else None


def _questions(gain: Gain | None) -> int | None:
    return gain.wins + gain.ties + gain.losses if gain else None


ROW: Mapping[str, Callable[[Row], Any]] = {
    "benchmark": lambda row: row.benchmark,
    "model": lambda row: row.model,
    "method": lambda row: row.method,
    "arm": lambda row: row.arm,
    "settings": lambda row: dict(row.settings),
    "task": lambda row: row.task,
    "role": lambda row: row.role,
    "corpus": lambda row: row.corpus,
    "shots": lambda row: row.shots,
    "kind": lambda row: row.kind,
    "trained": lambda row: row.trained,
    "retrieving": lambda row: row.retrieving,
    "status": lambda row: row.status,
    "reason": lambda row: row.reason,
    "n": lambda row: row.n,
    "groups": lambda row: row.accuracy.groups if row.accuracy else None,
    "metric": lambda row: row.metric,
    "seeds": lambda row: list(row.seeds),
    "accuracy": lambda row: row.accuracy.mean if row.accuracy else None,
    "accuracy_low": lambda row: _low(row.accuracy.interval if row.accuracy else None),
    "accuracy_high": lambda row: _high(row.accuracy.interval if row.accuracy else None),
    "seed_accuracies": lambda row: list(row.seed_accuracies),
    "spread": lambda row: row.spread,
    "reference": lambda row: row.reference,
    "gain": lambda row: row.gain.absolute if row.gain else None,
    "gain_low": lambda row: _low(row.gain.interval if row.gain else None),
    "gain_high": lambda row: _high(row.gain.interval if row.gain else None),
    "relative_gain": lambda row: row.gain.relative if row.gain else None,
    "p": lambda row: row.gain.p if row.gain else None,
    "p_adjusted": lambda row: row.p_adjusted,
    "wins": lambda row: row.gain.wins if row.gain else None,
    "ties": lambda row: row.gain.ties if row.gain else None,
    "losses": lambda row: row.gain.losses if row.gain else None,
    "share_of_gold": lambda row: row.gold_share,
    "rank": lambda row: row.rank,
    "tied": lambda row: row.tied,
    "gain_known": lambda row: row.known.absolute if row.known else None,
    "gain_known_low": lambda row: _low(row.known.interval if row.known else None),
    "gain_known_high": lambda row: _high(row.known.interval if row.known else None),
    "n_known": lambda row: _questions(row.known),
    "gain_unknown": lambda row: row.unknown.absolute if row.unknown else None,
    "gain_unknown_low": lambda row: _low(row.unknown.interval if row.unknown else None),
    "gain_unknown_high": lambda row: _high(row.unknown.interval if row.unknown else None),
    "n_unknown": lambda row: _questions(row.unknown),
    "chosen": lambda row: row.chosen,
    "validation_accuracy": lambda row: row.validation,
    "best_on_test": lambda row: row.rival[0] if row.rival else None,
    "best_on_test_accuracy": lambda row: row.rival[1] if row.rival else None,
    "mark": lambda row: row.mark,
    "alarms": lambda row: list(row.alarms),
    "recall": lambda row: row.recall,
    "dropped_passages": lambda row: row.dropped_passages,
    "dropped_questions": lambda row: row.dropped_questions,
    "prompt_tokens": lambda row: row.prompt_tokens,
    "held_out_perplexity_before": lambda row: row.perplexity[0] if row.perplexity else None,
    "held_out_perplexity": lambda row: row.perplexity[1] if row.perplexity else None,
    "environments": lambda row: list(row.environments),
    "cells": lambda row: list(row.cells),
}
"""The keys of a row and how their values are had."""

COST: Mapping[str, Callable[[Cost], Any]] = {
    "operations": lambda cost: cost.operations,
    "trained_tokens": lambda cost: cost.trained_tokens,
    "operations_once": lambda cost: cost.operations_once,
    "index_bytes": lambda cost: cost.index_bytes,
    "money": lambda cost: cost.money,
    "money_once": lambda cost: cost.money_once,
    "fewer_operations_from": lambda cost: dict(cost.fewer_operations_from),
    "less_money_from": lambda cost: dict(cost.less_money_from),
}
"""The keys that a row has besides where costs are asked for."""

TIMES: Mapping[str, Callable[[Cost], Any]] = {
    "seconds_asking": lambda cost: cost.asking,
    "seconds_searching": lambda cost: cost.searching,
    "seconds_indexing": lambda cost: cost.indexing,
    "seconds_training": lambda cost: cost.training,
    "peak_bytes": lambda cost: cost.peak_bytes,
}
"""And where measured times are."""

AVERAGE: Mapping[str, Callable[[AverageRow], Any]] = {
    "benchmark": lambda row: row.benchmark,
    "model": lambda row: row.model,
    "method": lambda row: row.method,
    "arm": lambda row: row.arm,
    "shots": lambda row: row.shots,
    "kind": lambda row: row.kind,
    "tasks": lambda row: list(row.tasks),
    "reason": lambda row: row.reason,
    "accuracy": lambda row: row.accuracy,
    "gain": lambda row: row.average.absolute if row.average else None,
    "gain_low": lambda row: _low(row.average.interval if row.average else None),
    "gain_high": lambda row: _high(row.average.interval if row.average else None),
    "relative_gain": lambda row: row.average.relative if row.average else None,
    "relative_gain_low": lambda row: _low(row.average.relative_interval if row.average else None),
    "relative_gain_high": lambda row: _high(row.average.relative_interval if row.average else None),
}
"""The keys of an average over tasks."""


def cost_keys(table: Table) -> Mapping[str, Callable[[Cost], Any]]:
    """The keys of costs that a table's rows have."""
    return {**(COST if table.cost else {}), **(TIMES if table.times else {})}


def plain_row(row: Row, table: Table) -> dict[str, Any]:
    """A row's values by key."""
    cost = {name: value(row.cost) if row.cost else None for name, value in cost_keys(table).items()}
    return {**{name: value(row) for name, value in ROW.items()}, **cost}


def plain_average(row: AverageRow) -> dict[str, Any]:
    """An average's values by key."""
    return {name: value(row) for name, value in AVERAGE.items()}
