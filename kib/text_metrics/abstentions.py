"""Recognizes outputs that decline to answer, such as "I do not know"."""

from collections.abc import Sequence

from kib.text_metrics.normalization import appears, words

__all__ = ["abstains", "usual_abstentions"]

USUAL = {
    "en": (
        *("I do not know", "I don't know", "unknown", "no answer", "unanswerable", "not mentioned", "not stated"),
        *("not specified", "cannot be answered", "cannot answer", "can't answer", "not enough information"),
        *("does not say", "doesn't say", "no information"),
    ),
    "de": (
        *("Ich weiß es nicht", "Ich weiß nicht", "weiß ich nicht", "unbekannt", "keine Antwort", "nicht angegeben"),
        *("nicht erwähnt", "keine Angabe", "keine Information", "nicht beantworten"),
    ),
    "es": ("No lo sé", "No sé", "desconocido", "sin respuesta", "no se menciona", "no se indica", "no hay información"),
    "fr": (
        "Je ne sais pas",
        "inconnu",
        "pas de réponse",
        "n'est pas mentionné",
        "n'est pas précisé",
        "aucune information",
    ),
}
"""Phrases that decline to answer, by language; the first phrase of a language is shown in few-shot examples."""


def usual_abstentions(language: str) -> tuple[str, ...]:
    """Return the usual phrases that decline to answer; for an unknown language, the English phrases."""
    return USUAL.get(language, USUAL["en"])


def abstains(output: str, phrases: Sequence[str], language: str) -> bool:
    """Return whether an output declines to answer.

    A phrase of several words may appear anywhere in the output. A single word must be the whole output, because an
    answer may contain the word, as in "the Tomb of the Unknown Soldier".
    """
    given = words(output, language)
    declining = [words(phrase, language) for phrase in phrases]
    return any(given == phrase if len(phrase) == 1 else appears(phrase, given) for phrase in declining)
