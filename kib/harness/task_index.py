"""lm-eval's index of its own tasks."""

from functools import cache
from typing import Any

from kib.harness.backends import quiet

__all__ = ["data_set", "task_manager"]


@cache
def task_manager() -> Any:
    """Return lm-eval's task index; building the index takes seconds, so it is built only once, on first use."""
    from lm_eval.tasks import TaskManager

    quiet()
    return TaskManager()


def data_set(task: str) -> str:
    """Return the Hugging Face data set and configuration of an lm-eval task, or "" if lm-eval names no data set."""
    from lm_eval.tasks._yaml_loader import load_yaml

    path = task_manager().task_index[task].yaml_path
    config = load_yaml(path, resolve_func=False) if path else {}
    parts = [config.get("dataset_path"), config.get("dataset_name")]
    return " ".join(part for part in parts if isinstance(part, str))
