"""What a retriever finds for a task's questions: frozen to a file and shared by all methods that use it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.interfaces import GoldRetriever, RemarkingRetriever, RememberingRetriever, Reranker, Retriever, ServedRetriever
from kib.plan.planner import QUERIES, HitsStep, IndexStep
from kib.plugins.resolve import Lock
from kib.progress import Progress
from kib.records import Hit, Passage, Query, RenderedQuestion
from kib.run.steps.passages import Passages
from kib.store.folders import Work, read_lines, write_lines
from kib.store.paid_answers import retriever_memory

__all__ = ["Found", "index_size", "indexing", "make", "make_index", "search_all", "searching"]

FILE = "hits.jsonl"
BATCH = 256
"""Queries that are searched for together."""

Found = Mapping[str, Sequence[Hit]]
"""The hits of each question, best first."""


def make(
    step: HitsStep,
    asked: Sequence[RenderedQuestion],
    gold: Mapping[str, Sequence[str]],
    passages: Passages,
    sources: Mapping[str, Found],
    lock: Lock,
    work: Work,
    progress: Progress,
) -> dict[str, list[Hit]]:
    """The hits of every question, made once.

    `gold` gives the ids of a question's gold passages, `sources` the hits of the retrievers that this one stands on.
    """
    retriever = lock.get("retrievers", step.retriever).plugin

    def build(folder: Path) -> dict[str, Any]:
        index = make_index(step.index, passages, lock, work, progress) if step.index else None
        begun = time.perf_counter()
        if isinstance(retriever, GoldRetriever):
            found = [
                retriever.choose(a.question_id, gold.get(a.question_id, ()), passages.ids, step.depth) for a in asked
            ]
        elif isinstance(retriever, Reranker):
            found = _rerank(step, asked, passages, sources, lock, progress)
        else:
            found = _search(step, asked, index, lock, progress)
        seconds = time.perf_counter() - begun
        _check(step, asked, found, passages)
        lines = (
            {"question": question.question_id, "hits": [[hit.passage, hit.score] for hit in hits]}
            for question, hits in zip(asked, found, strict=True)
        )
        count = write_lines(folder / FILE, lines)
        told = {"retriever": step.retriever, "queries": count, "depth": step.depth, "family": step.family}
        return {**told, "seconds": seconds}

    folder = work.make("hits", _stored(step, work), build)
    values = read_lines(folder / FILE)
    kept = None if isinstance(retriever, GoldRetriever) else step.depth
    return {value["question"]: [Hit(passage, score) for passage, score in value["hits"][:kept]] for value in values}


def _stored(step: HitsStep, work: Work) -> str:
    """The identity of the hits that serve a step: its own or, where only deeper ones of the same search lie, theirs."""
    if work.has("hits", step.identity) or not (step.index or step.of):
        return step.identity
    deeper = [
        (note["depth"], identity)
        for identity, note in work.notes("hits")
        if note.get("family") == step.family and note["depth"] > step.depth
    ]
    return min(deeper, default=(0, step.identity))[1]


def searching(step: HitsStep, work: Work) -> float:
    """Seconds of wall time that a step's search took, those that it stands on included, and no indexing."""
    parts = dict.fromkeys(_stored(one, work) for one in step.with_sources())
    return sum(float(work.note("hits", one).get("seconds", work.seconds("hits", one))) for one in parts)


def _indexes(step: HitsStep) -> dict[str, None]:
    return dict.fromkeys(one.index.identity for one in step.with_sources() if one.index)


def indexing(step: HitsStep, work: Work) -> float:
    """Seconds of wall time that making the indexes of a step took."""
    return sum(work.seconds("index", index) for index in _indexes(step))


def indexing_peak(step: HitsStep, work: Work) -> int:
    """The most memory that making one of the indexes of a step took."""
    return max((work.peak_bytes("index", index) for index in _indexes(step)), default=0)


def index_size(step: HitsStep, work: Work) -> int:
    """Bytes of the indexes of a step."""
    return sum(int(work.note("index", index).get("bytes", 0)) for index in _indexes(step))


def _rerank(
    step: HitsStep,
    asked: Sequence[RenderedQuestion],
    passages: Passages,
    sources: Mapping[str, Found],
    lock: Lock,
    progress: Progress,
) -> list[list[Hit]]:
    reranker = lock.get("retrievers", step.retriever).plugin
    found: list[list[Hit]] = []
    with progress.step(f"reranking with {step.retriever} for {_whose(step)}", len(asked)) as advance:
        for question in asked:
            hits = {name: hits[question.question_id] for name, hits in sources.items()}
            texts = _Texts(passages, (hit.passage for some in hits.values() for hit in some))
            found.append(reranker.rerank(Query(question.question_id, question.query), hits, texts, step.depth))
            advance(1)
    return found


