"""The default prompts for texts, questions and verdicts, and the message built from a prompt and a passage.

Every message has the role `user`, because no other role is supported by all models. A message consists of the prompt,
the texts written so far, and the required form of the answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kib.records import Passage

__all__ = ["FORMS", "GRADES", "PAIRS", "PARAPHRASES", "QUESTIONS", "RUBRIC", "SPECIFIC", "check_template", "render"]

PASSAGE = """
{% if passage.title %}
Title: {{ passage.title }}
{% endif %}
Passage:
{{ passage.text }}
"""

PARAPHRASES = (
    """Write new versions of the passage below. Versions wanted: {{ count }}.
- Each version tells everything that the passage tells, with every name, number, date, unit and condition, and adds nothing.
- Use other words, other sentences and another order of the facts; let the versions differ from each other as well.
- Each version must be understood by itself: call things by their names instead of pointing at them, and do not mention the passage.
- Write in the language of the passage, without a heading.
"""  # noqa: E501 - a prompt's line is a line of the prompt
    + PASSAGE
)

PAIRS = (
    """Write questions on the passage below, each with its answer. Pairs wanted: {{ count }}.
- Each question asks for one fact that the passage tells, and names what it is about, so that it is understood without the passage.
- The answer is short, complete and right by the passage alone.
- No two questions ask for the same fact in the same way, and none mentions the passage.
- Write in the language of the passage.
"""  # noqa: E501
    + PASSAGE
)

QUESTIONS = (
    """Write examination questions on the passage below. Questions wanted: {{ count }}.
- Each question asks for one specific fact that only somebody who knows this passage can know: a name, number, date, place, cause or condition. Nothing that can be guessed or is generally known.
- A question names what it is about, so that it is understood without the passage, and does not mention the passage.
- Give the right answer and three wrong ones. The wrong ones are of the same kind, length and form as the right one, plausible, and clearly wrong by the passage.
- The answer does not stand in its question, and no two questions ask for the same fact.
- Quote the sentence of the passage, or the part of it, that proves the answer, character for character.
- Write in the language of the passage.
"""  # noqa: E501
    + PASSAGE
)

SPECIFIC = (
    """Below are a passage and numbered questions on it. Put the questions in order: first the one that is most specific, whose answer is one definite fact of this passage and of nothing else; last the one that is most general, most easily guessed or least clear without the passage.
"""  # noqa: E501
    + PASSAGE
    + """
Questions:
{% for question in questions %}
{{ loop.index }}. {{ question }}
{% endfor %}
"""
)

GRADES = {"correct": 1.0, "partly correct": 0.5, "incorrect": 0.0}
"""The default grades of a judge, each with its score."""

RUBRIC = """Grade an answer to a question against the accepted answers. The accepted answers are right, even if you believe otherwise, and one of them is enough.
- "correct": the answer states an accepted answer, possibly in other words, in another language or within a longer text, and states nothing that contradicts it.
- "partly correct": the answer states a part of an accepted answer, or states it less precisely, and states nothing that contradicts it.
- "incorrect": anything else, such as a different answer, several answers that exclude each other, or no answer.
Style, spelling, length and additional facts do not change the grade.
"""  # noqa: E501
"""The default rules by which a judge grades an answer."""

FORMS: Mapping[str, str] = {
    "paraphrases": '{"paraphrases": ["…"]}, a list of exactly {count} texts',
    "pairs": '{"pairs": [{"question": "…", "answer": "…"}]}, a list of exactly {count} objects',
    "questions": (
        '{"questions": [{"question": "…", "right": "…", "wrong": ["…", "…", "…"], "quote": "…"}]}, '
        "a list of exactly {count} objects"
    ),
    "specific": '{"order": [2, 1]}, a list of the numbers of all {count} questions',
}
"""The required form of the answer to each kind of prompt, as stated in the message to the model."""

WRONG_OPTIONS = (
    "Give {wrong} wrong {answers} to each question. Each wrong answer is of the same kind, length and form as the "
    "right one, plausible, and clearly wrong by the passage. No two answers to a question are equal."
)
"""The request for wrong options, which follows the prompt for pairs if the pairs have options."""

SHOWN_CHARACTERS = 120
"""The number of characters of each earlier text that a later request quotes."""

EXAMPLE = Passage("kettle#0", "kettle", "Kettles", "A copper kettle weighs four pounds.", 0, 35)


DEFAULTS = (PARAPHRASES, PAIRS, QUESTIONS, SPECIFIC)


def _render(template: str, values: Mapping[str, Any]) -> str:
    """Return the text of a prompt; raise TemplateFailedError if a user's template fails or exceeds a limit."""
    from kib.support.templates import render_template, render_trusted

    function = render_trusted if template in DEFAULTS else render_template
    return function(template, values, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)


def check_template(source: str) -> None:
    """Raise ValueError if jinja cannot render a prompt with a short passage, or if the prompt omits the passage."""
    from kib.support.templates import TemplateFailedError

    try:
        text = _render(source, {"passage": EXAMPLE, "count": 3, "questions": ["Who?", "When?"]})
    except TemplateFailedError as error:
        raise ValueError(f"the prompt template cannot be rendered: {error}") from error
    if EXAMPLE.text not in text:
        raise ValueError("the prompt template does not contain the passage; add {{ passage.text }}")


def render(kind: str, template: str, passage: Passage, count: int, texts: Sequence[str] = (), wrong: int = 0) -> str:
    """Return the message that requests `count` texts; `texts` are the earlier texts, or the questions to rank.

    `wrong` is the number of wrong options of each pair.
    """
    from kib.errors import InputError
    from kib.support.templates import TemplateFailedError

    values: dict[str, Any] = {"questions": list(texts)} if kind == "specific" else {}
    try:
        prompt = _render(template, {"passage": passage, "count": count, **values}).strip()
    except TemplateFailedError as error:
        raise InputError(
            f"prompts.{kind}: the template cannot be rendered for passage {passage.id}: {error}"
        ) from error
    parts = [prompt]
    if texts and kind != "specific":
        listed = "\n".join(f"- {_shortened(text)}" for text in texts)
        parts.append(f"These are written already; write others:\n{listed}")
    form = FORMS[kind].replace("{count}", str(count))
    if wrong:
        answers = "answer" if wrong == 1 else "answers"
        parts.append(WRONG_OPTIONS.replace("{wrong}", str(wrong)).replace("{answers}", answers))
        listed = ", ".join(['"…"'] * wrong)
        form = form.replace('"answer": "…"', f'"answer": "…", "wrong": [{listed}]')
    parts.append(f"Answer with one JSON object and nothing else, in this form: {form}.")
    return "\n\n".join(parts)


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
