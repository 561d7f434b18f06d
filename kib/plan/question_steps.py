"""Plans the steps that render questions, and states in which form tasks and models ask."""

from typing import Any

from kib.harness.letter_tasks import LETTER_REVISION
from kib.harness.open_tasks import OPEN_REVISION
from kib.interfaces import BackendModel, ChatOnlyModel, HarnessTask
from kib.plan.step_planner import StepPlanner, computed_once, identity_of
from kib.plan.steps import QuestionsStep
from kib.plugins.resolve import Lock
from kib.records import Split
from kib.spec.load import Spec, TaskTable
from kib.spec.tables import GENERATION_KEYS

__all__ = [
    "DEFAULT_SCORING",
    "INVISIBLE_REVISION",
    "LETTER_SCORINGS",
    "QuestionPlanner",
    "asks_in_chats",
    "prompt_form",
    "why_no_probe",
]

INVISIBLE_REVISION = 2
"""Increase this number when kib removes different invisible characters from documents and questions."""

EXAMPLES_REVISION = 2
"""Increase this number when kib draws different few-shot examples for the same lm-eval task."""

BARE_REVISION = 1
"""Increase this number when kib sends different texts to systems for the same questions."""

DEFAULT_SCORING = "text"

LETTER_SCORINGS = ("letter", "letter-text")
"""The kinds of scoring whose prompts list options with letters."""


class QuestionPlanner(StepPlanner):
    """Creates the steps that render questions."""

    @computed_once
    def asked(self, task: str, shots: int, chat: str | None, split: Split) -> QuestionsStep:
        """Return the step that renders the questions of a task for a model; `chat` is a model that reads chats."""
        chat_identity = self.lock.get("models", chat).identity if chat else None
        questions = self.content(task, split)
        if shots and isinstance(self.lock.get("tasks", task).plugin, HarnessTask):
            questions = {**questions, "examples": EXAMPLES_REVISION}
        identity = identity_of("asked", questions, shots, chat_identity)
        return QuestionsStep(identity, task, shots, chat, split)

    @computed_once
    def bare(self, task: str, split: Split) -> QuestionsStep:
        """Return the step that renders questions for a system."""
        identity = identity_of("asked", self.content(task, split), "bare", BARE_REVISION)
        return QuestionsStep(identity, task, 0, None, split, bare=True)

    @computed_once
    def content(self, task: str, split: Split) -> dict[str, Any]:
        """Return everything that determines the questions of a task, except the few-shot examples."""
        table, locked = self.spec.tasks[task], self.lock.get("tasks", task)
        own = not isinstance(locked.plugin, HarnessTask)
        scoring = (table.scoring or DEFAULT_SCORING) if own else None
        parts = {"task": locked.identity, "query": table.query, "scoring": scoring, "limit": table.limit}
        if own and table.metrics:
            keys = {key: getattr(table, key) for key in GENERATION_KEYS}
            parts["generated"] = {**keys, "revision": OPEN_REVISION}
        if table.scoring == "letter-text":
            parts["letter"] = LETTER_REVISION
        removes = own and self.spec.removes_invisible(table.corpus)
        return {**parts, "split": split, **({"invisible": INVISIBLE_REVISION} if removes else {})}


def why_no_probe(table: TaskTable, plugin: Any) -> str:
    """Return the reason why a second measurement of base with changed questions is impossible, or "" if it is possible.

    The second measurement determines which questions the base model already answers correctly.
    """
    if isinstance(plugin, HarnessTask):
        return "lm-eval defines the prompt"
    if table.scoring in LETTER_SCORINGS or "reworded" in plugin.splits():
        return ""
    letters = "" if table.metrics else ', or scoring = "letter"'
    return f"the questions have one wording; give the task `reworded` questions{letters}"


def asks_in_chats(spec: Spec, lock: Lock, model: str) -> bool:
    """Return whether the prompts of a model are chats."""
    return spec.models[model].chat_template or isinstance(lock.get("models", model).plugin, ChatOnlyModel)


def prompt_form(spec: Spec, lock: Lock, model: str) -> str:
    """Return the form in which a model is asked in words: whether prompts are chats, and any backend."""
    form = "prompts are chats" if asks_in_chats(spec, lock, model) else "prompts are texts"
    plugin = lock.get("models", model).plugin
    return f"{form}, backend {plugin.backend()}" if isinstance(plugin, BackendModel) else form