class _Texts(Mapping[str, Passage]):
    """Passages by id, each read when it is asked for: a fusion needs none."""

    def __init__(self, passages: Passages, ids: Iterable[str]) -> None:
        self._passages = passages
        self._known: dict[str, Passage | None] = dict.fromkeys(ids)

    def __getitem__(self, passage: str) -> Passage:
        known = self._known[passage]
        if known is None:
            [known] = self._passages.get([passage])
            self._known[passage] = known
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _whose(step: HitsStep) -> str:
    return "the queries" if step.asked.task == QUERIES else f"task {step.asked.task}"


def _search(
    step: HitsStep, asked: Sequence[RenderedQuestion], index: Path | None, lock: Lock, progress: Progress
) -> list[list[Hit]]:
    if index is None:
        raise InputError(f"retrievers.{step.retriever}: cannot search without an index")
    retriever = lock.get("retrievers", step.retriever).plugin
    queries = [Query(question.question_id, question.query) for question in asked]
    with progress.step(f"searching with {step.retriever} for {_whose(step)}", len(queries)) as advance:
        return search_all(retriever, index, queries, step.depth, advance)


def search_all(
    retriever: Retriever, index: Path, queries: Sequence[Query], k: int, advance: Callable[[int], None] = lambda _: None
) -> list[list[Hit]]:
    """The hits of all queries, searched for in batches; `advance` is told of each."""
    found: list[list[Hit]] = []
    for first in range(0, len(queries), BATCH):
        batch = queries[first : first + BATCH]
        found += retriever.search(index, batch, k)
        advance(len(batch))
    return found


def make_index(step: IndexStep, passages: Passages, lock: Lock, work: Work, progress: Progress) -> Path:
    """The folder of a retriever's index over a corpus, made once, or again where its server has lost it."""
    retriever = lock.get("retrievers", step.retriever).plugin

    def build(folder: Path) -> dict[str, Any]:
        with progress.step(
            f"indexing corpus {step.passages.corpus} with {step.retriever}", len(passages.ids)
        ) as advance:
            inside = folder / "index"
            inside.mkdir(exist_ok=True)
            if isinstance(retriever, RememberingRetriever):
                memory = retriever_memory(work.folder, retriever.memory())
                retriever.build(_advancing(passages, advance), inside, memory)
            else:
                retriever.build(_advancing(passages, advance), inside)
        size = sum(path.stat().st_size for path in inside.rglob("*") if path.is_file())
        if isinstance(retriever, ServedRetriever):
            size = retriever.index_bytes(inside)
        remarks = list(retriever.remarks(inside)) if isinstance(retriever, RemarkingRetriever) else []
        for remark in remarks:
            progress.say(f"retrievers.{step.retriever}: {remark}")
        return {"retriever": step.retriever, "passages": len(passages.ids), "bytes": size, "remarks": remarks}

    place = work.place("index", step.identity) / "index"
    made = work.has("index", step.identity)
    if made and isinstance(retriever, ServedRetriever) and not retriever.holds(place):
        work.forget("index", step.identity)
    return work.make("index", step.identity, build) / "index"


def _advancing(passages: Passages, advance: Any) -> Any:
    for passage in passages:
        advance(1)
        yield passage


def _check(
    step: HitsStep, asked: Sequence[RenderedQuestion], found: Sequence[Sequence[Hit]], passages: Passages
) -> None:
    """Hold a retriever to its promise: one list a query, known passages, each once, no more than asked for."""
    where = f"retrievers.{step.retriever}"
    if len(found) != len(asked):
        raise InputError(f"{where}: gave {len(found)} lists of hits for {len(asked)} queries")
    for question, hits in zip(asked, found, strict=True):
        ids = [hit.passage for hit in hits]
        unknown = [passage for passage in ids if passage not in passages.offsets]
        if unknown:
            raise InputError(f"{where}: question {question.question_id}: found {unknown[0]!r}, which is no passage")
        if len(set(ids)) < len(ids):
            raise InputError(f"{where}: question {question.question_id}: found a passage twice")
        if step.index is not None and len(ids) > step.depth:
            said = f"found {len(ids)} passages, asked for at most {step.depth}"
            raise InputError(f"{where}: question {question.question_id}: {said}")
