"""The plan of a benchmark: all cells with their steps, and the form in which the plan is stored with the results."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kib.interfaces import GoldRetriever
from kib.plan.question_steps import asks_in_chats, why_no_probe
from kib.plan.steps import HitsStep, PlannedCell, QuestionsStep, WeightsStep
from kib.plugins.resolve import Lock, Locked
from kib.prompts import DEFAULT_TEMPLATE
from kib.spec.load import MethodTable, Spec, TaskTable
from kib.store.result_records import BenchmarkPlan, MethodEntry, TaskEntry

__all__ = ["Plan", "prompt_parts"]


@dataclass(frozen=True)
class Plan:
    """Every cell of a benchmark with its steps, in the order of the file."""

    spec: Spec
    lock: Lock
    cells: tuple[PlannedCell, ...]

    @cached_property
    def weights(self) -> tuple[WeightsStep, ...]:
        """All distinct sets of weights in the plan."""
        return tuple(self._cells_by_weights)

    @cached_property
    def asked(self) -> tuple[QuestionsStep, ...]:
        """All distinct steps that render questions."""
        return tuple(dict.fromkeys(cell.asked for cell in self.cells))

    @cached_property
    def hits(self) -> tuple[HitsStep, ...]:
        """All distinct search steps, each after the search steps that provide its input."""
        asked_for = dict.fromkeys(cell.hits for cell in self.cells if cell.hits)
        return tuple(dict.fromkeys(step for hits in asked_for for step in hits.with_sources()))

    def on(self, weights: WeightsStep) -> tuple[PlannedCell, ...]:
        """Return the cells that are measured with a set of weights."""
        return tuple(self._cells_by_weights.get(weights, ()))

    @cached_property
    def _cells_by_weights(self) -> dict[WeightsStep, list[PlannedCell]]:
        found: dict[WeightsStep, list[PlannedCell]] = {}
        for cell in self.cells:
            found.setdefault(cell.weights, []).append(cell)
        return found

    def answerer(self, weights: WeightsStep) -> Locked:
        """Return the resolved table of the model or the system that answers questions."""
        if weights.system is not None:
            return self.lock.get("systems", weights.system)
        return self.lock.get("models", weights.model)

    def entry(self) -> BenchmarkPlan:
        """Return the plan in the form stored in the results folder, before the questions are counted."""
        used = {cell.cell.task for cell in self.cells}
        return BenchmarkPlan(
            name=self.spec.name,
            title=self.spec.title,
            tasks={name: self._task_entry(table) for name, table in self.spec.tasks.items() if name in used},
            methods={name: _method_entry(self.spec, self.lock, table) for name, table in self.spec.methods.items()},
            cells=tuple(cell.cell for cell in self.cells),
            sources=self.lock.sources(),
            prompt=prompt_parts(self.spec),
            prices=self.spec.prices.model_dump(exclude_none=True) if self.spec.prices else {},
            chats=tuple(name for name in self.spec.models if asks_in_chats(self.spec, self.lock, name)),
        )

    def _task_entry(self, table: TaskTable) -> TaskEntry:
        why = why_no_probe(table, self.lock.get("tasks", table.name).plugin)
        return TaskEntry(table.role, table.corpus, no_probe=why, limit=table.limit or 0)


def _method_entry(spec: Spec, lock: Lock, method: MethodTable) -> MethodEntry:
    plugin = lock.get("retrievers", method.retrieve).plugin if method.retrieve else None
    role = plugin.role if isinstance(plugin, GoldRetriever) else ""
    trainer = spec.trainers[method.train] if method.train else None
    settings = tuple(trainer.vary) if trainer and trainer.choose else ()
    by_loss = settings if trainer and trainer.choose == "loss" else ()
    chosen = (*settings, *(["k"] if method.choose else ()))
    return MethodEntry(
        method.train, method.retrieve, role, chosen, by_loss, method.trained_as, _cost(spec, method), method.system
    )


def _cost(spec: Spec, method: MethodTable) -> dict[str, float]:
    """Return the entered cost of the model in `trained_as`, which any method with this model may state."""
    same = [one for one in spec.methods.values() if one.trained_as and one.trained_as == method.trained_as]
    return next((one.cost.model_dump(exclude_none=True) for one in same if one.cost), {})


def prompt_parts(spec: Spec) -> dict[str, Any]:
    """Return the settings that determine how passages are inserted before a question."""
    prompt = spec.prompt
    return {"template": prompt.template or DEFAULT_TEMPLATE, "order": prompt.order, "tokens": prompt.tokens}
