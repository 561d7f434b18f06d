"""Search with each retriever for each set of queries, by the same steps as a run, and measure what they find."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kib.commands.retrieve.queries import of_corpus, of_file, of_tasks
from kib.commands.retrieve.records import Block, By, Line, QuerySet, Report
from kib.errors import InputError
from kib.interfaces import GoldRetriever
from kib.plan.planner import HitsStep, Plan, hits_of_queries, hits_of_task
from kib.plugins.resolve import Lock, resolve
from kib.progress import Progress
from kib.records import Hit, document_id
from kib.run.failures import explain_error
from kib.run.shared_steps import SharedSteps
from kib.run.steps.hits import index_bytes, indexing_seconds, search_seconds
from kib.spec.load import Spec, read_draft
from kib.statistics.gains import Accuracy
from kib.statistics.paired_gains import accuracy
from kib.statistics.ranking_measures import measure
from kib.store.work import Work
from kib.support.phrases import join

__all__ = ["DEPTH", "Wanted", "ids_of", "read_spec", "retrieve"]

DEPTH = 100
CUTS = (1, 3, 5, 10, 100)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for: of a benchmark file, the only corpus where none is named, all retrievers where none is.

    `queries` is a file of queries; without it those of the tasks (of `task` alone where it is named) and of the corpus
    are searched for. `depth` is how many passages are found a query.
    """

    corpus: str | None = None
    retrievers: Sequence[str] = ()
    task: str | None = None
    queries: Path | None = None
    depth: int = DEPTH
    trust_remote_code: bool = False


def retrieve(path: Path, wanted: Wanted, work: Work, progress: Progress) -> Report:
    """Index, search and measure; what is there already, from here or from a run, is taken from the work folder.

    A retriever that fails is named in the report and the others are finished. InputError where a name is wrong, where
    there is no query, or where judgments name documents that are not in the corpus.
    """
    spec = read_spec(path, wanted)
    [corpus] = spec.corpora
    lock = resolve(spec, trust_remote_code=wanted.trust_remote_code)
    retrievers = _retrievers(spec, lock, wanted.retrievers)
    steps = SharedSteps(Plan(spec, lock, ()), work, progress)
    passages = steps.passages(hits_of_queries(spec, lock, corpus, retrievers[0], (), 1).passages)
    if wanted.queries is not None:
        sets = [of_file(wanted.queries, passages)]
    else:
        own = of_corpus(corpus, lock) if wanted.task is None else None
        sets = [*of_tasks(steps.context, corpus, passages), *([own] if own else [])]
    if not sets:
        raise InputError(
            f"{path}: no task asks for corpus {corpus}, and it brings no queries of its own; give some by --queries"
        )
    searcher = _Searcher(steps, corpus, wanted.depth)
    blocks = tuple(searcher.block(queries, retrievers) for queries in sets)
    return Report(corpus, len(passages.ids), wanted.depth, blocks, searcher.failures)


def read_spec(path: Path, wanted: Wanted) -> Spec:
    """Of a benchmark file what a search needs, with one corpus; models, tasks and methods may still be missing."""
    spec = read_draft(path, whole=False).spec()
    corpus = _corpus(spec, wanted.corpus)
    chunk = spec.corpora[corpus].chunk
    models: list[str] = []
    if chunk and chunk.tokens:
        if not spec.models:
            raise InputError(f"{path}: corpora.{corpus}.chunk: tokens of which model? Add a table [models.NAME]")
        models = [chunk.tokenizer or next(iter(spec.models))]
    if wanted.task is not None and getattr(spec.table("tasks", wanted.task), "corpus", None) != corpus:
        raise InputError(f"{path}: tasks.{wanted.task}: does not ask for corpus {corpus}")
    if not spec.retrievers:
        raise InputError(f"{path}: there is no retriever; add a table [retrievers.NAME]")
    tasks = {
        name: table
        for name, table in spec.tasks.items()
        if table.corpus == corpus and wanted.queries is None and wanted.task in (None, name)
    }
    return replace(
        spec,
        models={name: spec.models[name] for name in models},
        corpora={corpus: spec.corpora[corpus]},
        tasks=tasks,
        writers={},
        trainers={},
        methods={},
    )


