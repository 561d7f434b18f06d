"""What a retriever finds for a task's questions: frozen to a file and shared by all methods that use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.interfaces import GoldRetriever, Reranker
from kib.lock import Lock
from kib.plan import HitsStep, IndexStep
from kib.progress import Progress
from kib.records import Asked, Hit, Query
from kib.steps.passages import Passages
from kib.store import Work, read_lines, write_lines

__all__ = ["Found", "make"]

FILE = "hits.jsonl"
BATCH = 256
"""Queries that are searched for together."""

Found = Mapping[str, Sequence[Hit]]
"""The hits of each question, best first."""


def make(
    step: HitsStep,
    asked: Sequence[Asked],
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
        if isinstance(retriever, GoldRetriever):
            found = [retriever.choose(a.question, gold.get(a.question, ()), passages.ids, step.depth) for a in asked]
        elif isinstance(retriever, Reranker):
            found = _rerank(step, asked, passages, sources, lock, progress)
        else:
            found = _search(step, asked, passages, lock, work, progress)
        _check(step, asked, found, passages)
        lines = (
            {"question": question.question, "hits": [[hit.passage, hit.score] for hit in hits]}
            for question, hits in zip(asked, found, strict=True)
        )
        return {"retriever": step.retriever, "queries": write_lines(folder / FILE, lines), "depth": step.depth}

    folder = work.make("hits", step.identity, build)
    values = read_lines(folder / FILE)
    return {value["question"]: [Hit(passage, score) for passage, score in value["hits"]] for value in values}


def _rerank(
    step: HitsStep,
    asked: Sequence[Asked],
    passages: Passages,
    sources: Mapping[str, Found],
    lock: Lock,
    progress: Progress,
) -> list[list[Hit]]:
    reranker = lock.get("retrievers", step.retriever).plugin
    found: list[list[Hit]] = []
    with progress.step(f"reranking with {step.retriever} for task {step.asked.task}", len(asked)) as advance:
        for question in asked:
            hits = {name: hits[question.question] for name, hits in sources.items()}
            ids = list(dict.fromkeys(hit.passage for some in hits.values() for hit in some))
            texts = dict(zip(ids, passages.get(ids), strict=True))
            found.append(reranker.rerank(Query(question.question, question.query), hits, texts, step.depth))
            advance(1)
    return found


def _search(
    step: HitsStep, asked: Sequence[Asked], passages: Passages, lock: Lock, work: Work, progress: Progress
) -> list[list[Hit]]:
    if step.index is None:
        raise InputError(f"retrievers.{step.retriever}: cannot search without an index")
    index = _index(step.index, passages, lock, work, progress)
    retriever = lock.get("retrievers", step.retriever).plugin
    queries = [Query(question.question, question.query) for question in asked]
    found: list[list[Hit]] = []
    with progress.step(f"searching with {step.retriever} for task {step.asked.task}", len(queries)) as advance:
        for first in range(0, len(queries), BATCH):
            batch = queries[first : first + BATCH]
            found += retriever.search(index, batch, step.depth)
            advance(len(batch))
    return found


def _index(step: IndexStep, passages: Passages, lock: Lock, work: Work, progress: Progress) -> Path:
    def build(folder: Path) -> dict[str, Any]:
        with progress.step(
            f"indexing corpus {step.passages.corpus} with {step.retriever}", len(passages.ids)
        ) as advance:
            inside = folder / "index"
            inside.mkdir(exist_ok=True)
            lock.get("retrievers", step.retriever).plugin.build(_advancing(passages, advance), inside)
        size = sum(path.stat().st_size for path in inside.rglob("*") if path.is_file())
        return {"retriever": step.retriever, "passages": len(passages.ids), "bytes": size}

    return work.make("index", step.identity, build) / "index"


def _advancing(passages: Passages, advance: Any) -> Any:
    for passage in passages:
        advance(1)
        yield passage


def _check(step: HitsStep, asked: Sequence[Asked], found: Sequence[Sequence[Hit]], passages: Passages) -> None:
    """Hold a retriever to its promise: one list a query, known passages, each once, no more than asked for."""
    where = f"retrievers.{step.retriever}"
    if len(found) != len(asked):
        raise InputError(f"{where}: gave {len(found)} lists of hits for {len(asked)} queries")
    for question, hits in zip(asked, found, strict=True):
        ids = [hit.passage for hit in hits]
        unknown = [passage for passage in ids if passage not in passages.offsets]
        if unknown:
            raise InputError(f"{where}: question {question.question}: found {unknown[0]!r}, which is no passage")
        if len(set(ids)) < len(ids):
            raise InputError(f"{where}: question {question.question}: found a passage twice")
        if step.index is not None and len(ids) > step.depth:
            said = f"found {len(ids)} passages, asked for at most {step.depth}"
            raise InputError(f"{where}: question {question.question}: {said}")
