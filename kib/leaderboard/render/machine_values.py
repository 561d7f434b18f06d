"""The values of a row for CSV and JSON: fractions (not percentages) at full precision, and None for a missing value."""

from collections.abc import Callable, Mapping
from typing import Any

from kib.leaderboard.table_records import (
    ArmRow,
    AverageRow,
    Cost,
    CrossOriginRanking,
    LabelledArm,
    LabelledBlock,
    ProbeGain,
    RepeatedBase,
    RetrievalQuality,
    Table,
)
from kib.statistics.gains import Accuracy, Gain, Interval

__all__ = [
    "AVERAGE",
    "COST",
    "ELSEWHERE",
    "ENTERED",
    "LABELS",
    "PROBE",
    "REPEAT",
    "RETRIEVAL",
    "RETRIEVAL_TIMES",
    "ROW",
    "SYSTEM",
    "SYSTEM_COST",
    "TIMES",
    "average_values",
    "cost_keys",
    "label_values",
    "probe_values",
    "ranking_values",
    "repeat_values",
    "retrieval_keys",
    "row_keys",
    "row_values",
]


def _low(interval: Interval | None) -> float | None:
    return interval.low if interval else None


def _high(interval: Interval | None) -> float | None:
    return interval.high if interval else None


def _question_count(gain: Gain | None) -> int | None:
    if gain is None or gain.wins is None or gain.ties is None or gain.losses is None:
        return None
    return gain.wins + gain.ties + gain.losses


ROW: Mapping[str, Callable[[ArmRow], Any]] = {
    "benchmark": lambda row: row.benchmark,
    "origin": lambda row: row.origin,
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
    "graded": lambda row: row.graded,
    "other_metrics": lambda row: dict(row.other_metrics),
    "right_share": lambda row: row.answers.right if row.answers else None,
    "abstained_share": lambda row: row.answers.abstained if row.answers else None,
    "wrong_share": lambda row: row.answers.wrong if row.answers else None,
    "unanswerable": lambda row: row.answers.unanswerable if row.answers else None,
    "declined_share": lambda row: row.answers.declined if row.answers else None,
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
    "detectable_gain": lambda row: row.gain.detectable if row.gain else None,
    "relative_gain": lambda row: row.gain.relative if row.gain else None,
    "p": lambda row: row.gain.p if row.gain else None,
    "p_adjusted": lambda row: row.p_adjusted,
    "lowest_p": lambda row: row.lowest_p,
    "paired": lambda row: row.gain.paired if row.gain else None,
    "wins": lambda row: row.gain.wins if row.gain else None,
    "ties": lambda row: row.gain.ties if row.gain else None,
    "losses": lambda row: row.gain.losses if row.gain else None,
    "share_of_gold": lambda row: row.gold_share,
    "rank": lambda row: row.rank,
    "tied": lambda row: row.tied,
    "gain_known": lambda row: row.known.absolute if row.known else None,
    "gain_known_low": lambda row: _low(row.known.interval if row.known else None),
    "gain_known_high": lambda row: _high(row.known.interval if row.known else None),
    "n_known": lambda row: _question_count(row.known),
    "gain_unknown": lambda row: row.unknown.absolute if row.unknown else None,
    "gain_unknown_low": lambda row: _low(row.unknown.interval if row.unknown else None),
    "gain_unknown_high": lambda row: _high(row.unknown.interval if row.unknown else None),
    "n_unknown": lambda row: _question_count(row.unknown),
    "chosen": lambda row: row.chosen,
    "validation_accuracy": lambda row: row.validation,
    "best_on_test": lambda row: row.best_on_test[0] if row.best_on_test else None,
    "best_on_test_accuracy": lambda row: row.best_on_test[1] if row.best_on_test else None,
    "mark": lambda row: row.mark,
    "alarms": lambda row: list(row.warnings),
    "recall": lambda row: row.recall,
    "dropped_passages": lambda row: row.dropped_passages,
    "dropped_questions": lambda row: row.dropped_questions,
    "prompt_tokens": lambda row: row.prompt_tokens,
    "held_out_perplexity_before": lambda row: row.perplexity[0] if row.perplexity else None,
    "held_out_perplexity": lambda row: row.perplexity[1] if row.perplexity else None,
    "environments": lambda row: list(row.environments),
    "cells": lambda row: list(row.cells),
}
"""The keys of a row, with functions that return their values."""

