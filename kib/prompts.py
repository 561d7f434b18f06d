"""Builds prompts: inserts as many whole passages as the budget allows between the examples and the question.

Do not change the default template or the wording of a question, because trained models depend on this exact text.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from kib.errors import PromptTemplateError, PromptTooLongError
from kib.records import Passage, Prompt, RenderedQuestion
from kib.support.templates import (
    DEFAULT_LIMITS,
    TemplateFailedError,
    TemplateLimits,
    render_template,
    render_trusted,
)

__all__ = ["DEFAULT_TEMPLATE", "LETTERS", "ask_question", "build_prompt", "option_lines", "render_passages"]

DEFAULT_TEMPLATE = (
    "Context:\n"
    "{% for passage in passages %}"
    "{% if passage.title %}{{ passage.title }}\n{% endif %}"
    "{{ passage.text }}\n\n"
    "{% endfor %}"
)
"""The jinja template for the text between few-shot examples and question; its variable `passages` is never empty."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Order = Literal["best-first", "best-last"]


def ask_question(question: str, options: Sequence[str], letters: bool) -> str:
    """Return the text of a user's question: `Question: …`, followed by options as `A. …` if letters are scored."""
    lines = [f"Question: {question}", *(option_lines(options) if letters else ())]
    return "\n".join([*lines, "Answer:"])


def option_lines(options: Sequence[str]) -> list[str]:
    """Return one line per option, such as `A. …`."""
    return [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]


def render_passages(
    passages: Sequence[Passage],
    template: str = DEFAULT_TEMPLATE,
    order: Order = "best-first",
    limits: TemplateLimits = DEFAULT_LIMITS,
) -> str:
    """Return the text of `passages`, which are sorted best first; return "" if there are no passages.

    Raises PromptTemplateError if the template is invalid, fails or exceeds a limit.
    """
    if not passages:
        return ""
    shown = list(passages) if order == "best-first" else list(reversed(passages))
    if template == DEFAULT_TEMPLATE:
        return render_trusted(template, {"passages": shown}, keep_trailing_newline=True)
    try:
        return render_template(template, {"passages": shown}, limits, keep_trailing_newline=True)
    except TemplateFailedError as error:
        raise PromptTemplateError(error.described()) from error


def build_prompt(
    asked: RenderedQuestion,
    passages: Sequence[Passage],
    *,
    count: Callable[[str], int] | None = None,
    reserve: int = 0,
    budget: int | None = None,
    template: str = DEFAULT_TEMPLATE,
    order: Order = "best-first",
    limits: TemplateLimits = DEFAULT_LIMITS,
) -> Prompt:
    """Return a prompt with as many of the whole passages, sorted best first, as fit into `budget` tokens.

    `count` returns the number of tokens that the model reads, which are the prompt and its longest answer to score.
    `reserve` is the number of tokens to leave for a generated answer. The lowest-ranked passages are dropped first;
    examples and question are never truncated. Raises PromptTooLongError if the prompt is too long even without
    passages.
    """
    for kept in range(len(passages), -1, -1):
        text = asked.head + render_passages(passages[:kept], template, order, limits) + asked.ask
        tokens = count(text) if count else None
        if budget is None or tokens is None or tokens + reserve <= budget:
            return Prompt(asked.question_id, text, tuple(p.id for p in passages[:kept]), len(passages) - kept, tokens)
    raise PromptTooLongError(
        f"question {asked.question_id}: the prompt has {tokens} tokens even without passages, but the budget is "
        f"{budget} tokens{f', of which {reserve} are reserved for the answer' if reserve else ''}"
    )
