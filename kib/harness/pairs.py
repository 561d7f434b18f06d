"""Renders question-answer pairs with the code that renders questions: 0-shot and without passages."""

from collections.abc import Sequence
from dataclasses import dataclass

from kib.harness.few_shot import Chat, render_prompts
from kib.harness.tasks import RenderedTask, from_questions
from kib.records import Question, Text

__all__ = ["RenderedPair", "pairs_as_harness_task", "pairs_as_own_task"]


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """A 0-shot prompt, and the text that continues the prompt with the right answer."""

    prompt: str
    target: str


def pairs_as_own_task(name: str, pairs: Sequence[Text], scoring: str, chat: Chat | None) -> list[RenderedPair]:
    """Return pairs in the form of a user's own questions; if `scoring` is "letter", all pairs must have options."""
    if not pairs:
        return []
    questions = [_question(number, pair, letters=scoring == "letter") for number, pair in enumerate(pairs, 1)]
    task = from_questions(name, questions, (), scoring)
    rendered = []
    for index, (question, asked) in enumerate(zip(questions, task.ask(0, chat=chat), strict=True)):
        requests = task.requests(index, asked.head + asked.ask, chat=chat is not None)
        rendered.append(RenderedPair(*requests[question.answer].arguments))
    return rendered


def _question(number: int, pair: Text, *, letters: bool) -> Question:
    """Return a pair as a question; an open question needs a second option, which its prompt does not contain."""
    answer = (pair.answer or "").strip()
    if not letters:
        return Question(f"pair {number}", pair.text, (answer, f"not {answer}"), 0)
    return Question(f"pair {number}", pair.text, pair.options, pair.options.index(pair.answer or ""))


def pairs_as_harness_task(task: RenderedTask, pairs: Sequence[Text], chat: Chat | None) -> list[RenderedPair] | None:
    """Return pairs in the form of an lm-eval task; None if the task's prompts contain more than its field `question`.

    Two documents of the task that differ in all fields except the question must have the same prompt.
    """
    first, last = dict(task.docs[0]), dict(task.docs[-1])
    if len(task.docs) < 2 or not isinstance(first.get("question"), str):
        return None
    probe = [{**doc, "question": pairs[0].text} for doc in (first, last)]
    if len(set(render_prompts(task.name, task.task, probe, 0, chat))) > 1:
        return None
    docs = [{**first, "question": pair.text} for pair in pairs]
    prompts = render_prompts(task.name, task.task, docs, 0, chat)
    delimiter = _delimiter(task, prompts[0], chat)
    targets = [delimiter + (pair.answer or "").strip() for pair in pairs]
    return [RenderedPair(prompt, target) for prompt, target in zip(prompts, targets, strict=True)]


def _delimiter(task: RenderedTask, prompt: str, chat: Chat | None) -> str:
    """Return the text that lm-eval inserts between a prompt and an answer."""
    if task.task.OUTPUT_TYPE != "multiple_choice":
        return "" if chat else str(task.task.config.target_delimiter)
    first = str(task.requests(0, prompt, chat=chat is not None)[0].arguments[1])
    return first.removesuffix(str(task.task.doc_to_choice(task.docs[task.rows[0]])[0]))
