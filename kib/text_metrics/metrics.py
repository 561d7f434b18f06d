"""The metrics of generated answers. Each metric returns the best score over all accepted answers, from 0 to 1."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isclose
from typing import TYPE_CHECKING

from kib.text_metrics.normalization import appears, has_only_articles, words
from kib.text_metrics.numbers_in_text import first_number

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

__all__ = ["JUDGE", "MEANINGS", "METRICS", "AnswerRules", "measure"]


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """How answers are compared: the language of the answers (ISO 639), and the relative tolerance of numbers."""

    language: str = "en"
    tolerance: float = 0.0


Metric = Callable[[str, str, AnswerRules], float]
"""A function of an output, one accepted answer and the rules, which returns a score from 0 to 1."""


def exact(output: str, accepted: str, rules: AnswerRules) -> float:
    """Return 1 if output and answer have the same words, as in SQuAD."""
    given, expected = _words(output, accepted, rules.language)
    return float(given == expected)


def f1(output: str, accepted: str, rules: AnswerRules) -> float:
    """Return the harmonic mean of the precision and the recall of the output's words, as in SQuAD."""
    given, expected = _words(output, accepted, rules.language)
    shared = (Counter(given) & Counter(expected)).total()
    return 2 * shared / (len(given) + len(expected)) if shared else 0.0


def contains(output: str, accepted: str, rules: AnswerRules) -> float:
    """Return 1 if the words of the answer appear in the output, one after the other."""
    given, expected = _words(output, accepted, rules.language)
    return float(appears(expected, given))


def _words(output: str, accepted: str, language: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of an output and of an answer; if the answer has only articles, the output keeps its articles.

    For example, the blood type A is an answer with only an article.
    """
    kept = "" if has_only_articles(accepted, language) else language
    return words(output, kept), words(accepted, kept)


def number(output: str, accepted: str, rules: AnswerRules) -> float:
    """Return 1 if the first number of the output equals the answer's number within the relative tolerance."""
    given, expected = (first_number(text, rules.language) for text in (output, accepted))
    if given is None or expected is None:
        return 0.0
    return float(isclose(given, expected, rel_tol=1e-12) or abs(given - expected) <= rules.tolerance * abs(expected))


def rouge_l(output: str, accepted: str, rules: AnswerRules) -> float:
    """Return the F1 score of the longest common subsequence of words, as computed by the package rouge-score.

    English texts are split by the package. The package recognizes no letters outside the English alphabet, so texts in
    other languages are split by `words`.
    """
    return float(_rouge(english=rules.language == "en").score(accepted, output)["rougeL"].fmeasure)


class _WordSplitter:
    """Splits texts in languages other than English for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, including articles."""
        return list(words(text, language=""))


@lru_cache(maxsize=2)
def _rouge(*, english: bool) -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=None if english else _WordSplitter())


JUDGE = "judge"
"""The metric whose score is the verdict of a judge."""

METRICS: Mapping[str, Metric] = {
    "exact": exact,
    "f1": f1,
    "contains": contains,
    "number": number,
    "rouge-l": rouge_l,
}
"""The metrics that kib computes, by the name that a benchmark file uses."""


MEANINGS: Mapping[str, str] = {
    "exact": "the output has the same words as an accepted answer, without case, articles and punctuation",
    "f1": "the F1 score of the output's words against the best accepted answer, without articles and punctuation",
    "contains": "an accepted answer appears in the output as words",
    "number": "the first number of the output equals an accepted number, within the tolerance of the task",
    "rouge-l": "the ROUGE-L F1 score of the output against the best accepted answer",
    JUDGE: "the verdict of the task's judge on the output, from 0 to 1",
}
"""A clause about each metric, for the legend of a table."""


def measure(metric: str, output: str, accepted: Sequence[str], rules: AnswerRules) -> float:
    """Return the best score of an output over all accepted answers."""
    return max(METRICS[metric](output, answer, rules) for answer in accepted)
