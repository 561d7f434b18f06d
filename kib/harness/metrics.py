"""Finds the metric that determines the score of a question, and the option that a model prefers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kib.errors import InputError

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

__all__ = ["Outcome", "find_metric", "read_outcome"]

ZERO_ONE = {0, 1}
DEFAULT_METRICS = {"multiple_choice": "acc", "loglikelihood": "acc", "generate_until": "exact_match"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The 0/1 score of a question, with all options' log-probabilities and the preferred option, or the output text."""

    score: int
    prediction: int | None
    logprobs: tuple[float, ...]
    output: str | None


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


def read_outcome(
    where: str, metric: str, result: Mapping[str, Any], values: Sequence[Any], options: Sequence[str] | None
) -> Outcome:
    """Return the outcome of a question, given the task's `result` and the model's `values`.

    `options` contains the option texts, or is None if the task generates text. `where` identifies the question in error
    messages. Raises InputError if the metric's value is not 0 or 1.
    """
    score = result.get(metric)
    if isinstance(score, tuple | list) or score is None or score not in ZERO_ONE:
        raise InputError(
            f"{where}: the metric {metric} returned {score}, but kib requires a score of 0 or 1; metrics of this "
            f"task: {', '.join(result)}"
        )
    if options is None:
        return Outcome(int(score), None, (), str(values[0]))
    count = len(values) // 2 if "acc_mutual_info" in result else len(values)
    logprobs = [float(value[0]) for value in values]
    if count == 1:
        return Outcome(int(score), None, tuple(logprobs), None)
    weighed = _weigh(metric, logprobs[:count], logprobs[count:], options)
    return Outcome(int(score), max(range(count), key=weighed.__getitem__), tuple(logprobs[:count]), None)


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
