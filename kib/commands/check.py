"""The command `kib check`: reads the data, renders all prompts and counts their tokens, without scoring.

If a file declares no methods, `kib check` describes the passages of the corpora and the questions of the tasks.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from kib.commands.corpus_report import describe_corpus
from kib.commands.forecast import Forecaster, Item, texts_of, total
from kib.commands.retrieve.queries import of_corpus
from kib.commands.retrieve.records import QuerySet
from kib.commands.server_report import probe_judges, probe_servers
from kib.errors import InputError, KibError, SpecError
from kib.harness.backends import quiet
from kib.interfaces import CheckedModel, CheckedTrainer, GoldRetriever, OnlinePlugin, PaidJudge, PromptedJudge
from kib.plan.plan import Plan
from kib.plan.planner import passages_of
from kib.plan.steps import PlannedCell, WeightsStep
from kib.plugins.resolve import Lock, Locked, open_spec
from kib.progress import Progress
from kib.records import Answer
from kib.run.failures import explain_error
from kib.run.labels import read_labels
from kib.run.plugin_calls import call_plugin
from kib.run.shared_steps import SharedSteps
from kib.run.steps.cells import PreparedCell, answers_to_judge
from kib.run.steps.gold_passages import locate_gold
from kib.run.steps.judge_answers import judge_remarks
from kib.run.steps.passages import Passages
from kib.run.steps.render_questions import describe_probes, probe_counts
from kib.safe_text import one_line
from kib.spec.load import Spec, read_draft
from kib.spec.messages import show_value
from kib.store.results import Results
from kib.store.work import Work
from kib.support.characters import describe_removed
from kib.support.phrases import counted, join

__all__ = ["Report", "check", "check_corpora", "outline", "read_corpora"]


ANSWER = "(the answer of the model)"
"""The placeholder for an answer in the prompt of a judge."""


@dataclass(frozen=True, slots=True)
class Report:
    """The output of `kib check`, and the problems that would cause a run to fail.

    `unavailable` states whether servers that do not answer are the only problems.
    """

    text: str
    problems: tuple[str, ...]
    unavailable: bool = False


def check(plan: Plan, results: Results, work: Work, progress: Progress, *, probe: bool = True) -> Report:
    """Prepare every cell as in a run: split and search corpora, render questions, and check token boundaries.

    The forecast leaves out the cells that have a result in `results`. If `probe` is true, each server of a model
    receives test requests.
    """
    quiet()
    steps = SharedSteps(plan, work, progress, says_gold=False)  # the report lists the remarks on gold
    systems = {weights.system for weights in plan.weights if weights.system is not None}
    sets = counted(sum(weights.system is None and not weights.repeated for weights in plan.weights), "set")
    more = f" and {counted(len(systems), 'system')}" if systems else ""
    lines = [f"{plan.spec.name}: {counted(len(plan.cells), 'cell')} on {sets} of weights{more}", ""]
    problems: dict[str, int] = {}
    ready: list[PreparedCell] = []
    with progress.step("preparing cells", len(plan.cells)) as advance:
        for cell in plan.cells:
            try:
                ready.append(steps.prepared(cell))
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported as in a run
                _add_problem(problems, work, "preparing cells", error, 1)
            advance(1)
    checked = _check_models(steps, problems)
    labels = _labels(plan, results, problems)
    lines += [_row(prepared, _requested(plan, prepared.plan)) for prepared in ready]
    unavailable: set[str] = set()
    if probe:
        lines += probe_servers(steps, ready, checked, problems, unavailable)
        lines += probe_judges(steps, ready, problems, unavailable)
    lines += [*_corpora(plan, work), *steps.gold_remarks, *_removed_characters(plan, work), *_probes(plan, work)]
    lines += [*_task_notes(plan, work), *labels, *_pair_forms(steps), *_without_base(plan)]
    judged = ((cell.cell.task, remark) for cell in plan.cells for remark in judge_remarks(plan.lock, cell))
    lines += dict.fromkeys(f"tasks.{task}: {remark}" for task, remark in judged)
    missing = [cell for cell in plan.cells if not results.has(cell.cell)]
    lines += ["", *_forecast(Forecaster(steps, missing), ready, problems)]
    for cell in _one_of_each_method(plan.cells):
        shown = next((prepared for prepared in ready if prepared.plan == cell), None)
        lines += ["", *_example(shown)] if shown else []
    lines += [line for prepared in _one_of_each_judge(ready) for line in ("", *_judge_example(steps, prepared))]
    counted_problems = tuple(f"{problem} ({counted(count, 'cell')})" for problem, count in problems.items())
    return Report("\n".join(lines), counted_problems, unavailable=set(problems) <= unavailable)


def _corpora(plan: Plan, work: Work) -> list[str]:
    """Return a description of each corpus that the plan splits into passages."""
    texts = [weights.text for weights in plan.weights]
    steps = [step.passages for step in (*(cell.hits for cell in plan.cells), *texts) if step]
    records = [work.record("passages", step.identity) for step in dict.fromkeys(steps)]
    return [line for record in records if record for line in describe_corpus(record, histogram=False)]


def _removed_characters(plan: Plan, work: Work) -> list[str]:
    """Return the invisible characters that were removed from the questions of each task."""
    lines: dict[str, None] = {}
    for step in plan.asked:
        if removed := work.record("asked", step.identity).get("removed"):
            split = "" if step.split == "test" else f", {step.split}"
            lines[f"task {step.task}{split}: removed invisible characters: {describe_removed(removed)}"] = None
    return list(lines)


def _probes(plan: Plan, work: Work) -> list[str]:
    """Return the numbers of test questions by probe for each task whose questions name probes."""
    counts = {
        step.task: work.record("asked", step.identity).get("probes", {}) for step in plan.asked if step.split == "test"
    }
    return [f"task {task}: {line}" for task, some in counts.items() for line in describe_probes(some)]


def read_corpora(path: Path, *, trust_remote_code: bool = False) -> tuple[Spec, Lock] | None:
    """Return a file that declares corpora or tasks but nothing to measure, or None if the file declares methods.

    Raises SpecError that lists all mistakes in the file, except that models, tasks and methods may be missing.
    """
    draft = read_draft(path, whole=False)
    if draft.names("methods") or not (draft.names("corpora") or draft.names("tasks")):
        return None
    return open_spec(path, trust_remote_code=trust_remote_code, whole=False)


def check_corpora(spec: Spec, lock: Lock, work: Work, progress: Progress) -> Report:
    """Split every corpus of a file and read every task, and describe the passages and the questions."""
    steps = SharedSteps(Plan(spec, lock, ()), work, progress)
    what = "methods, so only the corpora and the tasks" if spec.tasks else "tasks and no methods, so only the corpora"
    lines = [f"{spec.name}: the file declares no {what} are checked"]
    problems: dict[str, int] = {}
    split: dict[str, Passages] = {}
    for name, table in spec.corpora.items():
        if table.chunk and table.chunk.tokens and not spec.models:
            problems[
                f"{spec.file}: corpora.{name}.chunk: splitting by tokens requires a tokenizer; add a table "
                "[models.NAME]"
            ] = 1
            continue
        try:
            step = passages_of(spec, lock, name)
            record = steps.record_of("passages", step, steps.passages)
            split[name], queries = steps.passages(step), of_corpus(name, lock)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported as in a run
            _add_problem(problems, work, f"splitting corpus {name}", error, 1)
        else:
            lines += ["", *describe_corpus(record, histogram=True), *(_describe_queries(queries) if queries else ())]
    for name, task in spec.tasks.items():
        try:
            lines += ["", *_describe_task(steps, name, split.get(str(task.corpus)))]
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported as in a run
            _add_problem(problems, work, f"reading task {name}", error, 1)
    return Report("\n".join(lines), tuple(problems))


def _describe_task(steps: SharedSteps, name: str, passages: Passages | None) -> Iterator[str]:
    """Yield lines about the test questions of a task; the gold is located if the corpus of the task is split."""
    task = steps.rendered_task(name, "test")
    questions = [task.questions[row] for row in task.rows] if task.questions else []
    groups = len({question.group for question in questions if question.group is not None})
    gold = {question.id: question.gold for question in questions if question.gold}
    parts = [counted(len(task.rows), "question"), *([counted(groups, "group")] if groups else [])]
    yield f"task {name}: {', '.join([*parts, *([f'{len(gold):,} with gold'] if gold else [])])}"
    remarks = task.notes(0)
    remarks += describe_probes(probe_counts(questions))
    remarks += [f"removed invisible characters: {describe_removed(task.removed)}"] if task.removed else []
    if gold and passages and steps.plan.spec.tasks[name].role == "target":
        remarks += locate_gold(gold, passages).remarks()
    yield from (f"  {one_line(remark)}" for remark in remarks)


def _describe_queries(queries: QuerySet) -> Iterator[str]:
    """Yield lines about the judged queries of a corpus, and about the documents that do not count as hits."""
    lines = [f"{queries.title}: {len(queries.asked):,}, of which {len(queries.relevance):,} have a relevant document"]
    yield from (f"  {one_line(line)}" for line in (*lines, *queries.left_out_remarks()))


def _task_notes(plan: Plan, work: Work) -> list[str]:
    """Return the remarks on the questions of each task and on the source of the few-shot examples."""
    notes = {
        f"tasks.{step.task}: {note}": None
        for step in plan.asked
        for note in work.record("asked", step.identity).get("notes", ())
    }
    return list(notes)


def _without_base(plan: Plan) -> list[str]:
    """Return a sentence about each method with cells that no base is measured for, so that they have no gain."""

    def block(cell: PlannedCell) -> tuple[str, str, int]:
        return cell.cell.model, cell.cell.task, cell.cell.shots

    bases = {block(cell) for cell in plan.cells if plan.spec.methods[cell.cell.method].is_base}
    models: dict[str, dict[str, None]] = {}
    for cell in plan.cells:
        if block(cell) not in bases:
            models.setdefault(cell.cell.method, {})[cell.cell.model] = None
    return [
        f"methods.{name}: no gain over base for {join(list(some))}, because the plan has no base with the same model, "
        "task and number of shots"
        for name, some in models.items()
    ]


def _pair_forms(steps: SharedSteps) -> list[str]:
    """Return sentences about tasks in whose form question-answer pairs are not trained."""
    lines: dict[str, None] = {}
    for cell in steps.plan.cells:
        try:
            lines |= {f"tasks.{cell.cell.task}: {remark}": None for remark in steps.pair_remarks(cell)}
        except Exception:  # noqa: BLE001, S112 - the cells of the task report the error
            continue
    return list(lines)


def _add_problem(problems: dict[str, int], work: Work, doing: str, error: Exception, cells: int) -> None:
    """Add to `problems` an error and the number of cells that fail because of this error."""
    message = explain_error(work, doing, error)
    problems[message] = problems.get(message, 0) + cells


def _labels(plan: Plan, results: Results, problems: dict[str, int]) -> list[str]:
    """Return remarks on the sheets of labels; an invalid sheet stops a run, so it is a problem of all cells."""
    try:
        return read_labels(plan.spec, results)[1]
    except InputError as error:
        problems[str(error)] = len(plan.cells)
        return []


def _check_models(steps: SharedSteps, problems: dict[str, int]) -> list[Locked]:
    """Return the models and systems without a detected problem; add to `problems` why the others cannot be loaded."""
    plan, intact = steps.plan, []
    answerers = [plan.answerer(cell.weights) for cell in plan.cells]
    for (kind, name), count in Counter((one.kind, one.name) for one in answerers).items():
        locked = plan.lock.get(kind, name)
        try:
            if isinstance(locked.plugin, CheckedModel):
                with call_plugin(locked, "check"):
                    locked.plugin.check()
            intact.append(locked)
        except InputError as error:
            problems[f"{kind}.{name}: {error}"] = count
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported as in a run
            _add_problem(problems, steps.context.work, "checking models", error, count)
    return intact


def outline(spec: Spec, lock: Lock) -> str:
    """Return the models, tasks, arms and downloads declared by a spec with missing data.

    Raises SpecError for mistakes that do not depend on the data, for example an unknown lm-eval task.
    """
    tasks = [f"{name} ({join([f'{count}-shot' for count in task.shots], 'or')})" for name, task in spec.tasks.items()]
    arms = []
    for name, method in spec.methods.items():
        vary = spec.trainers[method.train].vary if method.train else {}
        settings = [f"{key} {join([show_value(value) for value in values], 'or')}" for key, values in vary.items()]
        settings += [f"k {join([str(k) for k in method.top_k], 'or')}"] if method.top_k else []
        arms.append(f"{name} ({', '.join(settings)})" if settings else name)
    lines = [
        f"{spec.name}: keys, names and options are valid; prompts and costs cannot be checked without the missing data",
        f"models: {join(list(spec.models))}",
        f"tasks: {join(tasks)}",
        f"arms: {'; '.join(arms)}",
        *_online(spec, lock),
    ]
    return "\n".join(lines)


def _online(spec: Spec, lock: Lock) -> list[str]:
    """Return the downloads and the servers that each table requires, without accessing a network or a cache."""
    lines: dict[str, None] = {}
    mistakes = []
    for (kind, name, _), locked in lock.tables.items():
        if isinstance(locked.plugin, OnlinePlugin):
            try:
                lines |= {f"  {kind}.{name}: {one}": None for one in locked.plugin.online()}
            except KibError as error:
                mistakes.append(spec.mistake(str(error), kind, name))
    if mistakes:
        raise SpecError(mistakes)
    return (
        [("`kib run` needs the following, and downloads data that are not yet on this machine:"), *lines]
        if lines
        else []
    )


def _requested(plan: Plan, cell: PlannedCell) -> int:
    """Return the number of passages that a cell requests per question."""
    if cell.hits is None:
        return 0
    retriever = plan.lock.get("retrievers", cell.hits.retriever).plugin
    own = retriever.fixed_k() if cell.k is None and isinstance(retriever, GoldRetriever) else None
    return cell.k or own or 0


def _row(prepared: PreparedCell, k: int) -> str:
    """Return the size of a cell, its prompt lengths, and the number of questions with fewer than `k` passages."""
    tokens = [prompt.tokens for prompt in prepared.prompts if prompt.tokens is not None]
    lengths = "tokens not counted"
    if tokens:
        lengths = f"tokens {min(tokens)} / {median(tokens):.0f} / {max(tokens)} (minimum / median / maximum)"
    dropped = sum(prompt.dropped for prompt in prepared.prompts)
    cuts = f", {counted(dropped, 'passage')} dropped" if dropped else ""
    few = sum(len(passages) < k for passages in prepared.retrieved)
    short = f"; few passages: {counted(few, 'question')} with fewer than {k}" if few else ""
    return f"{prepared.plan.cell.place}: {counted(len(prepared.prompts), 'question')}, {lengths}{cuts}{short}"


def _forecast(forecaster: Forecaster, ready: Sequence[PreparedCell], problems: dict[str, int]) -> list[str]:
    """Return the forecast of everything that is missing; add the problems of writers and trainers to `problems`."""
    items = [*forecaster.asking(ready), *_judging(forecaster, ready, problems)]
    items += [*_writing(forecaster, problems), *_training(forecaster, problems)]
    whole = [] if problems and not items else [total(items)]  # without any item, nothing is known about the whole run
    return [*dict.fromkeys(item.words for item in items), *whole]


def _judging(forecaster: Forecaster, ready: Sequence[PreparedCell], problems: dict[str, int]) -> list[Item]:
    """Return the cost of each paid judge; add to `problems` the judges that are not ready."""
    items = list(forecaster.judging(ready))
    judged = Counter(prepared.plan.judge for prepared in ready if prepared.plan in forecaster.missing)
    for name, cells in judged.items():
        judge = forecaster.plan.lock.get("judges", name).plugin if name else None
        try:
            if isinstance(judge, PaidJudge):
                judge.ready()
        except KibError as error:
            problems[f"judges.{name}: {error}"] = cells
    return items


def _writing(forecaster: Forecaster, problems: dict[str, int]) -> list[Item]:
    """Return the cost of each text by a paid writer, excluding answers already paid for in earlier runs."""
    items: list[Item] = []
    for step in forecaster.writing():
        try:
            items += forecaster.written(step)
        except KibError as error:
            readers = (cell for cell in forecaster.plan.cells if step in texts_of(cell.weights))
            problems.setdefault(str(error), sum(1 for _ in readers))
    return items


def _training(forecaster: Forecaster, problems: dict[str, int]) -> list[Item]:
    """Return the size and the cost of each missing training run; add problems that trainers report to `problems`."""
    steps, plan = forecaster.steps, forecaster.plan
    items: list[Item] = []
    for weights in plan.weights:
        if weights.text is None:
            continue
        try:
            steps.once(("trainer", *_trained_by(weights)), partial(_ask_trainer, forecaster, weights))
            item = forecaster.training(weights)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported as in a run
            _add_problem(problems, steps.context.work, "checking training runs", error, len(plan.on(weights)))
        else:
            items += [item] if item else []
    return items


def _trained_by(weights: WeightsStep) -> tuple[object, ...]:
    """Return every input that affects a trainer's check; seeds and training texts do not affect the check."""
    return (weights.model, weights.trainer, weights.settings, weights.validation is None)


