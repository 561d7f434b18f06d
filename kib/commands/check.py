"""A spec proved before money is spent: its data read, its prompts rendered, their tokens counted, nothing scored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from kib.commands.questions import remembered, say_cost
from kib.errors import InputError, KibError, SpecError
from kib.harness.backends import quiet
from kib.harness.requests import batches
from kib.interfaces import CheckedTrainer, DescribedModel, OnlinePlugin, PaidWriter
from kib.plan.planner import HeldBackStep, Plan, PlannedCell, TextStep, WeightsStep
from kib.plugins.resolve import Lock
from kib.progress import Progress
from kib.run.failures import explain_error
from kib.run.shared_steps import SharedSteps
from kib.run.steps.cells import PreparedCell
from kib.run.steps.training_text import WritingOrder, selected_writer, writing_order
from kib.spec.load import Spec
from kib.spec.messages import show_value
from kib.store.paid_answers import paid_answers_path
from kib.store.work import Work
from kib.support.phrases import counted, join

__all__ = ["Report", "check", "outline"]

COUNTED = 1000
"""Texts of a training, evenly spread over them, whose tokens are counted at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check saw, as text, and what would fail."""

    text: str
    problems: tuple[str, ...]


def check(plan: Plan, work: Work, progress: Progress) -> Report:
    """Prepare every cell as a run would: corpora cut and searched, questions rendered, joins and lengths checked."""
    quiet()
    steps = SharedSteps(plan, work, progress)
    lines = [
        f"{plan.spec.name}: {counted(len(plan.cells), 'cell')} on {counted(len(plan.weights), 'set')} of weights",
        "",
    ]
    problems: dict[str, int] = {}
    ready: list[PreparedCell] = []
    with progress.step("preparing cells", len(plan.cells)) as advance:
        for cell in plan.cells:
            try:
                ready.append(steps.prepared(cell))
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises is told like in a run
                _note(problems, work, "preparing cells", error, 1)
            advance(1)
    lines += [_row(prepared) for prepared in ready]
    lines += ["", *_forecast(ready), *_writing(steps, problems), *_training(steps, problems)]
    for cell in _one_of_each_method(plan.cells):
        shown = next((prepared for prepared in ready if prepared.plan == cell), None)
        lines += ["", *_example(shown)] if shown else []
    told = tuple(f"{problem} ({counted(count, 'cell')})" for problem, count in problems.items())
    return Report("\n".join(lines), told)


def _note(problems: dict[str, int], work: Work, doing: str, error: Exception, cells: int) -> None:
    """Put an error among the problems, with the number of cells that it costs."""
    said = explain_error(work, doing, error)
    problems[said] = problems.get(said, 0) + cells


def outline(spec: Spec, lock: Lock) -> str:
    """What can be said of a file whose data are not there: models, tasks and arms, and what a network must give.

    SpecError for what is wrong all the same, such as a task that lm-eval does not have.
    """
    tasks = [f"{name} ({join([str(count) for count in task.shots], 'or')} shots)" for name, task in spec.tasks.items()]
    arms = []
    for name, method in spec.methods.items():
        vary = spec.trainers[method.train].vary if method.train else {}
        settings = [f"{key} {join([show_value(value) for value in values], 'or')}" for key, values in vary.items()]
        settings += [f"k {join([str(k) for k in method.top_k], 'or')}"] if method.top_k else []
        arms.append(f"{name} ({', '.join(settings)})" if settings else name)
    lines = [
        f"{spec.name}: keys, names and options are right; prompts and costs are known once all is there",
        f"models: {join(list(spec.models))}",
        f"tasks: {join(tasks)}",
        f"arms: {'; '.join(arms)}",
        *_online(spec, lock),
    ]
    return "\n".join(lines)


def _online(spec: Spec, lock: Lock) -> list[str]:
    """What each table takes from a network, whether or not it was taken already: nobody is asked."""
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
    return ["taken from a network, where it is not on this machine already:", *lines] if lines else []


def _row(prepared: PreparedCell) -> str:
    """A cell's questions, the lengths of its prompts and what was dropped from them."""
    tokens = [prompt.tokens for prompt in prepared.prompts if prompt.tokens is not None]
    lengths = f"tokens {min(tokens)} / {median(tokens):.0f} / {max(tokens)}" if tokens else "tokens not counted"
    dropped = sum(prompt.dropped for prompt in prepared.prompts)
    cuts = f", {dropped} passages dropped" if dropped else ""
    return f"{prepared.plan.cell.place}: {len(prepared.prompts)} questions, {lengths} (least / median / most){cuts}"


def _forecast(ready: Sequence[PreparedCell]) -> list[str]:
    """Requests and prompt tokens that a run would ask, answers stored from earlier runs not counted off."""
    lines = []
    for weights in dict.fromkeys(prepared.plan.weights for prepared in ready):
        cells = [prepared for prepared in ready if prepared.plan.weights == weights]
        requests = [request for prepared in cells for some in prepared.requests for request in some]
        asked = sum(map(len, batches(requests)))
        counted = [prompt.tokens for prepared in cells for prompt in prepared.prompts]
        tokens = (
            f"{sum(t for t in counted if t):,} prompt tokens" if None not in counted else "prompt tokens not counted"
        )
        lines.append(f"forecast for {weights.model}: {asked:,} requests, {tokens}")
    return lines


