"""A task rendered by lm-eval: prompts with a slot for passages, requests to a backend, and scores."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from kib.errors import InputError
from kib.harness.backends import quiet
from kib.harness.few_shot import Chat, ExampleSampler, MissingExamples, examples_split, render_prompts
from kib.harness.metrics import Outcome, find_metric, read_outcome, refuse_other_than_mean
from kib.harness.query_template import query_template
from kib.harness.unsupported_tasks import refuse_unsupported
from kib.prompts import LETTERS, ask_question
from kib.records import Question, RenderedQuestion, Request, Split
from kib.support.phrases import counted
from kib.support.question_text import comparable, question_key, repeated_questions
from kib.support.templates import DEFAULT_LIMITS, TemplateLimits

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask

__all__ = ["RenderedTask", "check_options", "from_questions", "harness_task", "refuse_unusable_text", "sample_rows"]

MARK = "\u2983kib\u2984"
"""The text that marks the start of the current question during rendering; real questions never contain this text."""


class RenderedTask:
    """An lm-eval task with kib's question ids, queries, gold and groups in addition to its documents.

    `questions` are the user's own questions, in the order of the task's documents; `questions` is None for a task
    provided by lm-eval. Raises InputError if kib cannot measure the task.
    """

    instruction: ClassVar[str] = ""
    """The system message of a chat, or "" if a chat begins as the task defines it."""

    def __init__(
        self,
        name: str,
        task: "ConfigurableTask",
        *,
        metric: str | None = None,
        questions: Sequence[Question] | None = None,
        limit: int | None = None,
        split: Split = "test",
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.task = task
        self.questions = questions
        self.removed: Mapping[str, int] = {}  # the numbers of removed invisible characters, by code
        self.docs: list[Any] = list(task.eval_docs if questions or split == "test" else _validation_docs(name, task))
        self.rows = sample_rows(len(self.docs), limit)
        refuse_unsupported(name, task)
        self.filter, self.metric = find_metric(name, task, metric)
        self.metrics: tuple[str, ...] = (self.metric,)
        self._unmarked = task.config.doc_to_text
        self._marked = self._mark(task.doc_to_text)
        if not self.docs:
            raise InputError(f"tasks.{name}: the task has no questions")
        self._notes = [*notes, *(self._shared_with_test() if not questions and split == "validation" else ())]
        self._draw_examples_without_asked_question(split)
        refuse_other_than_mean(name, task, self.metric)
        self._try_metric()

    def _draw_examples_without_asked_question(self, split: Split) -> None:
        config, examples = self.task.config, self.task.fewshot_cfg
        asked = config.validation_split if split == "validation" else config.test_split or config.validation_split
        example_key = partial(self._key, text=examples.doc_to_text, options=examples.doc_to_choice)
        sampler = getattr(self.task, "sampler", None)
        if not isinstance(sampler, MissingExamples):
            self.task.sampler = ExampleSampler(sampler, examples_split(self.task), asked, self._key, example_key)

    def _key(self, doc: Any, text: Any = None, options: Any = None) -> Hashable:
        """Return a key that is equal for documents with the same question and the same options.

        `text` and `options` are the templates of examples, if they differ from the templates of questions.
        """
        shown = self.task.doc_to_text(doc, text or self._unmarked)
        choices = self.task.doc_to_choice(doc, options) if self.task.OUTPUT_TYPE == "multiple_choice" else ()
        return question_key(str(shown), map(str, choices))

    def _shared_with_test(self) -> list[str]:
        """Return a sentence about validation questions that are also test questions, which public data may contain."""
        tested = {self._key(doc) for doc in self.task.test_docs()}
        shared = sum(self._key(doc) in tested for doc in self.docs)
        if not shared:
            return []
        total = counted(len(self.docs), "validation question")
        return [f"{shared:,} of {total} {'is also a test question' if shared == 1 else 'are also test questions'}"]

    def notes(self, shots: int) -> list[str]:
        """Return remarks on the questions and their examples; call this method after `ask` with the same `shots`."""
        return [*self._notes, *self._repeated(), *([self.task.sampler.note(shots)] if shots else [])]

    def _repeated(self) -> list[str]:
        """Return a remark on repeated questions; `notes` already contains the remark on the user's own questions."""
        keys = ((self.question_id(row), self._key(doc)) for row, doc in enumerate(self.docs))
        return [] if self.questions else repeated_questions(keys)

    def _mark(self, doc_to_text: Callable[..., Any]) -> Callable[[Any], str]:
        return lambda doc: MARK + str(doc_to_text(doc, self._unmarked))

    def _try_metric(self) -> None:
        """Score the first question with artificial answers, to reject metrics with values beyond 0 and 1 early."""
        requests = self.requests(0, "")
        fake = "" if self.task.OUTPUT_TYPE == "generate_until" else (0.0, False)
        self.score(0, requests, [fake] * len(requests))

    def ask(
        self,
        shots: int,
        query: str | None = None,
        chat: Chat | None = None,
        limits: TemplateLimits = DEFAULT_LIMITS,
    ) -> list[RenderedQuestion]:
        """Return the sampled questions with their few-shot examples, exactly as lm-eval itself would render them.

        `query` is the template of the search query, which must not exceed `limits`. Raises InputError if the prompt
        does not contain exactly one slot for passages.
        """
        if self.instruction:
            self.task.set_config("description", self.instruction if chat else "")
        texts = self._render(shots, chat, self._unmarked)
        parts = [text.split(MARK) for text in self._render(shots, chat, self._marked)]
        for row, (text, part) in enumerate(zip(texts, parts, strict=True)):
            if len(part) != 2 or "".join(part) != text:
                raise InputError(
                    f"tasks.{self.name}: question {self.question_id(row)}: the start of the question was not found "
                    "in the prompt, so passages cannot be inserted; the chat template may change the text of the "
                    "question"
                )
        search = query_template(self.name, query, limits)
        return [self._rendered_question(row, parts[row][0], parts[row][1], search) for row in self.rows]

    def ask_bare(self, query: str | None = None, limits: TemplateLimits = DEFAULT_LIMITS) -> list[RenderedQuestion]:
        """Return the sampled questions as a system reads them; `query` and `limits` have the same meaning as in `ask`.

        A user's own question is its text alone; a question of an lm-eval task is its 0-shot prompt. Raises InputError
        if the task scores log-probabilities, which systems do not return.
        """
        if self.task.OUTPUT_TYPE != "generate_until":
            raise InputError(
                f"tasks.{self.name}: a system returns only text, but this task scores log-probabilities; in `tasks` of "
                "the method with the system, list only tasks that generate text"
            )
        asked = self.ask(0, query, limits=limits)
        if self.questions is None:
            return asked
        texts = (self._bare_text(self.questions[row]) for row in self.rows)
        return [replace(question, head="", ask=text) for question, text in zip(asked, texts, strict=True)]

    def _bare_text(self, question: Question) -> str:
        """Return a user's own question as a system reads it."""
        return question.text

    def _rendered_question(
        self, row: int, head: str, ask: str, search: Callable[[Mapping[str, Any]], str | None]
    ) -> RenderedQuestion:
        doc = self.docs[row]
        own = self.questions[row] if self.questions else None
        options, answer = self._options(row)
        fields = {"question": own.text, "options": list(own.options)} if own else dict(doc)
        return RenderedQuestion(
            question_id=self.question_id(row),
            head=head,
            ask=ask,
            query=search(fields) or (own.text if own else self._default_query(doc)),
            options=own.options if own else options,
            answer=answer,
            gold=own.gold if own else (),
            group=own.group if own else None,
            accepted=own.accepted if own else (),
            unanswerable=own is not None and own.unanswerable,
            probe=own.probe if own else None,
        )

    def _render(self, shots: int, chat: Chat | None, doc_to_text: Any) -> list[str]:
        """Return the prompts of all documents, and restore the task's own `doc_to_text` afterwards."""
        self.task.set_config("doc_to_text", doc_to_text)
        try:
            return render_prompts(self.name, self.task, self.docs, shots, chat)
        finally:
            self.task.set_config("doc_to_text", self._unmarked)

    def _default_query(self, doc: Any) -> str:
        """Return the field `question`, or else the text of the question without few-shot examples or chat template.

        The decontamination field of a task is not used: the field may contain the answer, and lm-eval
        fails to render most of these fields.
        """
        question = doc.get("question")
        return question if isinstance(question, str) and question.strip() else str(self.task.doc_to_text(doc))

    def _options(self, row: int) -> tuple[tuple[str, ...], int | None]:
        """Return the options of a question and the index of the correct option; None if several options are correct."""
        if self.task.OUTPUT_TYPE != "multiple_choice":
            return (), None
        doc = self.docs[row]
        options = tuple(str(option) for option in self.task.doc_to_choice(doc))
        if "" in options:
            raise InputError(
                f"tasks.{self.name}: question {self.question_id(row)}: option {options.index('') + 1} is empty"
            )
        answer = self.task.doc_to_target(doc)
        if isinstance(answer, str):
            answer = options.index(answer) if answer in options else -1
        if isinstance(answer, list):
            return options, None  # the metric itself handles several correct options
        if not isinstance(answer, int) or not 0 <= answer < len(options):
            raise InputError(
                f"tasks.{self.name}: question {self.question_id(row)}: the correct answer is not one of the options"
            )
        return options, answer

    def question_id(self, row: int) -> str:
        """Return the id of a question, or else the name of the task with the row number."""
        return self.questions[row].id if self.questions else f"{self.name}-{row}"

    def question_texts(self) -> list[str]:
        """Return the texts of all questions without few-shot examples, including questions outside the sample."""
        return [self._default_query(doc) for doc in self.docs]

    def question_ids(self) -> list[str]:
        """Return the ids of the sampled questions in task order."""
        return [self.question_id(row) for row in self.rows]

    def requests(self, index: int, prompt: str, *, chat: bool = False) -> list[Request]:
        """Return the requests for the sampled question `index` with the given prompt, in lm-eval's order."""
        return [
            Request(instance.request_type, tuple(instance.args)) for instance in self._instances(index, prompt, chat)
        ]

    def _instances(self, index: int, prompt: str, chat: bool) -> "list[Instance]":
        instances = self.task.construct_requests(
            doc=self.docs[self.rows[index]], ctx=prompt, metadata=(self.name, index, 1), apply_chat_template=chat
        )
        return instances if isinstance(instances, list) else [instances]

    def score(self, index: int, requests: Sequence[Request], values: Sequence[Any]) -> Outcome:
        """Return the outcome of the sampled question `index`, computed with the task's own filters and metric.

        `values` are the model's answers to `requests`, in the same order.
        """
        instances = self._instances(index, str(requests[0].arguments[0]), chat=False)
        for instance, value in zip(instances, values, strict=True):
            instance.resps = [tuple(value) if isinstance(value, list) else value]
        for ensemble in self.task._filters:  # noqa: SLF001 - lm-eval's own evaluator reads it there
            ensemble.apply(instances)
        responses = [instance.filtered_resps[self.filter] for instance in instances]
        row = self.rows[index]
        result = self.task.process_results(self.docs[row], responses)
        options = None if self.task.OUTPUT_TYPE == "generate_until" else self._options(row)[0]
        return read_outcome(
            f"tasks.{self.name}: question {self.question_id(row)}", self.metrics, result, values, options
        )


