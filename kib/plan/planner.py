"""Turns a spec with its plugins into a plan: weights, cells and steps with their identities. Nothing is executed.

An identity is the digest of everything that determines the output of a step: the kind of step, the options, the plugin,
and the identities of the inputs. The number of stored hits (`depth`) is part of the identity of the hits, but not of
any cell, because a retriever's first K hits do not depend on the depth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from kib.identity import digest
from kib.interfaces import ChatOnlyModel, GoldRetriever, HarnessTask, TextOnlyTrainer
from kib.plan.plan import Plan, prompt_parts
from kib.plan.question_steps import QuestionPlanner, asks_in_chats, prompt_form, why_no_probe
from kib.plan.search_steps import SearchPlanner
from kib.plan.step_planner import StepPlanner, computed_once, identity_of
from kib.plan.steps import QUERIES, HitsStep, PassagesStep, PlannedCell, QuestionsStep, Settings, WeightsStep
from kib.plan.weights_steps import WeightsPlanner, tasks_of_trainer
from kib.plugins.resolve import Lock
from kib.records import Cell, Split
from kib.spec.load import Spec, TaskTable
from kib.spec.tables import measured_models
from kib.support.phrases import counted

__all__ = [
    "corpora_of_trainer",
    "hits_of_queries",
    "hits_of_task",
    "make_plan",
    "passages_of",
    "text_counts",
    "weights_of_trainer",
]

JUDGING_REVISION = 1
"""Increase this number when kib computes different scores from the same verdicts of a judge."""

REPEATED_QUESTIONS = 100
"""The default number of test questions per task that `base` is asked again if the model reads only chats.

Such a model is behind an endpoint, whose provider may replace the model at any time.
"""

MATCHING_REVISION = 1
"""Increase this number when kib recognises different passages that a system reports as gold."""


def make_plan(spec: Spec, lock: Lock) -> Plan:
    """Return the plan of a spec. Raises SpecError if a method produces no cell."""
    planner = _CellPlanner(spec, lock)
    cells = tuple(cell for name in spec.methods for cell in planner.cells(name))
    repeats = tuple(cell for name in spec.methods for cell in planner.repeats(name))
    order = {name: number for number, name in enumerate(spec.models)}
    return Plan(
        spec, lock, tuple(sorted((*cells, *repeats), key=lambda cell: (cell.weights.repeated, order[cell.cell.model])))
    )


def passages_of(spec: Spec, lock: Lock, corpus: str) -> PassagesStep:
    """Return the step that splits a corpus into passages, which is equal to the step in any plan of this spec."""
    return _CellPlanner(spec, lock).search.passages(corpus)


def hits_of_task(spec: Spec, lock: Lock, task: str, retriever: str, depth: int) -> HitsStep:
    """Return the step that searches for a task's test questions; any plan with this depth has an equal step."""
    return _CellPlanner(spec, lock).search.hits(retriever, task, depth, None, "test")


def hits_of_queries(
    spec: Spec, lock: Lock, corpus: str, retriever: str, queries: Sequence[tuple[str, str]], depth: int
) -> HitsStep:
    """Return the step that searches a corpus for (id, text) queries that do not belong to a task."""
    what = {"queries": digest([list(pair) for pair in queries])}
    asked = QuestionsStep(identity_of("queries", what), QUERIES, 0, None)
    return _CellPlanner(spec, lock).search.search(retriever, corpus, asked, (what, "target"), depth)


def weights_of_trainer(spec: Spec, lock: Lock, model: str, trainer: str, corpus: str, count: int | None) -> WeightsStep:
    """Return the step that would train a model on a trainer's text from a corpus, with the first seed.

    `count` selects one of several numbers of texts per passage; None if the trainer has a single number.
    """
    steps = _CellPlanner(spec, lock).weights.trained(model, trainer, corpus)
    return next(step for settings, step in steps if dict(settings).get("text.count") in (None, count))


def corpora_of_trainer(spec: Spec, trainer: str) -> list[str]:
    """Return the corpora of the target tasks that weights of a trainer are measured on, in the order of the tasks."""
    tables = [spec.tasks[task] for task in tasks_of_trainer(spec, trainer)]
    return list(dict.fromkeys(table.corpus for table in tables if table.corpus and table.role == "target"))


def text_counts(spec: Spec, trainer: str) -> tuple[int, ...]:
    """Return the numbers of texts per passage in a trainer's `vary`, or () if this number does not vary."""
    return tuple(map(int, spec.trainers[trainer].vary.get("text.count", ())))


