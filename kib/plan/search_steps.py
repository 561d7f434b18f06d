"""Plans the steps that split corpora into passages, build indexes and search for passages."""

from typing import Any

from kib.interfaces import GoldRetriever, Reranker
from kib.plan.question_steps import INVISIBLE_REVISION, QuestionPlanner
from kib.plan.step_planner import StepPlanner, computed_once, identity_of
from kib.plan.steps import HitsStep, IndexStep, PassagesStep, QuestionsStep
from kib.plugins.resolve import Lock
from kib.records import Split
from kib.spec.load import Spec

__all__ = ["SearchPlanner"]

PASSAGES_REVISION = 3
"""Increase this number when kib splits the same documents into different passages."""


class SearchPlanner(StepPlanner):
    """Creates the steps between a corpus and the hits for questions, which `questions` renders."""

    def __init__(self, spec: Spec, lock: Lock, questions: QuestionPlanner) -> None:
        super().__init__(spec, lock)
        self.questions = questions

    @computed_once
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
        identity = identity_of("passages", *parts, *removed)
        return PassagesStep(identity, corpus)

    @computed_once
    def retriever(self, name: str) -> dict[str, Any]:
        """Return everything that determines the hits of a retriever, including its source retrievers."""
        locked = self.lock.get("retrievers", name)
        if not isinstance(locked.plugin, Reranker):
            return locked.identity
        sources = {source: [self.retriever(source), depth] for source, depth in locked.plugin.sources().items()}
        return {**locked.identity, "of": sources}

    @computed_once
    def _index(self, retriever: str, corpus: str) -> IndexStep:
        locked, passages = self.lock.get("retrievers", retriever), self.passages(corpus)
        return IndexStep(identity_of("index", locked.identity, passages.identity), retriever, passages)

    @computed_once
    def hits(self, retriever: str, task: str, depth: int, chat: str | None, split: Split) -> HitsStep:
        """Return the step that searches for the questions of a task; `chat` is a model that reads chats."""
        table = self.spec.tasks[task]
        first = self.questions.asked(task, table.shots[0], chat, split)  # all numbers of shots have the same queries
        questions = self.questions.content(task, split)
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
        (questions, role), made_by = what, self.retriever(retriever)
        identity = identity_of("hits", made_by, passages.identity, questions, depth, role)
        family = identity_of("hits", made_by, passages.identity, questions, None, role)
        return HitsStep(identity, retriever, passages, index, asked, depth, of, family)
