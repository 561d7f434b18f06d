"""What the planners of all kinds of steps share: the identities of steps, values computed once, and errors."""

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any, TypeVar, TypeVarTuple

from kib.errors import SpecError
from kib.identity import digest
from kib.plugins.resolve import Lock
from kib.spec.load import Spec

__all__ = ["StepPlanner", "computed_once", "identity_of"]

REVISION = 1
"""Increase this number when kib produces different prompts, passages or scores from the same spec."""

Arguments = TypeVarTuple("Arguments")
Value = TypeVar("Value")
Planner = TypeVar("Planner", bound="StepPlanner")


class StepPlanner:
    """Creates steps of one spec."""

    def __init__(self, spec: Spec, lock: Lock) -> None:
        self.spec = spec
        self.lock = lock
        self.computed: dict[Any, Any] = {}  # values of the methods marked with `computed_once`

    def wrong(self, message: str, *keys: str) -> SpecError:
        """Return an error about a key of the spec."""
        return SpecError([self.spec.mistake(message, *keys)])


def computed_once(
    method: Callable[[Planner, *Arguments], Value],
) -> Callable[[Planner, *Arguments], Value]:
    """Make a method of a planner compute its value only once for the same arguments.

    Thousands of cells share a few steps, and computing the identity of a step takes much longer than looking the
    identity up.
    """

    @wraps(method)
    def look_up(planner: Planner, *args: *Arguments) -> Value:
        key = (method.__name__, args)
        if key not in planner.computed:
            planner.computed[key] = method(planner, *args)
        value: Value = planner.computed[key]
        return value

    return look_up


def identity_of(kind: str, *parts: Any) -> str:
    """Return the digest of a kind of step and everything that determines the output of the step."""
    plain = [asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts]
    return digest({"kind": kind, "revision": REVISION, "parts": plain})
