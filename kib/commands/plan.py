"""The command `kib plan`: lists the sets of weights, steps and cells of a benchmark with their status."""

from collections.abc import Iterator

from kib.plan.planner import Plan
from kib.store.results import Results
from kib.store.work import Work

__all__ = ["show_plan"]


def show_plan(plan: Plan, results: Results, work: Work) -> str:
    """Return the sets of weights, the steps and the cells of a plan, each with its status."""

    def mark(done: bool) -> str:
        return "done   " if done else "to do  "

    measured = [results.has(cell.cell) for cell in plan.cells]
    lines = [f"{plan.spec.name}: {len(plan.cells)} cells, {sum(measured)} done", "", "weights"]
    lines += [f"  {step.identity[:8]}  {step.title}" for step in plan.weights]
    lines += ["", "steps"]
    lines += [
        f"  {mark(work.looks_finished(kind, key))}{key[:8]}  {kind:<9}{title}" for kind, key, title in _steps(plan)
    ]
    lines += ["", "cells"]
    lines += [f"  {mark(done)}{cell.cell.id}" for cell, done in zip(plan.cells, measured, strict=True)]
    return "\n".join(lines)


def _steps(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yield the kind, identity and title of each step once, after the steps that the step depends on."""
    for asked in plan.asked:
        yield "asked", asked.identity, f"task {asked.task}, {asked.shots}-shot"
    texts = list(dict.fromkeys(step.text for step in plan.weights if step.text))
    for passages in dict.fromkeys([*(step.passages for step in plan.hits), *(step.passages for step in texts)]):
        yield "passages", passages.identity, f"corpus {passages.corpus}"
    for index in dict.fromkeys(step.index for step in plan.hits if step.index):
        yield "index", index.identity, f"{index.retriever} over {index.passages.corpus}"
    for hits in plan.hits:
        number = hits.depth or "its own number"
        yield "hits", hits.identity, f"{hits.retriever}, {number} per question of {hits.asked.task}"
    for text in texts:
        yield "text", text.identity, f"for {text.trainer}, {text.count} texts per passage"
    for weights in plan.weights:
        if weights.trainer:
            yield "weights", weights.identity, weights.title