SYSTEM: Mapping[str, Callable[[ArmRow], Any]] = {"system": lambda row: row.system}
"""The additional key of a row if any row is the result of a system."""


ELSEWHERE: Mapping[str, Callable[[ArmRow], Any]] = {"trained_as": lambda row: row.trained_as}
"""The additional keys of a row if a model of the table was trained elsewhere."""


def _of_row(value: Callable[[ArmRow], Any]) -> Callable[[ArmRow, ProbeGain], Any]:
    return lambda row, _: value(row)


COST: Mapping[str, Callable[[Cost], Any]] = {
    "operations": lambda cost: cost.operations,
    "trained_tokens": lambda cost: cost.trained_tokens,
    "operations_once": lambda cost: cost.operations_once,
    "written_requests": lambda cost: cost.written_requests,
    "written_input_tokens": lambda cost: cost.written_input_tokens,
    "written_output_tokens": lambda cost: cost.written_output_tokens,
    "index_bytes": lambda cost: cost.index_bytes,
    "money": lambda cost: cost.money,
    "money_once": lambda cost: cost.money_once,
    "money_writing": lambda cost: cost.money_writing,
    "fewer_operations_from": lambda cost: dict(cost.fewer_operations_from),
    "less_money_from": lambda cost: dict(cost.less_money_from),
}
"""The additional keys of a row if costs are requested."""

ENTERED: Mapping[str, Callable[[Cost], Any]] = {"entered_by_hand": lambda cost: dict(cost.entered)}
"""The additional keys of a row if costs are requested and a model of the table was trained elsewhere."""

SYSTEM_COST: Mapping[str, Callable[[Cost], Any]] = {
    "seconds_latency": lambda cost: cost.latency,
    "reported_cost": lambda cost: cost.reported,
}
"""The additional keys of a row if costs are requested and any row is the result of a system."""

TIMES: Mapping[str, Callable[[Cost], Any]] = {
    "seconds_asking": lambda cost: cost.asking,
    "seconds_searching": lambda cost: cost.searching,
    "seconds_indexing": lambda cost: cost.indexing,
    "seconds_training": lambda cost: cost.training,
    "peak_bytes": lambda cost: cost.peak_bytes,
}
"""The additional keys of a row if costs and times are requested."""


def _measure(
    name: str, of: Callable[[RetrievalQuality], Accuracy | None]
) -> dict[str, Callable[[RetrievalQuality], Any]]:
    """Return the keys of a measure and of the two bounds of its confidence interval."""

    def part(value: Callable[[Accuracy], float | None]) -> Callable[[RetrievalQuality], Any]:
        def get(found: RetrievalQuality) -> float | None:
            one = of(found)
            return None if one is None else value(one)

        return get

    return {
        name: part(lambda one: one.mean),
        f"{name}_low": part(lambda one: _low(one.interval)),
        f"{name}_high": part(lambda one: _high(one.interval)),
    }


RETRIEVAL: Mapping[str, Callable[[RetrievalQuality], Any]] = {
    "n_judged": lambda found: found.judged,
    "accuracy_judged": lambda found: found.accuracy,
    **_measure("retrieval_recall", lambda found: found.recall),
    **_measure("retrieval_mrr", lambda found: found.mrr),
    **_measure("retrieval_ndcg", lambda found: found.ndcg),
    **_measure("accuracy_found", lambda found: found.found),
    "n_found": lambda found: found.found.n if found.found else 0,
    **_measure("accuracy_missed", lambda found: found.missed),
    "n_missed": lambda found: found.missed.n if found.missed else 0,
    "index_bytes": lambda found: found.index_bytes,
}
"""The additional keys of a row if the retrieval quality is requested."""

