"""Finds the hits for a task's questions once per retriever, and stores the hits for all methods."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from kib.errors import DamagedError, InputError, PluginError
from kib.interfaces import (
    ApartRetriever,
    GoldRetriever,
    RemarkingRetriever,
    RememberingRetriever,
    ReportingRetriever,
    Reranker,
    ServedRetriever,
)
from kib.plan.steps import QUERIES, HitsStep, IndexStep
from kib.plugins.resolve import Locked
from kib.records import Hit, Passage, Query, RenderedQuestion
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, check_list, check_type
from kib.run.steps.gold_passages import GoldText, LocatedGold
from kib.run.steps.passages import Passages
from kib.store.files import read_lines, write_lines
from kib.store.paid_answers import plugin_memory
from kib.store.work import Work, reading_step
from kib.support.characters import remove_invisible
from kib.support.disk_errors import naming
from kib.support.phrases import counted

__all__ = [
    "HitsByQuestion",
    "build_index",
    "find_hits",
    "index_bytes",
    "indexing_peak_bytes",
    "indexing_seconds",
    "search_batches",
    "search_seconds",
]

FILE = "hits.jsonl"
BATCH = 256
"""The maximum number of queries per call of a retriever."""

HitsByQuestion = Mapping[str, Sequence[Hit]]
"""The hits of each question by question id, best first."""


def find_hits(
    step: HitsStep,
    questions: Sequence[RenderedQuestion],
    gold: LocatedGold,
    passages: Passages,
    sources: Mapping[str, HitsByQuestion],
    context: RunContext,
) -> dict[str, list[Hit]]:
    """Return the hits for every question; search only if no hits are stored.

    `sources` contains the hits of a reranker's source retrievers.
    """
    locked = context.lock.get("retrievers", step.retriever)

    def build(folder: Path) -> dict[str, Any]:
        index = build_index(step.index, passages, context) if step.index else None
        begun = time.perf_counter()
        if isinstance(locked.plugin, GoldRetriever):
            found = _choose(locked, step, questions, gold, passages)
        elif isinstance(locked.plugin, Reranker):
            found = _rerank(locked, step, questions, passages, sources, context)
        else:
            found = _search(locked, step, questions, index, context)
        seconds = time.perf_counter() - begun
        _check_hits(step, questions, found, passages)
        lines = (
            {"question": question.question_id, "hits": [[hit.passage, hit.score] for hit in hits]}
            for question, hits in zip(questions, found, strict=True)
        )
        count = write_lines(folder / FILE, lines)
        record = {"retriever": step.retriever, "queries": count, "depth": step.depth, "family": step.family}
        return {**record, "seconds": seconds}

    folder = context.work.compute("hits", _stored_identity(step, context.work), build)
    depth = None if isinstance(locked.plugin, GoldRetriever) else step.depth
    return _read_hits(folder, questions, depth)


def _read_hits(folder: Path, questions: Sequence[RenderedQuestion], depth: int | None) -> dict[str, list[Hit]]:
    """Return the stored hits by question id.

    Raises DamagedError unless the file contains the hits of every question, in the order of the questions.
    """
    path = folder / FILE
    with reading_step(path):
        found = {
            line["question"]: [Hit(passage, score) for passage, score in line["hits"][:depth]]
            for line in read_lines(path)
        }
    if list(found) != [question.question_id for question in questions]:
        raise DamagedError(
            f"{path}: the stored hits do not belong to the questions of the task; delete {folder} and run the command "
            "again"
        )
    return found


def _stored_identity(step: HitsStep, work: Work) -> str:
    """Return the identity of the step's own hits, or of stored hits from an equal search with a greater depth."""
    if work.is_marked("hits", step.identity) or not (step.index or step.of):
        return step.identity
    deeper = [
        (record["depth"], identity)
        for identity, record in work.records("hits")
        if record.get("family") == step.family and record["depth"] > step.depth and work.has("hits", identity)
    ]
    return min(deeper, default=(0, step.identity))[1]


def search_seconds(step: HitsStep, work: Work) -> float:
    """Return the duration of a search in seconds, including its source searches but excluding indexing."""
    parts = dict.fromkeys(_stored_identity(one, work) for one in step.with_sources())
    return sum(float(work.record("hits", one).get("seconds", work.seconds("hits", one))) for one in parts)


def _indexes(step: HitsStep) -> dict[str, None]:
    """Return the identities of all indexes that a step searches, in the order of the searches."""
    return dict.fromkeys(one.index.identity for one in step.with_sources() if one.index)


