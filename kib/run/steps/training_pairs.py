"""Adds to each question-answer pair the prompt in which a task asks the question, and the target to train on."""

from collections.abc import Sequence
from dataclasses import replace

from kib.harness.few_shot import Chat
from kib.harness.pairs import PairScoring, RenderedPair, option_counts, pairs_as_harness_task, pairs_as_own_task
from kib.harness.tasks import RenderedTask
from kib.interfaces import HarnessTask
from kib.plan.steps import PairForm
from kib.records import Text
from kib.run.context import RunContext
from kib.run.steps.render_questions import chat_template, load_rendered_task
from kib.support.phrases import counted, join

__all__ = ["pair_form_remark", "render_pairs"]


def render_pairs(
    texts: Sequence[Text], form: PairForm, context: RunContext, messages: Chat | None = None
) -> tuple[list[Text], int]:
    """Return the texts with the prompt and the target of every pair, and the number of pairs in a different form.

    If the form is a chat, `messages` formats the chat, or else the model's own template.

    A pair that cannot have the form of the task is rendered as an open question: a pair without options if the task
    lists options, and every pair if an lm-eval task's prompts contain more than a question and its options.
    """
    pairs = list(dict.fromkeys(text for text in texts if text.kind == "pair"))
    if not pairs:
        return list(texts), 0
    chat = (messages or chat_template(form.chat_of, context)) if form.chat_of else None
    with context.progress.waiting(f"rendering {counted(len(pairs), 'question-answer pair')}"):
        rendered = _as_asked(pairs, form, chat, context)
        others = [pair for pair in pairs if pair not in rendered]
        rendered |= zip(others, pairs_as_own_task(form.task, others, "text", chat), strict=True)
    open_pairs = set(others)
    return [_with_prompt(text, rendered.get(text)) for text in texts], sum(text in open_pairs for text in texts)


def _as_asked(
    pairs: Sequence[Text], form: PairForm, chat: Chat | None, context: RunContext
) -> dict[Text, RenderedPair]:
    """Return the pairs that can have the form of the task, in this form."""
    table, locked = context.spec.tasks[form.task], context.lock.get("tasks", form.task)
    if isinstance(locked.plugin, HarnessTask):
        return pairs_as_harness_task(load_rendered_task(form.task, "test", None, context), pairs, chat)
    form_of_pairs: PairScoring = "generated" if table.metrics else "text"
    if table.scoring in ("letter", "letter-text"):
        form_of_pairs = table.scoring
    able = [pair for pair in pairs if pair.options or form_of_pairs in ("text", "generated")]
    return dict(zip(able, pairs_as_own_task(form.task, able, form_of_pairs, chat), strict=True))


def _with_prompt(text: Text, pair: RenderedPair | None) -> Text:
    """Return a pair with its prompt and its target, and any other text unchanged."""
    return replace(text, prompt=pair.prompt, target=pair.target) if pair else text


def pair_form_remark(task: RenderedTask, form: PairForm, context: RunContext) -> str | None:
    """Return a sentence about the pairs that cannot have the form of an lm-eval task; None if every pair can."""
    counts = option_counts(task, chat_template(form.chat_of, context) if form.chat_of else None)
    if counts is None:
        return None
    if not counts:
        reason = "because its prompts contain more than a question and its options; all pairs"
        return f"no question-answer pair can have the form of this task, {reason} are trained as open questions"
    able = f"only question-answer pairs with {join(list(map(str, sorted(counts))), 'or')} options"
    return f"{able} can have the form of this task; all other pairs are trained as open questions"
