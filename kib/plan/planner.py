"""Turns a spec with its plugins into a plan: weights, cells and steps with their identities. Nothing is executed.

An identity is the digest of everything that determines the output of a step: the kind of step, the options, the plugin,
and the identities of the inputs. The number of stored hits (`depth`) is part of the identity of the hits, but not of
any cell, because a retriever's first K hits do not depend on the depth.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, wraps
from itertools import product
from typing import Any, TypeVar, TypeVarTuple

from kib.errors import SpecError
from kib.harness.letter_tasks import LETTER_REVISION
from kib.harness.open_tasks import OPEN_REVISION
from kib.identity import digest
from kib.interfaces import BackendModel, ChatOnlyModel, GoldRetriever, HarnessTask, Reranker, TextOnlyTrainer
from kib.plan.steps import (
    QUERIES,
    HeldBackStep,
    HitsStep,
    IndexStep,
    PairForm,
    PassagesStep,
    PlannedCell,
    QuestionsStep,
    Settings,
    TextStep,
    WeightsStep,
)
from kib.plugins.resolve import Lock, Locked
from kib.prompts import DEFAULT_TEMPLATE
from kib.records import Cell, Setting, Split
from kib.spec.load import MethodTable, Spec, TaskTable
from kib.spec.tables import GENERATION_KEYS, measured_models
from kib.store.result_records import BenchmarkPlan, MethodEntry, TaskEntry
from kib.support.phrases import counted, join

__all__ = [
    "DEFAULT_SCORING",
    "LETTER_SCORINGS",
    "Plan",
    "asks_in_chats",
    "corpora_of_trainer",
    "hits_of_queries",
    "hits_of_task",
    "make_plan",
    "passages_of",
    "text_counts",
    "weights_of_trainer",
]

REVISION = 1
"""Increase this number when kib produces different prompts, passages or scores from the same spec."""

HARNESS_PAIRS = 2
"""Increase this number when kib renders question-answer pairs differently in the form of an lm-eval task."""

PASSAGES_REVISION = 3
"""Increase this number when kib splits the same documents into different passages."""

INVISIBLE_REVISION = 2
"""Increase this number when kib removes different invisible characters from documents and questions."""

JUDGING_REVISION = 1
"""Increase this number when kib computes different scores from the same verdicts of a judge."""

EXAMPLES_REVISION = 2
"""Increase this number when kib draws different few-shot examples for the same lm-eval task."""

REPEATED_QUESTIONS = 100
"""The default number of test questions per task that `base` is asked again if the model reads only chats.