def indexing_seconds(step: HitsStep, work: Work) -> float:
    """Return the time, in seconds, spent on building the indexes of a step."""
    return sum(work.seconds("index", index) for index in _indexes(step))


def indexing_peak_bytes(step: HitsStep, work: Work) -> int:
    """Return the peak memory, in bytes, used for building the indexes of a step."""
    return max((work.peak_bytes("index", index) for index in _indexes(step)), default=0)


def index_bytes(step: HitsStep, work: Work) -> int:
    """Return the total size of a step's indexes in bytes."""
    return sum(int(work.record("index", index).get("bytes", 0)) for index in _indexes(step))


def _choose(
    locked: Locked,
    step: HitsStep,
    questions: Sequence[RenderedQuestion],
    gold: LocatedGold,
    passages: Passages,
) -> list[list[Hit]]:
    """Return the hits of a retriever that knows the gold passages.

    For an unanswerable question, a retriever of gold passages (the ceiling) finds nothing.

    Raises PluginError if a non-gold passage among the hits repeats the gold text, for example in a copied document.
    """
    found: list[list[Hit]] = []
    gold_text = GoldText(gold, passages)
    method = "choose_apart" if isinstance(locked.plugin, ApartRetriever) else "choose"
    for question in questions:
        if question.unanswerable and locked.plugin.role == "ceiling":
            found.append([])
            continue
        repeats = partial(gold_text.repeats, question.question_id)
        more = {"repeats": repeats} if method == "choose_apart" else {}
        of_question = gold.passages.get(question.question_id, ())
        with call_plugin(locked, method):
            hits = getattr(locked.plugin, method)(question.question_id, of_question, passages.ids, step.depth, **more)
        found.append(check_list(locked, method, hits, Hit))
        for hit in found[-1]:
            if hit.passage in passages.offsets and repeats(hit.passage):
                raise PluginError(
                    f"retrievers.{step.retriever}: question {question.question_id}: the passage {hit.passage!r} is not "
                    "gold but repeats the gold text; the plugin must implement `choose_apart` (kib.interfaces)"
                )
    return found


def _rerank(
    locked: Locked,
    step: HitsStep,
    questions: Sequence[RenderedQuestion],
    passages: Passages,
    sources: Mapping[str, HitsByQuestion],
    context: RunContext,
) -> list[list[Hit]]:
    """Return the hits of a retriever that reranks or fuses the hits of other retrievers."""
    found: list[list[Hit]] = []
    with context.progress.step(f"reranking with {step.retriever} for {_whose(step)}", len(questions)) as advance:
        for question in questions:
            hits = {name: hits[question.question_id] for name, hits in sources.items()}
            texts = _LazyPassages(passages, (hit.passage for some in hits.values() for hit in some))
            with call_plugin(locked, "rerank"):
                ranked = locked.plugin.rerank(_query(question, step, context), hits, texts, step.depth)
            found.append(check_list(locked, "rerank", ranked, Hit))
            advance(1)
    return found


class _LazyPassages(Mapping[str, Passage]):
    """Passages by id, each read from disk on first access, because fusing hits does not require any text."""

    def __init__(self, passages: Passages, ids: Iterable[str]) -> None:
        self._passages = passages
        self._known: dict[str, Passage | None] = dict.fromkeys(ids)

    def __getitem__(self, passage_id: str) -> Passage:
        known = self._known[passage_id]
        if known is None:
            [known] = self._passages.get([passage_id])
            self._known[passage_id] = known
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _whose(step: HitsStep) -> str:
    return "the queries" if step.asked.task == QUERIES else f"task {step.asked.task}"


def _query(question: RenderedQuestion, step: HitsStep, context: RunContext) -> Query:
    """Return the query of a question; invisible characters are removed as from the documents."""
    removes = context.spec.removes_invisible(step.passages.corpus)
    return Query(question.question_id, remove_invisible(question.query) if removes else question.query)


def _search(
    locked: Locked, step: HitsStep, questions: Sequence[RenderedQuestion], index: Path | None, context: RunContext
) -> list[list[Hit]]:
    """Return the hits of a retriever that searches an index."""
    if index is None:
        raise InputError(f"retrievers.{step.retriever}: the retriever cannot search without an index")
    queries = [_query(question, step, context) for question in questions]
    with context.progress.step(f"searching with {step.retriever} for {_whose(step)}", len(queries)) as advance:
        return search_batches(locked, index, queries, step.depth, advance)


