"""Renders few-shot prompts, identical to the prompts of lm-eval itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kib.errors import InputError

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

__all__ = ["Chat", "render_prompts"]

Chat = Callable[[Sequence[Mapping[str, str]], bool], str]
"""A model's chat template as a function of messages and `add_generation_prompt`, which returns the text."""

SEED = 1234
"""lm-eval's default seed for drawing examples; with this seed, a base cell renders exactly the prompts of lm-eval."""


def render_prompts(
    name: str, task: "ConfigurableTask", docs: Sequence[Any], shots: int, chat: Chat | None
) -> list[str]:
    """Return the prompt of every document, preceded by `shots` examples.

    The sampler is seeded for every call, so that the base and retrieval methods see the same examples. Raises
    InputError if the task does not support `shots` few-shot examples.
    """
    task.set_fewshot_seed(SEED)
    template = None
    if chat:

        def template(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return chat(messages, add_generation_prompt)

    try:
        return [
            task.fewshot_context(
                doc,
                num_fewshot=shots,
                apply_chat_template=chat is not None,
                fewshot_as_multiturn=chat is not None,
                chat_template=template,
                gen_prefix=task.doc_to_prefix(doc),
            )
            for doc in docs
        ]
    except (AssertionError, ValueError, KeyError) as error:
        raise InputError(f"tasks.{name}: cannot build prompts with {shots} shots: {error}") from error
