"""The loop: each step once, cells by sets of weights, failures noted and the rest finished."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from operator import not_
from typing import Any

from kib.errors import InputError, KibError
from kib.harness.backends import environment, free, quiet
from kib.harness.tasks import RenderedTask
from kib.identity import digest_lines
from kib.interfaces import SizedModel
from kib.plan.planner import (
    HeldBackStep,
    HitsStep,
    PassagesStep,
    Plan,
    PlannedCell,
    QuestionsStep,
    TextStep,
    WeightsStep,
)
from kib.progress import Progress
from kib.records import Environment, Hit, RenderedQuestion, Request, Split, Text, Trained
from kib.run.steps import hits as hits_step
from kib.run.steps import passages as passages_step
from kib.run.steps import render_questions as asked_step
from kib.run.steps import trained_weights as weights_step
from kib.run.steps import training_text as text_step
from kib.run.steps.ask_model import Answers, ask, key
from kib.run.steps.cells import PreparedCell, TokenBudget, cell_result, prepare, scores
from kib.run.steps.passages import Passages
from kib.store.folders import BenchmarkPlan, Failure, Results, TaskEntry, Times, Work
from kib.support.peak_memory import peak

__all__ = ["Materials", "explain_crash", "run"]


@dataclass
class Materials:
    """What cells are made of, each made or read once: exams, questions, passages, hits."""

    plan: Plan
    work: Work
    progress: Progress
    memory: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """A thing by its key; a failure is remembered too, so that it is said once and not tried again."""
        if key not in self.memory:
            try:
                self.memory[key] = make()
            except KibError as error:
                self.memory[key] = error
        if isinstance(self.memory[key], KibError):
            raise self.memory[key]
        return self.memory[key]

    def rendered_task(self, task: str, split: Split) -> RenderedTask:
        """A split of a task with its data."""
        made: RenderedTask = self.once(
            ("exam", task, split), lambda: asked_step.load_rendered_task(task, split, self.plan.spec, self.plan.lock)
        )
        return made

    def asked(self, step: QuestionsStep) -> list[RenderedQuestion]:
        """A task's questions as they are asked."""

        def make() -> list[RenderedQuestion]:
            rendered_task = None if self.work.has("asked", step.identity) else self.rendered_task(step.task, step.split)
            return asked_step.make(step, rendered_task, self.plan.spec, self.plan.lock, self.work, self.progress)

        made: list[RenderedQuestion] = self.once(step, make)
        return made

    def passages(self, step: PassagesStep) -> Passages:
        """The passages of a corpus."""
        made: Passages = self.once(
            step, lambda: passages_step.make(step, self.plan.spec, self.plan.lock, self.work, self.progress)
        )
        return made

    def gold(self, asked: QuestionsStep, passages: PassagesStep) -> dict[str, tuple[str, ...]] | None:
        """The gold passages of each question; None for a control and for a task that names no gold."""

        def make() -> dict[str, tuple[str, ...]] | None:
            questions = self.asked(asked)
            if self.plan.spec.tasks[asked.task].role == "control" or not any(q.gold for q in questions):
                return None
            return self.passages(passages).gold({q.question_id: q.gold for q in questions})

        made: dict[str, tuple[str, ...]] | None = self.once(("gold", asked.task, asked.split, passages), make)
        return made

    def hits(self, step: HitsStep) -> dict[str, list[Hit]]:
        """What a retriever found for a task's questions."""

        def make() -> dict[str, list[Hit]]:
            gold = self.gold(step.asked, step.passages) or {}
            return hits_step.make(
                step,
                self.asked(step.asked),
                gold,
                self.passages(step.passages),
                {source.retriever: self.hits(source) for source in step.of},
                self.plan.lock,
                self.work,
                self.progress,
            )

        made: dict[str, list[Hit]] = self.once(step, make)
        return made

    def text(self, step: TextStep) -> list[Text]:
        """What a trainer reads."""

        def make() -> list[Text]:
            replay = self.passages(step.replay) if step.replay else None
            other = self.text(step.as_many_as) if step.as_many_as else None
            passages = self.passages(step.passages)
            plan = self.plan
            return text_step.make(step, passages, replay, other, plan.spec, plan.lock, self.work, self.progress)

        made: list[Text] = self.once(step, make)
        return made

    def held_back(self, step: HeldBackStep) -> list[Text]:
        """What a trainer watches its loss on, of a writer."""

        def make() -> list[Text]:
            passages, training = self.passages(step.passages), self.text(step.text)
            plan = self.plan
            return text_step.hold_back(step, passages, training, plan.spec, plan.lock, self.work, self.progress)

        made: list[Text] = self.once(step, make)
        return made

    def trained(self, step: WeightsStep) -> Trained | None:
        """What a trainer made of a model; None for a model as it is."""
        if step.text is None:
            return None
        text = step.text

        def unseen(other: PassagesStep | HeldBackStep | None) -> list[Text]:
            if isinstance(other, HeldBackStep):
                return self.held_back(other)
            return list(map(text_step.as_document, self.passages(other))) if other else []

        def texts() -> weights_step.Texts:
            training, validation, held_out = self.text(text), unseen(step.validation), unseen(step.held_out)
            steps: list[TextStep | HeldBackStep] = [text]
            steps += [step.validation] if isinstance(step.validation, HeldBackStep) else []
            return weights_step.Texts(training, validation, held_out, text_step.written(steps, self.work))

        made: Trained = self.once(
            step, lambda: weights_step.make(step, texts, self.plan.lock, self.work, self.progress)
        )
        return made

    def token_budget(self, model: str) -> TokenBudget:
        """A model's tokenizer and its limits."""

        def make() -> TokenBudget:
            plugin = self.plan.lock.get("models", model).plugin
            return TokenBudget(plugin.tokens(), plugin.context_length(), self.plan.spec.prompt.tokens)

        made: TokenBudget = self.once(("ruler", model), make)
        return made

    def prepared(self, cell: PlannedCell) -> PreparedCell:
        """A cell's prompts and requests."""
        found = self.hits(cell.hits) if cell.hits else None
        passages = self.passages(cell.hits.passages) if cell.hits else None
        asked, rendered_task, token_budget = (
            self.asked(cell.asked),
            self.rendered_task(cell.cell.task, cell.cell.split),
            self.token_budget(cell.weights.model),
        )
        return prepare(cell, self.plan.spec, rendered_task, asked, found, passages, token_budget)


