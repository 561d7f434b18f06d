"""Renders the questions of a task once per number of few-shot examples, split and chat template."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kib.errors import InputError
from kib.harness.few_shot import Chat
from kib.harness.letter_tasks import letter_task
from kib.harness.open_tasks import OpenForm, open_task
from kib.harness.query_template import query_template
from kib.harness.tasks import RenderedTask, from_questions, sample_rows
from kib.interfaces import ChatModel, HarnessTask
from kib.plan.question_steps import DEFAULT_SCORING, LETTER_SCORINGS
from kib.plan.steps import QuestionsStep
from kib.records import Question, RenderedQuestion, Split
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin
from kib.run.steps.own_questions import OwnQuestions, read_remarks, read_split
from kib.spec.tables import TaskTable
from kib.store.files import read_lines, write_lines
from kib.store.result_records import STORED
from kib.store.work import reading_step
from kib.support.phrases import counted
from kib.text_metrics.abstentions import usual_abstentions
from kib.text_metrics.metrics import AnswerRules

__all__ = [
    "chat_template",
    "describe_probes",
    "load_rendered_task",
    "probe_counts",
    "render_questions",
    "task_queries",
]

FILE = "asked.jsonl"

QUESTIONS = TypeAdapter(list[RenderedQuestion], config=STORED)


def load_rendered_task(name: str, split: Split, own: OwnQuestions | None, context: RunContext) -> RenderedTask:
    """Load the questions of one split of a task; `own` is None for an lm-eval task.

    Raises InputError if the task cannot be measured.
    """
    table, locked = context.spec.tasks[name], context.lock.get("tasks", name)
    if own is None:
        with call_plugin(locked, "harness_task"):
            task, metric = locked.plugin.harness_task(), locked.plugin.metric()
        notes = read_remarks(locked, split)
        return RenderedTask(name, task, metric=metric, limit=table.limit, split=split, notes=notes)
    examples = own.splits["examples"] if any(table.shots) else []
    if max(table.shots) > len(examples):
        raise InputError(
            f"tasks.{name}.shots: expected at most {len(examples)}, the number of few-shot examples of the task, got "
            f"{max(table.shots)}"
        )
    source, questions = _questions_of(own, split, letters=table.scoring in LETTER_SCORINGS)
    notes = [*own.remarks[source], *(own.remarks["examples"] if examples else ())]
    task = _task_of_questions(table, questions, examples, notes)
    task.removed = own.removed[source] + (own.removed["examples"] if examples else Counter())
    return task


def _task_of_questions(
    table: TaskTable, questions: Sequence[Question], examples: Sequence[Question] = (), notes: Sequence[str] = ()
) -> RenderedTask:
    """Return questions as a task that asks and scores in the form of a task's table."""
    if table.scoring == "letter-text":
        return letter_task(table.name, questions, examples, table.limit, notes)
    if not table.metrics:
        scoring = str(table.scoring or DEFAULT_SCORING)
        return from_questions(table.name, questions, examples, scoring, table.limit, notes)
    rules = AnswerRules(table.language, table.tolerance)
    abstentions = table.abstentions or usual_abstentions(table.language)
    form = OpenForm(table.metrics, table.max_tokens, table.stop, rules, abstentions)
    return open_task(table.name, questions, examples, form, table.limit, notes)


def _questions_of(own: OwnQuestions, split: Split, *, letters: bool) -> tuple[str, Sequence[Question]]:
    """Return the questions of a split, and the split in which they are written.

    A probe consists of the test questions, either reworded or with rotated options.
    """
    if split != "probe":
        return split, own.splits[split]
    if letters:
        return "test", [_rotated(question) for question in own.splits["test"]]
    reworded = {question.id: question for question in own.splits["reworded"]}
    missing = [question.id for question in own.splits["test"] if question.id not in reworded]
    if missing:
        verb = "has" if len(missing) == 1 else "have"
        raise InputError(f"{counted(len(missing), 'question')} {verb} no reworded version, for example {missing[0]}")
    return "reworded", [reworded[question.id] for question in own.splits["test"]]


def _rotated(question: Question) -> Question:
    """Return the question with its last option moved first, to reveal models that prefer a particular letter."""
    if question.answer is None:
        return question
    options = (question.options[-1], *question.options[:-1])
    return replace(question, options=options, answer=(question.answer + 1) % len(options))