def _corpus(spec: Spec, name: str | None) -> str:
    if name is not None:
        spec.table("corpora", name)
        return name
    if len(spec.corpora) == 1:
        return next(iter(spec.corpora))
    if not spec.corpora:
        raise InputError(f"{spec.file}: there is no corpus; add a table [corpora.NAME]")
    names = join(list(spec.corpora), "or")
    raise InputError(f"{spec.file}: there are {len(spec.corpora)} corpora; choose one by --corpus: {names}")


def _retrievers(spec: Spec, lock: Lock, names: Sequence[str]) -> list[str]:
    """Those named, each once, or all that do not look at the gold."""

    def looks(name: str) -> bool:
        return isinstance(lock.get("retrievers", name).plugin, GoldRetriever)

    for name in names:
        spec.table("retrievers", name)
        if looks(name):
            raise InputError(
                f"{spec.file}: retrievers.{name}: it is told the gold, so that there is nothing to measure"
            )
    found = list(dict.fromkeys(names)) or [name for name in spec.retrievers if not looks(name)]
    if not found:
        raise InputError(f"{spec.file}: every retriever is told the gold; add one that searches")
    return found


class _Searcher:
    """Searches one corpus; a retriever that failed once is not tried again."""

    def __init__(self, steps: SharedSteps, corpus: str, depth: int) -> None:
        self.steps = steps
        self.corpus = corpus
        self.depth = depth
        self.failures: dict[str, str] = {}

    def block(self, queries: QuerySet, retrievers: Sequence[str]) -> Block:
        """What each retriever that works finds for a set of queries."""
        lines = [self._line(name, queries) for name in retrievers if name not in self.failures]
        found = tuple(line for line in lines if line is not None)
        return Block(queries.title, len(queries.asked), len(queries.relevance), queries.by, found)

    def _line(self, retriever: str, queries: QuerySet) -> Line | None:
        work = self.steps.context.work
        try:
            step = self._step(retriever, queries)
            hits = self.steps.hits(step)
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises fails it and no other
            self.failures[retriever] = explain_error(work, f"searching with {retriever}", error)
        else:
            return Line(
                retriever,
                _measures(queries, hits, self.depth),
                index_bytes(step, work),
                indexing_seconds(step, work),
                search_seconds(step, work) / len(queries.asked),
                hits,
            )
        return None

    def _step(self, retriever: str, queries: QuerySet) -> HitsStep:
        spec, lock = self.steps.plan.spec, self.steps.plan.lock
        if queries.task is not None:
            step = hits_of_task(spec, lock, queries.task, retriever, self.depth)
        else:
            texts = [(one.question_id, one.query) for one in queries.asked]
            step = hits_of_queries(spec, lock, self.corpus, retriever, texts, self.depth)
        self.steps.provide_questions(step.asked, list(queries.asked))
        return step


def ids_of(hits: Sequence[Hit], by: By) -> dict[str, float]:
    """Scores by passage, or by document at the place of its best passage; best first."""
    found: dict[str, float] = {}
    for hit in hits:
        found.setdefault(hit.passage if by == "passages" else document_id(hit.passage), hit.score)
    return found


def _names(by: By, depth: int) -> Mapping[str, str]:
    """The measures that `depth` hits allow, with their names in ir_measures."""
    recall = "Success" if by == "passages" else "R"
    cuts = {f"recall@{cut}": f"{recall}@{cut}" for cut in CUTS if cut <= depth}
    return cuts | ({"MRR@10": "RR@10", "nDCG@10": "nDCG@10"} if depth >= 10 else {}) | {f"MAP@{depth}": "AP"}


def _measures(queries: QuerySet, hits: Mapping[str, Sequence[Hit]], depth: int) -> dict[str, Accuracy]:
    if not queries.relevance:
        return {}
    names = _names(queries.by, depth)
    ranked = {name: list(ids_of(hits[name], queries.by)) for name in queries.relevance}
    values = measure(list(names.values()), queries.relevance, ranked)
    groups = [one.group for one in queries.asked if one.question_id in queries.relevance]
    order = [one.question_id for one in queries.asked if one.question_id in queries.relevance]
    return {name: accuracy([values[theirs][one] for one in order], groups) for name, theirs in names.items()}
