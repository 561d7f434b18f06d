"""Splits documents into passages by tokens of a model's tokenizer or by sentences, or keeps documents whole."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from kib.errors import InputError
from kib.records import Document, Passage
from kib.run.headings import Headings
from kib.run.list_numbers import is_number, number_at_end
from kib.spec.load import Chunk

__all__ = ["chunker", "split_documents"]

Range = tuple[int, int]

UNBROKEN = 1_000_000
"""The largest number of characters without a sentence end or a line break in a document that is split by tokens.

The time to split such a stretch grows with the square of its length: a million characters take minutes.
"""

BOUNDARY = re.compile("[.!?。！？\n]")
"""Sentence ends, including the full-width punctuation of Chinese and Japanese, and line breaks."""

LONGEST_SENTENCE = 600
"""The largest number of characters that count as one sentence; a code block or a table has no sentence ends."""

INDENTATION = re.compile(r"[ \t]{2,}|\t")

MOST_HEADINGS = 6
"""The largest number of headings joined with the text below them; a longer series is a list or an outline."""


def split_documents(
    documents: Iterable[Document], chunk: Chunk | None, tokens: Callable[[str], list[int]] | None = None
) -> Iterator[Passage]:
    """Yield the passages of a corpus in order; every passage has the title of its document.

    Raises InputError for an empty or repeated id, for a document without text, and for a document that cannot be split
    by tokens in reasonable time.
    """
    ranges = chunker(chunk, tokens)
    seen: set[str] = set()
    for document in documents:
        if not document.id:
            raise InputError("a document has an empty id")
        if document.id in seen:
            raise InputError(f"document id {document.id!r} appears twice in the corpus; ids must be unique")
        seen.add(document.id)
        if not document.text.strip():
            raise InputError(f"document {document.id!r} has no text")
        if chunk is not None and chunk.tokens is not None:
            _check_boundaries(document)
        for number, (start, end) in enumerate(ranges(document.text)):
            text = document.text[start:end]
            yield Passage(f"{document.id}#{number}", document.id, document.title, text, start, end)


def _check_boundaries(document: Document) -> None:
    """Raise InputError if a document has a very long stretch without boundaries, for example embedded binary data."""
    if len(document.text) <= UNBROKEN:
        return
    longest = max(map(len, BOUNDARY.split(document.text)))
    if longest > UNBROKEN:
        raise InputError(
            f"document {document.id!r} contains {longest:,} characters without a sentence end or a line break, which "
            "would take hours to split by tokens; remove embedded data from the document, or split the corpus by "
            "sentences"
        )


def chunker(chunk: Chunk | None, tokens: Callable[[str], list[int]] | None) -> Callable[[str], Iterable[Range]]:
    """Return a function that maps a text to the character ranges of its chunks, without blank lines at their ends.

    A chunk that would consist of headings, or of the number of a list item, is joined with the text that follows,
    unless no text follows. A chunk that starts at the beginning of a line keeps the indentation of this line.
    """
    if chunk is None:
        return lambda text: [_indented(text, *_trimmed(text, 0, len(text)))]
    if chunk.sentences is not None:
        return _by_sentences(chunk.sentences, chunk.overlap, chunk.language)
    if chunk.tokens is None or tokens is None:
        raise InputError(
            "chunk = { tokens = … } requires a tokenizer; set `tokenizer` to a model that provides a tokenizer"
        )
    return _TokenChunker(chunk.tokens, chunk.overlap, tokens).ranges


class _TokenChunker:
    """Splits texts into chunks of at most `size` tokens, excluding special tokens.

    Chunks end at paragraph boundaries if possible, else at sentence boundaries, else at word boundaries.
    """

    def __init__(self, size: int, overlap: int, tokens: Callable[[str], list[int]]) -> None:
        self.size = size
        self.overlap = overlap
        self.tokens = tokens
        self.special = len(tokens(""))
        self._whole = self._splitter(size)

    def count(self, text: str) -> int:
        """Return the number of tokens in a text, excluding special tokens."""
        return max(0, len(self.tokens(text)) - self.special)

    def _splitter(self, size: int) -> Callable[[str], list[Range]]:
        """Return a function that splits a text into chunks of at most `size` tokens."""
        from semantic_text_splitter import TextSplitter

        splitter = TextSplitter.from_callback(self.count, size, min(self.overlap, size - 1))
        return lambda text: [(start, start + len(part)) for start, part in splitter.chunk_indices(text)]

    def ranges(self, text: str) -> list[Range]:
        """Return the character ranges of a text's chunks."""
        return list(self._with_indentation(text, self._joined(text)))

    def _joined(self, text: str) -> list[Range]:
        headings, joined = Headings(text), list[Range]()
        heading: Range | None = None  # a chunk that consists of headings, and waits for the text below
        for chunk in self._with_numbers(text, self._whole(text)):
            while joined and joined[-1][0] >= chunk[0]:  # a rest below a heading that this overlapping chunk contains
                joined.pop()
            if heading is not None:
                found = None if _waits(text, headings, *chunk) else self._below(text, heading, chunk)
                joined += found or [heading]
                heading = None
                if found:
                    continue
            if _waits(text, headings, *chunk) and 4 * self.count(text[slice(*chunk)]) <= 3 * self.size:
                heading = chunk
            else:
                joined.append(chunk)
        if heading is not None and joined and self.count(text[joined[-1][0] : heading[1]]) <= self.size:
            joined[-1] = (joined[-1][0], heading[1])
        elif heading is not None:
            joined.append(heading)
        return joined

    def _with_numbers(self, text: str, chunks: Iterable[Range]) -> list[Range]:
        """Return the chunks; the number of a list item at the end of a chunk belongs to the next chunk.

        With an overlap, the next chunk usually repeats the number anyway.
        """
        if self.overlap:
            return list(chunks)
        moved: list[Range] = []
        waiting = deque(chunks)
        while waiting:
            start, end = waiting.popleft()
            at = number_at_end(text, *moved[-1]) if moved else None
            if at is None:
                moved.append((start, end))
            else:
                moved[-1] = _trimmed(text, moved[-1][0], at)
                waiting.extendleft(reversed([(at + low, at + high) for low, high in self._whole(text[at:end])]))
        return moved

    def _with_indentation(self, text: str, chunks: Iterable[Range]) -> Iterator[Range]:
        """Yield the chunks with the indentation of their first lines, unless a chunk would exceed the size."""
        before = 0
        for start, end in chunks:
            indented = _indented(text, start, end)
            fits = before <= indented[0] and self.count(text[slice(*indented)]) <= self.size
            yield indented if fits else (start, end)
            before = end

    def _below(self, text: str, heading: Range, chunk: Range) -> list[Range] | None:
        """Return the chunks of a heading together with the chunk below it; None if the heading leaves no space.

        If both together exceed the size, the heading is joined with a first part of the chunk below, which is at most
        half of the chunk.
        """
        first, end = heading[0], chunk[1]
        if self.count(text[first:end]) <= self.size:
            return [(first, end)]
        start = max(heading[1], chunk[0])
        room = min(self.size - self.count(text[first:start]), self.count(text[start:end]) // 2 + 1)
        while room > 0:
            (_, high), *others = self._splitter(room)(text[start:end])
            if self.count(text[first : start + high]) <= self.size:
                rest = start + others[0][0] if others else end
                return [(first, start + high), *((rest + a, rest + b) for a, b in self._whole(text[rest:end]))]
            room -= 1
        return None


def _by_sentences(size: int, overlap: int, language: str) -> Callable[[str], Iterable[Range]]:
    """Return a chunker with `size` sentences per chunk; adjacent chunks share `overlap` sentences."""
    import sentencex

    def ranges(text: str) -> Iterator[Range]:
        found = [(b["start_index"], b["end_index"]) for b in sentencex.get_sentence_boundaries(language, text)]
        found = [_trimmed(text, start, end) for start, end in found if text[start:end].strip()]
        parts = [part for start, end in _before_numbers(text, found) for part in _parts(text, start, end)]
        bounds = _with_headings(text, parts)
        for first in range(0, max(1, len(bounds) - overlap), size - overlap):
            window = bounds[first : first + size]
            yield _indented(text, *_trimmed(text, window[0][0], window[-1][1]))

    return ranges


def _parts(text: str, start: int, end: int) -> Iterator[Range]:
    """Yield the parts of a sentence, each with at most `LONGEST_SENTENCE` characters excluding surrounding white space.

    A longer sentence is split at line breaks if possible, else between words, else anywhere.
    """
    while end - start > LONGEST_SENTENCE:
        part = text[start : start + LONGEST_SENTENCE + 1]
        space = max((at for at, sign in enumerate(part) if sign.isspace()), default=0)
        cut = start + (part.rfind("\n") if "\n" in part else space or LONGEST_SENTENCE)
        yield _trimmed(text, start, cut)
        start = cut
        while text[start].isspace():
            start += 1
    yield start, end


def _before_numbers(text: str, sentences: Iterable[Range]) -> list[Range]:
    """Return the sentences; the number of a list item at the end of a sentence belongs to the next sentence."""
    moved: list[Range] = []
    for start, end in sentences:
        at = number_at_end(text, *moved[-1]) if moved else None
        if at is not None:
            moved[-1] = _trimmed(text, moved[-1][0], at)
        moved.append((start if at is None else at, end))
    return moved


def _waits(text: str, headings: Headings, start: int, end: int) -> bool:
    """Return whether a range consists of headings or of the number of a list item, which belong to what follows."""
    return headings.fill(start, end) or is_number(text[start:end])


def _with_headings(text: str, sentences: Sequence[Range]) -> list[Range]:
    """Return the sentences, with headings and numbers joined with the sentence below, or else with the one above."""
    headings, joined = Headings(text), list[Range]()
    waiting: list[Range] = []
    for start, end in sentences:
        if _waits(text, headings, start, end):
            waiting.append((start, end))
            continue
        own = waiting[-MOST_HEADINGS:]
        joined += [*waiting[:-MOST_HEADINGS], (own[0][0] if own else start, end)]
        waiting = []
    if joined and 0 < len(waiting) <= MOST_HEADINGS:
        return [*joined[:-1], (joined[-1][0], waiting[-1][1])]
    return joined + waiting


def _indented(text: str, start: int, end: int) -> Range:
    """Return a range together with the indentation of its first line if the range starts with the line's first word.

    A single space is not an indentation.
    """
    line = text.rfind("\n", 0, start) + 1
    return (line, end) if INDENTATION.fullmatch(text, line, start) else (start, end)


def _trimmed(text: str, start: int, end: int) -> Range:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
