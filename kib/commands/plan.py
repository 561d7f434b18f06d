"""The command `kib plan`: lists the sets of weights, steps and cells of a benchmark, with status and forecast."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from kib.commands.forecast import Forecaster, Item, texts_of, total
from kib.harness.backends import quiet
from kib.plan.plan import Plan
from kib.plan.steps import PassagesStep, PlannedCell, TextStep, WeightsStep
from kib.progress import Progress
from kib.run.shared_steps import SharedSteps
from kib.run.steps.cells import PreparedCell
from kib.store.results import Results
from kib.store.work import Work
from kib.support.phrases import counted, join

__all__ = ["show_plan"]


def show_plan(plan: Plan, results: Results, work: Work, progress: Progress) -> str:
    """Return the sets of weights, the steps and the cells of a plan, each with its status, and a forecast.

    The forecast covers missing cells with stored prompts; no step is computed.
    """

    def mark(done: bool) -> str:
        return "done   " if done else "to do  "

    measured = [results.has(cell.cell) for cell in plan.cells]
    lines = [f"{plan.spec.name}: {counted(len(plan.cells), 'cell')}, {sum(measured)} done", "", "weights"]
    lines += [f"  {step.identity[:8]}  {step.title}{_origin(plan, step)}" for step in plan.weights if not step.repeated]
    lines += ["", "steps"]
    lines += [
        f"  {mark(work.looks_finished(kind, key))}{key[:8]}  {kind:<9}{title}" for kind, key, title in _steps(plan)
    ]
    lines += ["", "cells"]
    lines += [f"  {mark(done)}{cell.cell.id}" for cell, done in zip(plan.cells, measured, strict=True)]
    missing = [cell for cell, done in zip(plan.cells, measured, strict=True) if not done]
    return "\n".join([*lines, *(_forecast(SharedSteps(plan, work, progress), missing) if missing else [])])


def _origin(plan: Plan, weights: WeightsStep) -> str:
    """Return the base of weights that were trained elsewhere, as a suffix of their title, or ""."""
    bases = dict.fromkeys(cell.cell.model for cell in plan.on(weights) if cell.cell.model != weights.model)
    return f", trained elsewhere from {join(list(bases))}" if bases else ""


def _forecast(steps: SharedSteps, missing: Sequence[PlannedCell]) -> list[str]:
    """Return the forecast of the missing cells with stored prompts, and the number of all other missing cells."""
    finished, forecaster = _Finished(steps.context.work), Forecaster(steps, missing)
    stored = [cell for cell in missing if finished.prompts(cell)]
    ready = _prepared(steps, stored) if stored else []
    weights = [one for one in dict.fromkeys(prepared.plan.weights for prepared in ready) if finished.texts(one)]
    items = [*forecaster.asking(ready), *forecaster.judging(ready), *_training(forecaster, weights)]
    lines = ["", "forecast", *(f"  {item.words}" for item in items), *([f"  {total(items)}"] if items else [])]
    if unknown := len(missing) - len(ready):
        hint = "`kib check` stores the prompts and forecasts all cells"
        lines.append(f"  not forecast: {counted(unknown, 'cell')} without stored prompts; {hint}")
    return lines


def _prepared(steps: SharedSteps, stored: Sequence[PlannedCell]) -> list[PreparedCell]:
    """Return the cells whose prompts can be prepared from stored steps; `kib check` explains the other cells."""
    quiet()
    ready = []
    with steps.context.progress.step("counting tokens", len(stored)) as advance:
        for cell in stored:
            with suppress(Exception):  # a plugin may raise anything, but the list of steps must be shown
                ready.append(steps.prepared(cell))
            advance(1)
    return ready


def _training(forecaster: Forecaster, weights: Sequence[WeightsStep]) -> list[Item]:
    """Return the forecast of training runs with stored texts, except training runs that `kib check` would reject."""
    items = []
    for one in weights:
        with suppress(Exception):  # as above
            items.append(forecaster.training(one))
    return [item for item in items if item is not None]


class _Finished:
    """Tells whether the steps that a forecast reads are finished; each step is looked up once."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._known: dict[tuple[str, str], bool] = {}

    def _has(self, kind: str, identity: str) -> bool:
        key = kind, identity
        if key not in self._known:
            self._known[key] = self._work.looks_finished(kind, identity)
        return self._known[key]

    def prompts(self, cell: PlannedCell) -> bool:
        """Return whether the steps that determine the prompts of a cell are finished."""
        hits = list(cell.hits.with_sources()) if cell.hits else []
        needed = [("asked", cell.asked.identity), *(("hits", step.identity) for step in hits)]
        needed += [("passages", step.passages.identity) for step in hits]
        return all(self._has(kind, identity) for kind, identity in needed)

    def texts(self, weights: WeightsStep) -> bool:
        """Return whether all texts of a training run are stored, together with the passages that they refer to."""
        texts = texts_of(weights)
        replayed = [text.replay for text in texts if isinstance(text, TextStep) and text.replay]
        unseen = [step for step in (weights.validation, weights.held_out) if isinstance(step, PassagesStep)]
        needed = [("text", text.identity) for text in texts]
        needed += [("passages", step.identity) for step in (*(text.passages for text in texts), *replayed, *unseen)]
        return all(self._has(kind, identity) for kind, identity in needed)


def _steps(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yield the kind, identity and title of each step once, after the steps that the step depends on."""
    for asked in plan.asked:
        form = "for systems" if asked.bare else f"{asked.shots}-shot"
        yield "asked", asked.identity, f"task {asked.task}, {form}"
    texts = list(dict.fromkeys(step.text for step in plan.weights if step.text))
    for passages in dict.fromkeys([*(step.passages for step in plan.hits), *(step.passages for step in texts)]):
        yield "passages", passages.identity, f"corpus {passages.corpus}"
    for index in dict.fromkeys(step.index for step in plan.hits if step.index):
        yield "index", index.identity, f"{index.retriever} over {index.passages.corpus}"
    for hits in plan.hits:
        number = hits.depth or "its own number"
        yield "hits", hits.identity, f"{hits.retriever}, {number} per question of {hits.asked.task}"
    for text in texts:
        yield "text", text.identity, f"for {text.trainer}, {counted(text.count, 'text')} per passage"
    for weights in plan.weights:
        if weights.trainer:
            yield "weights", weights.identity, weights.title