def search_batches(
    locked: Locked, index: Path, queries: Sequence[Query], k: int, advance: Callable[[int], None] = lambda _: None
) -> list[list[Hit]]:
    """Return the `k` best hits for each query; `advance` receives the size of each batch."""
    found: list[list[Hit]] = []
    for first in range(0, len(queries), BATCH):
        batch = queries[first : first + BATCH]
        with call_plugin(locked, "search"):
            lists = locked.plugin.search(index, batch, k)
        found += [check_list(locked, "search", hits, Hit) for hits in check_type(locked, "search", lists, list)]
        advance(len(batch))
    return found


def build_index(step: IndexStep, passages: Passages, context: RunContext) -> Path:
    """Return the folder of a retriever's index; build the index if it is missing in the folder or on the server."""
    locked, work = context.lock.get("retrievers", step.retriever), context.work
    retriever = locked.plugin

    def build(folder: Path) -> dict[str, Any]:
        inside = folder / "index"
        inside.mkdir(exist_ok=True)
        title = f"indexing corpus {step.passages.corpus} with {step.retriever}"
        step_in_view = context.progress.step(title, len(passages.ids))
        with step_in_view as advance, call_plugin(locked, "build"), naming(inside):
            memory = (
                [plugin_memory(work.folder, retriever.memory())] if isinstance(retriever, RememberingRetriever) else []
            )
            if isinstance(retriever, ReportingRetriever):
                retriever.build(passages, inside, *memory, advance=advance)
            else:
                retriever.build(_advancing(passages, advance), inside, *memory)
        remarks = _remarks(locked, inside)
        for remark in remarks:
            context.progress.say(f"retrievers.{step.retriever}: {remark}")
        size = _index_size(locked, inside)
        return {"retriever": step.retriever, "passages": len(passages.ids), "bytes": size, "remarks": remarks}

    inside = work.step_folder("index", step.identity) / "index"
    if isinstance(retriever, ServedRetriever) and work.has("index", step.identity):
        with call_plugin(locked, "holds"):
            held = retriever.holds(inside)
        if not held:
            work.invalidate("index", step.identity)
    return work.compute("index", step.identity, build) / "index"


def _index_size(locked: Locked, index: Path) -> int:
    """Return the size in bytes of an index in its folder or on its server."""
    if isinstance(locked.plugin, ServedRetriever):
        with call_plugin(locked, "index_bytes"):
            return locked.plugin.index_bytes(index)
    return sum(path.stat().st_size for path in index.rglob("*") if path.is_file())


def _remarks(locked: Locked, index: Path) -> list[str]:
    """Return a retriever's remarks about an index that it has built."""
    if not isinstance(locked.plugin, RemarkingRetriever):
        return []
    with call_plugin(locked, "remarks"):
        return check_list(locked, "remarks", locked.plugin.remarks(index), str)


def _advancing(passages: Iterable[Passage], advance: Callable[[int], None]) -> Iterator[Passage]:
    for passage in passages:
        yield passage
        advance(1)  # only now has the retriever used the passage


def _check_hits(
    step: HitsStep, questions: Sequence[RenderedQuestion], found: Sequence[Sequence[Hit]], passages: Passages
) -> None:
    """Raise PluginError unless each query has at most `depth` hits, which refer to distinct, existing passages."""
    where = f"retrievers.{step.retriever}"
    if len(found) != len(questions):
        raise PluginError(
            f"{where}: returned {counted(len(found), 'list')} of hits for "
            f"{counted(len(questions), 'query', 'queries')}; expected one list per query"
        )
    for question, hits in zip(questions, found, strict=True):
        if fault := _fault(step, hits, passages):
            raise PluginError(f"{where}: question {question.question_id}: {fault}")


def _fault(step: HitsStep, hits: Sequence[Hit], passages: Passages) -> str | None:
    """Return a description of the fault in the hits for one question, or None if all hits are valid."""
    ids = [hit.passage for hit in hits]
    unknown = [passage for passage in ids if passage not in passages.offsets]
    if unknown:
        return f"the hit {unknown[0]!r} is not a passage of the corpus"
    if len(set(ids)) < len(ids):
        return "the hits contain the same passage twice"
    if step.index is not None and len(ids) > step.depth:
        return f"got {counted(len(ids), 'hit')}; expected at most {step.depth}"
    scores = [hit.score for hit in hits if not (isinstance(hit.score, int | float) and isfinite(hit.score))]
    return f"the score {scores[0]!r} of a hit is not a finite number" if scores else None
