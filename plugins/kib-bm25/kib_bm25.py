"""BM25 by bm25s: a passage scores by the words that it shares with the query, rare words most.

Title and text of a passage are one field. Scores, IDF and length normalisation are bm25s's; the order of equal scores
is this module's, because bm25s leaves it to chance.
"""

import json
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from kib.interfaces import Options
from kib.records import Hit, Passage, Query
from kib.support.literature import BM25 as ROBERTSON

if TYPE_CHECKING:
    import bm25s
    import numpy as np
    import numpy.typing as npt

__all__ = ["BM25", "BM25Options"]

Stemmer = Literal[
    "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "esperanto", "estonian", "finnish",
    "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali",
    "norwegian", "porter", "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish",
    "yiddish", "none",
]  # fmt: skip
StopWords = Literal[
    "da", "de", "en", "en_plus", "es", "fr", "it", "ko", "nl", "no", "pt", "ru", "sv", "tr", "zh", "none"
]  # fmt: skip
STOP_WORDS = {
    "da": "STOPWORDS_DANISH",
    "de": "STOPWORDS_GERMAN",
    "en": "STOPWORDS_EN",
    "en_plus": "STOPWORDS_EN_PLUS",
    "es": "STOPWORDS_SPANISH",
    "fr": "STOPWORDS_FRENCH",
    "it": "STOPWORDS_ITALIAN",
    "ko": "STOPWORDS_KOREAN",
    "nl": "STOPWORDS_DUTCH",
    "no": "STOPWORDS_NORWEGIAN",
    "pt": "STOPWORDS_PORTUGUESE",
    "ru": "STOPWORDS_RUSSIAN",
    "sv": "STOPWORDS_SWEDISH",
    "tr": "STOPWORDS_TURKISH",
    "zh": "STOPWORDS_CHINESE",
}

PASSAGES = "passages.json"

BM25S = """@misc{lu2024bm25s,
  title = {{BM25S}: Orders of magnitude faster lexical search via eager sparse scoring},
  author = {L{\\`u}, Xing Han},
  year = {2024},
  eprint = {2407.03618},
  archivePrefix = {arXiv}
}"""


class BM25Options(Options):
    """How words are cut and weighed; the defaults were chosen on the quality of retrieval."""

    stemmer: Stemmer = Field(
        default="english", description='Snowball stemmer by language; "none" keeps words as they are.'
    )
    stop_words: StopWords | tuple[str, ...] = Field(
        default="en_plus",
        description='Words that do not count: a list of bm25s by its name, "none", or a list of words.',
    )
    token_pattern: str = Field(
        default=r"\b\w+\b",
        description="Regular expression of a word, matched on lower-case NFKC text; at most one group.",
    )
    k1: float = Field(default=0.9, gt=0, allow_inf_nan=False, description="How slowly a repeated word saturates.")
    b: float = Field(
        default=0.4, ge=0, le=1, description="How much long passages are held back: 0 not at all, 1 fully."
    )
    method: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = Field(
        default="lucene", description="Which BM25 formula."
    )
    delta: float = Field(
        default=0.5, ge=0, allow_inf_nan=False, description="Lower bound of a word's weight, for bm25l and bm25+."
    )

    @field_validator("token_pattern")
    @classmethod
    def _finds_words(cls, pattern: str) -> str:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if compiled.groups > 1:
            raise ValueError(f"{compiled.groups} groups, but the word is one group or the whole match; use (?:...)")
        if compiled.fullmatch(""):
            raise ValueError("matches the empty text; a word has at least one character")
        return pattern