def _writing(steps: SharedSteps, problems: dict[str, int]) -> list[str]:
    """What each text that a writer is paid for would still cost, answers kept from earlier runs counted off."""
    plan = steps.plan
    lines: dict[str, None] = {}
    for step in _texts(plan):
        order = writing_order(step, plan.spec)
        try:
            for line in _price(step, order, steps) if order else ():
                lines[line] = None
        except KibError as error:
            problems.setdefault(str(error), sum(1 for cell in plan.cells if step in _read_by(cell.weights)))
    return list(lines)


def _price(step: TextStep | HeldBackStep, order: WritingOrder, steps: SharedSteps) -> Iterator[str]:
    """A text's forecast, of the kinds of text that its step keeps; InputError where it could not be written or paid."""
    spec, lock, work = steps.plan.spec, steps.plan.lock, steps.context.work
    writer = selected_writer(order, steps.context)
    if not isinstance(writer, PaidWriter):
        return
    what = "texts a passage to validate on" if isinstance(step, HeldBackStep) else "texts a passage"
    where = f"forecast for writer {order.writer} on {step.passages.corpus}, {order.count} {what}"
    if work.has("text", step.identity):
        yield f"{where}: written already"
        return
    with remembered(paid_answers_path(work.folder, lock.get("writers", order.writer).plugin_name)) as kept:
        cost = writer.forecast(order.sampled(steps.passages(step.passages)), order.count, order.seed, kept)
    yield f"{where}: {say_cost(cost, spec.prices)}"
    if cost.calls:
        writer.ready()


def _training(steps: SharedSteps, problems: dict[str, int]) -> list[str]:
    """What each training would read in a pass, where that is made without paying; what a trainer would refuse."""
    plan, lines = steps.plan, []
    for weights in plan.weights:
        text = weights.text
        if text is None:
            continue
        try:
            steps.once(("trainer", *_trained_by(weights)), partial(_ask_trainer, plan, weights))
            if _is_free(steps, text):
                lines.append(steps.once(("pass", text), partial(_pass, steps, text)))
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is told like in a run
            _note(problems, steps.context.work, "checking trainings", error, len(plan.on(weights)))
    return list(dict.fromkeys(lines))


def _trained_by(weights: WeightsStep) -> tuple[object, ...]:
    """What a trainer's check depends on: seeds and texts do not count."""
    return (weights.model, weights.trainer, weights.settings, weights.validation is None)


def _ask_trainer(plan: Plan, weights: WeightsStep) -> None:
    trainer = plan.lock.get("trainers", str(weights.trainer), weights.settings).plugin
    model = plan.lock.get("models", weights.model).plugin
    start = model.described() if isinstance(model, DescribedModel) else model.weights()
    if start is None:
        raise InputError(f"models.{weights.model}: this model cannot be trained")
    if isinstance(trainer, CheckedTrainer):
        trainer.check(start, weights.validation is not None)


def _is_free(steps: SharedSteps, text: TextStep) -> bool:
    """Whether nobody is paid for a training's text, or was already."""
    plan = steps.plan
    orders = [writing_order(step, plan.spec) for step in (text, text.as_many_as) if step]
    writers = [plan.lock.get("writers", order.writer).plugin for order in orders if order]
    return steps.context.work.has("text", text.identity) or not any(isinstance(one, PaidWriter) for one in writers)


def _pass(steps: SharedSteps, step: TextStep) -> str:
    """A training's texts and their tokens, of large texts estimated from some."""
    texts, tokens = steps.text(step), steps.plan.lock.get("models", step.tokenizer_of).plugin.tokens()
    some = texts[:: -(-len(texts) // COUNTED)]
    read = [one.text if one.answer is None else f"{one.text} {one.answer}" for one in some]
    whole = sum(len(tokens(one)) for one in read) * len(texts) // len(some) if tokens else 0
    size = f"about {whole:,} tokens a pass" if tokens else "tokens not counted"
    return f"forecast for trainer {step.trainer} on {step.passages.corpus}: {counted(len(texts), 'text')}, {size}"


def _texts(plan: Plan) -> list[TextStep | HeldBackStep]:
    """Each text that some training reads or is measured by, once."""
    steps = [step for weights in plan.weights for step in _read_by(weights)]
    return list(dict.fromkeys(steps))


def _read_by(weights: WeightsStep) -> list[TextStep | HeldBackStep]:
    text, validation = weights.text, weights.validation
    steps: list[TextStep | HeldBackStep | None] = [text, text.as_many_as if text else None]
    steps.append(validation if isinstance(validation, HeldBackStep) else None)
    return [step for step in steps if step]


def _one_of_each_method(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    chosen: dict[tuple[str, str], PlannedCell] = {}
    for cell in cells:
        chosen.setdefault((cell.cell.model, cell.cell.method), cell)
    return list(chosen.values())


def _example(prepared: PreparedCell) -> list[str]:
    """The first question as the model will read it, its answers behind it."""
    rule = "─" * 60
    answers = [repr(request.arguments[1]) for request in prepared.requests[0] if request.kind == "loglikelihood"]
    said = [f"answers scored: {' '.join(answers)}"] if answers else []
    head = f"{prepared.plan.cell.place}, question {prepared.asked[0].question_id}:"
    return [head, rule, prepared.prompts[0].text, rule, *said]
