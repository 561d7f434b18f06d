"""Finds the gold of questions in a corpus as it is now, and recognises passages that repeat a question's gold text.

A gold range may have a quote, which is the text of the range. If the document was edited, the quote is found again.
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from kib.errors import InputError
from kib.records import Gold, document_id
from kib.run.steps.corpus_statistics import read_document_lengths, read_duplicate_documents
from kib.run.steps.passages import Passages
from kib.support.phrases import counted, first_names, nearest, shortened
from kib.support.quotes import find_quotes, folded

__all__ = ["GoldText", "LocatedGold", "locate_gold"]

MOST_LISTED = 10
"""The maximum number of questions that an error or a remark lists."""

TELLING = 40
"""The number of characters from which a text identifies its origin; a shorter text is compared with its context."""


@dataclass(frozen=True, slots=True)
class LocatedGold:
    """The gold of questions by question id: documents with ranges in the current corpus, and the ids of gold passages.

    `moved` describes every gold range that was found again by its quote, `fitted` describes every range that contained
    its quote and was narrowed to the quote, or was extended to the quote, and `unquoted` counts the ranges without a
    quote.
    """

    gold: Mapping[str, tuple[Gold, ...]] = field(default_factory=dict)
    passages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    moved: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()
    unquoted: int = 0

    def remarks(self) -> list[str]:
        """Return remarks on the gold ranges that were moved, narrowed or extended, or that have no quote."""
        remarks = []
        if self.moved:
            where = first_names(self.moved, MOST_LISTED, "; ")
            count = counted(len(self.moved), "gold range")
            remarks.append(f"documents were edited, and {count} moved to the new position of the quote: {where}")
        if self.fitted:
            verb = "was" if len(self.fitted) == 1 else "were"
            where = first_names(self.fitted, MOST_LISTED, "; ")
            remarks.append(
                f"{counted(len(self.fitted), 'gold range')} {verb} narrowed or extended to the quote: {where}"
            )
        if self.unquoted:
            remarks.append(
                f"{counted(self.unquoted, 'gold range')} without `quote`: kib would not notice if an edit of a "
                "document moved the gold text"
            )
        return remarks


class _Documents:
    """The documents of a corpus that are read for gold, each rebuilt from its passages on first access."""

    def __init__(self, passages: Passages, wanted: Collection[str]) -> None:
        ids: dict[str, list[str]] = {name: [] for name in wanted}
        for passage in passages.ids:
            if (name := document_id(passage)) in ids:
                ids[name].append(passage)
        self.passages = {name: passages.get(some) for name, some in ids.items()}
        order = list(dict.fromkeys(map(document_id, passages.ids)))
        known = read_document_lengths(passages.path.parent)
        self._lengths = dict(zip(order, known, strict=True)) if known else {}
        self._texts: dict[str, str] = {}

    def length(self, name: str) -> int:
        """Return the number of characters of a document; for a corpus of an earlier version, up to its last passage."""
        return self._lengths.get(name) or max(passage.end for passage in self.passages[name])

    def text(self, name: str) -> str:
        """Return a document's text, in which all white space between passages consists of spaces."""
        if name not in self._texts:
            letters = [" "] * self.length(name)
            for passage in self.passages[name]:
                letters[passage.start : passage.end] = passage.text
            self._texts[name] = "".join(letters)
        return self._texts[name]


def locate_gold(wanted: Mapping[str, Collection[Gold]], passages: Passages) -> LocatedGold:
    """Return the gold of questions in the corpus; a gold range that no longer holds its quote is moved.

    Raises InputError that lists all gold documents missing from the corpus, all ranges beyond the end of a document,
    and all quotes that do not occur exactly once in their document.
    """
    names = _names(wanted, passages)
    documents = _Documents(passages, set(names.values()))
    found: dict[str, tuple[Gold, ...]] = {}
    covered: dict[str, tuple[str, ...]] = {}
    moved, fitted, faults = [], [], list[str]()
    for question_id, golds in wanted.items():
        located = []
        for gold in golds:
            given = replace(gold, document=names[gold.document])
            here = _located(given, documents)
            if isinstance(here, str):
                faults.append(f"question {question_id}: {here}")
                continue
            located.append(here)
            if _contains(gold, here) or _contains(here, gold):
                ranges = f"{gold.start}-{gold.end} to {here.start}-{here.end}"
                fitted.append(f"question {question_id}, {here.document}: {ranges}")
            elif gold.start is not None and here.start != gold.start:
                moved.append(f"question {question_id}, {here.document}: {gold.start} to {here.start}")
        found[question_id] = tuple(located)
        covered[question_id] = tuple(_gold_passages(question_id, located, documents, faults))
    if faults:
        raise InputError(_listed(faults))
    unquoted = sum(gold.start is not None and gold.quote is None for golds in wanted.values() for gold in golds)
    return LocatedGold(found, covered, tuple(moved), tuple(fitted), unquoted)