Such a model is behind an endpoint, whose provider may replace the model at any time.
"""

BARE_REVISION = 1
"""Increase this number when kib sends different texts to systems for the same questions."""

MATCHING_REVISION = 1
"""Increase this number when kib recognises different passages that a system reports as gold."""

DEFAULT_SCORING = "text"

LETTER_SCORINGS = ("letter", "letter-text")
"""The kinds of scoring whose prompts list options with letters."""

Arguments = TypeVarTuple("Arguments")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Plan:
    """Every cell of a benchmark with its steps, in the order of the file."""

    spec: Spec
    lock: Lock
    cells: tuple[PlannedCell, ...]

    @cached_property
    def weights(self) -> tuple[WeightsStep, ...]:
        """All distinct sets of weights in the plan."""
        return tuple(self._cells_by_weights)

    @cached_property
    def asked(self) -> tuple[QuestionsStep, ...]:
        """All distinct steps that render questions."""
        return tuple(dict.fromkeys(cell.asked for cell in self.cells))

    @cached_property
    def hits(self) -> tuple[HitsStep, ...]:
        """All distinct search steps, each after the search steps that provide its input."""
        asked_for = dict.fromkeys(cell.hits for cell in self.cells if cell.hits)
        return tuple(dict.fromkeys(step for hits in asked_for for step in hits.with_sources()))

    def on(self, weights: WeightsStep) -> tuple[PlannedCell, ...]:
        """Return the cells that are measured with a set of weights."""
        return tuple(self._cells_by_weights.get(weights, ()))

    @cached_property
    def _cells_by_weights(self) -> dict[WeightsStep, list[PlannedCell]]:
        found: dict[WeightsStep, list[PlannedCell]] = {}
        for cell in self.cells:
            found.setdefault(cell.weights, []).append(cell)
        return found

    def answerer(self, weights: WeightsStep) -> Locked:
        """Return the resolved table of the model or the system that answers questions."""
        if weights.system is not None:
            return self.lock.get("systems", weights.system)
        return self.lock.get("models", weights.model)

    def entry(self) -> BenchmarkPlan:
        """Return the plan in the form stored in the results folder, before the questions are counted."""
        used = {cell.cell.task for cell in self.cells}
        return BenchmarkPlan(
            name=self.spec.name,
            title=self.spec.title,
            tasks={name: self._task_entry(table) for name, table in self.spec.tasks.items() if name in used},
            methods={name: _method_entry(self.spec, self.lock, table) for name, table in self.spec.methods.items()},
            cells=tuple(cell.cell for cell in self.cells),
            sources=self.lock.sources(),
            prompt=_prompt_parts(self.spec),
            prices=self.spec.prices.model_dump(exclude_none=True) if self.spec.prices else {},
            chats=tuple(name for name in self.spec.models if asks_in_chats(self.spec, self.lock, name)),
        )

    def _task_entry(self, table: TaskTable) -> TaskEntry:
        why = why_no_probe(table, self.lock.get("tasks", table.name).plugin)
        return TaskEntry(table.role, table.corpus, no_probe=why, limit=table.limit or 0)


def make_plan(spec: Spec, lock: Lock) -> Plan:
    """Return the plan of a spec. Raises SpecError if a method produces no cell."""
    planner = _Planner(spec, lock)
    cells = tuple(cell for name in spec.methods for cell in planner.cells(name))
    repeats = tuple(cell for name in spec.methods for cell in planner.repeats(name))
    order = {name: number for number, name in enumerate(spec.models)}
    return Plan(
        spec, lock, tuple(sorted((*cells, *repeats), key=lambda cell: (cell.weights.repeated, order[cell.cell.model])))
    )


def passages_of(spec: Spec, lock: Lock, corpus: str) -> PassagesStep:
    """Return the step that splits a corpus into passages, which is equal to the step in any plan of this spec."""
    return _Planner(spec, lock).passages(corpus)


def hits_of_task(spec: Spec, lock: Lock, task: str, retriever: str, depth: int) -> HitsStep:
    """Return the step that searches for a task's test questions; any plan with this depth has an equal step."""
    return _Planner(spec, lock).task(task, retriever, depth)


def hits_of_queries(
    spec: Spec, lock: Lock, corpus: str, retriever: str, queries: Sequence[tuple[str, str]], depth: int
) -> HitsStep:
    """Return the step that searches a corpus for (id, text) queries that do not belong to a task."""
    what = {"queries": digest([list(pair) for pair in queries])}
    asked = QuestionsStep(_identity("queries", what), QUERIES, 0, None)
    return _Planner(spec, lock).search(retriever, corpus, asked, (what, "target"), depth)


def weights_of_trainer(spec: Spec, lock: Lock, model: str, trainer: str, corpus: str, count: int | None) -> WeightsStep:
    """Return the step that would train a model on a trainer's text from a corpus, with the first seed.

    `count` selects one of several numbers of texts per passage; None if the trainer has a single number.
    """
    steps = _Planner(spec, lock).all_trained_weights(model, trainer, corpus)
    return next(step for settings, step in steps if dict(settings).get("text.count") in (None, count))


def corpora_of_trainer(spec: Spec, trainer: str) -> list[str]:
    """Return the corpora of the target tasks that weights of a trainer are measured on, in the order of the tasks."""
    tables = [spec.tasks[task] for task in _tasks_of_trainer(spec, trainer)]
    return list(dict.fromkeys(table.corpus for table in tables if table.corpus and table.role == "target"))


def text_counts(spec: Spec, trainer: str) -> tuple[int, ...]:
    """Return the numbers of texts per passage in a trainer's `vary`, or () if this number does not vary."""
    return tuple(map(int, spec.trainers[trainer].vary.get("text.count", ())))


def _tasks_of_trainer(spec: Spec, trainer: str) -> list[str]:
    """Return the tasks of all methods that train with a trainer, or all tasks if no method does."""
    methods = [method for method in spec.methods.values() if method.train == trainer]
    tasks = dict.fromkeys(task for method in methods for task in method.tasks or spec.tasks)
    return list(tasks if methods else spec.tasks)


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


