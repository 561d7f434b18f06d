"""Detects the lm-eval tasks that kib cannot measure question by question."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kib.errors import InputError

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

__all__ = ["refuse_unsupported"]

ANSWER_KINDS = {"multiple_choice", "loglikelihood", "generate_until"}


def refuse_unsupported(name: str, task: "ConfigurableTask") -> None:
    """Raise InputError with the reason if kib cannot measure the task."""
    reasons = {
        "its contexts are the options, so passages have no single place in the prompt": task.multiple_input,
        f"its output type {task.OUTPUT_TYPE} has no right or wrong answer": task.OUTPUT_TYPE not in ANSWER_KINDS,
        "it shows images or plays sound": getattr(task, "MULTIMODAL", False),
        "it runs code written by a model": getattr(task, "UNSAFE_CODE", False),
        "it asks each question several times": (task.config.repeats or 1) != 1,
        "it samples its answers": _samples(task.config.generation_kwargs or {}),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"tasks.{name}: kib cannot measure this lm-eval task: {reason}")


def _samples(settings: Mapping[str, Any]) -> bool:
    """Return whether a task samples its text; backends disagree if a temperature is set without `do_sample`."""
    return bool(settings.get("do_sample", settings.get("temperature")))
