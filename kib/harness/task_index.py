"""lm-eval's index of its own tasks."""

from functools import cache
from typing import Any

from kib.harness.backends import quiet

__all__ = ["data_set", "task_manager"]


@cache
def task_manager() -> Any:
    """Return lm-eval's task index; since building it takes seconds, it is built once and only if a task is needed."""
    from lm_eval.tasks import TaskManager

    quiet()
    return TaskManager()


def data_set(task: str) -> str:
    """Return the hub data set of an lm-eval task, with its configuration; "" if lm-eval does not name a data set."""
    from lm_eval.tasks._yaml_loader import load_yaml

    path = task_manager().task_index[task].yaml_path
    config = load_yaml(path, resolve_func=False) if path else {}
    parts = [config.get("dataset_path"), config.get("dataset_name")]
    return " ".join(part for part in parts if isinstance(part, str))