RETRIEVAL_TIMES: Mapping[str, Callable[[RetrievalQuality], Any]] = {
    "seconds_searching": lambda found: found.searching,
    "seconds_indexing": lambda found: found.indexing,
}
"""The additional keys of a row if the retrieval quality and times are requested."""

PROBE: Mapping[str, Callable[[ArmRow, ProbeGain], Any]] = {
    **{name: _of_row(ROW[name]) for name in ("benchmark", "model", "method", "arm", "task", "role", "shots", "kind")},
    "probe": lambda _, one: one.probe,
    "n": lambda _, one: one.accuracy.n,
    "groups": lambda _, one: one.accuracy.groups,
    "accuracy": lambda _, one: one.accuracy.mean,
    "accuracy_low": lambda _, one: _low(one.accuracy.interval),
    "accuracy_high": lambda _, one: _high(one.accuracy.interval),
    "reference": lambda row, _: row.reference,
    "gain": lambda _, one: one.gain.absolute if one.gain else None,
    "gain_low": lambda _, one: _low(one.gain.interval if one.gain else None),
    "gain_high": lambda _, one: _high(one.gain.interval if one.gain else None),
    "relative_gain": lambda _, one: one.gain.relative if one.gain else None,
    "p": lambda _, one: one.gain.p if one.gain else None,
    "p_adjusted": lambda _, one: one.p_adjusted,
    "lowest_p": lambda _, one: one.lowest_p,
    "wins": lambda _, one: one.gain.wins if one.gain else None,
    "ties": lambda _, one: one.gain.ties if one.gain else None,
    "losses": lambda _, one: one.gain.losses if one.gain else None,
}
"""The keys of the gain of an arm on one probe, with functions that return their values."""

REPEAT: Mapping[str, Callable[[RepeatedBase], Any]] = {
    "benchmark": lambda one: one.benchmark,
    "model": lambda one: one.model,
    "method": lambda one: one.method,
    "task": lambda one: one.task,
    "shots": lambda one: one.shots,
    "n": lambda one: one.n,
    "identical": lambda one: one.identical,
    "changed_scores": lambda one: one.changed_scores,
    "change": lambda one: one.change.absolute,
    "change_low": lambda one: _low(one.change.interval),
    "change_high": lambda one: _high(one.change.interval),
    "p": lambda one: one.change.p,
    "p_adjusted": lambda one: one.p_adjusted,
    "first": lambda one: list(one.first),
    "second": lambda one: list(one.second),
}
"""The keys of a comparison of repeated questions, with functions that return their values."""

LABELS: Mapping[str, Callable[[LabelledBlock, ArmRow | None, LabelledArm], Any]] = {
    "benchmark": lambda block, _, __: block.benchmark,
    "model": lambda block, _, __: block.model,
    "method": lambda _, row, __: row.method if row else None,
    "arm": lambda _, row, __: row.arm if row else None,
    "task": lambda block, _, __: block.task,
    "shots": lambda block, _, __: block.shots,
    "reason": lambda _, __, one: one.reason,
    "population": lambda block, _, __: block.population,
    "drawn": lambda block, _, __: block.drawn,
    "labelled": lambda block, _, __: block.questions,
    "groups": lambda block, _, __: block.groups,
    "reference": lambda _, row, one: row.reference if row and one.gain else None,
    "corrected_accuracy": lambda _, __, one: one.accuracy.mean if one.accuracy else None,
    "corrected_accuracy_low": lambda _, __, one: _low(one.accuracy.interval if one.accuracy else None),
    "corrected_accuracy_high": lambda _, __, one: _high(one.accuracy.interval if one.accuracy else None),
    "corrected_gain": lambda _, __, one: one.gain.mean if one.gain else None,
    "corrected_gain_low": lambda _, __, one: _low(one.gain.interval if one.gain else None),
    "corrected_gain_high": lambda _, __, one: _high(one.gain.interval if one.gain else None),
    "outputs": lambda _, __, one: one.agreement.outputs if one.agreement else None,
    "agreed": lambda _, __, one: one.agreement.agreed if one.agreement else None,
    "too_high": lambda _, __, one: one.agreement.too_high if one.agreement else None,
    "too_low": lambda _, __, one: one.agreement.too_low if one.agreement else None,
    "kappa": lambda _, __, one: one.agreement.kappa if one.agreement else None,
    "kappa_low": lambda _, __, one: _low(one.agreement.interval if one.agreement else None),
    "kappa_high": lambda _, __, one: _high(one.agreement.interval if one.agreement else None),
}
"""The keys of the comparison of an arm, or of all arms of a block (None), with the verdicts of people."""

