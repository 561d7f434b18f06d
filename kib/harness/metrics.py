"""Finds the metric that determines the score of a question, and the option that a model prefers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

from kib.errors import InputError

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

__all__ = ["Outcome", "find_metric", "read_outcome", "refuse_other_than_mean"]

MEANS = {"mean", "nanmean"}
"""The names of the functions with which tasks average a metric over their questions."""

DEFAULT_METRICS = {"multiple_choice": "acc", "loglikelihood": "acc", "generate_until": "exact_match"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The score of a question, with all options' log-probabilities and the preferred option, or the output text.

    `other_scores` contains the scores of further metrics, or is None if there are none. `abstained` states whether a
    generated answer declines to answer.
    """

    score: int | float
    prediction: int | None
    logprobs: tuple[float, ...]
    output: str | None
    other_scores: dict[str, float] | None = None
    abstained: bool | None = None


def find_metric(name: str, task: "ConfigurableTask", wanted: str | None) -> tuple[str, str]:
    """Return the filter and the metric that determine a question's score; `wanted` is `metric` or `metric,filter`.

    Raises InputError if the task does not have the metric or the filter.
    """
    filters = [ensemble.name for ensemble in task._filters]  # noqa: SLF001 - lm-eval's own evaluator reads it there
    known = list(task.aggregation())
    metric, _, chosen = (wanted or DEFAULT_METRICS.get(str(task.OUTPUT_TYPE), "")).partition(",")
    custom = callable(task.config.process_results)
    if metric not in known and not custom:
        raise InputError(f"tasks.{name}.metric: the task has no metric {metric}; expected one of: {', '.join(known)}")
    if chosen and chosen not in filters:
        raise InputError(f"tasks.{name}.metric: the task has no filter {chosen}; expected one of: {', '.join(filters)}")
    return chosen or filters[0], metric


def refuse_other_than_mean(name: str, task: "ConfigurableTask", metric: str) -> None:
    """Raise InputError if a task does not average a metric over its questions, or if lower values are better.

    Tasks that compute their results themselves may state neither the aggregation nor the direction.
    """
    aggregation = task.aggregation().get(metric)
    kind = getattr(aggregation, "__name__", str(aggregation))
    if aggregation is not None and kind not in MEANS:
        raise InputError(
            f"tasks.{name}: the metric {metric} is not a mean over the questions (the task aggregates with {kind}), so "
            "no paired gains can be computed from it"
        )
    if task.higher_is_better().get(metric) is False:
        raise InputError(f"tasks.{name}: lower values of the metric {metric} are better, but kib ranks by high values")


def read_outcome(
    where: str,
    metrics: Sequence[str],
    result: Mapping[str, Any],
    values: Sequence[Any],
    options: Sequence[str] | None,
) -> Outcome:
    """Return the outcome of a question, given the task's `result` and the model's `values`.

    The first of `metrics` is the score. `options` contains the option texts, or is None if the task generates text.
    `where` identifies the question in error messages. Raises InputError if a metric's value is not from 0 to 1.
    """
    score, *others = [_score(where, metric, result) for metric in metrics]
    if options is None:
        other_scores = dict(zip(metrics[1:], map(float, others), strict=True)) or None
        return Outcome(score, None, (), str(values[0]), other_scores)
    count = len(values) // 2 if "acc_mutual_info" in result else len(values)
    logprobs = [float(value[0]) for value in values]
    if count == 1:
        return Outcome(score, None, tuple(logprobs), None)
    weighed = _weigh(metrics[0], logprobs[:count], logprobs[count:], options)
    return Outcome(score, max(range(count), key=weighed.__getitem__), tuple(logprobs[:count]), None)


def _score(where: str, metric: str, result: Mapping[str, Any]) -> int | float:
    """Return the value of a metric: a whole number if the answer is entirely wrong or right, else a fraction."""
    value = result.get(metric)
    number = float(value) if isinstance(value, SupportsFloat) else -1.0
    if not 0 <= number <= 1:
        raise InputError(
            f"{where}: the metric {metric} returned {value}, but kib requires a score from 0 to 1; metrics of this "
            f"task: {', '.join(result)}"
        )
    return int(number) if number.is_integer() else number


def _weigh(metric: str, given: list[float], alone: list[float], options: Sequence[str]) -> list[float]:
    """Return the values by which a metric compares options.

    The values are log-probabilities, divided by the number of characters for `acc_norm` and by the number of bytes for
    `acc_bytes`. For `acc_mutual_info`, the option's log-probability without the question is subtracted from each value.
    """
    if metric == "acc_norm":
        return [value / len(option) for value, option in zip(given, options, strict=True)]
    if metric == "acc_bytes":
        return [value / len(option.encode()) for value, option in zip(given, options, strict=True)]
    if metric == "acc_mutual_info":
        return [value - other for value, other in zip(given, alone, strict=True)]
    return given
