"""The user's own questions with options, asked for a letter in generated text, for models without log-probabilities."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from kib.harness.metrics import Outcome
from kib.harness.open_tasks import NEXT_QUESTION
from kib.harness.tasks import RenderedTask, check_options, harness_task
from kib.prompts import LETTERS, ask_question, option_lines
from kib.records import Question, Request

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["LETTER_INSTRUCTION", "LETTER_REVISION", "LetterTask", "first_letter", "letter_task"]

LETTER_REVISION = 1
"""Increase this number when equal questions give different prompts, settings or scores than before."""

LETTER_INSTRUCTION = "Answer the question with the letter of the right option alone."
"""The system message for models with a chat template."""

METRIC = "letter_text"
"""The metric; its name differs from the metric of log-probabilities, so that the two are never ranked together."""

MAX_TOKENS = 32
"""The maximum number of tokens of an answer."""


def first_letter(output: str, count: int) -> int | None:
    """Return the index of the first option that an output names by its letter, or None if it names no option.

    A letter stands alone, not inside a word. `A` and `I` before a word in lower case are words of a sentence, unless
    the output names no other letter. A letter in lower case counts only if it is the whole output.
    """
    allowed = LETTERS[:count]
    bare = output.strip().strip("().:*_\"'`").upper()
    if len(bare) == 1 and bare in allowed:
        return allowed.index(bare)
    found = list(re.finditer(rf"(?<![\w'’])[{allowed}](?![\w'’])", output))
    letters = [match for match in found if not re.match(r"[AI] +[a-z]", output[match.start() :])] or found
    return allowed.index(letters[0].group()) if letters else None


class LetterTask(RenderedTask):
    """A task with questions whose options are chosen by a letter in generated text."""

    instruction: ClassVar[str] = LETTER_INSTRUCTION

    def _options(self, row: int) -> tuple[tuple[str, ...], int | None]:
        question = (self.questions or ())[row]
        return question.options, question.answer

    def _instances(self, index: int, prompt: str, chat: bool) -> "list[Instance]":
        settings = {"until": [] if chat else list(NEXT_QUESTION), "max_gen_toks": MAX_TOKENS, "do_sample": False}
        self.task.set_config("generation_kwargs", settings)
        return super()._instances(index, prompt, chat)

    def _bare_text(self, question: Question) -> str:
        return "\n".join([question.text, *option_lines(question.options)])

    def score(self, index: int, requests: Sequence[Request], values: Sequence[Any]) -> Outcome:
        """Return 1 if the first letter of the output names the right option; the prediction is the named option."""
        output = str(values[0])
        letter = first_letter(output, len(self._options(self.rows[index])[0]))
        outcome = super().score(index, requests, ["" if letter is None else LETTERS[letter]])
        return replace(outcome, output=output, prediction=letter)


def letter_task(
    name: str,
    questions: Sequence[Question],
    examples: Sequence[Question] = (),
    limit: int | None = None,
    notes: Sequence[str] = (),
) -> LetterTask:
    """Return the user's own questions as a task that asks for a letter; the prompts list the options as `A. …`.

    `notes` are remarks on the questions. Raises InputError for a question without valid options.
    """
    check_options(name, [*questions, *examples])

    def row(question: Question) -> dict[str, Any]:
        asked = ask_question(question.text, question.options, letters=True)
        return {"ask": asked, "answer": LETTERS[question.answer or 0]}

    def scores(doc: dict[str, Any], outputs: Sequence[str]) -> dict[str, float]:
        return {METRIC: float(outputs[0] == doc["answer"])}

    config = {"output_type": "generate_until", "doc_to_target": "answer", "process_results": scores}
    task = harness_task(name, list(map(row, questions)), list(map(row, examples)), config)
    return LetterTask(name, task, metric=METRIC, questions=questions, limit=limit, notes=notes)