def explain_crash(work: Work, step: str, error: Exception) -> str:
    """An error nobody meant: one line for the user, the traceback in a file of the work folder."""
    text = "".join(traceback.format_exception(error))
    path = work.folder / "errors" / f"{digest_lines([step, text])[:12]}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (traceback in errors/{path.name} of the work folder)"


class _Run:
    """One run of a plan; failures are kept by cell."""

    def __init__(self, plan: Plan, results: Results, work: Work, progress: Progress) -> None:
        self.plan = plan
        self.results = results
        self.work = work
        self.progress = progress
        self.materials = Materials(plan, work, progress)
        self.failures: dict[str, Failure] = {}

    def go(self) -> Mapping[str, Failure]:
        """Measure what is missing; gives why cells have no number."""
        entry = self._known_counts(self.plan.entry())
        self.results.save_plan(entry)
        missing = [cell for cell in self.plan.cells if not self.results.has(cell.cell)]
        if missing:
            quiet()
            self.results.save_plan(self._count_questions(entry))
            for weights in dict.fromkeys(cell.weights for cell in missing):
                self._measure(weights)
        self.results.save_failures(self.failures)
        return self.failures

    def _known_counts(self, entry: BenchmarkPlan) -> BenchmarkPlan:
        """The numbers of questions that measured cells tell."""
        counts: dict[str, int] = {}
        for cell in self.plan.cells:
            known = cell.cell.task in counts or cell.cell.split != "test"
            if not known and (result := self.results.cell(cell.cell)):
                counts[cell.cell.task] = result.n
        return _with_counts(entry, counts)

    def _count_questions(self, entry: BenchmarkPlan) -> BenchmarkPlan:
        """Read all questions before anything is scored, so that the plan says how many answers there should be."""
        counts: dict[str, int] = {}
        for step in self.plan.asked:
            cells = [cell for cell in self.plan.cells if cell.asked == step]
            questions = self._try(f"reading task {step.task}", cells, partial(self.materials.asked, step))
            if questions is not None:
                counts |= {step.task: len(questions)} if step.split == "test" else {}
        return _with_counts(entry, counts)

    def _try(self, step: str, cells: Sequence[PlannedCell], make: Callable[[], Any]) -> Any:
        """What `make` gives; where it fails, None, and the reason stands at every cell that needs it."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises fails its cells and no others
            message = str(error) if isinstance(error, KibError) else explain_crash(self.work, step, error)
            for cell in cells:
                if not self.results.has(cell.cell):
                    self.failures.setdefault(cell.cell.id, Failure(step, message))
            return None

    def _measure(self, weights: WeightsStep) -> None:
        """Ask one list of requests for all cells on a set of weights, then write the cells that are missing."""
        cells = self.plan.on(weights)
        if weights.trainer and self._try("training", cells, partial(self.materials.trained, weights)) is None:
            return
        ready: list[PreparedCell] = []
        with self.progress.step(f"preparing prompts for {weights.title}", len(cells)) as advance:
            for cell in cells:
                prepared = self._try("preparing prompts", [cell], partial(self.materials.prepared, cell))
                ready += [prepared] if prepared else []
                advance(1)
        waiting = [cell.plan for cell in ready]
        self._try(f"asking {weights.title}", waiting, lambda: self._ask(weights, ready))

    def _wanted(self, ready: Sequence[PreparedCell]) -> tuple[list[Request], list[Request]]:
        """What missing cells ask: that which measured cells asked too, and that which is new.

        Both are batched by themselves, so that a benchmark that grew asks nothing again. No cell is written while a
        model is asked, so that an interrupted run goes on with the same lists.
        """
        has = {cell.plan: self.results.has(cell.plan.cell) for cell in ready}
        known = {key(request) for cell in ready if has[cell.plan] for some in cell.requests for request in some}
        wanted = [request for cell in ready if not has[cell.plan] for some in cell.requests for request in some]
        if not known:
            return [], wanted
        shared = [key(request) in known for request in wanted]
        return list(compress(wanted, shared)), list(compress(wanted, map(not_, shared)))

    def _ask(self, weights: WeightsStep, ready: Sequence[PreparedCell]) -> None:
        locked = self.plan.lock.get("models", weights.model)
        loaded: list[Any] = []

        trained = self.materials.trained(weights)

        def scorer() -> tuple[Any, Environment]:
            if not loaded:
                with self.progress.step(f"loading model {weights.title}"):
                    loaded.append(locked.plugin.load(trained.weights if trained else None))
            return loaded[0], environment(loaded[0], locked.distribution)

        try:
            with Answers.open(self.work, weights.identity) as answers:
                with peak() as most:
                    for requests in self._wanted(ready):
                        ask(requests, answers, scorer, self.progress, f"asking {weights.title}")
                for prepared in ready:
                    if not self.results.has(prepared.plan.cell):
                        self._try("scoring", [prepared.plan], partial(self._write, prepared, answers, most.bytes))
        finally:
            for lm in loaded:
                free(lm)

    def _write(self, prepared: PreparedCell, answers: Answers, peak_bytes: int) -> None:
        plan = prepared.plan
        rendered_task = self.materials.rendered_task(plan.cell.task, plan.cell.split)
        given = [answers.get(some) for some in prepared.requests]
        gold = self.materials.gold(plan.hits.asked, plan.hits.passages) if plan.hits else None
        lines = scores(prepared, rendered_task, given, gold)
        names = [answer.environment for some in given for answer in some]
        trained = self.materials.trained(plan.weights)
        model = self.plan.lock.get("models", plan.weights.model).plugin
        parameters = model.parameters() if isinstance(model, SizedModel) else None
        result = cell_result(plan, rendered_task, lines, answers.environments(names), trained, parameters)
        training = {**result.training, **weights_step.written(plan.weights, self.work)}
        result = replace(result, corpus=self._corpus(plan), text=self._text(plan), training=training)
        result = replace(result, notes=answers.notes())
        asking = sum(answer.seconds for some in given for answer in some)
        self.results.save_cell(result, lines, self._times(plan, asking, trained, peak_bytes))

    def _corpus(self, plan: PlannedCell) -> dict[str, Any]:
        """What is recorded of the documents that were searched, or else trained on."""
        step = plan.hits.passages if plan.hits else plan.weights.text.passages if plan.weights.text else None
        return self.work.note("passages", step.identity) if step else {}

    def _text(self, plan: PlannedCell) -> dict[str, Any]:
        """What is recorded of the texts that were trained on."""
        return self.work.note("text", plan.weights.text.identity) if plan.weights.text else {}

    def _times(self, plan: PlannedCell, asking: float, trained: Trained | None, peak_bytes: int) -> Times:
        hits = plan.hits
        before = hits_step.indexing_peak(hits, self.work) if hits else 0
        return Times(
            asking=asking,
            searching=hits_step.searching(hits, self.work) if hits else 0.0,
            indexing=hits_step.indexing(hits, self.work) if hits else 0.0,
            training=trained.seconds or 0.0 if trained else 0.0,
            peak_bytes=max(peak_bytes, before, self.work.peak_bytes("weights", plan.weights.identity)),
            index_bytes=hits_step.index_size(hits, self.work) if hits else 0,
        )


def _with_counts(entry: BenchmarkPlan, counts: Mapping[str, int]) -> BenchmarkPlan:
    tasks: dict[str, TaskEntry] = {
        name: replace(task, n=counts.get(name, task.n)) for name, task in entry.tasks.items()
    }
    return replace(entry, tasks=tasks)


def run(plan: Plan, results: Results, work: Work, progress: Progress) -> Mapping[str, Failure]:
    """Measure every cell of the plan that has no result; gives the failed ones by id, with the reason.

    Interrupted anywhere, the same call goes on. Raises BusyError where another run holds the results folder.
    """
    if not plan.cells:
        raise InputError(f"{plan.spec.file}: the benchmark has no cell")
    with results.lock():
        return _Run(plan, results, work, progress).go()
