"""Splits documents into passages by tokens of a model's tokenizer or by sentences, or keeps documents whole."""

import re
from collections.abc import Callable, Iterable, Iterator

from kib.errors import InputError
from kib.records import Document, Passage
from kib.spec.load import Chunk

__all__ = ["chunker", "split_documents"]

Range = tuple[int, int]

UNBROKEN = 1_000_000
"""The largest number of characters without a sentence end or a line break in a document that is split by tokens.

The time to split such a stretch grows with the square of its length: a million characters take minutes.
"""

BOUNDARY = re.compile("[.!?。！？\n]")
"""Sentence ends, including the full-width punctuation of Chinese and Japanese, and line breaks."""


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
    """Return a function that maps a text to the character ranges of its chunks, without white space at their ends."""
    if chunk is None:
        return lambda text: [_trimmed(text, 0, len(text))]
    if chunk.sentences is not None:
        return _by_sentences(chunk.sentences, chunk.overlap, chunk.language)
    if chunk.tokens is None or tokens is None:
        raise InputError(
            "chunk = { tokens = … } requires a tokenizer; set `tokenizer` to a model that provides a tokenizer"
        )
    return _by_tokens(chunk.tokens, chunk.overlap, tokens)


def _by_tokens(size: int, overlap: int, tokens: Callable[[str], list[int]]) -> Callable[[str], Iterable[Range]]:
    """Return a chunker with at most `size` tokens per chunk, excluding special tokens.

    Chunks end at paragraph boundaries if possible, else at sentence boundaries, else at word boundaries.
    """
    from semantic_text_splitter import TextSplitter

    special = len(tokens(""))
    splitter = TextSplitter.from_callback(lambda text: max(0, len(tokens(text)) - special), size, overlap)
    return lambda text: [(start, start + len(part)) for start, part in splitter.chunk_indices(text)]


def _by_sentences(size: int, overlap: int, language: str) -> Callable[[str], Iterable[Range]]:
    """Return a chunker with `size` sentences per chunk; adjacent chunks share `overlap` sentences."""
    import sentencex

    def ranges(text: str) -> Iterator[Range]:
        found = [(b["start_index"], b["end_index"]) for b in sentencex.get_sentence_boundaries(language, text)]
        bounds = [(start, end) for start, end in found if text[start:end].strip()]
        for first in range(0, max(1, len(bounds) - overlap), size - overlap):
            window = bounds[first : first + size]
            yield _trimmed(text, window[0][0], window[-1][1])

    return ranges


def _trimmed(text: str, start: int, end: int) -> Range:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
