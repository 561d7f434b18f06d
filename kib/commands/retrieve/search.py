"""Searches a corpus with each retriever for each set of queries, using the steps of a run, and measures the hits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kib.commands.announce import announce
from kib.commands.retrieve.queries import of_corpus, of_file, of_tasks
from kib.commands.retrieve.records import Block, By, Line, QuerySet, Report
from kib.errors import InputError, ServerUnavailableError
from kib.interfaces import GoldRetriever
from kib.plan.plan import Plan
from kib.plan.planner import hits_of_queries, hits_of_task
from kib.plan.steps import HitsStep
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

__all__ = ["DEPTH", "SearchRequest", "ids_of", "read_spec", "retrieve"]

DEPTH = 100
CUTS = (1, 3, 5, 10, 100)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The options of `kib retrieve`: a corpus (None: the only corpus), retrievers (empty: all), queries and depth.

    `queries` is a file of queries. If `queries` is None, the queries come from the corpus and from all tasks, or only
    from `task`. `depth` is the number of passages retrieved per query.
    """

    corpus: str | None = None
    retrievers: Sequence[str] = ()
    task: str | None = None
    queries: Path | None = None
    depth: int = DEPTH
    trust_remote_code: bool = False


def retrieve(path: Path, request: SearchRequest, work: Work, progress: Progress) -> Report:
    """Index and search a corpus, and measure the hits; indexes and hits in the work folder are reused.

    If a retriever fails, the report contains the reason and the results of the other retrievers. Raises InputError if a
    name is unknown, if there are no queries, or if a judged document is not in the corpus.
    """
    spec = read_spec(path, request)
    [corpus] = spec.corpora
    with progress.waiting(f"reading {path} and the files that it names"):
        lock = resolve(spec, trust_remote_code=request.trust_remote_code)
    announce(lock, progress)
    retrievers = _retrievers(spec, lock, request.retrievers)
    steps = SharedSteps(Plan(spec, lock, ()), work, progress)
    passages = steps.passages(hits_of_queries(spec, lock, corpus, retrievers[0], (), 1).passages)
    if request.queries is not None:
        sets = [of_file(request.queries, passages, progress.say)]
    else:
        own = of_corpus(corpus, lock) if request.task is None else None
        sets = [*of_tasks(steps.context, corpus, passages), *([own] if own else [])]
    if not sets:
        raise InputError(
            f"{path}: no task uses corpus {corpus}, and the corpus contains no queries; name a file of queries with "
            "--queries"
        )
    searcher = _Searcher(steps, corpus, request.depth, Counter(map(document_id, passages.ids)))
    blocks = tuple(searcher.block(queries, retrievers) for queries in sets)
    failures, down = searcher.failures, searcher.unavailable
    return Report(corpus, len(passages.ids), request.depth, blocks, failures, passages, down == failures.keys())


def read_spec(path: Path, request: SearchRequest) -> Spec:
    """Read the part of a benchmark file needed to search one corpus; tasks and methods may be missing."""
    spec = read_draft(path, whole=False).spec()
    corpus = _corpus(spec, request.corpus)
    chunk = spec.corpora[corpus].chunk
    models: list[str] = []
    if chunk and chunk.tokens:
        if not spec.models:
            raise InputError(
                f"{path}: corpora.{corpus}.chunk: splitting by tokens requires a tokenizer; add a table [models.NAME]"
            )
        models = [chunk.tokenizer or next(iter(spec.models))]
    if request.task is not None and getattr(spec.table("tasks", request.task), "corpus", None) != corpus:
        raise InputError(f"{path}: tasks.{request.task}: this task does not use corpus {corpus}")
    if not spec.retrievers:
        raise InputError(f"{path}: the file declares no retriever; add a table [retrievers.NAME]")
    tasks = {
        name: table
        for name, table in spec.tasks.items()
        if table.corpus == corpus and request.queries is None and request.task in (None, name)
    }
    return replace(
        spec,
        models={name: spec.models[name] for name in models},
        corpora={corpus: spec.corpora[corpus]},
        tasks=tasks,
        writers={},
        trainers={},
        judges={},
        methods={},
    )


