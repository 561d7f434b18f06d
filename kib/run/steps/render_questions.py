"""Renders the questions of a task once per number of few-shot examples, split and chat template."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kib.errors import InputError
from kib.harness.few_shot import Chat
from kib.harness.query_template import query_template
from kib.harness.tasks import RenderedTask, from_questions, sample_rows
from kib.interfaces import ChatModel, HarnessTask
from kib.plan.planner import DEFAULT_SCORING
from kib.plan.steps import QuestionsStep
from kib.plugins.resolve import Locked
from kib.records import Question, RenderedQuestion, Split
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, iterate_plugin
from kib.run.visible_text import visible_questions
from kib.store.files import read_lines, write_lines
from kib.store.result_records import STORED
from kib.store.work import reading_step

__all__ = ["chat_template", "load_rendered_task", "render_questions", "task_queries"]

FILE = "asked.jsonl"

QUESTIONS = TypeAdapter(list[RenderedQuestion], config=STORED)


def load_rendered_task(name: str, split: Split, context: RunContext) -> RenderedTask:
    """Load the questions of one split of a task. Raises InputError if the task cannot be measured."""
    table, locked = context.spec.tasks[name], context.lock.get("tasks", name)
    if isinstance(locked.plugin, HarnessTask):
        with call_plugin(locked, "harness_task"):
            task, metric = locked.plugin.harness_task(), locked.plugin.metric()
        return RenderedTask(name, task, metric=metric, limit=table.limit, split=split)
    removed = Counter[str]() if context.spec.removes_invisible(table.corpus) else None
    examples = _read_questions(locked, "examples", removed) if any(table.shots) else []
    if max(table.shots) > len(examples):
        raise InputError(
            f"tasks.{name}.shots: {max(table.shots)} few-shot examples were requested, but the task has only "
            f"{len(examples)}"
        )
    scoring = table.scoring or DEFAULT_SCORING
    questions = _split_questions(locked, split, scoring, removed)
    task = from_questions(name, questions, examples, scoring, table.limit)
    task.removed = dict(removed or {})
    return task


def _read_questions(locked: Locked, split: str, removed: Counter[str] | None) -> list[Question]:
    """Return the questions of a split; count removed invisible characters in `removed`, or keep them if it is None."""
    with call_plugin(locked, "questions"):
        questions = locked.plugin.questions(split)
    questions = iterate_plugin(locked, "questions", questions, Question)
    return list(questions if removed is None else visible_questions(questions, removed))


def _split_questions(locked: Locked, split: Split, scoring: str, removed: Counter[str] | None) -> list[Question]:
    """Return the questions of a split; a probe uses the test questions, reworded or with rotated options."""
    if split != "probe":
        return _read_questions(locked, split, removed)
    tested = _read_questions(locked, "test", removed)
    if scoring == "letter":
        return [_rotated(question) for question in tested]
    reworded = {question.id: question for question in _read_questions(locked, "reworded", removed)}
    missing = [question.id for question in tested if question.id not in reworded]
    if missing:
        raise InputError(f"{len(missing)} questions have no reworded version, for example {missing[0]}")
    return [reworded[question.id] for question in tested]


def _rotated(question: Question) -> Question:
    """Return the question with its last option moved first, to reveal models that prefer a particular letter."""
    options = (question.options[-1], *question.options[:-1])
    return replace(question, options=options, answer=(question.answer + 1) % len(options))


def chat_template(model: str, context: RunContext) -> Any:
    """Return a function that applies a model's chat template. Raises InputError if the model has no such template.

    The function raises InputError if the template gives two different texts for one conversation.
    """
    plugin = context.lock.get("models", model).plugin
    if not isinstance(plugin, ChatModel):
        raise InputError(f"models.{model}.chat_template: this model has no chat template")
    return partial(_repeated_chat, model, plugin.chat)


def _repeated_chat(model: str, chat: Chat, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
    """Return a formatted conversation, which is formatted twice because one identity must have one text."""
    text, again = (chat(messages, add_generation_prompt) for _ in range(2))
    if text != again:
        raise InputError(
            f"models.{model}.chat_template: the template gives two different texts for the same conversation, for "
            "example because it prints the time or a random number; use a template without such parts"
        )
    return text


def render_questions(step: QuestionsStep, task: RenderedTask | None, context: RunContext) -> list[RenderedQuestion]:
    """Return the rendered questions of a task; render the questions only if they are not stored.

    If `task` is None, the task is loaded only when needed.
    """

    def build(folder: Path) -> dict[str, Any]:
        chat = chat_template(step.chat_of, context) if step.chat_of else None
        split = "" if step.split == "test" else f", {step.split}"
        with context.progress.step(f"reading task {step.task}, {step.shots}-shot{split}"):
            ready = task or load_rendered_task(step.task, step.split, context)
            questions = ready.ask(step.shots, context.spec.tasks[step.task].query, chat, context.spec.prompt.limits())
        _check_ids(step.task, questions)
        lines = QUESTIONS.dump_python(questions, by_alias=True, warnings=False)
        return {"task": step.task, "n": write_lines(folder / FILE, lines), "removed": ready.removed}

    folder = context.work.compute("asked", step.identity, build)
    with reading_step(folder / FILE):
        return QUESTIONS.validate_python(list(read_lines(folder / FILE)))


def task_queries(task: str, context: RunContext) -> list[RenderedQuestion]:
    """Return the search queries and gold for a task's test questions; the fields `head` and `ask` are empty.

    Prompts for the user's own questions are not rendered for this purpose, so lm-eval is not required.
    """
    table, locked = context.spec.tasks[task], context.lock.get("tasks", task)
    limits = context.spec.prompt.limits()
    if isinstance(locked.plugin, HarnessTask):
        return load_rendered_task(task, "test", context).ask(table.shots[0], table.query, limits=limits)
    removed = Counter[str]() if context.spec.removes_invisible(table.corpus) else None
    questions = _read_questions(locked, "test", removed)
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
        raise InputError(f"tasks.{task}: {len(questions) - len(ids)} question ids appear twice; ids must be unique")