class _CellPlanner(StepPlanner):
    """Creates the cells of one spec with their steps."""

    def __init__(self, spec: Spec, lock: Lock) -> None:
        super().__init__(spec, lock)
        self.questions = QuestionPlanner(spec, lock)
        self.search = SearchPlanner(spec, lock, self.questions)
        self.weights = WeightsPlanner(spec, lock, self.search)

    def cells(self, name: str) -> Iterator[PlannedCell]:
        """Yield the cells of a method. Raises SpecError if the method has no cells."""
        method = self.spec.methods[name]
        made = 0
        for model in measured_models(method, self.spec.methods.values(), self.spec.models):
            for settings, weights in self._weights(name, model):
                for task in method.tasks or self.spec.tasks:
                    for shots in self._shots(name, task):
                        for split in self._splits(name, task):
                            for cell in self._cells_of(name, model, weights, settings, (task, shots, split)):
                                made += 1
                                yield cell
        if not made:
            aim = "train on" if method.train else "retrieve from"
            reason = (
                (f"none of the method's tasks names a corpus to {aim}")
                if method.train or method.retrieve
                else "the method has no tasks"
            )
            raise self.wrong(f"the method yields no cells: {reason}", "methods", name)

    def repeats(self, name: str) -> Iterator[PlannedCell]:
        """Yield the cells that ask a sample of the questions of a base method again, after all other cells."""
        method = self.spec.methods[name]
        if not method.is_base:
            return
        for model in measured_models(method, self.spec.methods.values(), self.spec.models):
            count = self._repeated_questions(model)
            plain = self.weights.plain(model)
            weights = WeightsStep(identity_of("repeat", plain.identity), model, repeated=True)
            for task in (method.tasks or self.spec.tasks) if count else ():
                for shots in self.spec.tasks[task].shots:
                    for one in self._cells_of(name, model, weights, (), (task, shots, "test")):
                        identity = identity_of("repeat", one.cell.identity, count)
                        yield replace(one, cell=replace(one.cell, split="repeat", identity=identity), sample=count)

    def _repeated_questions(self, model: str) -> int:
        """Return the number of test questions per task that a model is asked again."""
        if (stated := self.spec.models[model].repeat_questions) is not None:
            return stated
        return REPEATED_QUESTIONS if isinstance(self.lock.get("models", model).plugin, ChatOnlyModel) else 0

    @computed_once
    def _shots(self, name: str, task: str) -> tuple[int, ...]:
        """Return the numbers of few-shot examples for a method; a system reads none.

        Raises SpecError if a system cannot answer the questions of the task, or if the task has no 0-shot cells.
        """
        method, table = self.spec.methods[name], self.spec.tasks[task]
        if method.system is None:
            return table.shots
        own = not isinstance(self.lock.get("tasks", task).plugin, HarnessTask)
        keys = ("methods", name, "system")
        if own and not table.metrics and table.scoring != "letter-text":
            raise self.wrong(
                f"the task {task} scores the log-probabilities of options, but a system returns only text; list other "
                'tasks in the method\'s `tasks`, or set `scoring` of the task to "letter-text" or to a metric such as '
                '"contains"',
                *keys,
            )
        if 0 not in table.shots:
            raise self.wrong(
                f"a system reads no few-shot examples, but the task {task} has only cells with examples; add 0 to "
                "`shots` of the task, or list other tasks in the method's `tasks`",
                *keys,
            )
        return (0,)

    @computed_once
    def _splits(self, name: str, task: str) -> list[Split]:
        """Return the splits for a method: "test" and, if needed, splits for choosing settings and for probing base."""
        splits: list[Split] = ["test"]
        method, table, plugin = self.spec.methods[name], self.spec.tasks[task], self.lock.get("tasks", task).plugin
        chooses = method.choose or (method.train and self.spec.trainers[method.train].choose == "validation")
        own = not isinstance(plugin, HarnessTask)
        if chooses and table.role == "target":
            if own and "validation" not in plugin.splits():
                raise self.wrong(f"choose: the task {task} has no validation questions", "methods", name)
            splits.append("validation")
        if method.is_base and table.role == "target" and not why_no_probe(table, plugin):
            splits.append("probe")
        return splits

    def _weights(self, name: str, model: str) -> Iterator[tuple[Settings, WeightsStep]]:
        """Yield the settings of each arm of a method, together with the weights with which the arm is measured."""
        method = self.spec.methods[name]
        if method.system is not None:
            yield (), self.weights.system(model, method.system)
            return
        if method.trained_as is not None:
            self._check_trained_elsewhere(name, model, method.trained_as)
        if method.train is None:
            yield (), self.weights.plain(method.trained_as or model)
            return
        trainer = self.lock.get("trainers", method.train, self.weights.arms(method.train)[0]).plugin
        if isinstance(trainer, TextOnlyTrainer):
            message = (
                f"the trainer {method.train} trains nothing here; export its text with `kib export`, and name the "
                "trained model with `trained_as` instead of `train`"
            )
            raise self.wrong(message, "methods", name, "train")
        if self.lock.get("models", model).plugin.weights() is None:
            message = f"the model {model} cannot be trained; list the other models in the method's `models`"
            raise self.wrong(message, "methods", name)
        for corpus in self._corpora(name):
            yield from self.weights.trained(model, method.train, corpus)

    def _check_trained_elsewhere(self, name: str, base: str, trained: str) -> None:
        """Raise SpecError if a model trained elsewhere is its base, or is not asked in the same form as its base."""
        ours, theirs = (prompt_form(self.spec, self.lock, model) for model in (trained, base))
        if ours != theirs:
            message = (
                f"expected a model that is asked in the same form as its base {base} ({theirs}), got {trained} "
                f"({ours}); a gain would also contain the difference between the two forms"
            )
            raise self.wrong(message, "methods", name, "trained_as")
        if self.weights.plain(trained).identity == self.weights.plain(base).identity:
            message = (
                f"expected a model other than its base, but {trained} and {base} have the same plugin and options, so "
                "kib cannot tell their answers apart; set an option that differs"
            )
            raise self.wrong(message, "methods", name, "trained_as")

    def _corpora(self, name: str) -> list[str]:
        """Return the corpora that a method trains on, which are the corpora of its target tasks."""
        tables = [self.spec.tasks[task] for task in self.spec.methods[name].tasks or self.spec.tasks]
        return list(dict.fromkeys(table.corpus for table in tables if table.corpus and table.role == "target"))

    def _cells_of(
        self, name: str, model: str, weights: WeightsStep, settings: Settings, place: tuple[str, int, Split]
    ) -> Iterator[PlannedCell]:
        """Yield the cells of an arm; they belong to `model`, even if a model trained elsewhere has the weights."""
        task, shots, split = place
        method, table = self.spec.methods[name], self.spec.tasks[task]
        trained_on = weights.text.passages.corpus if weights.text else None
        if trained_on and table.role == "target" and table.corpus != trained_on:
            return  # the task is about a different corpus
        if method.system is not None:
            yield self._cell((name, settings, model), table, weights, self.questions.bare(task, split), None, None)
            return
        chat = weights.model if asks_in_chats(self.spec, self.lock, weights.model) else None
        asked = self.questions.asked(task, shots, chat, split)
        if method.retrieve is None:
            yield self._cell((name, settings, model), table, weights, asked, None, None)
            return
        if table.corpus is None or (self._is_oracle(method.retrieve) and table.role == "control"):
            return  # no corpus, or a control whose questions have no gold in this corpus
        numbers = self._numbers(name)
        hits = self.search.hits(method.retrieve, task, self._depth(method.retrieve), chat, split)
        for k in numbers:
            chosen = settings if k is None else (*settings, ("k", k))
            yield self._cell((name, chosen, model), table, weights, asked, hits, k)

    @computed_once
    def _is_oracle(self, retriever: str) -> bool:
        plugin = self.lock.get("retrievers", retriever).plugin
        return isinstance(plugin, GoldRetriever) and plugin.role == "ceiling"

    @computed_once
    def _numbers(self, name: str) -> tuple[int | None, ...]:
        """Return the values of K that a method requests; (None,) if the retriever determines the number of passages."""
        method = self.spec.methods[name]
        plugin = self.lock.get("retrievers", str(method.retrieve)).plugin
        own = plugin.fixed_k() if isinstance(plugin, GoldRetriever) else None
        if own is None and not method.top_k:
            raise self.wrong("top_k is missing; add a list such as `top_k = [1, 3, 5]`", "methods", name)
        if own is not None and method.top_k:
            message = f"the retriever {method.retrieve} always returns {counted(own, 'passage')}; remove top_k"
            raise self.wrong(message, "methods", name, "top_k")
        return method.top_k or (None,)

    @computed_once
    def _depth(self, retriever: str) -> int:
        """Return the largest number of hits that a method requests from a retriever."""
        names = [name for name, method in self.spec.methods.items() if method.retrieve == retriever]
        return max(k or 0 for name in names for k in self._numbers(name))

    def _cell(
        self,
        arm: tuple[str, Settings, str],
        table: TaskTable,
        weights: WeightsStep,
        asked: QuestionsStep,
        hits: HitsStep | None,
        k: int | None,
    ) -> PlannedCell:
        """Return a cell; `arm` consists of the method, its settings and the model to which the cell belongs."""
        name, settings, model = arm
        retrieval: dict[str, Any] | None = None
        if hits:
            retrieval = {"retriever": self.search.retriever(hits.retriever), "passages": hits.passages.identity, "k": k}
        matched = None
        if weights.system is not None and table.corpus is not None and table.role == "target":
            matched = self.search.passages(table.corpus)
            retrieval = {"matched": matched.identity, "revision": MATCHING_REVISION}
        prompt = prompt_parts(self.spec)
        judged = [[self.lock.get("judges", table.judge).identity, JUDGING_REVISION]] if table.judge else []
        identity = identity_of("cell", weights.identity, asked.identity, retrieval, prompt if hits else None, *judged)
        trained_on = weights.text.passages.corpus if weights.text else None
        cell = Cell(
            model=model,
            method=name,
            settings=settings,
            task=table.name,
            corpus=trained_on or (table.corpus if hits or table.role == "target" else None),
            shots=asked.shots,
            seed=weights.seed,
            identity=identity,
            names_corpus=trained_on is not None and table.role == "control",
            split=asked.split,
        )
        return PlannedCell(cell, weights, asked, hits, k, table.judge, matched=matched)
