"""lm-eval's index of its own tasks."""

from functools import cache
from typing import Any

from kib.harness.backends import quiet

__all__ = ["SPLIT_KEYS", "data_set", "split_names", "task_manager"]

SPLIT_KEYS = ("fewshot_split", "training_split", "validation_split", "test_split")
"""The keys that name splits in the definition of a task; lm-eval draws few-shot examples from the first given split."""


@cache
def task_manager() -> Any:
    """Return lm-eval's task index; building the index takes seconds, so it is built only once, on first use."""
    from lm_eval.tasks import TaskManager

    quiet()
    return TaskManager()


def data_set(task: str) -> str:
    """Return the Hugging Face data set and configuration of an lm-eval task, or "" if lm-eval names no data set."""
    config = _config(task)
    parts = [config.get("dataset_path"), config.get("dataset_name")]
    return " ".join(part for part in parts if isinstance(part, str))


def split_names(task: str) -> dict[str, str]:
    """Return the names of the splits that an lm-eval task uses, by the keys of the task's definition."""
    config = _config(task)
    return {key: config[key] for key in SPLIT_KEYS if isinstance(config.get(key), str)}


def _config(task: str) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    path = task_manager().task_index[task].yaml_path
    config: dict[str, Any] = load_yaml(path, resolve_func=False) if path else {}
    return config