def _validation_docs(name: str, task: "ConfigurableTask") -> Any:
    """Return the validation questions of an lm-eval task, unless the task uses them as test questions."""
    if not (task.has_test_docs() and task.has_validation_docs()):
        raise InputError(f"tasks.{name}: the lm-eval task has no validation questions separate from its test questions")
    return task.validation_docs()


def from_questions(
    name: str,
    questions: Sequence[Question],
    examples: Sequence[Question],
    scoring: str,
    limit: int | None = None,
    notes: Sequence[str] = (),
) -> RenderedTask:
    """Return the user's own questions as an lm-eval task; `scoring` is "letter", "text" or "text-norm".

    `notes` are remarks on the questions. Raises InputError for a question without a valid answer.
    """
    letters = scoring == "letter"

    def row(question: Question) -> dict[str, Any]:
        options = LETTERS[: len(question.options)] if letters else question.options
        asked = ask_question(question.text, question.options, letters)
        return {"ask": asked, "choices": list(options), "answer": question.answer}

    check_options(name, [*questions, *examples])
    metric = "acc_norm" if scoring == "text-norm" else "acc"
    config = {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
    }
    task = harness_task(name, list(map(row, questions)), list(map(row, examples)), config)
    return RenderedTask(name, task, metric=metric, questions=questions, limit=limit, notes=notes)