def _corpus(spec: Spec, name: str | None) -> str:
    if name is not None:
        spec.table("corpora", name)
        return name
    if len(spec.corpora) == 1:
        return next(iter(spec.corpora))
    if not spec.corpora:
        raise InputError(f"{spec.file}: the file declares no corpus; add a table [corpora.NAME]")
    names = join(list(spec.corpora), "or")
    raise InputError(f"{spec.file}: the file declares {len(spec.corpora)} corpora; choose one with --corpus: {names}")


def _retrievers(spec: Spec, lock: Lock, names: Sequence[str]) -> list[str]:
    """Return the requested retrievers without duplicates, or by default all retrievers that use no gold passages."""

    def knows_gold(name: str) -> bool:
        return isinstance(lock.get("retrievers", name).plugin, GoldRetriever)

    for name in names:
        spec.table("retrievers", name)
        if knows_gold(name):
            raise InputError(
                f"{spec.file}: retrievers.{name}: this retriever returns the gold passages directly and does not "
                "search, so its search quality cannot be measured"
            )
    found = list(dict.fromkeys(names)) or [name for name in spec.retrievers if not knows_gold(name)]
    if not found:
        raise InputError(
            f"{spec.file}: all retrievers return the gold passages directly; add a retriever that searches the corpus"
        )
    return found


class _Searcher:
    """Searches one corpus; a retriever is not used again after a failure."""

    def __init__(self, steps: SharedSteps, corpus: str, depth: int, sizes: Mapping[str, int]) -> None:
        self.steps = steps
        self.corpus = corpus
        self.depth = depth
        self.sizes = sizes  # the number of passages of each document
        self.failures: dict[str, str] = {}
        self.unavailable: set[str] = set()  # the failed retrievers whose server did not answer

    def block(self, queries: QuerySet, retrievers: Sequence[str]) -> Block:
        """Return the results of all working retrievers for one set of queries."""
        lines = [self._line(name, queries) for name in retrievers if name not in self.failures]
        found = tuple(line for line in lines if line is not None)
        return Block(queries.title, len(queries.asked), len(queries.relevance), queries.by, found, queries)

    def _line(self, retriever: str, queries: QuerySet) -> Line | None:
        work = self.steps.context.work
        try:
            step = self._step(retriever, queries)
            hits = self._counting_hits(self.steps.hits(step), queries)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the other retrievers continue
            self.failures[retriever] = explain_error(work, f"searching with {retriever}", error)
            self.unavailable |= {retriever} if isinstance(error, ServerUnavailableError) else set()
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

    def _counting_hits(self, hits: Mapping[str, Sequence[Hit]], queries: QuerySet) -> Mapping[str, Sequence[Hit]]:
        """Return the first `depth` hits of each query that are not from a document left out for the query."""
        left_out = queries.left_out
        counting = {
            query: [hit for hit in found if document_id(hit.passage) not in left_out.get(query, ())]
            for query, found in hits.items()
        }
        return {query: found[: self.depth] for query, found in counting.items()}

    def _step(self, retriever: str, queries: QuerySet) -> HitsStep:
        spec, lock = self.steps.plan.spec, self.steps.plan.lock
        more = max((sum(self.sizes[one] for one in names) for names in queries.left_out.values()), default=0)
        if queries.task is not None:
            step = hits_of_task(spec, lock, queries.task, retriever, self.depth)
        else:
            texts = [(one.question_id, one.query) for one in queries.asked]
            step = hits_of_queries(spec, lock, self.corpus, retriever, texts, self.depth + more)
        self.steps.provide_questions(step.asked, list(queries.asked))
        return step


def ids_of(hits: Sequence[Hit], by: By) -> dict[str, float]:
    """Return scores by passage or by document, best first; a document has the score and rank of its best passage."""
    found: dict[str, float] = {}
    for hit in hits:
        found.setdefault(hit.passage if by == "passages" else document_id(hit.passage), hit.score)
    return found


def _names(by: By, depth: int) -> Mapping[str, str]:
    """Return the measures that need at most `depth` hits, keyed by their names in ir_measures."""
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
