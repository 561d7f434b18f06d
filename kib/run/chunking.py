"""Splits documents into passages by tokens of a model's tokenizer or by sentences, or keeps documents whole."""

from collections.abc import Callable, Iterable, Iterator

from kib.errors import InputError
from kib.records import Document, Passage
from kib.spec.load import Chunk

__all__ = ["chunker", "split_documents"]

Range = tuple[int, int]


def split_documents(
    documents: Iterable[Document], chunk: Chunk | None, tokens: Callable[[str], list[int]] | None = None
) -> Iterator[Passage]:
    """Yield the passages of a corpus in order; every passage has the title of its document.

    Raises InputError for an empty or repeated id and for a document without text.
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
        for number, (start, end) in enumerate(ranges(document.text)):
            text = document.text[start:end]
            yield Passage(f"{document.id}#{number}", document.id, document.title, text, start, end)


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