def _ask_trainer(forecaster: Forecaster, weights: WeightsStep) -> None:
    trainer = forecaster.plan.lock.get("trainers", str(weights.trainer), weights.settings).plugin
    start = forecaster.starting_weights(weights.model)
    if isinstance(trainer, CheckedTrainer):
        trainer.check(start, weights.validation is not None)


def _one_of_each_method(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    chosen: dict[tuple[str, str], PlannedCell] = {}
    for cell in cells:
        chosen.setdefault((cell.cell.model, cell.cell.method), cell)
    return list(chosen.values())


def _one_of_each_judge(ready: Sequence[PreparedCell]) -> list[PreparedCell]:
    chosen: dict[str, PreparedCell] = {}
    for prepared in ready:
        if prepared.plan.judge:
            chosen.setdefault(prepared.plan.judge, prepared)
    return list(chosen.values())


def _judge_example(steps: SharedSteps, prepared: PreparedCell) -> list[str]:
    """Return the prompt with which a judge would grade a placeholder in place of the answer to the first question."""
    cell, judge = prepared.plan.cell, steps.plan.lock.get("judges", str(prepared.plan.judge))
    if not isinstance(judge.plugin, PromptedJudge):
        return []
    task = steps.rendered_task(cell.task, prepared.plan.asked.split)
    unknown = [[Answer(ANSWER, "")]] * len(prepared.asked)
    with call_plugin(judge, "prompt"):
        prompt = judge.plugin.prompt(answers_to_judge(prepared, task, unknown)[0])
    rule = "─" * 60
    return [f"judge {judge.name}, question {prepared.asked[0].question_id}:", rule, prompt, rule]


def _example(prepared: PreparedCell) -> list[str]:
    """Return the first prompt of a cell exactly as the model reads it, and the scored answers."""
    rule = "─" * 60
    answers = [repr(request.arguments[1]) for request in prepared.requests[0] if request.kind == "loglikelihood"]
    scored = [f"answers scored: {' '.join(answers)}"] if answers else []
    head = f"{prepared.plan.cell.place}, question {prepared.asked[0].question_id}:"
    return [head, rule, prepared.prompts[0].text, rule, *scored]