AVERAGE: Mapping[str, Callable[[AverageRow], Any]] = {
    "benchmark": lambda row: row.benchmark,
    "origin": lambda row: row.origin,
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
"""The keys of an average, with functions that return their values."""


def row_keys(table: Table) -> Mapping[str, Callable[[ArmRow], Any]]:
    """Return the keys of a table's rows, without the keys of requested views."""
    return {**ROW, **(ELSEWHERE if table.trained_elsewhere else {}), **(SYSTEM if table.systems else {})}


def cost_keys(table: Table) -> Mapping[str, Callable[[Cost], Any]]:
    """Return the keys of the cost values in a table's rows."""
    if not table.cost:
        return {}
    entered, systems = ENTERED if table.trained_elsewhere else {}, SYSTEM_COST if table.systems else {}
    return {**COST, **entered, **systems, **(TIMES if table.times else {})}


def retrieval_keys(table: Table) -> Mapping[str, Callable[[RetrievalQuality], Any]]:
    """Return the keys of the retrieval values in a table's rows."""
    return {**RETRIEVAL, **(RETRIEVAL_TIMES if table.times else {})} if table.retrieval else {}


def row_values(row: ArmRow, table: Table) -> dict[str, Any]:
    """Return the values of a row by key."""
    cost = {name: value(row.cost) if row.cost else None for name, value in cost_keys(table).items()}
    found = {name: value(row.retrieval) if row.retrieval else None for name, value in retrieval_keys(table).items()}
    return {**{name: value(row) for name, value in row_keys(table).items()}, **found, **cost}


def probe_values(table: Table) -> list[dict[str, Any]]:
    """Return the values of every gain by probe by key, arm by arm."""
    return [{name: value(row, one) for name, value in PROBE.items()} for row in table.rows for one in row.probes]


def label_values(table: Table) -> list[dict[str, Any]]:
    """Return the values of every comparison with verdicts by key: the arms of a block, then all arms together."""
    values = []
    for block in table.labelled:
        key = (block.benchmark, block.model, block.task, block.shots)
        rows = [row for row in table.rows if (row.benchmark, row.model, row.task, row.shots) == key]
        compared: list[tuple[ArmRow | None, LabelledArm]] = [(row, row.labelled) for row in rows if row.labelled]
        if compared:
            compared.append((None, LabelledArm(block.agreement, None, None)))
        values += [{name: value(block, row, one) for name, value in LABELS.items()} for row, one in compared]
    return values


def ranking_values(ranking: CrossOriginRanking) -> dict[str, Any]:
    """Return the values of a cross-origin ranking by key; each row is identified by its benchmark, model and arm."""
    places = [
        {
            "rank": ranked.rank,
            "tied": ranked.tied,
            "benchmark": ranked.row.benchmark,
            "model": ranked.row.model,
            "arm": ranked.row.arm,
        }
        for ranked in ranking.rows
    ]
    return {"questions": ranking.questions, "shots": ranking.shots, "places": places}


def average_values(row: AverageRow) -> dict[str, Any]:
    """Return the values of an average by key."""
    return {name: value(row) for name, value in AVERAGE.items()}


def repeat_values(one: RepeatedBase) -> dict[str, Any]:
    """Return the values of a comparison of repeated questions by key."""
    return {name: value(one) for name, value in REPEAT.items()}
