"""Spec and lock become weights, cells, steps and their identities: pure, nothing is read or computed.

An identity is the digest of everything that decides a step's output: its kind, the options that count, its plugin and
the identities of its inputs. How many hits are kept (`depth`) decides the hits file but no cell: a retriever's first K
hits are the same at every depth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from kib.errors import SpecError
from kib.identity import digest
from kib.interfaces import GoldRetriever, HarnessTask, Reranker
from kib.plugins.resolve import Lock
from kib.prompts import DEFAULT_TEMPLATE
from kib.records import Cell, Setting, Split
from kib.spec.load import MethodTable, Spec, TaskTable, TrainerTable
from kib.store.folders import BenchmarkPlan, MethodEntry, TaskEntry

__all__ = [
    "HeldBackStep",
    "HitsStep",
    "IndexStep",
    "PassagesStep",
    "Plan",
    "PlannedCell",
    "QuestionsStep",
    "TextStep",
    "WeightsStep",
    "hits_of_queries",
    "hits_of_task",
    "make_plan",
]

Settings = tuple[tuple[str, Setting], ...]

REVISION = 1
"""Raised when kib itself makes other prompts, chunks or scores of the same spec."""

DEFAULT_SCORING = "text"

QUERIES = "(queries)"
"""Stands for the task where queries are of none; no task can be called so."""


@dataclass(frozen=True, slots=True)
class PassagesStep:
    """A corpus cut into passages."""

    identity: str
    corpus: str


@dataclass(frozen=True, slots=True)
class IndexStep:
    """A retriever's index over the passages of a corpus."""

    identity: str
    retriever: str
    passages: PassagesStep


@dataclass(frozen=True, slots=True)
class QuestionsStep:
    """A task's questions as they are asked with `shots` examples, in a model's chat template where it has one."""

    identity: str
    task: str
    shots: int
    chat_of: str | None
    split: Split = "test"


@dataclass(frozen=True, slots=True)
class HitsStep:
    """The first `depth` hits of a task's questions: from an index, from others' hits, or (neither) from the gold."""

    identity: str
    retriever: str
    passages: PassagesStep
    index: IndexStep | None
    asked: QuestionsStep
    depth: int
    of: tuple["HitsStep", ...] = ()
    family: str = ""  # the same at every depth

    def with_sources(self) -> Iterator["HitsStep"]:
        """The step itself after all that it stands on."""
        for source in self.of:
            yield from source.with_sources()
        yield self


@dataclass(frozen=True, slots=True)
class TextStep:
    """What a trainer reads: passages, a writer's texts of them, other text mixed in, as many tokens as another has."""

    identity: str
    trainer: str
    passages: PassagesStep
    count: int
    tokenizer_of: str
    replay: PassagesStep | None = None
    as_many_as: "TextStep | None" = None


@dataclass(frozen=True, slots=True)
class HeldBackStep:
    """`count` texts by a writer of `sample` passages that are trained on (None: of all), without those in `text`."""

    identity: str
    trainer: str
    text: TextStep
    writer: str
    count: int
    sample: int | None

    @property
    def passages(self) -> PassagesStep:
        """The passages that are trained on."""
        return self.text.passages

    @property
    def place(self) -> str:
        """Where the file asks for it."""
        return f"trainers.{self.trainer}.validation"


