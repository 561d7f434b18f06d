"""The run loop: computes shared steps once, loads each model once, and measures every cell that does not fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, compress
from operator import not_
from typing import Any

from kib.errors import InputError, MissingAnswersError, ServerUnavailableError
from kib.harness.backends import environment, free, quiet
from kib.interfaces import SizedModel
from kib.plan.plan import Plan
from kib.plan.steps import PlannedCell, WeightsStep
from kib.progress import Progress
from kib.records import AnswerToJudge, Environment, Request, Score, Trained
from kib.run.failures import explain_error
from kib.run.labels import store_labels
from kib.run.plugin_calls import call_plugin
from kib.run.shared_steps import SharedSteps
from kib.run.speeds import store_asking_speed
from kib.run.steps.ask_model import ask_model
from kib.run.steps.ask_system import SystemBackend, system_environment
from kib.run.steps.cells import PreparedCell, answers_to_judge, score_questions, summarise_scores
from kib.run.steps.hits import index_bytes, indexing_peak_bytes, indexing_seconds, search_seconds
from kib.run.steps.judge_answers import Verdicts, judge_answers, judge_remarks, judging_record
from kib.run.steps.system_reports import (
    ReportedAnswer,
    read_answers,
    report_remarks,
    system_report,
    with_reports,
)
from kib.run.steps.train_weights import training_record
from kib.run.stored_steps import verify_stored_steps
from kib.run.workload import workloads
from kib.store.files import make_folder
from kib.store.model_answers import ModelAnswers, request_key
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, TaskEntry, Times
from kib.store.results import Results
from kib.store.work import Work
from kib.support.disk_errors import explain_os_error
from kib.support.peak_memory import peak
from kib.support.phrases import counted

__all__ = ["run"]


def run(plan: Plan, results: Results, work: Work, progress: Progress, *, verify: bool = False) -> Mapping[str, Failure]:
    """Measure every cell without a result, and return the failures by cell id.

    After an interruption, the same call resumes the run. If `verify` is set, all stored steps of the plan are verified
    first, even steps that no missing cell needs, and measured cells with a missing file are measured again. Raises
    BusyError if a different run is using the results folder, and InputError for an invalid sheet of labels.
    """
    if not plan.cells:
        raise InputError(f"{plan.spec.file}: the benchmark has no cells")
    make_folder(work.folder)  # a path that cannot be used raises one error here instead of one failure per cell
    with results.lock():
        store_labels(plan.spec, results, progress)
        one = _Run(plan, results, work, progress)
        if verify:
            verify_stored_steps(plan, one.steps)
        return one.measure_missing(complete=verify)


class _Run:
    """A run of a plan, with the failures so far by cell id."""

    def __init__(self, plan: Plan, results: Results, work: Work, progress: Progress) -> None:
        self.plan = plan
        self.results = results
        self.progress = progress
        self.steps = SharedSteps(plan, work, progress)
        self.work = self.steps.context.work
        self.failures: dict[str, Failure] = {}

    def measure_missing(self, *, complete: bool) -> Mapping[str, Failure]:
        """Measure the missing and the damaged cells, and return the failures.

        If `complete` is set, a cell with a missing file counts as damaged.
        """
        with self.progress.waiting(f"reading the results in {self.results.folder}"):
            self._discard_damaged_cells(complete)
        entry = self._known_counts(self.plan.entry())
        self.results.save_plan(entry)
        missing = [cell for cell in self.plan.cells if not self.results.is_stored(cell.cell)]
        if missing:
            quiet()
            self.results.save_plan(self._count_questions(entry))
            for weights in dict.fromkeys(cell.weights for cell in missing):
                if not (weights.repeated and self._postpone(weights)):
                    self._measure(weights)
        try:
            self.results.save_failures(self.failures)
        except OSError as error:  # an error from a full disk must not replace the failures in the output
            self.progress.say(explain_os_error(error))
        return self.failures

    def _discard_damaged_cells(self, complete: bool) -> None:
        """Report each damaged cell and discard its result, so that the cell is measured again.

        Results may be published without their questions, so missing questions are only counted unless `complete` is
        set.
        """
        for cell in self.plan.cells:
            if damage := self.results.damage(cell.cell, complete=complete):
                self.progress.say(damage)
                self.results.discard(cell.cell)
        if number := sum(self.results.lacks_questions(cell.cell) for cell in self.plan.cells):
            self.progress.say(
                f"{self.results.folder}: the file questions.jsonl is missing in {counted(number, 'measured cell')}; "
                "to restore the missing files from the stored answers, use `kib run SPEC --verify`"
            )

    def _known_counts(self, entry: BenchmarkPlan) -> BenchmarkPlan:
        """Set each task's number of questions from cells that have already been measured."""
        counts: dict[str, int] = {}
        for cell in self.plan.cells:
            known = cell.cell.task in counts or cell.cell.split != "test"
            if not known and (result := self.results.cell(cell.cell)):
                counts[cell.cell.task] = result.n
        return _with_counts(entry, counts)

    def _count_questions(self, entry: BenchmarkPlan) -> BenchmarkPlan:
        """Read all questions before a model is loaded, so that the plan contains the number of questions per task."""
        counts: dict[str, int] = {}
        for step in self.plan.asked:
            cells = [cell for cell in self.plan.cells if cell.asked == step]
            questions = self._try(f"reading task {step.task}", cells, partial(self.steps.questions, step))
            if questions is not None:
                counts |= {step.task: len(questions)} if step.split == "test" else {}
        return _with_counts(entry, counts)

    def _try(self, doing: str, cells: Sequence[PlannedCell], compute: Callable[[], Any]) -> Any:
        """Return the value of `compute()`; if an error is raised, record a failure for each cell without a result."""
        try:
            return compute()
        except Exception as error:  # noqa: BLE001 - any error in a plugin affects only the plugin's cells
            message, unavailable = explain_error(self.work, doing, error), isinstance(error, ServerUnavailableError)
            for cell in cells:
                if not self.results.has(cell.cell):
                    self.failures.setdefault(cell.cell.id, Failure(doing, message, unavailable))
            return None

    def _postpone(self, weights: WeightsStep) -> bool:
        """Return whether repeated questions must wait, because other cells of the model have no result yet.

        The answers to repeated questions show whether a server has changed since the first answers, so they must come
        last. The reason is recorded for each cell.
        """
        answered = [one for one in self.plan.weights if one.model == weights.model and one.system is None]
        others = [cell.cell for one in answered if not one.repeated for cell in self.plan.on(one)]
        waiting = [cell.id for cell in others if not self.results.has(cell)]
        reason = f"questions are asked again after all other cells of {weights.model} have a result"
        down = all(cell in self.failures and self.failures[cell].unavailable for cell in waiting)
        for planned in self.plan.on(weights) if waiting else ():
            if not self.results.has(planned.cell):
                self.failures[planned.cell.id] = Failure(f"asking {weights.title}", reason, down)
        return bool(waiting)

    def _measure(self, weights: WeightsStep) -> None:
        """Prepare all cells of a set of weights, send their requests in one list, and store the missing cells."""
        cells = self.plan.on(weights)
        if weights.trainer and self._try("training", cells, partial(self.steps.trained, weights)) is None:
            return
        ready: list[PreparedCell] = []
        with self.progress.step(f"preparing prompts for {weights.title}", len(cells)) as advance:
            for cell in cells:
                prepared = self._try("preparing prompts", [cell], partial(self.steps.prepared, cell))
                ready += [prepared] if prepared else []
                advance(1)
        waiting = [cell.plan for cell in ready]
        self._try(f"asking {weights.title}", waiting, lambda: self._ask(weights, ready))

    def _requests(self, ready: Sequence[PreparedCell]) -> tuple[list[Request], list[Request]]:
        """Return the requests of missing cells in two lists: requests shared with measured cells, and other requests.

        The two lists are batched separately, so that no request is repeated if cells are added to a benchmark. Cells
        are stored only after all requests have been answered, so that an interrupted run resumes with the same lists of
        requests.
        """
        has = {cell.plan: self.results.has(cell.plan.cell) for cell in ready}
        known = {request_key(request) for cell in ready if has[cell.plan] for some in cell.requests for request in some}
        wanted = [request for cell in ready if not has[cell.plan] for some in cell.requests for request in some]
        if not known:
            return [], wanted
        shared = [request_key(request) in known for request in wanted]
        return list(compress(wanted, shared)), list(compress(wanted, map(not_, shared)))

    def _ask(self, weights: WeightsStep, ready: Sequence[PreparedCell]) -> None:
        """Request all missing answers from a model, then score and store the missing cells.

        If a server did not answer some requests, cells without these requests are stored before the error is raised.
        """
        locked = self.plan.answerer(weights)
        trained = self.steps.trained(weights)
        loaded: list[Any] = []
        waiting = [prepared for prepared in ready if not self.results.has(prepared.plan.cell)]

        def load() -> tuple[Any, Environment]:
            if not loaded:
                title = weights.title if weights.system else f"model {weights.title}"
                with self.progress.step(f"loading {title}"), call_plugin(locked, "load"):
                    if weights.system:
                        loaded.append(SystemBackend(locked, answered_before=not answers.is_empty()))
                    else:
                        loaded.append(locked.plugin.load(trained.weights if trained else None))
            if weights.system:
                return loaded[0], system_environment(locked)
            return loaded[0], environment(loaded[0], locked.distribution)

        try:
            with ModelAnswers.open(self.work, weights.identity) as answers:
                requests = self._requests(ready)
                unanswered = answers.missing_keys([*requests[0], *requests[1]])
                title = f"asking {weights.title}"
                with peak() as most, call_plugin(locked, "answering requests"):
                    ask = partial(ask_model, answers=answers, load=load, progress=self.progress, title=title)
                    times, failure = _ask_all(requests, ask)
                for workload in workloads(waiting, unanswered, self.steps.answerer_budget(weights)):
                    seconds = sum(by_kind.get(workload.kind, 0.0) for by_kind in times)
                    store_asking_speed(self.work, locked, workload, seconds, most.bytes)
                if failure:
                    waiting = [one for one in waiting if not answers.missing(list(chain.from_iterable(one.requests)))]
                verdicts = self._judge(waiting, answers)
                with self.progress.step(f"scoring {weights.title}", len(waiting)) as advance:
                    for prepared in waiting:
                        judged = verdicts.get(prepared.plan.judge or "", Verdicts())
                        store = partial(self._store, prepared, answers, judged, most.bytes)
                        self._try("scoring", [prepared.plan], store)
                        advance(1)
                if failure:
                    raise failure
        finally:
            for lm in loaded:
                free(lm)

    def _judge(self, waiting: Sequence[PreparedCell], answers: ModelAnswers) -> dict[str, Verdicts]:
        """Return the verdicts of each judge on the answers of the waiting cells; equal answers are judged once."""
        verdicts: dict[str, Verdicts] = {}
        for name in dict.fromkeys(prepared.plan.judge for prepared in waiting if prepared.plan.judge):
            cells = [prepared for prepared in waiting if prepared.plan.judge == name]
            wanted = chain.from_iterable(self._answers_to_judge(prepared, answers) for prepared in cells)
            verdicts[name] = judge_answers(self.plan.lock.get("judges", name), wanted, self.steps.context)
        return verdicts

    def _answers_to_judge(self, prepared: PreparedCell, answers: ModelAnswers) -> list[AnswerToJudge]:
        task = self.steps.rendered_task(prepared.plan.cell.task, prepared.plan.asked.split)
        return answers_to_judge(prepared, task, read_answers(prepared, answers)[0])

    def _store(self, prepared: PreparedCell, answers: ModelAnswers, verdicts: Verdicts, peak_bytes: int) -> None:
        """Score a cell and store its result."""
        plan = prepared.plan
        rendered_task = self.steps.rendered_task(plan.cell.task, plan.asked.split)
        answered, reported = read_answers(prepared, answers)
        gold = self.steps.gold(plan.hits.asked, plan.hits.passages) if plan.hits else None
        to_judge = answers_to_judge(prepared, rendered_task, answered)
        given = verdicts.of(to_judge)
        scores = score_questions(prepared, rendered_task, answered, gold, given)
        environments = answers.environments([answer.environment for some in answered for answer in some])
        trained = self.steps.trained(plan.weights)
        result = summarise_scores(plan, rendered_task, scores, environments, self._parameters(plan))
        result = self._with_records(result, plan, trained, answers.notes())
        if plan.judge:
            judge = self.plan.lock.get("judges", plan.judge)
            result = replace(result, judging=judging_record(judge, to_judge, given, self.steps.context))
        if reported:
            result, scores = self._with_reports(plan, result, scores, reported)
        if tokens := answers.tokens(list(chain.from_iterable(prepared.requests))):
            result = replace(result, prompt_tokens=tokens[0], output_tokens=tokens[1])
        seconds = sum(answer.seconds for some in answered for answer in some)
        self.results.save_cell(result, scores, self._times(plan, seconds, trained, peak_bytes))

    def _with_reports(
        self, plan: PlannedCell, result: CellResult, scores: list[Score], reported: Sequence[ReportedAnswer]
    ) -> tuple[CellResult, list[Score]]:
        """Add what a system reports about its answers to the result and to the scores of a cell."""
        located = None
        if plan.matched and any(one.passages for one in reported):
            located = self.steps.located_gold(plan.asked, plan.matched)
        names = self.steps.passages(plan.matched) if located and plan.matched else None
        scores = with_reports(scores, reported, located, names)
        remarks = (*result.task_notes, *(located.remarks() if located else ()), *report_remarks(scores, located))
        corpus = self.steps.record_of("passages", plan.matched, self.steps.passages) if located and plan.matched else {}
        return replace(result, system=system_report(reported), task_notes=remarks, corpus=corpus), scores

    def _parameters(self, plan: PlannedCell) -> int | None:
        """Return the number of parameters of a cell's model; None if the number is unknown, or a system answers."""
        if plan.weights.system is not None:
            return None
        locked = self.plan.lock.get("models", plan.weights.model)
        if not isinstance(locked.plugin, SizedModel):
            return None
        with call_plugin(locked, "parameters"):
            return locked.plugin.parameters()

    def _with_records(
        self, result: CellResult, plan: PlannedCell, trained: Trained | None, notes: tuple[str, ...]
    ) -> CellResult:
        """Return a result with the records of its questions, corpus, training text and training run."""
        text, hits = plan.weights.text, plan.hits
        located = self.steps.located_gold(hits.asked, hits.passages) if hits else None
        passages = hits.passages if hits else text.passages if text else None
        training = training_record(plan.weights, trained, self.work) if trained else None
        pairs = self.steps.pair_remarks(plan, training.open_pairs) if training else []
        asked = self.steps.record_of("asked", plan.asked, self.steps.questions)
        return replace(
            result,
            notes=notes,
            task_notes=(
                *asked.get("notes", ()),
                *(located.remarks() if located else ()),
                *pairs,
                *judge_remarks(self.plan.lock, plan),
            ),
            corpus=self.steps.record_of("passages", passages, self.steps.passages) if passages else {},
            text=self.steps.record_of("text", text, self.steps.text) if text else {},
            training=training,
        )

    def _times(self, plan: PlannedCell, asking: float, trained: Trained | None, peak_bytes: int) -> Times:
        """Return the time and memory that a cell needed on this machine."""
        hits, work = plan.hits, self.work
        indexing_peak = indexing_peak_bytes(hits, work) if hits else 0
        return Times(
            asking=asking,
            searching=search_seconds(hits, work) if hits else 0.0,
            indexing=indexing_seconds(hits, work) if hits else 0.0,
            training=trained.seconds or 0.0 if trained else 0.0,
            peak_bytes=max(peak_bytes, indexing_peak, work.peak_bytes("weights", plan.weights.identity)),
            index_bytes=index_bytes(hits, work) if hits else 0,
        )


def _ask_all(
    lists: Sequence[list[Request]], ask: Callable[[list[Request]], dict[str, float]]
) -> tuple[list[dict[str, float]], MissingAnswersError | None]:
    """Ask several lists of requests; return the seconds of each list, and an error about missing answers.

    A rejected request is returned rather than an unanswered request, because only the latter may be answered later.
    """
    times, failure = [], None
    for requests in lists:
        try:
            times.append(ask(requests))
        except MissingAnswersError as error:
            if failure is None or isinstance(failure, ServerUnavailableError):
                failure = error
    return times, failure


def _with_counts(entry: BenchmarkPlan, counts: Mapping[str, int]) -> BenchmarkPlan:
    """Return a copy of the plan in which each task has its number of questions."""
    tasks: dict[str, TaskEntry] = {
        name: replace(task, n=counts.get(name, task.n)) for name, task in entry.tasks.items()
    }
    return replace(entry, tasks=tasks)