def _contains(outer: Gold, inner: Gold) -> bool:
    """Return whether the range of one gold contains the different range of another."""
    if outer.start is None or outer.end is None or inner.start is None or inner.end is None:
        return False
    return (
        outer.start <= inner.start and inner.end <= outer.end and (outer.start, outer.end) != (inner.start, inner.end)
    )


def _listed(faults: Sequence[str]) -> str:
    """Return the only fault, or a list of the first faults with their number."""
    if len(faults) == 1:
        return faults[0]
    more = [f"  … and {len(faults) - MOST_LISTED:,} more"] if faults[MOST_LISTED:] else []
    lines = [f"{len(faults):,} gold texts are not where the questions expect them:"]
    return "\n".join([*lines, *(f"  {fault}" for fault in faults[:MOST_LISTED]), *more])


def _names(wanted: Mapping[str, Collection[Gold]], passages: Passages) -> dict[str, str]:
    """Return the document id for each name of a gold document, which may be an alias.

    Raises InputError that states the number of missing documents, and the most similar id of each.
    """
    names = passages.document_names(gold.document for golds in wanted.values() for gold in golds)
    missing = [name for name, document in names.items() if document is None]
    if missing:
        known = {document_id(one) for one in passages.ids}
        shown = ", ".join(_missing(name, known) for name in missing[:3])
        subject = f"{counted(len(missing), 'gold document')} of the questions {'is' if len(missing) == 1 else 'are'}"
        raise InputError(f"{subject} not in the corpus: {shown}")
    return {name: document for name, document in names.items() if document is not None}


def _missing(name: str, known: Collection[str]) -> str:
    """Return a missing id with the most similar id; ids that look the same are written with escape sequences."""
    like = nearest(name, known) if len(known) <= MOST_COMPARED else None
    if like is None:
        return repr(name)
    alike = unicodedata.normalize("NFKC", name) == unicodedata.normalize("NFKC", like)
    return f"{name!a} (did you mean {like!a}?)" if alike else f"{name!r} (did you mean {like!r}?)"


MOST_COMPARED = 10_000
"""The maximum number of ids that are compared with a missing id, because each comparison takes microseconds."""


def _located(gold: Gold, documents: _Documents) -> Gold | str:
    """Return gold with its current range, or a description of the fault."""
    quote, length = gold.quote, documents.length(gold.document)
    if quote is None:
        if gold.end is not None and gold.end > length:
            return (
                f"the gold range from {gold.start} to {gold.end} extends beyond the end of document "
                f"{gold.document!r}, which has {counted(length, 'character')}"
            )
        return gold
    text = documents.text(gold.document)
    if gold.start is not None and folded(text[gold.start : gold.end]) == folded(quote):
        return gold
    places = find_quotes(text, quote)
    if gold.start is not None and gold.end is not None:
        inside = [place for place in places if gold.start <= place[0] and place[1] <= gold.end]
        if len(inside) > 1 and gold.end <= length:
            return gold  # the range contains the quote several times, so the range is more exact than the quote
        places = inside or places
    if len(places) == 1:
        return replace(gold, start=places[0][0], end=places[0][1])
    times = f"occurs {len(places):,} times in" if places else "is not in"
    at = "" if gold.start is None else f", and not from {gold.start} to {gold.end}"
    return f"the quote {shortened(repr(quote))} {times} document {gold.document!r}{at}"