def _prompt_form(spec: Spec, lock: Lock, model: str) -> str:
    """Return the form in which a model is asked in words: whether prompts are chats, and any backend."""
    form = "prompts are chats" if asks_in_chats(spec, lock, model) else "prompts are texts"
    plugin = lock.get("models", model).plugin
    return f"{form}, backend {plugin.backend()}" if isinstance(plugin, BackendModel) else form


def _method_entry(spec: Spec, lock: Lock, method: MethodTable) -> MethodEntry:
    plugin = lock.get("retrievers", method.retrieve).plugin if method.retrieve else None
    role = plugin.role if isinstance(plugin, GoldRetriever) else ""
    trainer = spec.trainers[method.train] if method.train else None
    settings = tuple(trainer.vary) if trainer and trainer.choose else ()
    by_loss = settings if trainer and trainer.choose == "loss" else ()
    chosen = (*settings, *(["k"] if method.choose else ()))
    return MethodEntry(
        method.train, method.retrieve, role, chosen, by_loss, method.trained_as, _cost(spec, method), method.system
    )


def _cost(spec: Spec, method: MethodTable) -> dict[str, float]:
    """Return the entered cost of the model in `trained_as`, which any method with this model may state."""
    same = [one for one in spec.methods.values() if one.trained_as and one.trained_as == method.trained_as]
    return next((one.cost.model_dump(exclude_none=True) for one in same if one.cost), {})


def _computed_once(
    method: Callable[["_Planner", *Arguments], Value],
) -> Callable[["_Planner", *Arguments], Value]:
    """Make a method of a planner compute its value only once for the same arguments.

    Thousands of cells share a few steps, and computing the identity of a step takes much longer than looking the
    identity up.
    """

    @wraps(method)
    def look_up(planner: "_Planner", *args: *Arguments) -> Value:
        key = (method.__name__, args)
        if key not in planner.computed:
            planner.computed[key] = method(planner, *args)
        value: Value = planner.computed[key]
        return value

    return look_up


