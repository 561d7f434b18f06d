"""Removes invisible characters from documents and questions, and counts the removed characters."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kib.records import Document, Question
from kib.support.characters import remove_invisible
from kib.support.question_text import trimmed

__all__ = ["visible_documents", "visible_questions"]


def visible_documents(documents: Iterable[Document], removed: Counter[str]) -> Iterator[Document]:
    """Yield documents without invisible characters in their titles and texts, and count the removed characters."""
    for document in documents:
        title, text = remove_invisible(document.title, removed), remove_invisible(document.text, removed)
        unchanged = title == document.title and text == document.text
        yield document if unchanged else replace(document, title=title, text=text)


def visible_questions(questions: Iterable[Question], removed: Counter[str]) -> Iterator[Question]:
    """Yield questions without invisible characters in their texts, answers and quotes; count the removed characters.

    White space that surrounds a text after the removal is removed too.
    """

    def visible(text: str) -> str:
        shown = remove_invisible(text, removed)
        return text if shown == text else trimmed(shown)

    for question in questions:
        text = visible(question.text)
        options = tuple(map(visible, question.options))
        accepted = tuple(map(visible, question.accepted))
        gold = tuple(replace(one, quote=one.quote and remove_invisible(one.quote)) for one in question.gold)
        yield replace(question, text=text, options=options, accepted=accepted, gold=gold)
