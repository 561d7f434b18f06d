"""The passages of a corpus, in a file that is read by id, because a corpus may not fit into memory.

Ids and file offsets are stored next to the passages, so that a corpus of a million passages can be opened without
reading any passage.
"""

import json
import os
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical
from kib.interfaces import AliasedCorpus, NotedCorpus
from kib.plan.steps import PassagesStep
from kib.records import Document, Gold, Passage, document_id
from kib.run.chunking import split_documents
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, iterate_plugin
from kib.run.steps.corpus_statistics import CorpusStatistics
from kib.store.files import read_lines
from kib.store.work import reading_step

__all__ = ["Passages", "read_aliases", "split_corpus", "write_passages"]

FILE = "passages.jsonl"
IDS = "ids.json"
ALIASES = "aliases.json"
OFFSETS = "offsets.bin"
"""The offset of each line of `FILE`, as unsigned little-endian integers of eight bytes."""


class Passages:
    """The passages of a corpus in order; `ids` contains all passage ids, and texts are read on access."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        stored = (folder / OFFSETS).is_file() and (folder / IDS).is_file()
        with reading_step(folder / IDS if stored else self.path):
            self.ids, offsets = _read_offsets(folder) if stored else _find_offsets(self.path)
            self.offsets: dict[str, int] = dict(zip(self.ids, offsets, strict=True))

    def __iter__(self) -> Iterator[Passage]:
        with reading_step(self.path):
            for value in read_lines(self.path):
                yield Passage(**value)

    def get(self, ids: Iterable[str]) -> list[Passage]:
        """Return the passages with the given ids, in the order of the ids."""
        with self.path.open("rb") as file:
            found = []
            for passage_id in ids:
                file.seek(self.offsets[passage_id])
                with reading_step(self.path):
                    found.append(_parse(file.readline()))
        return found

    def aliases(self) -> dict[str, str]:
        """Return the document id for each alias; the mapping is empty if the corpus has no aliases."""
        return read_aliases(self.path.parent)

    def gold(self, wanted: Mapping[str, Collection[Gold]]) -> dict[str, tuple[str, ...]]:
        """Return the ids of each question's gold passages.

        Raises InputError if a gold document is not in the corpus.
        """
        aliases = self.aliases()
        wanted = {question_id: [_resolved(gold, aliases) for gold in golds] for question_id, golds in wanted.items()}
        by_document: dict[str, list[Passage]] = {gold.document: [] for golds in wanted.values() for gold in golds}
        for passage in self.get(one for one in self.ids if document_id(one) in by_document):
            by_document[passage.document].append(passage)
        missing = [document for document, passages in by_document.items() if not passages]
        if missing:
            shown = ", ".join(map(repr, missing[:3]))
            raise InputError(f"{len(missing)} gold documents of the questions are not in the corpus: {shown}")
        return {question_id: _gold_passages(question_id, golds, by_document) for question_id, golds in wanted.items()}


def _gold_passages(
    question_id: str, golds: Collection[Gold], by_document: Mapping[str, list[Passage]]
) -> tuple[str, ...]:
    """Return the distinct ids of the passages that overlap a question's gold ranges."""
    found: dict[str, None] = {}
    for gold in golds:
        covered = [passage.id for passage in by_document[gold.document] if gold.covers(passage)]
        if not covered:
            raise InputError(
                f"question {question_id}: no passage overlaps the gold range from {gold.start} to {gold.end} in "
                f"document {gold.document!r}; the range must lie within the document"
            )
        found |= dict.fromkeys(covered)
    return tuple(found)


def _resolved(gold: Gold, aliases: Mapping[str, str]) -> Gold:
    """Return the gold record, with an alias replaced by the id of the document."""
    return replace(gold, document=aliases.get(gold.document, gold.document))


def read_aliases(folder: Path) -> dict[str, str]:
    """Return the document id for each alias; the mapping is empty if the corpus has no aliases."""
    path = folder / ALIASES
    with reading_step(path):
        aliases: dict[str, str] = json.loads(path.read_bytes()) if path.is_file() else {}
    return aliases


