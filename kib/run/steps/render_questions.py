"""A task's questions as they are asked, rendered once for each number of shots."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.harness.query_template import query_template
from kib.harness.tasks import RenderedTask, from_questions, sample_rows
from kib.interfaces import ChatModel, HarnessTask
from kib.plan.planner import DEFAULT_SCORING, QuestionsStep
from kib.plugins.resolve import Lock
from kib.progress import Progress
from kib.records import Gold, Question, RenderedQuestion, Split
from kib.spec.load import Spec
from kib.store.folders import Work, read_lines, write_lines

__all__ = ["chat_of", "load_rendered_task", "make", "queries"]

FILE = "asked.jsonl"


def load_rendered_task(name: str, split: Split, spec: Spec, lock: Lock) -> RenderedTask:
    """A task's rendered_task over a split, its data loaded; InputError where it cannot be measured."""
    table, plugin = spec.tasks[name], lock.get("tasks", name).plugin
    if isinstance(plugin, HarnessTask):
        return RenderedTask(name, plugin.harness_task(), metric=plugin.metric(), limit=table.limit, split=split)
    examples = list(plugin.questions("examples")) if any(table.shots) else []
    if max(table.shots) > len(examples):
        raise InputError(f"tasks.{name}.shots: {max(table.shots)} asked for, but the task has {len(examples)} examples")
    scoring = table.scoring or DEFAULT_SCORING
    return from_questions(name, _questions(plugin, split, scoring), examples, scoring, table.limit)


def _questions(plugin: Any, split: Split, scoring: str) -> list[Question]:
    """A split's questions; a probe asks those of the test with options in another order, or in other words."""
    if split != "probe":
        return list(plugin.questions(split))
    if scoring == "letter":
        return [_rotated(question) for question in plugin.questions("test")]
    reworded = {question.id: question for question in plugin.questions("reworded")}
    ids = [question.id for question in plugin.questions("test")]
    lost = [question for question in ids if question not in reworded]
    if lost:
        raise InputError(f"{len(lost)} questions have no other wording, for example {lost[0]}")
    return [reworded[question] for question in ids]


def _rotated(question: Question) -> Question:
    """The last option comes first: a model that only likes a letter answers something else now."""
    options = (question.options[-1], *question.options[:-1])
    return replace(question, options=options, answer=(question.answer + 1) % len(options))


def chat_of(model: str, lock: Lock) -> Any:
    """A model's chat template as a function; InputError where it has none."""
    plugin = lock.get("models", model).plugin
    if not isinstance(plugin, ChatModel):
        raise InputError(f"models.{model}.chat_template: this model offers no chat template")
    return plugin.chat


def make(
    step: QuestionsStep, rendered_task: RenderedTask | None, spec: Spec, lock: Lock, work: Work, progress: Progress
) -> list[RenderedQuestion]:
    """The rendered questions, made once; `rendered_task` is loaded where it is not given and needed."""

    def build(folder: Path) -> dict[str, Any]:
        chat = chat_of(step.chat_of, lock) if step.chat_of else None
        split = "" if step.split == "test" else f", {step.split}"
        with progress.step(f"reading task {step.task}, {step.shots}-shot{split}"):
            ready = rendered_task or load_rendered_task(step.task, step.split, spec, lock)
            asked = ready.ask(step.shots, spec.tasks[step.task].query, chat)
        _check(step.task, asked)
        return {"task": step.task, "n": write_lines(folder / FILE, map(_stored, asked))}

    folder = work.make("asked", step.identity, build)
    return [_asked(value) for value in read_lines(folder / FILE)]


def queries(task: str, spec: Spec, lock: Lock) -> list[RenderedQuestion]:
    """What is searched for on behalf of a task's test questions, with their gold; `head` and `ask` are left empty.

    Questions of the user's own are not rendered for this, so that lm-eval is not needed.
    """
    table, plugin = spec.tasks[task], lock.get("tasks", task).plugin
    if isinstance(plugin, HarnessTask):
        return load_rendered_task(task, "test", spec, lock).ask(table.shots[0], table.query)
    questions = list(plugin.questions("test"))
    if not questions:
        raise InputError(f"tasks.{task}: the task has no question")
    search = query_template(task, table.query)
    made = []
    for question in (questions[row] for row in sample_rows(len(questions), table.limit)):
        query = search({"question": question.text, "options": list(question.options)}) or question.text
        made.append(RenderedQuestion(question.id, "", "", query, gold=question.gold, group=question.group))
    _check(task, made)
    return made


def _check(task: str, asked: list[RenderedQuestion]) -> None:
    ids = {question.question_id for question in asked}
    if len(ids) < len(asked):
        raise InputError(f"tasks.{task}: {len(asked) - len(ids)} question ids stand twice; ids must be unique")


def _stored(asked: RenderedQuestion) -> dict[str, Any]:
    """Return what the work folder keeps of a rendered question."""
    value = asdict(asked)
    return {"question": value.pop("question_id"), **value}


def _asked(value: Mapping[str, Any]) -> RenderedQuestion:
    gold = tuple(Gold(**entry) for entry in value["gold"])
    value = {"question_id": value["question"], **{key: one for key, one in value.items() if key != "question"}}
    return RenderedQuestion(**{**value, "options": tuple(value["options"]), "gold": gold})
