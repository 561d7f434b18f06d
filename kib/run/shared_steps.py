"""The steps that cells share; each step is computed or read at most once per run."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from kib.errors import DamagedError
from kib.harness.tasks import RenderedTask
from kib.interfaces import GeneratingModel, HarnessTask
from kib.plan.plan import Plan
from kib.plan.steps import (
    HeldBackStep,
    HitsStep,
    IndexStep,
    PassagesStep,
    PlannedCell,
    QuestionsStep,
    TextStep,
    WeightsStep,
)
from kib.progress import Progress
from kib.records import Hit, RenderedQuestion, Request, Split, Text, Trained
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin
from kib.run.steps.ask_system import system_request
from kib.run.steps.cells import PreparedCell, prepare_cell
from kib.run.steps.gold_passages import LocatedGold, locate_gold
from kib.run.steps.hits import build_index, find_hits
from kib.run.steps.own_questions import OwnQuestions, read_own_questions
from kib.run.steps.passages import Passages, split_corpus
from kib.run.steps.render_questions import load_rendered_task, render_questions
from kib.run.steps.train_weights import TrainerTexts, train_weights
from kib.run.steps.training_pairs import pair_form_remark, render_pairs
from kib.run.steps.training_text import as_document, write_held_back_text, write_training_text, writing_costs
from kib.run.token_budget import DEFAULT_ANSWER_TOKENS, TokenBudget
from kib.store.work import Work

__all__ = ["SharedSteps"]

Recorded = TypeVar("Recorded", PassagesStep, TextStep, QuestionsStep)


class SharedSteps:
    """The results of a plan's steps. A step runs on first access, and the step's result or error is cached.

    `gold_remarks` contains the remarks on located gold, and `says_gold` determines whether `progress` prints them.
    """

    def __init__(self, plan: Plan, work: Work, progress: Progress, *, says_gold: bool = True) -> None:
        self.plan = plan
        self.gold_remarks: dict[str, None] = {}
        self.says_gold = says_gold
        self.context = RunContext(plan.spec, plan.lock, work.reporting_to(progress.say), progress)
        self._results: dict[Any, Any] = {}
        self._errors: dict[Any, tuple[Exception, TracebackType | None]] = {}

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Return the result stored under `key`, computing it on first access. A stored error is always raised again."""
        if key not in self._results and key not in self._errors:
            try:
                self._results[key] = compute()
            except Exception as error:  # noqa: BLE001 - raised below, with the same traceback for every cell
                self._errors[key] = (error, error.__traceback__)
        if key in self._errors:
            failure, traceback = self._errors[key]
            raise failure.with_traceback(traceback)
        return self._results[key]

    def own_questions(self, task: str) -> OwnQuestions | None:
        """Return all questions of a task, or None for an lm-eval task."""
        locked = self.context.lock.get("tasks", task)
        if isinstance(locked.plugin, HarnessTask):
            return None
        table = self.context.spec.tasks[task]
        invisible = not self.context.spec.removes_invisible(table.corpus)
        read = partial(read_own_questions, locked, max(table.shots), invisible=invisible)
        questions: OwnQuestions = self.once(("own questions", task), read)
        return questions

    def rendered_task(self, task: str, split: Split) -> RenderedTask:
        """Return one split of a task with its questions loaded."""
        loaded: RenderedTask = self.once(
            ("rendered task", task, split),
            lambda: load_rendered_task(task, split, self.own_questions(task), self.context),
        )
        return loaded

    def questions(self, step: QuestionsStep) -> list[RenderedQuestion]:
        """Return the rendered questions of a task."""

        def compute() -> list[RenderedQuestion]:
            return render_questions(step, partial(self.rendered_task, step.task, step.split), self.context)

        questions: list[RenderedQuestion] = self.once(step, compute)
        return questions

    def provide_questions(self, step: QuestionsStep, questions: list[RenderedQuestion]) -> None:
        """Store `questions` as the result of a step, so that no task is rendered for this step."""
        self._results[step] = questions

    def passages(self, step: PassagesStep) -> Passages:
        """Return the passages of a corpus."""
        passages: Passages = self.once(step, partial(split_corpus, step, self.context))
        return passages

    def located_gold(self, asked: QuestionsStep, passages: PassagesStep) -> LocatedGold | None:
        """Return the gold of each question in a corpus; None for queries, control tasks and tasks without gold."""

        def compute() -> LocatedGold | None:
            questions = self.questions(asked)
            task = self.plan.spec.tasks.get(asked.task)
            if task is None or task.role == "control" or not any(question.gold for question in questions):
                return None
            wanted = {question.question_id: question.gold for question in questions}
            located = locate_gold(wanted, self.passages(passages))
            for remark in located.remarks():
                self._note_gold(f"tasks.{asked.task}: {remark}")
            return located

        located: LocatedGold | None = self.once(("gold", asked.task, asked.split, passages), compute)
        return located

    def _note_gold(self, remark: str) -> None:
        """Store a remark, and print the remark unless it repeats the remark on a different split or chunk size."""
        if self.says_gold and remark not in self.gold_remarks:
            self.context.progress.say(remark)
        self.gold_remarks[remark] = None

    def gold(self, asked: QuestionsStep, passages: PassagesStep) -> Mapping[str, tuple[str, ...]] | None:
        """Return the ids of each question's gold passages; None for queries, control tasks and tasks without gold."""
        located = self.located_gold(asked, passages)
        return located.passages if located else None

    def index(self, step: IndexStep) -> Path:
        """Return the folder of a retriever's index."""
        folder: Path = self.once(step, lambda: build_index(step, self.passages(step.passages), self.context))
        return folder

    def hits(self, step: HitsStep) -> dict[str, list[Hit]]:
        """Return a retriever's hits for the questions of a task."""

        def compute() -> dict[str, list[Hit]]:
            gold = self.located_gold(step.asked, step.passages) or LocatedGold()
            sources = {source.retriever: self.hits(source) for source in step.of}
            questions, passages = self.questions(step.asked), self.passages(step.passages)
            return find_hits(step, questions, gold, passages, sources, self.context)

        hits: dict[str, list[Hit]] = self.once(step, compute)
        return hits

    def record_of(self, kind: str, step: Recorded, compute: Callable[[Recorded], Any]) -> dict[str, Any]:
        """Return the record of a step; if the record is missing or damaged, recompute the step."""
        if not self.context.work.record(kind, step.identity):
            compute(step)
        return self.context.work.record(kind, step.identity)

    def text(self, step: TextStep) -> list[Text]:
        """Return the training text for a training run."""

        def compute() -> list[Text]:
            replay = self.passages(step.replay) if step.replay else None
            other = self.text(step.as_many_as) if step.as_many_as else None
            questions = partial(self._question_texts, step)
            return write_training_text(step, self.passages(step.passages), replay, other, questions, self.context)

        text: list[Text] = self.once(step, compute)
        return text

    def _question_texts(self, step: TextStep) -> set[str]:
        """Return the texts of the questions that pairs must not repeat, excluding few-shot examples."""
        texts: set[str] = set()
        for task in step.tasks:
            own = self.own_questions(task)
            if own is None:
                texts.update(self.rendered_task(task, "test").question_texts())
            else:
                asked = (question for split in own.splits if split != "examples" for question in own.splits[split])
                texts.update(question.text for question in asked)
        return texts

    def held_back(self, step: HeldBackStep) -> list[Text]:
        """Return a writer's validation text."""

        def compute() -> list[Text]:
            questions = partial(self._question_texts, step.text)
            passages, training = self.passages(step.passages), self.text(step.text)
            return write_held_back_text(step, passages, training, questions, self.context)

        text: list[Text] = self.once(step, compute)
        return text

    def trained(self, step: WeightsStep) -> Trained | None:
        """Return the trained weights, or None for an untrained model."""
        text = step.text
        if text is None:
            return None
        trained: Trained = self.once(
            step, lambda: train_weights(step, partial(self.trainer_texts, step, text), self.context)
        )
        return trained

    def trainer_texts(self, step: WeightsStep, text: TextStep) -> TrainerTexts:
        """Return the texts for a training run, with question-answer pairs in the form in which they are asked."""
        training, validation, held_out = self.text(text), self._unseen(step.validation), self._unseen(step.held_out)
        written: list[TextStep | HeldBackStep] = [text]
        if isinstance(step.validation, HeldBackStep):
            written.append(step.validation)
        costs = writing_costs(written, self.context.work)
        if step.pairs is None:
            return TrainerTexts(training, validation, held_out, costs)
        rendered, open_pairs = render_pairs(training, step.pairs, self.context)
        validation, _ = render_pairs(validation, step.pairs, self.context)
        return TrainerTexts(rendered, validation, held_out, costs, open_pairs)

    def pair_remarks(self, plan: PlannedCell, open_pairs: int | None = None) -> list[str]:
        """Return a sentence about trained question-answer pairs that do not have the form of the cell's task, or [].

        `open_pairs` is the number of pairs that could not be trained in this form, or None before a training run.
        """
        form, task = plan.weights.pairs, plan.cell.task
        if form is None:
            return []
        if task in form.others:
            pairs = f"question-answer pairs of the trainer {plan.weights.trainer}"
            return [f"{pairs} are trained in the form of the task {form.task}, not of this task"]
        plugin = self.context.lock.get("tasks", task).plugin
        if open_pairs == 0 or task != form.task or not isinstance(plugin, HarnessTask):
            return []
        asked = self.rendered_task(task, "test")
        remark: str | None = self.once(("pairs", form), partial(pair_form_remark, asked, form, self.context))
        return [f"trainer {plan.weights.trainer}: {remark}"] if remark else []

    def _unseen(self, step: PassagesStep | HeldBackStep | None) -> list[Text]:
        """Return the validation text or other text excluded from training, or [] if the spec declares no such text."""
        if isinstance(step, HeldBackStep):
            return self.held_back(step)
        return list(map(as_document, self.passages(step))) if step else []

    def token_budget(self, model: str) -> TokenBudget:
        """Return the tokenizer of a model together with its token limit."""

        def compute() -> TokenBudget:
            locked = self.context.lock.get("models", model)
            with call_plugin(locked, "tokens"):
                tokens = locked.plugin.tokens()
            with call_plugin(locked, "context_length"):
                length = locked.plugin.context_length()
            generated = None
            if isinstance(locked.plugin, GeneratingModel):
                with call_plugin(locked, "generated_tokens"):
                    generated = locked.plugin.generated_tokens()
            return TokenBudget(tokens, length, self.context.spec.prompt.tokens, generated or DEFAULT_ANSWER_TOKENS)

        budget: TokenBudget = self.once(("token budget", model), compute)
        return budget

    def answerer_budget(self, weights: WeightsStep) -> TokenBudget:
        """Return the token budget of the model that answers; prompts for a system are neither counted nor shortened."""
        return self.token_budget(weights.model) if weights.system is None else TokenBudget(None, None, None, 0)

    def _requests_of(self, plan: PlannedCell, task: RenderedTask) -> Callable[[int, str], list[Request]]:
        """Return a function that returns the requests for the number and the prompt of a question of a cell."""
        if plan.weights.system is None:
            return partial(task.requests, chat=plan.asked.chat_of is not None)
        locked = self.plan.answerer(plan.weights)
        with call_plugin(locked, "reads_ids"):
            ids = task.question_ids() if locked.plugin.reads_ids() else None
        return lambda number, text: [system_request(text, ids[number] if ids else None)]

    def prepared(self, plan: PlannedCell) -> PreparedCell:
        """Return the prompts and requests of a cell."""
        hits = self.hits(plan.hits) if plan.hits else None
        passages = self.passages(plan.hits.passages) if plan.hits else None
        questions = self.questions(plan.asked)
        task = self.rendered_task(plan.cell.task, plan.asked.split)
        if [question.question_id for question in questions] != task.question_ids():
            folder = self.context.work.step_folder("asked", plan.asked.identity)
            raise DamagedError(
                f"{folder}: the stored questions are not the questions of task {plan.cell.task}; delete this folder "
                "and run the command again"
            )
        requests_of, budget = self._requests_of(plan, task), self.answerer_budget(plan.weights)
        return prepare_cell(plan, self.context.spec, requests_of, questions, hits, passages, budget)
