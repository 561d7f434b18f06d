"""Normalization of answers as in the evaluation of SQuAD 1.1, extended to other languages and scripts.

The evaluation of SQuAD (Rajpurkar et al., arXiv 1606.05250) ignores case, ASCII punctuation, English articles and white
space. kib also ignores the punctuation of other scripts, takes the articles of the answer's language, and treats each
Chinese and Japanese character as a word, because these scripts have no spaces between words.
"""

import re
import string
import unicodedata
from functools import lru_cache

__all__ = ["appears", "ends_with_article", "has_only_articles", "words"]

ARTICLES = {
    "en": "a an the",
    "de": "der die das den dem des ein eine einen einem einer eines",
    "es": "el la los las un una unos unas",
    "fr": "le la les l un une des",
    "it": "il lo la i gli le l un uno una",
    "nl": "de het een",
    "pt": "o a os as um uma uns umas",
}
"""The articles of each language with articles; answers in any other language keep all their words."""

CHARACTER = re.compile(r"([\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
"""A character of a script without spaces between words: Han, Hiragana or Katakana."""

ELIDED = re.compile(r"\bl['’]")
"""The French and Italian article that is joined to its noun, as in l'eau."""


@lru_cache(maxsize=65536)  # the accepted answers are normalized again for every arm
def words(text: str, language: str = "en") -> tuple[str, ...]:
    """Return the words of an answer in lower case, without punctuation and without articles.

    The articles of an answer that consists of articles, such as the blood type A, are not removed, and neither is the
    punctuation of an answer that consists of punctuation.
    """
    articles = _articles(language)
    every = _with_articles(text, language)
    found = tuple(word for word in every if word not in articles)
    return found or every or _split(_lowered(text))


@lru_cache(maxsize=65536)  # every output is compared with accepted answers
def has_only_articles(text: str, language: str) -> bool:
    """Return whether an answer consists of articles, such as the blood type A."""
    every = _with_articles(text, language)
    return bool(every) and _articles(language).issuperset(every)


def ends_with_article(text: str, language: str) -> bool:
    """Return whether the last word of an answer is ignored as an article although it is none, as in vitamin A."""
    every = _with_articles(text, language)
    return bool(every) and every[-1] in _articles(language) and not has_only_articles(text, language)


def _articles(language: str) -> frozenset[str]:
    return frozenset(ARTICLES.get(language, "").split())


def _lowered(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("i\u0307", "i")  # İ must stay one letter


def _with_articles(text: str, language: str) -> tuple[str, ...]:
    """Return the words of an answer without punctuation; only articles that are joined to a noun are removed."""
    lowered = _lowered(text)
    spaced = ELIDED.sub(" ", lowered) if "l" in _articles(language) else lowered
    return _split("".join(character for character in spaced if not _is_punctuation(character)))


def appears(phrase: tuple[str, ...], given: tuple[str, ...]) -> bool:
    """Return whether the words of a phrase, at least one, are among the given words, one after the other."""
    size = len(phrase)
    return size > 0 and any(given[start : start + size] == phrase for start in range(len(given) - size + 1))


def _split(text: str) -> tuple[str, ...]:
    return tuple(CHARACTER.sub(r" \1 ", text).split())


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")