@dataclass(frozen=True, slots=True)
class WeightsStep:
    """A set of weights that cells are measured on: a model as it is, or what a trainer made of it."""

    identity: str
    model: str
    trainer: str | None = None
    settings: Settings = ()
    text: TextStep | None = None
    validation: PassagesStep | HeldBackStep | None = None
    held_out: PassagesStep | None = None
    seed: int = 0

    @property
    def title(self) -> str:
        """How progress and `kib plan` name it."""
        if self.trainer is None or self.text is None:
            return self.model
        values = "".join(f",{key}={value}" for key, value in self.settings)
        return f"{self.model}+{self.trainer}{values} on {self.text.passages.corpus}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with the steps it is made of; `k` of the hits are put into the prompt, None for all of them."""

    cell: Cell
    weights: WeightsStep
    asked: QuestionsStep
    hits: HitsStep | None
    k: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a benchmark needs, in the order of the file."""

    spec: Spec
    lock: Lock
    cells: tuple[PlannedCell, ...]

    @property
    def weights(self) -> tuple[WeightsStep, ...]:
        """Each set of weights once."""
        return tuple(dict.fromkeys(cell.weights for cell in self.cells))

    @property
    def asked(self) -> tuple[QuestionsStep, ...]:
        """Each rendering of a task once."""
        return tuple(dict.fromkeys(cell.asked for cell in self.cells))

    @property
    def hits(self) -> tuple[HitsStep, ...]:
        """Each hits file once, those that others are made of before them."""
        asked_for = dict.fromkeys(cell.hits for cell in self.cells if cell.hits)
        return tuple(dict.fromkeys(step for hits in asked_for for step in hits.with_sources()))

    def on(self, weights: WeightsStep) -> tuple[PlannedCell, ...]:
        """The cells measured on a set of weights."""
        return tuple(cell for cell in self.cells if cell.weights == weights)

    def entry(self) -> BenchmarkPlan:
        """The plan as the results folder keeps it, before the questions are counted."""
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
            chats=tuple(name for name, model in self.spec.models.items() if model.chat_template),
        )

    def _task_entry(self, table: TaskTable) -> TaskEntry:
        why = why_no_probe(table, self.lock.get("tasks", table.name).plugin)
        return TaskEntry(table.role, table.corpus, no_probe=why, limit=table.limit or 0)


def make_plan(spec: Spec, lock: Lock) -> Plan:
    """Every cell that the spec's methods make on its models and tasks; SpecError where a method makes none."""
    cells = tuple(cell for name in spec.methods for cell in _Planner(spec, lock).cells(name))
    order = {name: number for number, name in enumerate(spec.models)}
    return Plan(spec, lock, tuple(sorted(cells, key=lambda cell: order[cell.cell.model])))


def hits_of_task(spec: Spec, lock: Lock, task: str, retriever: str, depth: int) -> HitsStep:
    """What a retriever finds for a task's test questions in its corpus, as a step of any plan with that depth."""
    return _Planner(spec, lock).task(task, retriever, depth)


def hits_of_queries(
    spec: Spec, lock: Lock, corpus: str, retriever: str, queries: Sequence[tuple[str, str]], depth: int
) -> HitsStep:
    """What a retriever finds in a corpus for queries of no task, given as ids and texts."""
    what = {"queries": digest([list(pair) for pair in queries])}
    asked = QuestionsStep(_identity("queries", what), QUERIES, 0, None)
    return _Planner(spec, lock).search(retriever, corpus, asked, (what, "target"), depth)


def why_no_probe(table: TaskTable, plugin: Any) -> str:
    """Why the base cannot be measured a second time in another way, so as to tell what it knew; "" where it can."""
    if isinstance(plugin, HarnessTask):
        return "lm-eval brings its own prompt"
    if (table.scoring or DEFAULT_SCORING) == "letter" or "reworded" in plugin.splits():
        return ""
    return 'the questions have one wording only; give the task `reworded` ones, or scoring = "letter"'


def _method_entry(spec: Spec, lock: Lock, method: MethodTable) -> MethodEntry:
    plugin = lock.get("retrievers", method.retrieve).plugin if method.retrieve else None
    role = plugin.role if isinstance(plugin, GoldRetriever) else ""
    trainer = spec.trainers[method.train] if method.train else None
    settings = tuple(trainer.vary) if trainer and trainer.choose else ()
    by_loss = settings if trainer and trainer.choose == "loss" else ()
    return MethodEntry(method.train, method.retrieve, role, (*settings, *(["k"] if method.choose else ())), by_loss)


