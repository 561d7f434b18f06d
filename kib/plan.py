"""Spec and lock become weights, cells, steps and their identities: pure, nothing is read or computed.

An identity is the digest of everything that decides a step's output: its kind, the options that count, its plugin and
the identities of its inputs. How many hits are kept (`depth`) decides the hits file but no cell: a retriever's first K
hits are the same at every depth.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from kib.errors import SpecError
from kib.identity import digest
from kib.interfaces import GROUPS, GoldRetriever, HarnessTask
from kib.lock import Lock, Locked
from kib.prompts import DEFAULT_TEMPLATE
from kib.records import Cell, Setting
from kib.spec import MethodTable, Spec, TaskTable
from kib.store import BenchmarkPlan, MethodEntry, TaskEntry

__all__ = ["AskedStep", "CellPlan", "HitsStep", "IndexStep", "PassagesStep", "Plan", "WeightsStep", "make_plan"]

REVISION = 1
"""Raised when kib itself makes other prompts, chunks or scores of the same spec."""

DEFAULT_SCORING = "text"


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
class AskedStep:
    """A task's questions as they are asked with `shots` examples, in a model's chat template where it has one."""

    identity: str
    task: str
    shots: int
    chat_of: str | None


@dataclass(frozen=True, slots=True)
class HitsStep:
    """The first `depth` hits of a task's questions; `index` is None where the retriever is shown the gold instead."""

    identity: str
    retriever: str
    passages: PassagesStep
    index: IndexStep | None
    asked: AskedStep
    depth: int


@dataclass(frozen=True, slots=True)
class WeightsStep:
    """A set of weights that cells are measured on: a model as it is."""

    identity: str
    model: str


@dataclass(frozen=True, slots=True)
class CellPlan:
    """A cell with the steps it is made of; `k` of the hits are put into the prompt, None for all of them."""

    cell: Cell
    weights: WeightsStep
    asked: AskedStep
    hits: HitsStep | None
    k: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a benchmark needs, in the order of the file."""

    spec: Spec
    lock: Lock
    cells: tuple[CellPlan, ...]

    @property
    def weights(self) -> tuple[WeightsStep, ...]:
        """Each set of weights once."""
        return tuple(dict.fromkeys(cell.weights for cell in self.cells))

    @property
    def asked(self) -> tuple[AskedStep, ...]:
        """Each rendering of a task once."""
        return tuple(dict.fromkeys(cell.asked for cell in self.cells))

    @property
    def hits(self) -> tuple[HitsStep, ...]:
        """Each hits file once."""
        return tuple(dict.fromkeys(cell.hits for cell in self.cells if cell.hits))

    def on(self, weights: WeightsStep) -> tuple[CellPlan, ...]:
        """The cells measured on a set of weights."""
        return tuple(cell for cell in self.cells if cell.weights == weights)

    def entry(self) -> BenchmarkPlan:
        """The plan as the results folder keeps it, before the questions are counted."""
        return BenchmarkPlan(
            name=self.spec.name,
            title=self.spec.title,
            tasks={name: TaskEntry(table.role, table.corpus) for name, table in self.spec.tasks.items()},
            methods={name: _method_entry(self.lock, table) for name, table in self.spec.methods.items()},
            cells=tuple(cell.cell for cell in self.cells),
            sources={kind: self._sources(kind) for kind in GROUPS},
            prompt=_prompt_parts(self.spec),
        )

    def _sources(self, kind: str) -> dict[str, Any]:
        """Where each table of a kind comes from: plugin, distribution, version, options that count, fingerprint."""
        return {name: _source(self.lock.get(kind, name)) for name in self.spec.tables(kind)}


def _source(locked: Locked) -> dict[str, Any]:
    return {"distribution": locked.distribution, "version": locked.version, **locked.identity}


def make_plan(spec: Spec, lock: Lock) -> Plan:
    """Every cell that the spec's methods make on its models and tasks; SpecError where a method makes none."""
    _refuse_training(spec)
    cells = tuple(cell for name in spec.methods for cell in _Planner(spec, lock).cells(name))
    order = {name: number for number, name in enumerate(spec.models)}
    return Plan(spec, lock, tuple(sorted(cells, key=lambda cell: order[cell.cell.model])))


def _refuse_training(spec: Spec) -> None:
    for name, method in spec.methods.items():
        if method.train is not None:
            message = "this version of kib measures knowledge in the prompt only and cannot train; expected `retrieve`"
            raise SpecError([spec.mistake(message, "methods", name, "train")])


def _method_entry(lock: Lock, method: MethodTable) -> MethodEntry:
    plugin = lock.get("retrievers", method.retrieve).plugin if method.retrieve else None
    role = plugin.role if isinstance(plugin, GoldRetriever) else ""
    return MethodEntry(method.train, method.retrieve, role)


