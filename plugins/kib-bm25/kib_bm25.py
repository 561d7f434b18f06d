"""The retriever `bm25`, which uses bm25s to rank passages by the words that they share with the query.

A passage's title and text are indexed as a single field. bm25s computes the scores, including inverse document
frequency and length normalisation. This module breaks ties between equal scores, because bm25s breaks ties arbitrarily.
"""

import json
import logging
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from kib.errors import DamagedError
from kib.interfaces import Options
from kib.records import Hit, Passage, Query
from kib.support.characters import lowercase
from kib.support.damaged_files import name_damaged_file
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
STOP_WORD_LISTS = {
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

PASSAGES_FILE = "passages.json"
"""The file that contains the passage ids, in the row order of the index, and the vocabulary size."""

REMEDY = "delete the folder of the index and run the command again"

BM25S = """@misc{lu2024bm25s,
  title = {{BM25S}: Orders of magnitude faster lexical search via eager sparse scoring},
  author = {L{\\`u}, Xing Han},
  year = {2024},
  eprint = {2407.03618},
  archivePrefix = {arXiv}
}"""


class BM25Options(Options):
    """Options of the retriever `bm25` for tokenisation and the BM25 formula.

    The default values of these options were chosen for retrieval quality.
    """

    stemmer: Stemmer = Field(
        default="english", description='language of the Snowball stemmer; "none" turns stemming off'
    )
    stop_words: StopWords | tuple[str, ...] = Field(
        default="en_plus",
        description='words to ignore: the name of a stop-word list in bm25s, "none", or your own list of words',
    )
    token_pattern: str = Field(
        default=r"\b\w+\b",
        description=(
            "regular expression that matches one word, with at most one capturing group; applied to lowercase NFKC text"
        ),
    )
    k1: float = Field(
        default=0.9,
        gt=0,
        allow_inf_nan=False,
        description="term saturation: the larger the value, the more weight repeated words get",
    )
    b: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description=(
            "length normalisation: 0 ignores the length of a passage, 1 applies the full penalty to long passages"
        ),
    )
    method: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = Field(
        default="lucene", description="variant of the BM25 formula"
    )
    delta: float = Field(
        default=0.5,
        ge=0,
        allow_inf_nan=False,
        description="lower bound on a word's weight; used only by the methods bm25l and bm25+",
    )

    @field_validator("token_pattern")
    @classmethod
    def _matches_words(cls, pattern: str) -> str:
        import regex

        try:
            compiled = regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"invalid regular expression: {error}") from error
        if compiled.groups > 1:
            raise ValueError(
                f"the regular expression has {compiled.groups} capturing groups; expected at most one, which captures "
                "the word; write other groups as (?:...)"
            )
        if compiled.fullmatch(""):
            raise ValueError(
                "the regular expression matches the empty string; expected one that matches at least one character"
            )
        return pattern


