"""The passages of a corpus, in a file that is read by id: a corpus may be larger than the memory.

Ids and places in the file lie beside it, so that opening a million passages does not mean to read them.
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
from kib.plan.planner import PassagesStep
from kib.plugins.resolve import Lock
from kib.progress import Progress
from kib.records import Document, Gold, Passage
from kib.run.chunking import make_passages
from kib.spec.load import Spec
from kib.store.folders import Work, read_lines

__all__ = ["Passages", "make", "write"]

FILE = "passages.jsonl"
IDS = "ids.json"
ALIASES = "aliases.json"
OFFSETS = "offsets.bin"
"""Where each line of the file begins: whole numbers of eight bytes, the lowest first."""

NAMED = 3
"""Sources and licences that are recorded by name."""


class Passages:
    """A corpus's passages in their order; `ids` are all of them, texts are read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        kept = (folder / OFFSETS).is_file() and (folder / IDS).is_file()
        self.ids, offsets = _read_places(folder) if kept else _find_places(self.path)
        self.offsets: dict[str, int] = dict(zip(self.ids, offsets, strict=True))

    def __iter__(self) -> Iterator[Passage]:
        for value in read_lines(self.path):
            yield Passage(**value)

    def get(self, ids: Iterable[str]) -> list[Passage]:
        """Passages by id, in the order asked for."""
        with self.path.open("rb") as file:
            found = []
            for passage in ids:
                file.seek(self.offsets[passage])
                found.append(_parse(file.readline()))
        return found

    def aliases(self) -> dict[str, str]:
        """The ids of documents by further names of them; none where the corpus has none."""
        return _read_aliases(self.path.parent)

    def gold(self, wanted: Mapping[str, Collection[Gold]]) -> dict[str, tuple[str, ...]]:
        """The ids of the gold passages of each question; InputError where a gold document is not in the corpus."""
        named = self.aliases()
        wanted = {question: [_named(gold, named) for gold in golds] for question, golds in wanted.items()}
        by_document: dict[str, list[Passage]] = {gold.document: [] for golds in wanted.values() for gold in golds}
        for passage in self.get(one for one in self.ids if one.rpartition("#")[0] in by_document):
            by_document[passage.document].append(passage)
        lost = [document for document, passages in by_document.items() if not passages]
        if lost:
            shown = ", ".join(map(repr, lost[:3]))
            raise InputError(f"{len(lost)} gold documents of the questions are not in the corpus: {shown}")
        return {question: _covered(question, golds, by_document) for question, golds in wanted.items()}


def _covered(question: str, golds: Collection[Gold], by_document: Mapping[str, list[Passage]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for gold in golds:
        covered = [passage.id for passage in by_document[gold.document] if gold.covers(passage)]
        if not covered:
            raise InputError(
                f"question {question}: no passage overlaps its gold range, {gold.start} to {gold.end} of document "
                f"{gold.document!r}; does it lie within the document?"
            )
        found |= dict.fromkeys(covered)
    return tuple(found)


def _named(gold: Gold, aliases: Mapping[str, str]) -> Gold:
    """Gold by the id of its document, which may have been given by another name of it."""
    return replace(gold, document=aliases.get(gold.document, gold.document))


def _read_aliases(folder: Path) -> dict[str, str]:
    """Further names of documents; none where the corpus has none."""
    path = folder / ALIASES
    aliases: dict[str, str] = json.loads(path.read_bytes()) if path.is_file() else {}
    return aliases


def _read_places(folder: Path) -> tuple[list[str], Iterable[int]]:
    """Ids and offsets as they were written with the passages."""
    import numpy as np

    ids: list[str] = json.loads((folder / IDS).read_bytes())
    return ids, np.fromfile(folder / OFFSETS, dtype="<u8").tolist()


def _find_places(path: Path) -> tuple[list[str], Iterable[int]]:
    """The same from the passages themselves, of a folder that was made before they were written beside."""
    ids, offsets, offset = [], [], 0
    with path.open("rb") as file:
        for line in file:
            ids.append(_parse(line).id)
            offsets.append(offset)
            offset += len(line)
    return ids, offsets


def write(passages: Iterable[Passage], folder: Path) -> tuple[int, str]:
    """Write passages, their ids and places; gives their number and the digest of their lines."""
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


def make(step: PassagesStep, spec: Spec, lock: Lock, work: Work, progress: Progress) -> Passages:
    """Cut a corpus into passages, once; InputError where it has none."""
    chunk = spec.corpora[step.corpus].chunk

    def build(folder: Path) -> dict[str, Any]:
        tokens = _tokens(spec, lock, step.corpus)
        corpus = lock.get("corpora", step.corpus).plugin
        with progress.step(f"cutting corpus {step.corpus} into passages") as advance:
            tally = _Tally(tokens)
            made = tally.passages(make_passages(tally.documents(corpus.documents()), chunk, tokens), advance)
            count, digest = write(made, folder)
        if not count:
            raise InputError(f"corpora.{step.corpus}: the corpus has no document")
        if isinstance(corpus, AliasedCorpus) and (aliases := dict(corpus.aliases())):
            (folder / ALIASES).write_text(canonical(aliases), encoding="utf-8")
        notes = dict(corpus.notes()) if isinstance(corpus, NotedCorpus) else {}
        return {"corpus": step.corpus, "passages": count, "digest": digest, **tally.record(), "notes": notes}

    return Passages(work.make("passages", step.identity, build))


class _Tally:
    """What is recorded of a corpus while its documents and passages go by."""

    def __init__(self, tokens: Callable[[str], list[int]] | None) -> None:
        self.encode = tokens
        self.count = 0
        self.tokens = 0
        self.characters = 0
        self.sources: set[str] = set()
        self.licences: set[str] = set()

    def documents(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Count documents, their characters, and where they come from."""
        for document in documents:
            self.count += 1
            self.characters += len(document.text)
            if len(self.sources) <= NAMED:
                self.sources |= {document.source} - {""}
            if len(self.licences) <= NAMED:
                self.licences |= {document.licence} - {""}
            yield document

    def passages(self, passages: Iterable[Passage], advance: Callable[[int], None]) -> Iterator[Passage]:
        """Count passages, and their tokens where they are cut by tokens."""
        for passage in passages:
            advance(1)
            if self.encode:
                self.tokens += len(self.encode(passage.text))
            yield passage

    def record(self) -> dict[str, Any]:
        """Counts, and sources and licences; of more than a few the list is empty: each document says its own."""
        return {
            "documents": self.count,
            "characters": self.characters,
            "tokens": self.tokens if self.encode else None,
            "sources": sorted(self.sources) if len(self.sources) <= NAMED else [],
            "licences": sorted(self.licences) if len(self.licences) <= NAMED else [],
        }


def _tokens(spec: Spec, lock: Lock, corpus: str) -> Callable[[str], list[int]] | None:
    chunk = spec.corpora[corpus].chunk
    if chunk is None or chunk.tokens is None:
        return None
    name = chunk.tokenizer or next(iter(spec.models))
    tokens: Callable[[str], list[int]] | None = lock.get("models", name).plugin.tokens()
    if tokens is None:
        raise InputError(
            f"corpora.{corpus}.chunk: the model {name} keeps its tokenizer to itself; name another model by "
            "`tokenizer`, or cut by `sentences`"
        )
    return tokens
