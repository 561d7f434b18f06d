"""What is said of questions and of how they were asked, by a paper or by the plan of a run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kib.leaderboard.compute.arms import Arm
from kib.store.result_records import BenchmarkPlan

__all__ = ["Statement", "statement_of_plan"]


@dataclass(frozen=True, slots=True)
class Statement:
    """What a model was asked on a task: lm-eval's name of the questions, the metric that scores them, their number.

    `unlike` says in what the questions, or the way of asking, may differ from what lm-eval's name stands for: each a
    predicate of the benchmark, such as "takes its questions from local files".
    """

    questions: str | None
    metric: str | None
    n: int | None
    unlike: tuple[str, ...] = ()


def statement_of_plan(plan: BenchmarkPlan, model: str, task: str, arms: Iterable[Arm]) -> Statement:
    """What a plan and the results of a model's `arms` on a task say of its questions."""
    source = plan.sources.get("tasks", {}).get(task, {})
    metrics = {result.metric for arm in arms for result in arm.results}
    metric = metrics.pop() if len(metrics) == 1 else None
    n = plan.tasks[task].n
    if source.get("plugin") != "lm-eval":
        return Statement(None, metric, n)
    return Statement(source["options"]["task"], metric, n, tuple(_unlike(plan, model, task, source["options"])))


def _unlike(plan: BenchmarkPlan, model: str, task: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Why questions, or the way of asking, are not known to be those of the task's name."""
    n, limit = plan.tasks[task].n, plan.tasks[task].limit
    if options.get("data") is not None:
        yield "takes its questions from local files"
    elif limit is None or plan.chats is None:
        yield "was run by an earlier kib, whose plan does not say how it asked (`kib run` writes it anew)"
    if limit and (n is None or n >= limit):
        yield f"asked only {limit} of the questions"
    if model in (plan.chats or ()):
        yield f"asked {model} in its chat template"
