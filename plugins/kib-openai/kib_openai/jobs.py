"""What is asked of a passage, one request after the other: paraphrases, pairs, or questions and their order."""

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from kib.commands.questions import normalised
from kib.records import Passage
from kib_openai import answers
from kib_openai.answers import Broken, Drafted, Reply
from kib_openai.desk import Ask, Failed, Job
from kib_openai.options import WriterOptions
from kib_openai.prompts import render

__all__ = ["pairs", "paraphrases", "questions"]

Checked = TypeVar("Checked")


def paraphrases(options: WriterOptions, passage: Passage, count: int, seed: int) -> Job[list[str]]:
    """`count` texts, `per_call` a request; each later request shows those that stand already."""
    found: list[str] = []
    taken = {normalised(passage.text)}
    while len(found) < count:
        wanted = min(options.per_call, count - len(found))
        text = render("paraphrases", options.prompts.paraphrases, passage, wanted, found)
        check = partial(answers.paraphrases, count=wanted, taken=taken)
        some = yield from _asked(options, passage, text, seed, len(found) // options.per_call, check)
        found += some
        taken |= set(map(normalised, some))
    return found


def pairs(
    options: WriterOptions, held_out: Collection[str], passage: Passage, count: int, seed: int
) -> Job[list[tuple[str, str]]]:
    """`count` questions with answers, none of them among `held_out`, as `paraphrases` asks for texts."""
    found: list[tuple[str, str]] = []
    taken = set(held_out)
    while len(found) < count:
        wanted = min(options.per_call, count - len(found))
        text = render("pairs", options.prompts.pairs, passage, wanted, [question for question, _ in found])
        check = partial(answers.pairs, count=wanted, taken=taken)
        some = yield from _asked(options, passage, text, seed, len(found) // options.per_call, check)
        found += some
        taken |= {normalised(question) for question, _ in some}
    return found


def questions(options: WriterOptions, passage: Passage, count: int, seed: int) -> Job[list[Drafted]]:
    """`count` questions in one request; a second one puts them in order, the most specific first."""
    text = render("questions", options.prompts.questions, passage, count)
    made = yield from _asked(options, passage, text, seed, 0, partial(answers.questions, count=count))
    if count == 1:
        return made
    text = render("specific", options.prompts.specific, passage, count, [draft.question for draft in made])
    order = yield from _asked(options, passage, text, seed, 1, partial(answers.order, count=count))
    return [made[place] for place in order]


def _asked(
    options: WriterOptions, passage: Passage, text: str, seed: int, step: int, check: Callable[[Reply], Checked]
) -> Job[Checked]:
    """What `check` makes of the first answer that it does not find broken; Failed after the last attempt."""
    reason = ""
    for attempt in range(options.attempts):
        reply = yield Ask(text, seed, attempt, step)
        try:
            return check(reply)
        except Broken as broken:
            reason = str(broken)
    times = f"{options.attempts} answers are" if options.attempts > 1 else "the answer is"
    raise Failed(f"passage {passage.id}: {times} broken, the last one because: {reason}")