def harness_task(
    name: str, rows: Sequence[Mapping[str, Any]], examples: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> "ConfigurableTask":
    """Return an lm-eval task with the given rows, whose fields `ask` and `answer` are the question and its answer.

    Raises InputError if there are no rows.
    """
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    if not rows:
        raise InputError(f"tasks.{name}: the task has no questions")
    quiet()
    splits = {"test": Dataset.from_list(list(rows))}
    if examples:
        splits["examples"] = Dataset.from_list(list(examples))
    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: DatasetDict(splits),
            "test_split": "test",
            "fewshot_split": "examples" if examples else None,
            "fewshot_config": {"sampler": "first_n"},
            "doc_to_text": "ask",
            "doc_to_target": "answer",
            **config,
        }
    )


def sample_rows(count: int, limit: int | None) -> list[int]:
    """Return the indexes of `limit` rows evenly spread over `count` rows, or of all rows if `limit` is None."""
    if limit is None or limit >= count:
        return list(range(count))
    return [number * count // limit for number in range(limit)]


def check_options(name: str, questions: Sequence[Question]) -> None:
    """Raise InputError for a question without valid options, or without the index of the correct option."""
    for question in questions:
        where = f"tasks.{name}: question {question.id}"
        count = len(question.options)
        if not question.options:
            raise InputError(
                f"{where}: the question has no options; add `scoring` with the metric of its answers, for example "
                f'`scoring = "contains"`, to [tasks.{name}]'
            )
        if not 2 <= count <= len(LETTERS):
            raise InputError(f"{where}: expected 2 to {len(LETTERS)} options, got {count}")
        if question.answer is None or not 0 <= question.answer < len(question.options):
            raise InputError(f"{where}: the correct answer is not one of the options")
        refuse_unusable_text(name, question)
        seen: dict[str, str] = {}
        for option in question.options:
            key = comparable(option)
            if key in seen:
                raise InputError(f"{where}: two options are equal: {seen[key]!r} and {option!r}")
            seen[key] = option


def refuse_unusable_text(name: str, question: Question) -> None:
    """Raise InputError if the text of a question is empty or contains the text that marks questions."""
    where = f"tasks.{name}: question {question.id}"
    if not question.text.strip():
        raise InputError(f"{where}: the text of the question is empty")
    if MARK in question.text:
        raise InputError(f"{where}: the text contains {MARK}, which kib reserves for marking questions")