class _Planner:
    """Makes the steps of one spec; each step is a value, so that equal ones are one."""

    def __init__(self, spec: Spec, lock: Lock) -> None:
        self.spec = spec
        self.lock = lock

    def cells(self, name: str) -> Iterator[PlannedCell]:
        """The cells of a method; SpecError where it makes none."""
        method = self.spec.methods[name]
        made = 0
        for model in method.models or self.spec.models:
            for settings, weights in self._weights(name, model):
                for task in method.tasks or self.spec.tasks:
                    for shots in self.spec.tasks[task].shots:
                        for split in self._splits(name, task):
                            for cell in self._cells_of(name, weights, settings, (task, shots, split)):
                                made += 1
                                yield cell
        if not made:
            aim = "train on" if method.train else "retrieve from"
            reason = (
                f"none of its tasks names a corpus to {aim}" if method.train or method.retrieve else "it has no task"
            )
            raise self._wrong(f"makes no cell: {reason}", "methods", name)

    def _splits(self, name: str, task: str) -> Iterator[Split]:
        """The splits a method is measured on: the one that counts, one to choose on, one that probes the base."""
        yield "test"
        method, table, plugin = self.spec.methods[name], self.spec.tasks[task], self.lock.get("tasks", task).plugin
        chooses = method.choose or (method.train and self.spec.trainers[method.train].choose == "validation")
        own = not isinstance(plugin, HarnessTask)
        if chooses and table.role == "target":
            if own and "validation" not in plugin.splits():
                raise self._wrong(f"choose: the task {task} has no validation questions to choose on", "methods", name)
            yield "validation"
        if (
            method.train is None
            and method.retrieve is None
            and table.role == "target"
            and not why_no_probe(table, plugin)
        ):
            yield "probe"

    def _wrong(self, message: str, *keys: str) -> SpecError:
        return SpecError([self.spec.mistake(message, *keys)])

    def _weights(self, name: str, model: str) -> Iterator[tuple[Settings, WeightsStep]]:
        """The sets of weights that a method measures on, with the settings that tell its arms apart."""
        method = self.spec.methods[name]
        if method.train is None:
            yield (), self._plain_weights(model)
            return
        if self.lock.get("models", model).plugin.weights() is None:
            raise self._wrong(f"the model {model} cannot be trained; restrict the method by `models`", "methods", name)
        for corpus in self._corpora(name):
            for settings in self._arms(method.train):
                for seed in self.spec.seeds:
                    yield settings, self._trained_weights(model, method.train, settings, corpus, seed)

    def _corpora(self, name: str) -> list[str]:
        """The corpora that a method trains on: those that its target tasks ask for."""
        tables = [self.spec.tasks[task] for task in self.spec.methods[name].tasks or self.spec.tasks]
        return list(dict.fromkeys(table.corpus for table in tables if table.corpus and table.role == "target"))

    def _arms(self, trainer: str) -> list[Settings]:
        """Every combination of the values that a trainer varies."""
        vary = self.spec.trainers[trainer].vary
        return [tuple(zip(vary, values, strict=True)) for values in product(*vary.values())]

    def _plain_weights(self, model: str) -> WeightsStep:
        return WeightsStep(_identity("weights", self.lock.get("models", model).identity), model)

    def _trained_weights(self, model: str, trainer: str, settings: Settings, corpus: str, seed: int) -> WeightsStep:
        table, start = self.spec.trainers[trainer], self._plain_weights(model)
        text = self._text(model, trainer, dict(settings).get("text.count"), corpus)
        validation = self._validation(model, trainer, corpus)
        held_out = self._passages(table.held_out.corpus) if table.held_out else None
        locked = self.lock.get("trainers", trainer, settings).identity
        self._check_sources(table, corpus)
        others = {"validation": validation, "held_out": held_out}
        unseen = {name: step.identity for name, step in others.items() if step}
        identity = _identity("training", start.identity, locked, text.identity, unseen, seed)
        return WeightsStep(identity, model, trainer, settings, text, validation, held_out, seed)

    def _check_sources(self, table: TrainerTable, corpus: str) -> None:
        """What is replayed must be other documents than those trained on, what is not trained on neither of both.

        Documents are compared, not passages: cut in another way they say the same.
        """
        originals = table.text is None or table.text.originals
        replayed = table.replay.corpus if table.replay else None
        if replayed and self._is_same(replayed, corpus):
            said = f"expected other text than what is trained on, {corpus}"
            raise self._wrong(said, "trainers", table.name, "replay")
        for key, unseen in (("validation", table.validation), ("held_out", table.held_out)):
            name = unseen.corpus if unseen else None
            for other in (corpus if originals else None, replayed):
                if name and other and self._is_same(name, other):
                    said = f"expected text that is not trained on, but {other} is"
                    raise self._wrong(said, "trainers", table.name, key)

    def _is_same(self, corpus: str, other: str) -> bool:
        return self.lock.get("corpora", corpus).identity == self.lock.get("corpora", other).identity

    def _validation(self, model: str, trainer: str, corpus: str) -> PassagesStep | HeldBackStep | None:
        """What a trainer watches its loss on: the same text for all of its arms, so that losses can be compared."""
        key = self.spec.trainers[trainer].validation
        if key is None or key.writer is None:
            return self._passages(key.corpus) if key and key.corpus else None
        text = self._text(model, trainer, self._most_texts(trainer), corpus)
        writer = self.lock.get("writers", key.writer).identity
        identity = _identity("held back", text.identity, writer, key.count, key.passages)
        return HeldBackStep(identity, trainer, text, key.writer, key.count, key.passages)

    def _text(self, model: str, trainer: str, varied: Setting | None, corpus: str) -> TextStep:
        """The text of a trainer on a corpus; tokens are the model's own where amounts of text are compared."""
        table = self.spec.trainers[trainer]
        key = table.text
        count = int(varied if varied is not None else key.count if key else 0)
        passages = self._passages(corpus)
        replay = self._passages(table.replay.corpus) if table.replay else None
        other = None
        if table.tokens:
            name = table.tokens.removeprefix("as:")
            other = self._text(model, name, self._most_texts(name), corpus)
        counted = self.lock.get("models", model).identity if replay or other else None
        parts = {
            "writer": self.lock.get("writers", key.writer).identity if key else None,
            "kind": key.kind if key else None,
            "originals": key.originals if key else True,
            "count": count,
            "replay": {"passages": replay.identity, "share": table.replay.share} if replay and table.replay else None,
            "as_many_as": other.identity if other else None,
            "tokenizer": counted,
        }
        identity = _identity("text", passages.identity, parts)
        return TextStep(identity, trainer, passages, count, model, replay, other)

    def _most_texts(self, trainer: str) -> Setting | None:
        """Of a trainer that varies its number of texts, the most."""
        values = self.spec.trainers[trainer].vary.get("text.count")
        return max(values, key=int) if values else None

    def _cells_of(
        self, name: str, weights: WeightsStep, settings: Settings, place: tuple[str, int, Split]
    ) -> Iterator[PlannedCell]:
        task, shots, split = place
        method, table = self.spec.methods[name], self.spec.tasks[task]
        trained_on = weights.text.passages.corpus if weights.text else None
        if trained_on and table.role == "target" and table.corpus != trained_on:
            return  # it asks for other knowledge than was trained
        chat = weights.model if self.spec.models[weights.model].chat_template else None
        asked = self._asked(task, shots, chat, split)
        if method.retrieve is None:
            yield self._cell(name, settings, table, weights, asked, None, None)
            return
        if table.corpus is None or (self._is_ceiling(method.retrieve) and table.role == "control"):
            return  # nothing to retrieve from, or no gold passage of a control's question in a foreign corpus
        for k in self._numbers(name):
            hits = self._hits(method.retrieve, table, max(self._depths(method.retrieve)), asked)
            chosen = settings if k is None else (*settings, ("k", k))
            yield self._cell(name, chosen, table, weights, asked, hits, k)

    def _is_ceiling(self, retriever: str) -> bool:
        plugin = self.lock.get("retrievers", retriever).plugin
        return isinstance(plugin, GoldRetriever) and plugin.role == "ceiling"

    def _numbers(self, name: str) -> tuple[int | None, ...]:
        """The numbers of passages a method asks for; (None,) where the retriever has its own."""
        method = self.spec.methods[name]
        plugin = self.lock.get("retrievers", str(method.retrieve)).plugin
        own = plugin.fixed_k() if isinstance(plugin, GoldRetriever) else None
        if own is None and not method.top_k:
            raise self._wrong("top_k is missing: write `top_k = [1, 3, 5]`", "methods", name)
        if own is not None and method.top_k:
            message = f"the retriever {method.retrieve} gives its own number of passages ({own}); leave top_k out"
            raise self._wrong(message, "methods", name, "top_k")
        return method.top_k or (None,)

    def _depths(self, retriever: str) -> list[int]:
        """Every number of hits that some method wants of a retriever."""
        names = [name for name, method in self.spec.methods.items() if method.retrieve == retriever]
        return [k or 0 for name in names for k in self._numbers(name)]

    def _cell(
        self,
        name: str,
        settings: Settings,
        table: TaskTable,
        weights: WeightsStep,
        asked: QuestionsStep,
        hits: HitsStep | None,
        k: int | None,
    ) -> PlannedCell:
        retrieval = None
        if hits:
            retrieval = {"retriever": self._retriever(hits.retriever), "passages": hits.passages.identity, "k": k}
        prompt = _prompt_parts(self.spec)
        identity = _identity("cell", weights.identity, asked.identity, retrieval, prompt if hits else None)
        trained_on = weights.text.passages.corpus if weights.text else None
        cell = Cell(
            model=weights.model,
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
        return PlannedCell(cell, weights, asked, hits, k)

    def _asked(self, task: str, shots: int, chat: str | None, split: Split) -> QuestionsStep:
        chat_identity = self.lock.get("models", chat).identity if chat else None
        identity = _identity("asked", self._questions(task, split), shots, chat_identity)
        return QuestionsStep(identity, task, shots, chat, split)

    def _questions(self, task: str, split: Split) -> dict[str, Any]:
        """What decides a task's questions, whatever the examples before them."""
        table, locked = self.spec.tasks[task], self.lock.get("tasks", task)
        own = not isinstance(locked.plugin, HarnessTask)
        scoring = (table.scoring or DEFAULT_SCORING) if own else None
        parts = {"task": locked.identity, "query": table.query, "scoring": scoring, "limit": table.limit}
        return {**parts, "split": split}

    def _passages(self, corpus: str) -> PassagesStep:
        chunk = self.spec.corpora[corpus].chunk
        tokenizer = None
        if chunk and chunk.tokens:
            tokenizer = self.lock.get("models", chunk.tokenizer or next(iter(self.spec.models))).identity
        size = chunk and {"tokens": chunk.tokens, "sentences": chunk.sentences, "overlap": chunk.overlap}
        language = chunk.language if chunk and chunk.sentences else None
        identity = _identity("passages", self.lock.get("corpora", corpus).identity, size, language, tokenizer)
        return PassagesStep(identity, corpus)

    def _retriever(self, name: str) -> dict[str, Any]:
        """What decides a retriever's hits, those that it stands on included."""
        locked = self.lock.get("retrievers", name)
        if not isinstance(locked.plugin, Reranker):
            return locked.identity
        sources = {source: [self._retriever(source), depth] for source, depth in locked.plugin.sources().items()}
        return {**locked.identity, "of": sources}

    def _hits(self, retriever: str, table: TaskTable, depth: int, asked: QuestionsStep) -> HitsStep:
        first = self._asked(table.name, table.shots[0], asked.chat_of, asked.split)  # all shots ask the same queries
        questions = self._questions(table.name, asked.split)
        return self.search(retriever, str(table.corpus), first, (questions, table.role), depth)

    def search(self, retriever: str, corpus: str, asked: QuestionsStep, what: tuple[Any, str], depth: int) -> HitsStep:
        """A retriever's hits in a corpus; `what` is what decides the queries, and the role of their task."""
        locked = self.lock.get("retrievers", retriever)
        passages = self._passages(corpus)
        index: IndexStep | None = None
        of: tuple[HitsStep, ...] = ()
        if isinstance(locked.plugin, Reranker):
            sources = locked.plugin.sources().items()
            of = tuple(self.search(name, corpus, asked, what, read) for name, read in sources)
        elif not isinstance(locked.plugin, GoldRetriever):
            index = IndexStep(_identity("index", locked.identity, passages.identity), retriever, passages)
        (questions, role), made_by = what, self._retriever(retriever)
        identity = _identity("hits", made_by, passages.identity, questions, depth, role)
        family = _identity("hits", made_by, passages.identity, questions, None, role)
        return HitsStep(identity, retriever, passages, index, asked, depth, of, family)

    def task(self, name: str, retriever: str, depth: int) -> HitsStep:
        """A retriever's hits for a task's test questions."""
        table = self.spec.tasks[name]
        return self._hits(retriever, table, depth, self._asked(name, table.shots[0], None, "test"))


def _prompt_parts(spec: Spec) -> dict[str, Any]:
    """What a spec says of how passages are put before a question."""
    prompt = spec.prompt
    return {"template": prompt.template or DEFAULT_TEMPLATE, "order": prompt.order, "tokens": prompt.tokens}


def _identity(kind: str, *parts: Any) -> str:
    plain = [asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts]
    return digest({"kind": kind, "revision": REVISION, "parts": plain})