class _Planner:
    """Makes the steps of one spec; each step is a value, so that equal ones are one."""

    def __init__(self, spec: Spec, lock: Lock) -> None:
        self.spec = spec
        self.lock = lock

    def cells(self, name: str) -> Iterator[CellPlan]:
        """The cells of a method; SpecError where it makes none."""
        method = self.spec.methods[name]
        made = 0
        for model in method.models or self.spec.models:
            for task in method.tasks or self.spec.tasks:
                for shots in self.spec.tasks[task].shots:
                    for cell in self._cells_of(name, model, task, shots):
                        made += 1
                        yield cell
        if not made:
            reason = "none of its tasks names a corpus to retrieve from" if method.retrieve else "it has no task"
            raise self._wrong(f"makes no cell: {reason}", "methods", name)

    def _wrong(self, message: str, *keys: str) -> SpecError:
        return SpecError([self.spec.mistake(message, *keys)])

    def _cells_of(self, name: str, model: str, task: str, shots: int) -> Iterator[CellPlan]:
        method, table = self.spec.methods[name], self.spec.tasks[task]
        asked = self._asked(task, shots, model)
        weights = self._weights(model)
        if method.retrieve is None:
            yield self._cell(name, (), table, weights, asked, None, None)
            return
        if table.corpus is None or (self._is_ceiling(method.retrieve) and table.role == "control"):
            return  # nothing to retrieve from, or no gold passage of a control's question in a foreign corpus
        depths = self._numbers(name)
        for k in depths:
            hits = self._hits(method.retrieve, table, max(self._depths(method.retrieve)), asked)
            settings = () if k is None else (("k", k),)
            yield self._cell(name, settings, table, weights, asked, hits, k)

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
        settings: tuple[tuple[str, Setting], ...],
        table: TaskTable,
        weights: WeightsStep,
        asked: AskedStep,
        hits: HitsStep | None,
        k: int | None,
    ) -> CellPlan:
        retrieval = None
        if hits:
            retriever = self.lock.get("retrievers", hits.retriever)
            retrieval = {"retriever": retriever.identity, "passages": hits.passages.identity, "k": k}
        prompt = _prompt_parts(self.spec)
        identity = _identity("cell", weights.identity, asked.identity, retrieval, prompt if hits else None)
        cell = Cell(
            model=weights.model,
            method=name,
            settings=settings,
            task=table.name,
            corpus=table.corpus if hits or table.role == "target" else None,
            shots=asked.shots,
            seed=0,
            identity=identity,
        )
        return CellPlan(cell, weights, asked, hits, k)

    def _weights(self, model: str) -> WeightsStep:
        return WeightsStep(_identity("weights", self.lock.get("models", model).identity), model)

    def _asked(self, task: str, shots: int, model: str) -> AskedStep:
        return self._asked_in(task, shots, model if self.spec.models[model].chat_template else None)

    def _asked_in(self, task: str, shots: int, chat: str | None) -> AskedStep:
        chat_identity = self.lock.get("models", chat).identity if chat else None
        return AskedStep(_identity("asked", self._questions(task), shots, chat_identity), task, shots, chat)

    def _questions(self, task: str) -> dict[str, Any]:
        """What decides a task's questions, whatever the examples before them."""
        table, locked = self.spec.tasks[task], self.lock.get("tasks", task)
        own = not isinstance(locked.plugin, HarnessTask)
        scoring = (table.scoring or DEFAULT_SCORING) if own else None
        return {"task": locked.identity, "query": table.query, "scoring": scoring, "limit": table.limit}

    def _passages(self, corpus: str) -> PassagesStep:
        chunk = self.spec.corpora[corpus].chunk
        tokenizer = None
        if chunk and chunk.tokens:
            tokenizer = self.lock.get("models", chunk.tokenizer or next(iter(self.spec.models))).identity
        size = chunk and {"tokens": chunk.tokens, "sentences": chunk.sentences, "overlap": chunk.overlap}
        language = chunk.language if chunk and chunk.sentences else None
        identity = _identity("passages", self.lock.get("corpora", corpus).identity, size, language, tokenizer)
        return PassagesStep(identity, corpus)

    def _hits(self, retriever: str, table: TaskTable, depth: int, asked: AskedStep) -> HitsStep:
        locked = self.lock.get("retrievers", retriever)
        passages = self._passages(str(table.corpus))
        index = None
        if not isinstance(locked.plugin, GoldRetriever):
            index = IndexStep(_identity("index", locked.identity, passages.identity), retriever, passages)
        first = self._asked_in(table.name, table.shots[0], asked.chat_of)  # all shots ask the same queries
        questions = self._questions(table.name)
        identity = _identity("hits", locked.identity, passages.identity, questions, depth, table.role)
        return HitsStep(identity, retriever, passages, index, first, depth)


def _prompt_parts(spec: Spec) -> dict[str, Any]:
    """What a spec says of how passages are put before a question."""
    prompt = spec.prompt
    return {"template": prompt.template or DEFAULT_TEMPLATE, "order": prompt.order, "tokens": prompt.tokens}


def _identity(kind: str, *parts: Any) -> str:
    plain = [asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts]
    return digest({"kind": kind, "revision": REVISION, "parts": plain})
