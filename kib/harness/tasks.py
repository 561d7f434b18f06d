"""lm-eval's tasks, few-shot examples, metrics and models, as kib uses them: its only importer in `kib/`.

A task is rendered once per number of shots into `head`, `ask` and options; passages later go between the two. What a
model answers is scored by the task's own filters and metric. How lm-eval 0.4.13 behaves here was read in its source.
"""

import gc
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

from kib.errors import InputError, StepError
from kib.identity import canonical
from kib.prompts import LETTERS, ask_question
from kib.records import Environment, Question, RenderedQuestion, Request, Split

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask

__all__ = [
    "Chat",
    "Outcome",
    "RenderedTask",
    "answer",
    "batches",
    "data_set",
    "environment",
    "free",
    "from_questions",
    "notes",
    "query_template",
    "quiet",
    "sample_rows",
    "task_manager",
]

Chat = Callable[[Sequence[Mapping[str, str]], bool], str]
"""A model's chat template: messages and whether to open the answer's turn; gives the text."""

SHOT_SEED = 1234
"""lm-eval's own default, so that a base cell asks what lm-eval alone asks."""

MARK = "\u2983kib\u2984"
"""Stands before the asked question while a prompt is rendered; no text that people write contains it."""

BATCH = 64
"""Requests that are asked and stored together; what a killed run loses at most."""

ZERO_ONE = {0, 1}
ANSWER_KINDS = {"multiple_choice", "loglikelihood", "generate_until"}
DEFAULT_METRICS = {"multiple_choice": "acc", "loglikelihood": "acc", "generate_until": "exact_match"}


def quiet() -> None:
    """Keep lm-eval's and its libraries' own bars and remarks off the screen; errors of theirs still show."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("lm_eval", "datasets", "transformers", "evaluate"):
        logging.getLogger(name).setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a question ended: its 0/1 score, and what the model said."""

    score: int
    prediction: int | None
    logprobs: tuple[float, ...]
    output: str | None