def _read_offsets(folder: Path) -> tuple[list[str], Iterable[int]]:
    """Return the ids and offsets that are stored next to the passages."""
    import numpy as np

    ids: list[str] = json.loads((folder / IDS).read_bytes())
    return ids, np.fromfile(folder / OFFSETS, dtype="<u8").tolist()


def _find_offsets(path: Path) -> tuple[list[str], Iterable[int]]:
    """Read all passages to return their ids and offsets, for folders of earlier versions without stored offsets."""
    ids, offsets, offset = [], [], 0
    with path.open("rb") as file:
        for line in file:
            ids.append(_parse(line).id)
            offsets.append(offset)
            offset += len(line)
    return ids, offsets


def write_passages(passages: Iterable[Passage], folder: Path) -> tuple[int, str]:
    """Write passages with their ids and offsets; return the number of passages and the digest of their lines."""
    ids: list[str] = []
    offsets, offset = array("Q"), 0
    total = sha256()
    with (folder / FILE).open("wb") as file:
        for passage in passages:
            data = canonical(asdict(passage)).encode()
            total.update(data)
            total.update(len(data).to_bytes(8, "big"))
            ids.append(passage.id)
            offsets.append(offset)
            offset += file.write(data + b"\n")
        file.flush()
        os.fsync(file.fileno())
    (folder / IDS).write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    if sys.byteorder == "big":
        offsets.byteswap()
    (folder / OFFSETS).write_bytes(offsets.tobytes())
    return len(ids), total.hexdigest()


def _parse(line: bytes) -> Passage:
    return Passage(**json.loads(line))


def split_corpus(step: PassagesStep, context: RunContext) -> Passages:
    """Return the passages of a corpus; split the corpus only if its passages are not stored.

    Raises InputError if the corpus has no documents.
    """
    chunk = context.spec.corpora[step.corpus].chunk

    def build(folder: Path) -> dict[str, Any]:
        tokens = _tokenizer(context, step.corpus)
        locked = context.lock.get("corpora", step.corpus)
        with context.progress.step(f"splitting corpus {step.corpus} into passages") as advance:
            statistics = CorpusStatistics(tokens)
            with call_plugin(locked, "documents"):
                documents = locked.plugin.documents()
            documents = statistics.count_documents(iterate_plugin(locked, "documents", documents, Document))
            passages = statistics.count_passages(split_documents(documents, chunk, tokens), advance)
            count, digest = write_passages(passages, folder)
        if not count:
            raise InputError(f"corpora.{step.corpus}: the corpus has no documents")
        notes = {}
        if isinstance(locked.plugin, AliasedCorpus):
            with call_plugin(locked, "aliases"):
                aliases = dict(locked.plugin.aliases())
            if aliases:
                (folder / ALIASES).write_text(canonical(aliases), encoding="utf-8")
        if isinstance(locked.plugin, NotedCorpus):
            with call_plugin(locked, "notes"):
                notes = dict(locked.plugin.notes())
        record = {"corpus": step.corpus, "passages": count, "digest": digest}
        return {**record, **statistics.record(folder), "notes": notes}

    return Passages(context.work.compute("passages", step.identity, build))


def _tokenizer(context: RunContext, corpus: str) -> Callable[[str], list[int]] | None:
    """Return the tokenizer that splits a corpus, or None if the corpus is not split by tokens."""
    chunk = context.spec.corpora[corpus].chunk
    if chunk is None or chunk.tokens is None:
        return None
    locked = context.lock.get("models", chunk.tokenizer or next(iter(context.spec.models)))
    with call_plugin(locked, "tokens"):
        tokens: Callable[[str], list[int]] | None = locked.plugin.tokens()
    if tokens is None:
        raise InputError(
            f"corpora.{corpus}.chunk: the model {locked.name} has no public tokenizer; name a different model with "
            "`tokenizer`, or split by `sentences`"
        )
    return tokens
