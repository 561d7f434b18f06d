"""Statistics of a corpus, collected while its documents and passages are streamed, and shown by `kib check`."""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from heapq import nlargest
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from kib.records import Document, Passage
from kib.run.headings import Headings
from kib.support.quotes import folded

__all__ = ["CorpusStatistics", "read_document_lengths", "read_duplicate_documents"]

LENGTHS = "lengths.json"
"""The file with the number of characters of each document, in the order of the documents."""

DUPLICATES = "duplicates.json"
"""The file with the ids of documents, and of passages, that have the same text after white-space folding."""

MOST_NAMED = 3
"""The maximum number of sources, licences, long passages, duplicates and headings that a record lists by name."""


class CorpusStatistics:
    """Counts documents and passages; every document is followed by its passages."""

    def __init__(self, tokens: Callable[[str], list[int]] | None) -> None:
        self.encode = tokens
        self.special = len(tokens("")) if tokens else 0
        self.tokens = 0
        self.sources: set[str] = set()
        self.licences: set[str] = set()
        self.documents: list[str] = []
        self.passages: list[str] = []
        self.document_lengths = array("Q")
        self.document_digests = array("Q")
        self.passage_lengths = array("Q")
        self.passage_digests = array("Q")
        self.longest: list[tuple[int, str]] = []
        self.headings: list[str] = []
        self._headings = Headings("")
        self._digest = 0

    def count_documents(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield the documents unchanged; count documents and characters, and collect sources and licences."""
        for document in documents:
            self.documents.append(document.id)
            self.document_lengths.append(len(document.text))
            self._digest = _digest(document.text)
            self.document_digests.append(self._digest)
            self._headings = Headings(document.text)
            if len(self.sources) <= MOST_NAMED:
                self.sources |= {document.source} - {""}
            if len(self.licences) <= MOST_NAMED:
                self.licences |= {document.licence} - {""}
            yield document

    def count_passages(self, passages: Iterable[Passage], advance: Callable[[int], None]) -> Iterator[Passage]:
        """Yield the passages unchanged; count their tokens if the corpus is split by tokens, else their characters."""
        for passage in passages:
            advance(1)
            self.passages.append(passage.id)
            tokens = len(self.encode(passage.text)) if self.encode else 0
            self.tokens += tokens
            length = max(0, tokens - self.special) if self.encode else len(passage.text)
            self.passage_lengths.append(length)
            whole = len(passage.text) == self.document_lengths[-1]
            self.passage_digests.append(self._digest if whole else _digest(passage.text))
            if len(self.longest) < MOST_NAMED or length > self.longest[-1][0]:
                self.longest = nlargest(MOST_NAMED, [*self.longest, (length, passage.id)], key=itemgetter(0))
            if self._headings.fill(passage.start, passage.end):
                self.headings.append(passage.id)
            yield passage

    def record(self, folder: Path) -> dict[str, Any]:
        """Return counts and names, with at most `MOST_NAMED` names per list, and write the complete lists to `folder`.

        A list of more than `MOST_NAMED` sources or licences is replaced by an empty list.
        """
        copies = _equal(self.passages, self.passage_digests)
        duplicates = {"documents": _equal(self.documents, self.document_digests), "passages": copies}
        (folder / LENGTHS).write_text(json.dumps(self.document_lengths.tolist()), encoding="utf-8")
        (folder / DUPLICATES).write_text(json.dumps(duplicates, ensure_ascii=False), encoding="utf-8")
        return {
            "documents": len(self.documents),
            "characters": sum(self.document_lengths),
            "tokens": self.tokens if self.encode else None,
            "sources": sorted(self.sources) if len(self.sources) <= MOST_NAMED else [],
            "licences": sorted(self.licences) if len(self.licences) <= MOST_NAMED else [],
            "lengths": self._lengths(),
            "longest": [[name, length] for length, name in self.longest],
            "duplicates": {"passages": sum(len(ids) - 1 for ids in copies), "named": copies[:MOST_NAMED]},
            "headings": {"passages": len(self.headings), "named": self.headings[:MOST_NAMED]},
        }

    def _lengths(self) -> dict[str, Any]:
        """Return the distribution of passage lengths; the classes of the histogram are bounded by powers of two."""
        if not self.passage_lengths:
            return {}
        classes = Counter(length.bit_length() for length in self.passage_lengths)
        return {
            "unit": "tokens" if self.encode else "characters",
            "minimum": min(self.passage_lengths),
            "median": median(self.passage_lengths),
            "maximum": max(self.passage_lengths),
            "histogram": [
                [1 << bits >> 1, (1 << bits) - 1, classes[bits]] for bits in range(min(classes), max(classes) + 1)
            ],
        }


def _digest(text: str) -> int:
    """Return a 64-bit digest of a text after white-space folding."""
    return int.from_bytes(blake2b(folded(text).encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _equal(ids: Sequence[str], digests: "array[int]") -> list[list[str]]:
    """Return the groups of ids with equal digests, in the order of the first id of each group."""
    import numpy as np

    _, inverse, counts = np.unique(np.frombuffer(digests, dtype=np.uint64), return_inverse=True, return_counts=True)
    groups: dict[int, list[str]] = {}
    for position in np.flatnonzero(counts[inverse] > 1).tolist():
        groups.setdefault(int(inverse[position]), []).append(ids[position])
    return list(groups.values())


def read_document_lengths(folder: Path) -> list[int]:
    """Return the number of characters of each document, or [] if the folder was written by an earlier version."""
    path = folder / LENGTHS
    lengths: list[int] = json.loads(path.read_bytes()) if path.is_file() else []
    return lengths


def read_duplicate_documents(folder: Path) -> list[list[str]]:
    """Return the groups of documents with the same text, or [] if the folder was written by an earlier version."""
    path = folder / DUPLICATES
    documents: list[list[str]] = json.loads(path.read_bytes())["documents"] if path.is_file() else []
    return documents