class RenderedTask:
    """An lm-eval task, with kib's ids, queries, gold and groups beside its documents."""

    def __init__(
        self,
        name: str,
        task: "ConfigurableTask",
        *,
        metric: str | None = None,
        notes: Sequence[Question] | None = None,
        limit: int | None = None,
        split: Split = "test",
    ) -> None:
        self.name = name
        self.task = task
        self.notes = notes
        self.docs: list[Any] = list(task.eval_docs if notes or split == "test" else _validation_docs(name, task))
        self.rows = sample_rows(len(self.docs), limit)
        _refuse(name, task)
        self.filter, self.metric = _metric(name, task, metric)
        self._ask_marked()
        if not self.docs:
            raise InputError(f"tasks.{name}: the task has no question")
        self._refuse_graded()

    def _ask_marked(self) -> None:
        original = self.task.doc_to_text
        plain = self.task.config.doc_to_text

        def marked(doc: Any) -> str:
            return MARK + str(original(doc, plain))

        self.marked, self.plain = marked, plain

    def _refuse_graded(self) -> None:
        """Score the first question with made-up answers, so that a metric that is not 0/1 is refused beforehand."""
        kind = self.task.OUTPUT_TYPE
        requests = self.requests(0, "")
        fake = "" if kind == "generate_until" else (0.0, False)
        self.score(0, requests, [fake] * len(requests))

    def ask(self, shots: int, query: str | None = None, chat: Chat | None = None) -> list[RenderedQuestion]:
        """The sampled questions with their examples, the same that lm-eval alone would show; `query` is a template."""
        texts = self._render(shots, chat, self.plain)
        parts = [text.split(MARK) for text in self._render(shots, chat, self.marked)]
        for index, (text, part) in enumerate(zip(texts, parts, strict=True)):
            if len(part) != 2 or "".join(part) != text:
                raise InputError(
                    f"tasks.{self.name}: question {self.id(index)}: the place before the question cannot be found in "
                    "the prompt, so that no passage can stand there (does the chat template change the text?)"
                )
        search = query_template(self.name, query)
        return [self._asked(row, parts[row][0], parts[row][1], search) for row in self.rows]

    def _asked(
        self, row: int, head: str, ask: str, search: Callable[[Mapping[str, Any]], str | None]
    ) -> RenderedQuestion:
        doc = self.docs[row]
        note = self.notes[row] if self.notes else None
        options, right = self._options(row)
        fields = {"question": note.text, "options": list(note.options)} if note else dict(doc)
        own_query = note.text if note else self._own_query(doc)
        return RenderedQuestion(
            question_id=self.id(row),
            head=head,
            ask=ask,
            query=search(fields) or own_query,
            options=note.options if note else options,
            answer=right,
            gold=note.gold if note else (),
            group=note.group if note else None,
        )

    def _render(self, shots: int, chat: Chat | None, doc_to_text: Any) -> list[str]:
        """Prompts of all questions in order; the sampler begins anew, or base and retrieval would see other shots."""
        self.task.set_config("doc_to_text", doc_to_text)
        self.task.set_fewshot_seed(SHOT_SEED)
        template = None
        if chat:

            def template(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
                return chat(messages, add_generation_prompt)

        try:
            return [
                self.task.fewshot_context(
                    doc,
                    num_fewshot=shots,
                    apply_chat_template=chat is not None,
                    fewshot_as_multiturn=chat is not None,
                    chat_template=template,
                    gen_prefix=self.task.doc_to_prefix(doc),
                )
                for doc in self.docs
            ]
        except (AssertionError, ValueError, KeyError) as error:
            raise InputError(f"tasks.{self.name}: cannot be asked with {shots} shots: {error}") from error
        finally:
            self.task.set_config("doc_to_text", self.plain)

    def _own_query(self, doc: Any) -> str:
        """The field `question`, else the question's text without examples and chat template.

        What a task names for decontamination is none: it may hold the answer, and lm-eval fails to render most of them.
        """
        question = doc.get("question")
        return question if isinstance(question, str) and question.strip() else str(self.task.doc_to_text(doc))

    def _options(self, row: int) -> tuple[tuple[str, ...], int | None]:
        if self.task.OUTPUT_TYPE != "multiple_choice":
            return (), None
        doc = self.docs[row]
        options = tuple(str(option) for option in self.task.doc_to_choice(doc))
        right = self.task.doc_to_target(doc)
        if isinstance(right, str):
            right = options.index(right) if right in options else -1
        if isinstance(right, list):
            return options, None  # several options are right; the metric knows
        if not isinstance(right, int) or not 0 <= right < len(options):
            raise InputError(f"tasks.{self.name}: question {self.id(row)}: the right answer is none of its options")
        return options, right

    def id(self, row: int) -> str:
        """A question's id: its own, or task and row number."""
        return self.notes[row].id if self.notes else f"{self.name}-{row}"

    def requests(self, index: int, prompt: str, *, chat: bool = False) -> list[Request]:
        """What a model is asked for the sampled question `index` with this prompt, in lm-eval's order."""
        return [
            Request(instance.request_type, tuple(instance.args)) for instance in self._instances(index, prompt, chat)
        ]

    def _instances(self, index: int, prompt: str, chat: bool) -> "list[Instance]":
        made = self.task.construct_requests(
            doc=self.docs[self.rows[index]], ctx=prompt, metadata=(self.name, index, 1), apply_chat_template=chat
        )
        return made if isinstance(made, list) else [made]

    def score(self, index: int, requests: Sequence[Request], values: Sequence[Any]) -> Outcome:
        """The task's own filters and metric over a model's answers to `requests`, in their order."""
        instances = self._instances(index, str(requests[0].arguments[0]), chat=False)
        for instance, value in zip(instances, values, strict=True):
            instance.resps = [tuple(value) if isinstance(value, list) else value]
        for ensemble in self.task._filters:  # noqa: SLF001 - lm-eval's own evaluator reads it there
            ensemble.apply(instances)
        responses = [instance.filtered_resps[self.filter] for instance in instances]
        result = self.task.process_results(self.docs[self.rows[index]], responses)
        return self._outcome(self.rows[index], result, values)

    def _outcome(self, row: int, result: Mapping[str, Any], values: Sequence[Any]) -> Outcome:
        score = result.get(self.metric)
        if isinstance(score, tuple | list) or score is None or score not in ZERO_ONE:
            raise InputError(
                f"tasks.{self.name}: the metric {self.metric} gives {score} for a question; kib compares 0/1 scores "
                f"(of {', '.join(result)})"
            )
        if self.task.OUTPUT_TYPE == "generate_until":
            return Outcome(int(score), None, (), str(values[0]))
        count = len(values) // 2 if "acc_mutual_info" in result else len(values)
        every = [float(value[0]) for value in values]
        weighed = _weighed(self.metric, every[:count], every[count:], self._options(row)[0]) if count > 1 else []
        prediction = max(range(count), key=weighed.__getitem__) if count > 1 else None
        return Outcome(int(score), prediction, tuple(every[:count]), None)


def _weighed(metric: str, given: list[float], alone: list[float], options: Sequence[str]) -> list[float]:
    """What a metric compares options by: log-probability, by character or byte, or beyond that without the question."""
    if metric == "acc_norm":
        return [value / len(option) for value, option in zip(given, options, strict=True)]
    if metric == "acc_bytes":
        return [value / len(option.encode()) for value, option in zip(given, options, strict=True)]
    if metric == "acc_mutual_info":
        return [value - other for value, other in zip(given, alone, strict=True)]
    return given


def _validation_docs(name: str, task: "ConfigurableTask") -> Any:
    """The validation split of an lm-eval task that is tested on another one and takes its examples elsewhere."""
    if not (task.has_test_docs() and task.has_validation_docs()):
        raise InputError(f"tasks.{name}: the lm-eval task has no validation questions besides those it is tested on")
    if task.fewshot_cfg.split == task.config.validation_split:
        raise InputError(f"tasks.{name}: the lm-eval task takes its examples from its validation questions")
    return task.validation_docs()


def query_template(name: str, template: str | None) -> Callable[[Mapping[str, Any]], str | None]:
    """A function from a question's fields to the text searched for; None where the task's own is taken."""
    if template is None:
        return lambda _: None
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def wrong(error: TemplateError, fields: Mapping[str, Any]) -> InputError:
        known = f"; known fields are {', '.join(sorted(fields))}" if fields else ""
        return InputError(f"tasks.{name}.query: {error}{known}")

    try:
        made = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(template)
    except TemplateError as error:
        raise wrong(error, {}) from error

    def render(fields: Mapping[str, Any]) -> str:
        try:
            return made.render(fields)
        except TemplateError as error:
            raise wrong(error, fields) from error

    return render


def _metric(name: str, task: "ConfigurableTask", wanted: str | None) -> tuple[str, str]:
    """The filter and the metric that give a question's score; `wanted` may be `metric` or `metric,filter`."""
    filters = [ensemble.name for ensemble in task._filters]  # noqa: SLF001 - lm-eval's own evaluator reads it there
    known = list(task.aggregation())
    metric, _, chosen = (wanted or DEFAULT_METRICS.get(str(task.OUTPUT_TYPE), "")).partition(",")
    custom = callable(task.config.process_results)
    if metric not in known and not custom:
        raise InputError(f"tasks.{name}.metric: the task has no metric {metric}; it has {', '.join(known)}")
    if chosen and chosen not in filters:
        raise InputError(f"tasks.{name}.metric: the task has no filter {chosen}; it has {', '.join(filters)}")
    return chosen or filters[0], metric


def _refuse(name: str, task: "ConfigurableTask") -> None:
    """Tasks that kib cannot measure question by question, with the reason."""
    reasons = {
        "its contexts are the options, so that there is no one place for passages": task.multiple_input,
        f"it is of the kind {task.OUTPUT_TYPE}, which has no right or wrong": task.OUTPUT_TYPE not in ANSWER_KINDS,
        "it shows pictures or plays sound": getattr(task, "MULTIMODAL", False),
        "it runs code that a model wrote": getattr(task, "UNSAFE_CODE", False),
        "it asks each question several times": (task.config.repeats or 1) != 1,
        "it draws its answers by chance": _draws(task.config.generation_kwargs or {}),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"tasks.{name}: this lm-eval task cannot be measured: {reason}")


def _draws(settings: Mapping[str, Any]) -> bool:
    """Whether text is sampled; backends differ where a temperature is given and `do_sample` is not."""
    return bool(settings.get("do_sample", settings.get("temperature")))


def from_questions(
    name: str, questions: Sequence[Question], examples: Sequence[Question], scoring: str, limit: int | None = None
) -> RenderedTask:
    """A rendered task over questions of the user's own, as an lm-eval task; `scoring` is letter, text or text-norm."""
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    letters = scoring == "letter"
    quiet()

    def row(question: Question) -> dict[str, Any]:
        options = LETTERS[: len(question.options)] if letters else question.options
        asked = ask_question(question.text, question.options, letters)
        return {"ask": asked, "choices": list(options), "answer": question.answer}

    if not questions:
        raise InputError(f"tasks.{name}: the task has no question")
    _check_questions(name, [*questions, *examples])
    splits = {"test": Dataset.from_list([row(question) for question in questions])}
    if examples:
        splits["examples"] = Dataset.from_list([row(question) for question in examples])
    metric = "acc_norm" if scoring == "text-norm" else "acc"
    config = {
        "task": name,
        "custom_dataset": lambda **_: DatasetDict(splits),
        "output_type": "multiple_choice",
        "test_split": "test",
        "fewshot_split": "examples" if examples else None,
        "fewshot_config": {"sampler": "first_n"},
        "doc_to_text": "ask",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
    }
    return RenderedTask(name, ConfigurableTask(config=config), metric=metric, notes=questions, limit=limit)


def sample_rows(count: int, limit: int | None) -> list[int]:
    """The rows of a fixed sample, evenly spread over `count` and in order; all without a limit."""
    if limit is None or limit >= count:
        return list(range(count))
    return [number * count // limit for number in range(limit)]


def _check_questions(name: str, questions: Sequence[Question]) -> None:
    for question in questions:
        if not 2 <= len(question.options) <= len(LETTERS) or not 0 <= question.answer < len(question.options):
            raise InputError(f"tasks.{name}: question {question.id}: the right answer is none of its options")
        if MARK in question.text:
            raise InputError(f"tasks.{name}: question {question.id}: holds kib's own mark {MARK}")


@cache
def task_manager() -> Any:
    """lm-eval's index of tasks; it takes seconds, so it is made once and only where a task is named."""
    from lm_eval.tasks import TaskManager

    quiet()
    return TaskManager()


def data_set(task: str) -> str:
    """The data set on the hub that a task of lm-eval reads, with its configuration; "" where lm-eval names none."""
    from lm_eval.tasks._yaml_loader import load_yaml

    path = task_manager().task_index[task].yaml_path
    config = load_yaml(path, resolve_func=False) if path else {}
    parts = [config.get("dataset_path"), config.get("dataset_name")]
    return " ".join(part for part in parts if isinstance(part, str))


def batches(requests: Sequence[Request], lm: "LM | None" = None) -> list[list[Request]]:
    """The list, each request once, in the batches in which they are asked and stored: a pure function of the list.

    An LM may make its own: `plan(instances)` gives the numbers of those to be asked together, or None where any will
    do. Else requests that share a context stay together (one forward pass gives all one-token options), long ones come
    first.
    """
    originals = dict(zip(map(_hashable, requests), requests, strict=True))
    ordered = sorted(originals, key=lambda key: (key[0], -len(key[1]), key[1:]))
    plan = getattr(lm, "plan", None)
    planned = plan(_instances([originals[key] for key in ordered])) if plan else None
    if planned is not None:
        if sorted(number for batch in planned for number in batch) != list(range(len(ordered))):
            raise StepError(f"the backend {type(lm).__name__} planned other requests than it was given")
        return [[originals[ordered[number]] for number in batch] for batch in planned]
    made: list[list[Request]] = [[]]
    for _, group in groupby(ordered, key=lambda key: key[:2]):
        members = [originals[key] for key in group]
        if made[-1] and (len(made[-1]) + len(members) > BATCH or made[-1][-1].kind != members[0].kind):
            made.append([])
        made[-1] += members
    return [batch for batch in made if batch]


def _hashable(request: Request) -> tuple[str, str, str]:
    return request.kind, str(request.arguments[0]), canonical(list(request.arguments[1:]))


def answer(lm: "LM", batch: Sequence[Request]) -> list[Any]:
    """A model's answers to a batch of one kind: [log-probability, greedy], a log-probability, or text."""
    kind = batch[0].kind
    ask_lm = getattr(lm, kind)
    try:
        values = ask_lm(_instances(batch), **_no_bars(ask_lm))
    except NotImplementedError as error:
        reason = (
            "gives no log-probabilities; ask it tasks that generate" if kind == "loglikelihood" else "cannot do this"
        )
        raise InputError(f"the backend {type(lm).__name__} {reason}") from error
    if len(values) != len(batch):
        raise StepError(f"the backend {type(lm).__name__} gave {len(values)} answers to {len(batch)} requests")
    if kind == "generate_until":
        return list(values)
    pairs = [(float(value[0]), bool(value[1])) if kind == "loglikelihood" else (float(value), True) for value in values]
    for request, (number, _) in zip(batch, pairs, strict=True):
        if not isfinite(number):
            raise StepError(
                f"the backend {type(lm).__name__} gave {number} as a log-probability after "
                f"{str(request.arguments[0])[-40:]!r}; a dtype of more range, such as float32, may help"
            )
    return [[number, greedy] for number, greedy in pairs] if kind == "loglikelihood" else [one for one, _ in pairs]


def _instances(requests: Sequence[Request]) -> "list[Instance]":
    from lm_eval.api.instance import Instance

    return [
        Instance(
            request_type=request.kind, doc={}, arguments=request.arguments, idx=number, metadata=("kib", number, 1)
        )
        for number, request in enumerate(requests)
    ]


def notes(lm: "LM") -> list[str]:
    """What an LM has to say about how it computes, in sentences: a fall-back, a lack of memory."""
    return list(getattr(lm, "notes", ()))


def _no_bars(ask_lm: Callable[..., Any]) -> dict[str, bool]:
    """Most backends draw bars of their own unless told not to; some know no such word."""
    return {"disable_tqdm": True} if "disable_tqdm" in signature(ask_lm).parameters else {}


def environment(lm: "LM", distribution: str) -> Environment:
    """Versions and device that decide a number's last digits; `distribution` is the model plugin's."""
    names = sorted({"lm-eval", "torch", "transformers", distribution})
    return Environment(str(getattr(lm, "device", None) or "unknown"), {n: v for n in names if (v := _version(n))})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def free(lm: "LM") -> None:
    """Give a model's memory back before the next one is loaded."""
    release = getattr(lm, "release", None)
    if release:
        release()
    for name in ("_model", "pretrained"):  # HFLM keeps a model that it was given under both, and offers no other way
        if hasattr(getattr(lm, name, None), "to"):
            setattr(lm, name, None)
    gc.collect()
