"""The conditions of a measurement, as stated in a paper or a plan: the questions, their number and the metric."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kib.leaderboard.compute.arms import Arm
from kib.store.result_records import BenchmarkPlan

__all__ = ["Conditions", "conditions_of_plan"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions under which a model was measured on a task; `questions` is the name of the task in lm-eval.

    `deviations` lists possible differences from the lm-eval task with the same name. Each deviation is a sentence
    about the benchmark, such as "lab takes its questions from local files".
    """

    questions: str | None
    metric: str | None
    n: int | None
    deviations: tuple[str, ...] = ()
    graded: bool = False  # whether the paper reports graded scores

    @property
    def complete(self) -> bool:
        """Whether all conditions required for a ranking are stated and no deviation is known."""
        return bool(self.questions and self.metric and self.n and not self.deviations and not self.graded)


def conditions_of_plan(plan: BenchmarkPlan, model: str, task: str, arms: Iterable[Arm]) -> Conditions:
    """Return the conditions of a model on a task, from the plan and from the results of the model's `arms`."""
    source = plan.sources.get("tasks", {}).get(task, {})
    metrics = {result.metric for arm in arms for result in arm.results}
    metric = metrics.pop() if len(metrics) == 1 else None
    n = plan.tasks[task].n
    options = source.get("options") if isinstance(source, Mapping) and source.get("plugin") == "lm-eval" else None
    if not isinstance(options, Mapping) or "task" not in options:
        return Conditions(None, metric, n)
    return Conditions(options["task"], metric, n, tuple(_deviations(plan, model, task, options)))


def _deviations(plan: BenchmarkPlan, model: str, task: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the reasons why questions or prompts may differ from those of the lm-eval task."""
    n, limit = plan.tasks[task].n, plan.tasks[task].limit
    if options.get("data") is not None:
        yield f"{plan.name} takes its questions from local files"
    elif limit is None or plan.chats is None:
        yield (
            f"{plan.name} was run by an earlier version of kib that did not record limits and chat templates (`kib "
            "run` adds this information)"
        )
    if limit and (n is None or n >= limit):
        yield f"{plan.name} used only {limit} of the questions"
    if model in (plan.chats or ()):
        yield f"{plan.name} used the chat template of {model}"