def _gold_passages(
    question_id: str, golds: Iterable[Gold], documents: _Documents, faults: list[str]
) -> dict[str, None]:
    """Return the distinct ids of the passages that overlap a question's gold ranges; add ranges of only white space."""
    found: dict[str, None] = {}
    for gold in golds:
        covered = [passage.id for passage in documents.passages[gold.document] if gold.covers(passage)]
        if not covered:
            faults.append(
                f"question {question_id}: no passage overlaps the gold range from {gold.start} to {gold.end} in "
                f"document {gold.document!r}; the range must contain text"
            )
        found |= dict.fromkeys(covered)
    return found


class GoldText:
    """Recognises passages that repeat a question's gold text without being gold, such as passages of a copied document.

    A passage repeats the gold text if it contains a gold range or a whole gold passage, or if it overlaps the gold
    range in a document with the same text as the gold document; white space differences are ignored.
    """

    def __init__(self, located: LocatedGold, passages: Passages) -> None:
        self._located = located
        self._passages = passages
        self._text = lru_cache(maxsize=4096)(self._read_text)
        self._of_question = lru_cache(maxsize=1)(self._read_question)

    def repeats(self, question_id: str, passage_id: str) -> bool:
        """Return whether a passage that is not a gold passage of the question repeats the question's gold text."""
        if question_id not in self._located.gold:
            return False
        gold, whole, parts = self._of_question(question_id)
        if passage_id in gold:
            return False
        text = self._text(passage_id)
        return (
            text in whole
            or any(part in text for part in parts)
            or any(self._overlaps_copy(one, passage_id) for one in self._located.gold[question_id])
        )

    def _read_text(self, passage_id: str) -> str:
        return folded(self._passages.get([passage_id])[0].text)

    def _read_question(self, question_id: str) -> tuple[set[str], set[str], set[str]]:
        """Return a question's gold passages: their ids, their texts, and the parts of text that identify the gold."""
        golds, ids = self._located.gold[question_id], self._located.passages[question_id]
        whole = {folded(passage.text) for passage in self._passages.get(ids)}
        parts = {text for text in whole if len(text) >= TELLING}
        for gold in golds:
            if gold.start is not None and gold.end is not None:
                parts |= _telling(self._documents.text(gold.document), gold.start, gold.end)
        return set(ids), whole, parts

    @cached_property
    def _documents(self) -> _Documents:
        return _Documents(self._passages, {gold.document for golds in self._located.gold.values() for gold in golds})

    @cached_property
    def _copies(self) -> Mapping[str, Collection[str]]:
        """The ids of all documents with the same text, by document id."""
        groups = read_duplicate_documents(self._passages.path.parent)
        return {name: set(group) for group in groups for name in group}

    @cached_property
    def _copied(self) -> _Documents:
        golds = (gold for golds in self._located.gold.values() for gold in golds)
        return _Documents(self._passages, {name for gold in golds for name in self._copies.get(gold.document, ())})

    def _overlaps_copy(self, gold: Gold, passage_id: str) -> bool:
        """Return whether a passage overlaps the gold range in a copy of the gold document."""
        name = document_id(passage_id)
        if name == gold.document or name not in self._copies.get(gold.document, ()):
            return False
        [passage] = self._passages.get([passage_id])
        if gold.start is None or gold.end is None:
            return True
        low, high = _inked(self._copied.text(gold.document), gold.start, gold.end)
        start, end = _inked(self._copied.text(name), passage.start, passage.end)
        return start < high and low < end


def _inked(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a range of a text, counted in characters other than white space."""
    before = sum(map(len, text[:start].split()))
    return before, before + sum(map(len, text[start:end].split()))


def _telling(text: str, start: int, end: int) -> set[str]:
    """Return the folded text of a range; a short range is extended to its left and to its right."""
    if len(gold := folded(text[start:end])) >= TELLING:
        return {gold}
    sides = {folded(text[max(0, start - TELLING) : end]), folded(text[start : end + TELLING])}
    long = {side for side in sides if len(side) >= TELLING}
    return long or {folded(text[max(0, start - TELLING) : end + TELLING])}