class _Planner:
    """Creates the steps and cells of one spec."""

    def __init__(self, spec: Spec, lock: Lock) -> None:
        self.spec = spec
        self.lock = lock
        self.computed: dict[Any, Any] = {}  # values of the methods marked with `_computed_once`

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
            raise self._wrong(f"the method yields no cells: {reason}", "methods", name)

    def repeats(self, name: str) -> Iterator[PlannedCell]:
        """Yield the cells that ask a sample of the questions of a base method again, after all other cells."""
        method = self.spec.methods[name]
        if not method.is_base:
            return
        for model in measured_models(method, self.spec.methods.values(), self.spec.models):
            count = self._repeated_questions(model)
            plain = self._plain_weights(model)
            weights = WeightsStep(_identity("repeat", plain.identity), model, repeated=True)
            for task in (method.tasks or self.spec.tasks) if count else ():
                for shots in self.spec.tasks[task].shots:
                    for one in self._cells_of(name, model, weights, (), (task, shots, "test")):
                        identity = _identity("repeat", one.cell.identity, count)
                        yield replace(one, cell=replace(one.cell, split="repeat", identity=identity), sample=count)

    def _repeated_questions(self, model: str) -> int:
        """Return the number of test questions per task that a model is asked again."""
        if (stated := self.spec.models[model].repeat_questions) is not None:
            return stated
        return REPEATED_QUESTIONS if isinstance(self.lock.get("models", model).plugin, ChatOnlyModel) else 0

    @_computed_once
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
            raise self._wrong(
                f"the task {task} scores the log-probabilities of options, but a system returns only text; list other "
                'tasks in the method\'s `tasks`, or set `scoring` of the task to "letter-text" or to a metric such as '
                '"contains"',
                *keys,
            )
        if 0 not in table.shots:
            raise self._wrong(
                f"a system reads no few-shot examples, but the task {task} has only cells with examples; add 0 to "
                "`shots` of the task, or list other tasks in the method's `tasks`",
                *keys,
            )
        return (0,)

    @_computed_once
    def _splits(self, name: str, task: str) -> list[Split]:
        """Return the splits for a method: "test" and, if needed, splits for choosing settings and for probing base."""
        splits: list[Split] = ["test"]
        method, table, plugin = self.spec.methods[name], self.spec.tasks[task], self.lock.get("tasks", task).plugin
        chooses = method.choose or (method.train and self.spec.trainers[method.train].choose == "validation")
        own = not isinstance(plugin, HarnessTask)
        if chooses and table.role == "target":
            if own and "validation" not in plugin.splits():
                raise self._wrong(f"choose: the task {task} has no validation questions", "methods", name)
            splits.append("validation")
        if method.is_base and table.role == "target" and not why_no_probe(table, plugin):
            splits.append("probe")
        return splits

    def _wrong(self, message: str, *keys: str) -> SpecError:
        return SpecError([self.spec.mistake(message, *keys)])

    def _weights(self, name: str, model: str) -> Iterator[tuple[Settings, WeightsStep]]:
        """Yield the settings of each arm of a method, together with the weights with which the arm is measured."""
        method = self.spec.methods[name]
        if method.system is not None:
            yield (), self._system(model, method.system)
            return
        if method.trained_as is not None:
            self._check_trained_elsewhere(name, model, method.trained_as)
        if method.train is None:
            yield (), self._plain_weights(method.trained_as or model)
            return
        if isinstance(self.lock.get("trainers", method.train, self._arms(method.train)[0]).plugin, TextOnlyTrainer):
            message = (
                f"the trainer {method.train} trains nothing here; export its text with `kib export`, and name the "
                "trained model with `trained_as` instead of `train`"
            )
            raise self._wrong(message, "methods", name, "train")
        if self.lock.get("models", model).plugin.weights() is None:
            message = f"the model {model} cannot be trained; list the other models in the method's `models`"
            raise self._wrong(message, "methods", name)
        for corpus in self._corpora(name):
            yield from self.all_trained_weights(model, method.train, corpus)

    def _check_trained_elsewhere(self, name: str, base: str, trained: str) -> None:
        """Raise SpecError if a model trained elsewhere is its base, or is not asked in the same form as its base."""
        ours, theirs = (_prompt_form(self.spec, self.lock, model) for model in (trained, base))
        if ours != theirs:
            message = (
                f"expected a model that is asked in the same form as its base {base} ({theirs}), got {trained} "
                f"({ours}); a gain would also contain the difference between the two forms"
            )
            raise self._wrong(message, "methods", name, "trained_as")
        if self._plain_weights(trained).identity == self._plain_weights(base).identity:
            message = (
                f"expected a model other than its base, but {trained} and {base} have the same plugin and options, so "
                "kib cannot tell their answers apart; set an option that differs"
            )
            raise self._wrong(message, "methods", name, "trained_as")

    def _corpora(self, name: str) -> list[str]:
        """Return the corpora that a method trains on, which are the corpora of its target tasks."""
        tables = [self.spec.tasks[task] for task in self.spec.methods[name].tasks or self.spec.tasks]
        return list(dict.fromkeys(table.corpus for table in tables if table.corpus and table.role == "target"))

    def _arms(self, trainer: str) -> list[Settings]:
        """Return every combination of the values in a trainer's `vary`."""
        vary = self.spec.trainers[trainer].vary
        return [tuple(zip(vary, values, strict=True)) for values in product(*vary.values())]

    @_computed_once
    def _plain_weights(self, model: str) -> WeightsStep:
        return WeightsStep(_identity("weights", self.lock.get("models", model).identity), model)

    @_computed_once
    def _system(self, model: str, system: str) -> WeightsStep:
        """Return the step with a system's answers, whose identity does not depend on the model."""
        return WeightsStep(_identity("system", self.lock.get("systems", system).identity), model, system=system)

    @_computed_once
    def all_trained_weights(self, model: str, trainer: str, corpus: str) -> list[tuple[Settings, WeightsStep]]:
        """Return the settings and the weights of a trainer's arms, with one entry per arm and seed."""
        return [
            (settings, self._trained_weights(model, trainer, settings, corpus, seed))
            for settings in self._arms(trainer)
            for seed in self.spec.seeds
        ]

    def _trained_weights(self, model: str, trainer: str, settings: Settings, corpus: str, seed: int) -> WeightsStep:
        table, start = self.spec.trainers[trainer], self._plain_weights(model)
        text = self._text(model, trainer, dict(settings).get("text.count"), corpus)
        validation = self._validation(model, trainer, corpus)
        held_out = self.passages(table.held_out.corpus) if table.held_out else None
        locked = self.lock.get("trainers", trainer, settings).identity
        self._check_sources(trainer, corpus)
        others = {"validation": validation, "held_out": held_out}
        unseen = {name: step.identity for name, step in others.items() if step}
        pairs = self._pair_form(model, trainer, corpus)
        form = [pairs.identity] if pairs and pairs.identity else []
        identity = _identity("training", start.identity, locked, text.identity, unseen, seed, *form)
        return WeightsStep(identity, model, trainer, settings, text, validation, held_out, seed, pairs)

    @_computed_once
    def _pair_form(self, model: str, trainer: str, corpus: str) -> PairForm | None:
        """Return the form of a trainer's question-answer pairs, or None if the trainer uses no pairs.

        Raises SpecError if the target tasks about the corpus ask in different forms and `as_task` is missing.
        """
        key = self.spec.trainers[trainer].text
        if key is None or key.kind == "documents":
            return None
        tasks = [key.as_task] if key.as_task else self._trained_for(trainer, corpus)
        forms = {task: self._form(task) for task in tasks}
        if len(set(map(digest, forms.values()))) > 1:
            names = join(sorted(forms), "or")
            message = (
                f"the tasks about the corpus {corpus} ask in different forms, so the form of the question-answer pairs "
                f"is not determined; set `as_task` to {names}"
            )
            raise self._wrong(message, "trainers", trainer, "text")
        task, form = next(iter(forms.items()))
        chat = model if asks_in_chats(self.spec, self.lock, model) else None
        parts = [form, self.lock.get("models", model).identity if chat else None]
        others = [one for one in self._trained_for(trainer, corpus) if digest(self._form(one)) != digest(form)]
        return PairForm(_identity("pairs", parts) if any(parts) else None, task, chat, tuple(others))

    def _trained_for(self, trainer: str, corpus: str) -> list[str]:
        """Return the target tasks about a corpus that are measured with weights of a trainer."""
        tables = [self.spec.tasks[task] for task in _tasks_of_trainer(self.spec, trainer)]
        return [table.name for table in tables if table.corpus == corpus and table.role == "target"]

    def _form(self, task: str) -> Any:
        """Return everything that determines how a task asks, without a chat template; None for plain questions."""
        table, locked = self.spec.tasks[task], self.lock.get("tasks", task)
        if isinstance(locked.plugin, HarnessTask):
            return [locked.identity, HARNESS_PAIRS]
        return table.scoring if table.scoring in LETTER_SCORINGS else "generated" if table.metrics else None

    @_computed_once
    def _check_sources(self, trainer: str, corpus: str) -> None:
        """Raise SpecError if text is both replayed and trained on, or if text declared as unseen is used in either way.

        Documents are compared instead of passages, because passages of the same documents contain the same text even if
        the documents are split differently.
        """
        table = self.spec.trainers[trainer]
        originals = table.text is None or table.text.originals
        replayed = table.replay.corpus if table.replay else None
        if replayed and self._is_same(replayed, corpus):
            said = f"expected a corpus that differs from the training corpus, {corpus}"
            raise self._wrong(said, "trainers", table.name, "replay")
        for key, unseen in (("validation", table.validation), ("held_out", table.held_out)):
            name = unseen.corpus if unseen else None
            for other in (corpus if originals else None, replayed):
                if name and other and self._is_same(name, other):
                    said = f"expected a corpus that is not used for training, but {other} is part of the training text"
                    raise self._wrong(said, "trainers", table.name, key)

    def _is_same(self, corpus: str, other: str) -> bool:
        return self.lock.get("corpora", corpus).identity == self.lock.get("corpora", other).identity

    @_computed_once
    def _validation(self, model: str, trainer: str, corpus: str) -> PassagesStep | HeldBackStep | None:
        """Return a trainer's validation text, which is identical for all arms so that their losses can be compared."""
        key = self.spec.trainers[trainer].validation
        if key is None or key.writer is None:
            return self.passages(key.corpus) if key and key.corpus else None
        text = self._text(model, trainer, self._most_texts(trainer), corpus)
        writer = self.lock.get("writers", key.writer).identity
        identity = _identity("held back", text.identity, writer, key.count, key.passages)
        return HeldBackStep(identity, trainer, text, key.writer, key.count, key.passages)

    @_computed_once
    def _text(self, model: str, trainer: str, varied: Setting | None, corpus: str) -> TextStep:
        """Return a trainer's text from a corpus; to compare lengths, the tokenizer of `model` counts the tokens."""
        table = self.spec.trainers[trainer]
        key = table.text
        count = int(varied if varied is not None else key.count if key else 0)
        passages = self.passages(corpus)
        replay = self.passages(table.replay.corpus) if table.replay else None
        other = None
        if table.tokens:
            name = table.tokens.removeprefix("as:")
            other = self._text(model, name, self._most_texts(name), corpus)
        counted = self.lock.get("models", model).tokenizer_identity if replay or other else None
        parts: dict[str, Any] = {
            "writer": self.lock.get("writers", key.writer).identity if key else None,
            "kind": key.kind if key else None,
            "originals": key.originals if key else True,
            "count": count,
            "replay": {"passages": replay.identity, "share": table.replay.share} if replay and table.replay else None,
            "as_many_as": other.identity if other else None,
            "tokenizer": counted,
        }
        tasks = self._tasks_not_to_repeat(corpus) if key and key.kind != "documents" else ()
        if tasks:
            parts["tasks"] = [self.lock.get("tasks", name).identity for name in tasks]
        identity = _identity("text", passages.identity, parts)
        return TextStep(identity, trainer, passages, count, model, replay, other, tasks)

    def _tasks_not_to_repeat(self, corpus: str) -> tuple[str, ...]:
        """Return the tasks on which weights trained on a corpus are measured."""
        tables = self.spec.tasks.values()
        return tuple(table.name for table in tables if table.role == "control" or table.corpus == corpus)

    def _most_texts(self, trainer: str) -> Setting | None:
        """Return the largest number of texts in a trainer's `vary`, or None if the number of texts does not vary."""
        values = self.spec.trainers[trainer].vary.get("text.count")
        return max(values, key=int) if values else None

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
            yield self._cell((name, settings, model), table, weights, self._asked_bare(task, split), None, None)
            return
        chat = weights.model if asks_in_chats(self.spec, self.lock, weights.model) else None
        asked = self._asked(task, shots, chat, split)
        if method.retrieve is None:
            yield self._cell((name, settings, model), table, weights, asked, None, None)
            return
        if table.corpus is None or (self._is_oracle(method.retrieve) and table.role == "control"):
            return  # no corpus, or a control whose questions have no gold in this corpus
        numbers = self._numbers(name)
        hits = self._hits(method.retrieve, task, self._depth(method.retrieve), chat, split)
        for k in numbers:
            chosen = settings if k is None else (*settings, ("k", k))
            yield self._cell((name, chosen, model), table, weights, asked, hits, k)

    @_computed_once
    def _is_oracle(self, retriever: str) -> bool:
        plugin = self.lock.get("retrievers", retriever).plugin
        return isinstance(plugin, GoldRetriever) and plugin.role == "ceiling"

    @_computed_once
    def _numbers(self, name: str) -> tuple[int | None, ...]:
        """Return the values of K that a method requests; (None,) if the retriever determines the number of passages."""
        method = self.spec.methods[name]
        plugin = self.lock.get("retrievers", str(method.retrieve)).plugin
        own = plugin.fixed_k() if isinstance(plugin, GoldRetriever) else None
        if own is None and not method.top_k:
            raise self._wrong("top_k is missing; add a list such as `top_k = [1, 3, 5]`", "methods", name)
        if own is not None and method.top_k:
            message = f"the retriever {method.retrieve} always returns {counted(own, 'passage')}; remove top_k"
            raise self._wrong(message, "methods", name, "top_k")
        return method.top_k or (None,)

    @_computed_once
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
            retrieval = {"retriever": self._retriever(hits.retriever), "passages": hits.passages.identity, "k": k}
        matched = None
        if weights.system is not None and table.corpus is not None and table.role == "target":
            matched = self.passages(table.corpus)
            retrieval = {"matched": matched.identity, "revision": MATCHING_REVISION}
        prompt = _prompt_parts(self.spec)
        judged = [[self.lock.get("judges", table.judge).identity, JUDGING_REVISION]] if table.judge else []
        identity = _identity("cell", weights.identity, asked.identity, retrieval, prompt if hits else None, *judged)
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

    @_computed_once
    def _asked(self, task: str, shots: int, chat: str | None, split: Split) -> QuestionsStep:
        chat_identity = self.lock.get("models", chat).identity if chat else None
        questions = self._questions(task, split)
        if shots and isinstance(self.lock.get("tasks", task).plugin, HarnessTask):
            questions = {**questions, "examples": EXAMPLES_REVISION}
        identity = _identity("asked", questions, shots, chat_identity)
        return QuestionsStep(identity, task, shots, chat, split)

    @_computed_once
    def _asked_bare(self, task: str, split: Split) -> QuestionsStep:
        """Return the step that renders questions for a system."""
        identity = _identity("asked", self._questions(task, split), "bare", BARE_REVISION)
        return QuestionsStep(identity, task, 0, None, split, bare=True)

    @_computed_once
    def _questions(self, task: str, split: Split) -> dict[str, Any]:
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

    @_computed_once
    def passages(self, corpus: str) -> PassagesStep:
        """Return the step that splits a corpus into passages."""
        chunk = self.spec.corpora[corpus].chunk
        tokenizer = None
        if chunk and chunk.tokens:
            name = chunk.tokenizer or next(iter(self.spec.models))
            tokenizer = self.lock.get("models", name).tokenizer_identity
        size = chunk and {"tokens": chunk.tokens, "sentences": chunk.sentences, "overlap": chunk.overlap}
        language = chunk.language if chunk and chunk.sentences else None
        documents = self.lock.get("corpora", corpus).identity
        parts = (documents, size, language, tokenizer, PASSAGES_REVISION)
        removed = ("invisible", INVISIBLE_REVISION) if self.spec.removes_invisible(corpus) else ()
        identity = _identity("passages", *parts, *removed)
        return PassagesStep(identity, corpus)

    @_computed_once
    def _retriever(self, name: str) -> dict[str, Any]:
        """Return everything that determines the hits of a retriever, including its source retrievers."""
        locked = self.lock.get("retrievers", name)
        if not isinstance(locked.plugin, Reranker):
            return locked.identity
        sources = {source: [self._retriever(source), depth] for source, depth in locked.plugin.sources().items()}
        return {**locked.identity, "of": sources}

    @_computed_once
    def _index(self, retriever: str, corpus: str) -> IndexStep:
        locked, passages = self.lock.get("retrievers", retriever), self.passages(corpus)
        return IndexStep(_identity("index", locked.identity, passages.identity), retriever, passages)

    @_computed_once
    def _hits(self, retriever: str, task: str, depth: int, chat: str | None, split: Split) -> HitsStep:
        table = self.spec.tasks[task]
        first = self._asked(task, table.shots[0], chat, split)  # all numbers of shots have the same queries
        questions = self._questions(task, split)
        return self.search(retriever, str(table.corpus), first, (questions, table.role), depth)

    def search(self, retriever: str, corpus: str, asked: QuestionsStep, what: tuple[Any, str], depth: int) -> HitsStep:
        """Return the step that searches a corpus; `what` is the pair (everything that determines the queries, role)."""
        locked = self.lock.get("retrievers", retriever)
        passages = self.passages(corpus)
        index: IndexStep | None = None
        of: tuple[HitsStep, ...] = ()
        if isinstance(locked.plugin, Reranker):
            sources = locked.plugin.sources().items()
            of = tuple(self.search(name, corpus, asked, what, read) for name, read in sources)
        elif not isinstance(locked.plugin, GoldRetriever):
            index = self._index(retriever, corpus)
        (questions, role), made_by = what, self._retriever(retriever)
        identity = _identity("hits", made_by, passages.identity, questions, depth, role)
        family = _identity("hits", made_by, passages.identity, questions, None, role)
        return HitsStep(identity, retriever, passages, index, asked, depth, of, family)

    def task(self, name: str, retriever: str, depth: int) -> HitsStep:
        """Return the search step that finds passages for a task's test questions with a retriever."""
        return self._hits(retriever, name, depth, None, "test")


def _prompt_parts(spec: Spec) -> dict[str, Any]:
    """Return the settings that determine how passages are inserted before a question."""
    prompt = spec.prompt
    return {"template": prompt.template or DEFAULT_TEMPLATE, "order": prompt.order, "tokens": prompt.tokens}


def _identity(kind: str, *parts: Any) -> str:
    plain = [asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts]
    return digest({"kind": kind, "revision": REVISION, "parts": plain})