class BM25:
    """The retriever `bm25`, which ranks passages with the BM25 formula."""

    Options: ClassVar[type[Options]] = BM25Options
    revision: ClassVar[int] = 2

    def __init__(self, options: BM25Options) -> None:
        self.options = options
        self._opened: _Index | None = None

    def fingerprint(self) -> str:
        """Return an empty string because no option refers to a file."""
        return ""

    def bibtex(self) -> str:
        """Return the BibTeX entries for BM25 and bm25s."""
        return f"{ROBERTSON}\n{BM25S}"

    def build(self, passages: Iterable[Passage], folder: Path) -> None:
        """Write the bm25s arrays and the passage ids, replacing any files left by an interrupted build."""
        import bm25s

        split, stem = self._splitter(), self._stemmer()
        passage_ids: list[str] = []
        vocabulary: dict[str, int] = {}  # in order of first occurrence, because the order in bm25s varies between runs
        token_ids: dict[str, list[int]] = {}  # a cache, to stem each word only once; empty for a stop word
        tokens: list[array[int]] = []  # four bytes per word: 0.5 GB for a million passages of 100 words
        for passage in passages:
            passage_ids.append(passage.id)
            words = split(f"{passage.title}\n{passage.text}")
            for word in words:
                if word not in token_ids:
                    token_ids[word] = [vocabulary.setdefault(token, len(vocabulary)) for token in stem([word])]
            tokens.append(array("i", [token for word in words for token in token_ids[word]]))
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*folder.glob("*.npy"), folder / PASSAGES_FILE):
            path.unlink(missing_ok=True)  # not overwritten, because a process may have the old file memory-mapped
        if vocabulary:
            o = self.options
            logging.getLogger("bm25s").setLevel(logging.WARNING)  # bm25s sets DEBUG when it is imported
            index = bm25s.BM25(k1=o.k1, b=o.b, delta=o.delta, method=o.method)
            index.index((tokens, vocabulary), create_empty_token=False, show_progress=False)
            index.save(folder, allow_pickle=False, show_progress=False)
        content = {"passages": passage_ids, "words": len(vocabulary)}
        (folder / PASSAGES_FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """Return at most `k` passages that share a word with the query, best first.

        Each query is scored against all passages, independently of the other queries.
        """
        index = self._open(folder)
        if index is None:
            return [[] for _ in queries]
        split, stem = self._splitter(), self._stemmer()
        ranked = (_best(index.scores, stem(split(query.text)), index.id_ranks, k) for query in queries)
        return [[Hit(index.passage_ids[row], score) for row, score in hits] for hits in ranked]

    def _open(self, folder: Path) -> "_Index | None":
        """Open the index in a folder and cache it; return None if no passage contains any word."""
        import bm25s
        import numpy as np

        with name_damaged_file(folder / PASSAGES_FILE, REMEDY):
            status = (folder / PASSAGES_FILE).stat()
        version = (str(folder), status.st_ino, status.st_mtime_ns)
        if self._opened is not None and self._opened.version == version:
            return self._opened
        with name_damaged_file(folder / PASSAGES_FILE, REMEDY):
            content = json.loads((folder / PASSAGES_FILE).read_text(encoding="utf-8"))
            words, passage_ids = int(content["words"]), list(map(str, content["passages"]))
        if not words:
            return None
        id_ranks = np.empty(len(passage_ids), dtype=np.int64)
        id_ranks[sorted(range(len(passage_ids)), key=passage_ids.__getitem__)] = np.arange(len(passage_ids))
        with name_damaged_file(folder, REMEDY):
            scores = bm25s.BM25.load(folder, mmap=True, allow_pickle=False, load_corpus=False, show_progress=False)
            found = int(scores.scores["num_docs"]), len(scores.scores["indptr"]) - 1
        if found != (len(passage_ids), words):
            raise DamagedError(
                f"{folder}: the index is damaged (the arrays describe {found[0]:,} passages and {found[1]:,} words, "
                f"but {PASSAGES_FILE} lists {len(passage_ids):,} passages and {words:,} words); {REMEDY}"
            )
        self._opened = _Index(version, passage_ids, id_ranks, scores)
        return self._opened

    def _splitter(self) -> Callable[[str], list[str]]:
        """Return a function that splits a text into lowercase words."""
        import regex

        find = regex.compile(self.options.token_pattern).findall
        return lambda text: find(lowercase(text))

    def _stemmer(self) -> Callable[[list[str]], list[str]]:
        """Return a function that removes stop words and stems the remaining words."""
        ignored = _stop_words(self.options.stop_words)
        stem = _snowball_stemmer(self.options.stemmer)
        return lambda words: stem([word for word in words if word and word not in ignored])


@dataclass(frozen=True, slots=True)
class _Index:
    """A memory-mapped index; `id_ranks` gives the rank of each row's passage id among the sorted ids."""

    version: tuple[str, int, int]
    passage_ids: list[str]
    id_ranks: "npt.NDArray[np.int64]"
    scores: "bm25s.BM25"


def _stop_words(choice: str | tuple[str, ...]) -> frozenset[str]:
    if choice == "none":
        return frozenset()
    if isinstance(choice, tuple):
        return frozenset(map(lowercase, choice))
    from bm25s import stopwords

    return frozenset(getattr(stopwords, STOP_WORD_LISTS[choice]))


def _snowball_stemmer(choice: str) -> Callable[[list[str]], list[str]]:
    if choice == "none":
        return list
    from Stemmer import Stemmer

    stem: Callable[[list[str]], list[str]] = Stemmer(choice).stemWords
    return stem


def _best(
    index: "bm25s.BM25", words: Sequence[str], id_ranks: "npt.NDArray[np.int64]", k: int
) -> list[tuple[int, float]]:
    """Return the row numbers and scores of the `k` best passages; order passages with equal scores by id."""
    import numpy as np

    token_ids = index.get_tokens_ids(words)
    if not token_ids or k < 1:
        return []
    all_scores = index.get_scores_from_ids(token_ids)
    starts, rows = index.scores["indptr"], index.scores["indices"]
    shares_word = np.zeros(len(id_ranks), dtype=bool)
    for token in set(token_ids):
        shares_word[rows[starts[token] : starts[token + 1]]] = True
    candidates = np.flatnonzero(shares_word)
    scores = all_scores[candidates]
    if len(candidates) > k:
        contenders = scores >= np.partition(scores, -k)[-k]  # includes all passages tied with the last hit
        candidates, scores = candidates[contenders], scores[contenders]
    order: Any = np.lexsort((id_ranks[candidates], -scores))[:k]
    return [(int(candidates[i]), float(scores[i])) for i in order]