def chat_template(model: str, context: RunContext) -> Any:
    """Return a function that applies a model's chat template. Raises InputError if the model has no such template.

    The function raises InputError if the template gives two different texts for one conversation.
    """
    locked = context.lock.get("models", model)
    if not isinstance(locked.plugin, ChatModel):
        raise InputError(
            f"models.{model}.chat_template: the plugin `{locked.plugin_name}` cannot apply chat templates; remove "
            "`chat_template`, or use a plugin such as `hf` that can"
        )
    return partial(_repeated_chat, model, locked.plugin.chat)


def _repeated_chat(model: str, chat: Chat, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
    """Return a formatted conversation, which is formatted twice because one identity must have one text."""
    text, again = (chat(messages, add_generation_prompt) for _ in range(2))
    if text != again:
        raise InputError(
            f"models.{model}.chat_template: the template gives two different texts for the same conversation, for "
            "example because it prints the time or a random number; use a template without such parts"
        )
    return text


def render_questions(
    step: QuestionsStep, load_task: Callable[[], RenderedTask], context: RunContext
) -> list[RenderedQuestion]:
    """Return the rendered questions of a task; load the task and render the questions only if they are not stored."""

    def build(folder: Path) -> dict[str, Any]:
        chat = chat_template(step.chat_of, context) if step.chat_of else None
        split = "" if step.split == "test" else f", {step.split}"
        form = "for systems" if step.bare else f"{step.shots}-shot{split}"
        with context.progress.step(f"reading task {step.task}, {form}"):
            task = load_task()
            query, limits = context.spec.tasks[step.task].query, context.spec.prompt.limits()
            questions = task.ask_bare(query, limits) if step.bare else task.ask(step.shots, query, chat, limits)
        _check_ids(step.task, questions)
        lines = QUESTIONS.dump_python(questions, by_alias=True, warnings=False)
        return {
            "task": step.task,
            "n": write_lines(folder / FILE, lines),
            "removed": task.removed,
            "notes": task.notes(step.shots),
            **({"probes": probes} if (probes := probe_counts(questions)) else {}),
        }

    folder = context.work.compute("asked", step.identity, build)
    with reading_step(folder / FILE):
        return QUESTIONS.validate_python(list(read_lines(folder / FILE)))


def probe_counts(questions: Iterable[Question | RenderedQuestion]) -> dict[str, int]:
    """Return the number of questions by probe; "" counts questions without a probe, and {} means no probes at all."""
    counts = Counter(question.probe or "" for question in questions)
    return dict(counts) if any(counts) else {}


def describe_probes(counts: Mapping[str, int]) -> list[str]:
    """Return one line with the number of questions by probe, or no line without probes."""
    parts = [f"{probe or 'no probe'} {count:,}" for probe, count in counts.items()]
    return [f"probes: {', '.join(parts)}"] if parts else []


def task_queries(task: str, context: RunContext) -> list[RenderedQuestion]:
    """Return the search queries and gold for a task's test questions; the fields `head` and `ask` are empty.

    Prompts for the user's own questions are not rendered for this purpose, so lm-eval is not required.
    """
    table, locked = context.spec.tasks[task], context.lock.get("tasks", task)
    limits = context.spec.prompt.limits()
    if isinstance(locked.plugin, HarnessTask):
        return load_rendered_task(task, "test", None, context).ask(table.shots[0], table.query, limits=limits)
    questions, _ = read_split(locked, "test", invisible=not context.spec.removes_invisible(table.corpus))
    if not questions:
        raise InputError(f"tasks.{task}: the task has no questions")
    search = query_template(task, table.query, limits)
    rendered = []
    for question in (questions[row] for row in sample_rows(len(questions), table.limit)):
        query = search({"question": question.text, "options": list(question.options)}) or question.text
        rendered.append(RenderedQuestion(question.id, "", "", query, gold=question.gold, group=question.group))
    _check_ids(task, rendered)
    return rendered


def _check_ids(task: str, questions: list[RenderedQuestion]) -> None:
    ids = {question.question_id for question in questions}
    if len(ids) < len(questions):
        count = len(questions) - len(ids)
        verb = "appears" if count == 1 else "appear"
        raise InputError(f"tasks.{task}: {counted(count, 'question id')} {verb} twice; ids must be unique")
