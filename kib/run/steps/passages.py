"""The passages of a corpus, in a file that is read by id, because a corpus may not fit into memory.

Ids and file offsets are stored next to the passages, so that a corpus of a million passages can be opened without
reading any passage.
"""

import json
import os
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical
from kib.interfaces import AliasedCorpus, CountedCorpus, NotedCorpus, RememberingCorpus
from kib.plan.steps import PassagesStep
from kib.plugins.resolve import Locked
from kib.records import Document, Passage, document_id
from kib.run.chunking import split_documents
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, iterate_plugin
from kib.run.steps.corpus_statistics import CorpusStatistics
from kib.run.visible_text import visible_documents
from kib.store.files import read_lines
from kib.store.paid_answers import plugin_memory
from kib.store.work import reading_step
from kib.support.ids import normal_id

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

    def document_names(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return the document id for each name, which may be an alias; None if the corpus has no such document."""
        known, aliases = {document_id(one) for one in self.ids}, self.aliases()
        found = {name: aliases.get(normal_id(name), normal_id(name)) for name in names}
        return {name: document if document in known else None for name, document in found.items()}


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
        total = _document_count(locked)
        title = f"splitting corpus {step.corpus} into passages" if total is None else f"reading corpus {step.corpus}"
        with context.progress.step(title, total) as advance:
            statistics, removed = CorpusStatistics(tokens), Counter[str]()
            with call_plugin(locked, "documents"):
                documents = _documents(locked, context)
            documents = map(_with_normal_id, iterate_plugin(locked, "documents", documents, Document))
            if context.spec.removes_invisible(step.corpus):
                documents = visible_documents(documents, removed)
            if total is not None:
                documents = _advancing(documents, advance)
            documents = statistics.count_documents(documents)
            on_passage = advance if total is None else lambda _: None
            passages = statistics.count_passages(split_documents(documents, chunk, tokens), on_passage)
            count, digest = write_passages(passages, folder)
        if not count:
            raise InputError(f"corpora.{step.corpus}: the corpus has no documents")
        notes = {}
        if isinstance(locked.plugin, AliasedCorpus):
            with call_plugin(locked, "aliases"):
                aliases = {normal_id(name): normal_id(one) for name, one in locked.plugin.aliases().items()}
            if aliases:
                (folder / ALIASES).write_text(canonical(aliases), encoding="utf-8")
        if isinstance(locked.plugin, NotedCorpus):
            with call_plugin(locked, "notes"):
                notes = dict(locked.plugin.notes())
        record = {"corpus": step.corpus, "passages": count, "digest": digest, "removed": dict(removed)}
        return {**record, **statistics.record(folder), "notes": notes}

    return Passages(context.work.compute("passages", step.identity, build))


def _document_count(locked: Locked) -> int | None:
    """Return the largest possible number of documents, or None if the corpus does not know the number."""
    if not isinstance(locked.plugin, CountedCorpus):
        return None
    with call_plugin(locked, "document_count"):
        return locked.plugin.document_count()


def _documents(locked: Locked, context: RunContext) -> Iterator[Document]:
    """Return the documents of a corpus, which may read and write its cache in the work folder."""
    if isinstance(locked.plugin, RememberingCorpus):
        return locked.plugin.documents(plugin_memory(context.work.folder, locked.plugin.memory()))
    documents: Iterator[Document] = locked.plugin.documents()
    return documents


def _advancing(documents: Iterable[Document], advance: Callable[[int], None]) -> Iterator[Document]:
    """Yield the documents unchanged; report each document as done when the next document is requested."""
    for document in documents:
        yield document
        advance(1)


def _with_normal_id(document: Document) -> Document:
    """Return the document with its id in Unicode's composed form, in which questions name the document."""
    return replace(document, id=normal_id(document.id))


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
