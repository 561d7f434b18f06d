"""Renders few-shot prompts as lm-eval does, except that a question never appears among its own examples."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.support.phrases import counted

if TYPE_CHECKING:
    from lm_eval.api.samplers import ContextSampler
    from lm_eval.api.task import ConfigurableTask

__all__ = ["Chat", "ExampleSampler", "MissingExamples", "examples_split", "render_prompts"]

Chat = Callable[[Sequence[Mapping[str, str]], bool], str]
"""A model's chat template as a function of messages and `add_generation_prompt`, which returns the text."""

SEED = 1234
"""lm-eval's default seed for drawing examples; with this seed, a base cell renders exactly the prompts of lm-eval."""


def examples_split(task: "ConfigurableTask") -> str:
    """Return the split from which lm-eval draws examples, or "" if the definition of the task lists the examples."""
    config, examples = task.config, task.fewshot_cfg
    if examples.split is not None or examples.samples is not None:
        return examples.split or ""
    return config.training_split or config.validation_split or config.test_split or ""


class ExampleSampler:
    """Draws the few-shot examples of a task with lm-eval's sampler, but never the question that is being asked.

    lm-eval 0.4.13 leaves out the asked question only if the task's `fewshot_split` names the split of the questions,
    and not if lm-eval itself chooses this split, for example because the task has no other split. `key` and
    `example_key` return equal values for a question and an example with the same text and the same options.
    """

    def __init__(
        self,
        inner: "ContextSampler",
        split: str,
        asked_split: str | None,
        key: Callable[[Any], Hashable],
        example_key: Callable[[Any], Hashable],
    ) -> None:
        self.inner = inner
        self.split = split
        self.own = split == asked_split
        self.asked: Any = None
        self.shown: dict[int, Any] = {}  # the questions that appeared among their own examples, by `id`
        self._key = key
        self._example_key = example_key
        self._keys: dict[int, tuple[Any, Hashable]] = {}  # the example is stored too, so that its `id` stays unique

    def set_rnd(self, seed: int | None) -> "ExampleSampler":
        """Set the seed of the random draws."""
        self.inner.set_rnd(seed)
        return self

    def sample(self, n: int, eval_doc: Any = None, **more: Any) -> Sequence[Any]:
        """Return `n` examples for the question `asked`; raise ValueError if there are not enough other questions."""
        asked = eval_doc if self.asked is None else self.asked
        if not self.own:
            drawn: Sequence[Any] = self.inner.sample(n=n, eval_doc=eval_doc, **more)
            if self._without(asked, drawn, len(drawn)) != list(drawn):
                self.shown[id(asked)] = asked
            return drawn
        pool = self.inner.df
        if len(pool) <= n:
            raise ValueError(
                f"the split {self.split} has only {counted(len(pool), 'question')}, and the examples must not include "
                "the asked question"
            )
        drawn = self._without(asked, self.inner.sample(n=n, eval_doc=asked, **more), n)
        if len(drawn) < n:  # the split contains a copy of the asked question, for example under a different id
            drawn += self._without(asked, (one for one in pool if one not in drawn), n - len(drawn))
        if len(drawn) < n:
            raise ValueError(f"the split {self.split} has too few questions that differ from the asked question")
        return drawn

    def _without(self, asked: Any, examples: Iterable[Any], n: int) -> list[Any]:
        """Return the first `n` examples that are not the asked question."""
        key = None if asked is None else self._key(asked)
        return list(islice((one for one in examples if key is None or self._key_of(one) != key), n))

    def _key_of(self, example: Any) -> Hashable:
        if id(example) not in self._keys:
            self._keys[id(example)] = example, self._example_key(example)
        return self._keys[id(example)][1]

    def note(self, shots: int) -> str:
        """Return a sentence that states how the examples were drawn."""
        subject = (
            "few-shot example of each question is" if shots == 1 else f"{shots} few-shot examples of each question are"
        )
        place = f"of the split {self.split}" if self.split else "listed in the definition of the task"
        kind = type(self.inner).__name__
        if kind == "FirstNSampler":
            how = f"the first {'question' if shots == 1 else 'questions'} {place}"
        else:
            drawn = "drawn at random" if kind == "ContextSampler" else f"drawn by the sampler {kind} of the task"
            how = f"{drawn} (seed {SEED}) from the questions {place}"
        left_out = ", without the asked question itself" if self.own else ""
        count = len(self.shown)
        shown = f"; {counted(count, 'question')} appeared among {'its' if count == 1 else 'their'} own examples"
        return f"the {subject} {how}{left_out}{shown if self.shown else ''}"


class MissingExamples:
    """The sampler of a task whose data lack the split of the few-shot examples; only prompts without examples work."""

    def __init__(self, split: str) -> None:
        self.split = split

    def set_rnd(self, seed: int | None) -> "MissingExamples":  # noqa: ARG002 - nothing is drawn
        """Accept the seed of random draws."""
        return self

    def sample(self, n: int, **_: Any) -> Sequence[Any]:  # noqa: ARG002 - nothing is drawn
        """Raise ValueError that names the missing split."""
        raise ValueError(f"the examples are those of the split {self.split}; add `{self.split} = PATH` to `data`")


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

    sampler = task.sampler if isinstance(task.sampler, ExampleSampler) else None
    if sampler:
        sampler.shown.clear()
    prompts: list[str] = []
    try:
        for doc in docs:
            if sampler:
                sampler.asked = doc
            text = task.fewshot_context(
                doc,
                num_fewshot=shots,
                apply_chat_template=chat is not None,
                fewshot_as_multiturn=chat is not None,
                chat_template=template,
                gen_prefix=task.doc_to_prefix(doc),
            )
            prompts.append(text)
    except (AssertionError, ValueError, KeyError) as error:
        raise InputError(f"tasks.{name}: cannot build {shots}-shot prompts: {error}") from error
    return prompts