class BM25:
    """The retriever `bm25`."""

    Options: ClassVar[type[Options]] = BM25Options
    revision: ClassVar[int] = 1

    def __init__(self, options: BM25Options) -> None:
        self.options = options
        self._opened: _Index | None = None

    def fingerprint(self) -> str:
        """The options point at nothing."""
        return ""

    def bibtex(self) -> str:
        """BM25, and the library that scores by it."""
        return f"{ROBERTSON}\n{BM25S}"

    def build(self, passages: Iterable[Passage], folder: Path) -> None:
        """Write bm25s's arrays and the passages' ids; whatever an interrupted build left is overwritten."""
        import bm25s

        cut, reduce = self._cut(), self._reduce()
        ids: list[str] = []
        vocabulary: dict[str, int] = {}  # in order of appearance: bm25s's own order changes from run to run
        numbers: dict[str, list[int]] = {}  # of each word as it stands, so that it is stemmed once; of a stop word none
        tokens: list[array[int]] = []  # four bytes a word: a million passages of 100 words are 0.5 GB
        for passage in passages:
            ids.append(passage.id)
            found = cut(f"{passage.title}\n{passage.text}")
            for word in found:
                if word not in numbers:
                    numbers[word] = [vocabulary.setdefault(stem, len(vocabulary)) for stem in reduce([word])]
            tokens.append(array("i", [number for word in found for number in numbers[word]]))
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*folder.glob("*.npy"), folder / PASSAGES):
            path.unlink(missing_ok=True)  # never written over: somebody may have the old file mapped
        if vocabulary:
            o = self.options
            index = bm25s.BM25(k1=o.k1, b=o.b, delta=o.delta, method=o.method)
            index.index((tokens, vocabulary), create_empty_token=False, show_progress=False)
            index.save(folder, allow_pickle=False, show_progress=False)
        document = {"passages": ids, "words": len(vocabulary)}
        (folder / PASSAGES).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """The best `k` of the passages that share a word with the query: fewer where few do, none where none does.

        Each query is scored by itself against all passages.
        """
        index = self._open(folder)
        if index is None:
            return [[] for _ in queries]
        cut, reduce = self._cut(), self._reduce()
        found = (_best(index.words, reduce(cut(query.text)), index.rank, k) for query in queries)
        return [[Hit(index.ids[place], score) for place, score in hits] for hits in found]

    def _open(self, folder: Path) -> "_Index | None":
        """The index in a folder, kept for the next batch of queries; None where no passage has a word."""
        import bm25s
        import numpy as np

        status = (folder / PASSAGES).stat()
        built = (str(folder), status.st_ino, status.st_mtime_ns)
        if self._opened is not None and self._opened.built == built:
            return self._opened
        document = json.loads((folder / PASSAGES).read_text(encoding="utf-8"))
        if not document["words"]:
            return None
        ids: list[str] = document["passages"]
        rank = np.empty(len(ids), dtype=np.int64)
        rank[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
        words = bm25s.BM25.load(folder, mmap=True, allow_pickle=False, load_corpus=False, show_progress=False)
        self._opened = _Index(built, ids, rank, words)
        return self._opened

    def _cut(self) -> Callable[[str], list[str]]:
        """From a text to its words as they stand, in lower case."""
        find = re.compile(self.options.token_pattern).findall
        return lambda text: find(unicodedata.normalize("NFKC", text).lower())

    def _reduce(self) -> Callable[[list[str]], list[str]]:
        """From words to those that count, stemmed."""
        stop = _stop_words(self.options.stop_words)
        stem = _stemmer(self.options.stemmer)
        return lambda words: stem([word for word in words if word and word not in stop])


@dataclass(frozen=True, slots=True)
class _Index:
    """An index as it lies on the disk, its arrays mapped and not read; `rank` is each passage's place by id."""

    built: tuple[str, int, int]
    ids: list[str]
    rank: "npt.NDArray[np.int64]"
    words: "bm25s.BM25"


def _stop_words(choice: str | tuple[str, ...]) -> frozenset[str]:
    if choice == "none":
        return frozenset()
    if isinstance(choice, tuple):
        return frozenset(unicodedata.normalize("NFKC", word).lower() for word in choice)
    from bm25s import stopwords

    return frozenset(getattr(stopwords, STOP_WORDS[choice]))


def _stemmer(choice: str) -> Callable[[list[str]], list[str]]:
    if choice == "none":
        return list
    from Stemmer import Stemmer

    stem: Callable[[list[str]], list[str]] = Stemmer(choice).stemWords
    return stem


def _best(index: "bm25s.BM25", words: Sequence[str], rank: "npt.NDArray[np.int64]", k: int) -> list[tuple[int, float]]:
    """Place and score of the best `k` passages, equal scores in the order of `rank`."""
    import numpy as np

    known = index.get_tokens_ids(words)
    if not known or k < 1:
        return []
    scores = index.get_scores_from_ids(known)
    starts, places = index.scores["indptr"], index.scores["indices"]
    shares = np.zeros(len(rank), dtype=bool)
    for word in set(known):
        shares[places[starts[word] : starts[word + 1]]] = True
    sharing = np.flatnonzero(shares)
    values = scores[sharing]
    if len(sharing) > k:
        kept = values >= np.partition(values, -k)[-k]  # all that tie with the last one stay until they are ordered
        sharing, values = sharing[kept], values[kept]
    order: Any = np.lexsort((rank[sharing], -values))[:k]
    return [(int(sharing[i]), float(values[i])) for i in order]
