"""Renders question-answer pairs with the code that renders questions: 0-shot and without passages."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from kib.harness.few_shot import Chat, render_prompts
from kib.harness.letter_tasks import letter_task
from kib.harness.open_tasks import OpenForm, open_task
from kib.harness.tasks import RenderedTask, from_questions, sample_rows
from kib.prompts import LETTERS
from kib.records import Question, Text
from kib.text_metrics.metrics import AnswerRules

__all__ = ["PairScoring", "RenderedPair", "option_counts", "pairs_as_harness_task", "pairs_as_own_task"]

QUESTION_FIELDS = ("question", "Question", "question_stem")
"""The fields in which the documents of lm-eval tasks contain the text of a question."""

PROBED = 5
"""The number of documents that must have the same prompt if they have the same question and the same options."""

COUNTS = range(2, len(LETTERS) + 1)
"""The possible numbers of options."""

QUESTION_MARK, OPTION_MARK = "⦃question⦄", "⦃option {}⦄"
"""The texts that replace the question and the options of a document to find out where a prompt shows them."""

OptionPaths = tuple[tuple[str | int, ...], ...]
"""The place of each option in a document, such as `(("choices", 0), ("choices", 1))` or `(("A",), ("B",))`."""

PairScoring = Literal["letter", "letter-text", "text", "generated"]
"""How the answers to a task are scored: as letters, as letters in generated text, as texts, or as generated text."""


PAIR_FORM = OpenForm(("exact",), max_tokens=1, stop=None, rules=AnswerRules(), abstentions=())
"""The form in which pairs are rendered; prompts do not depend on metrics and lengths."""


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """A 0-shot prompt, and the text that continues the prompt with the right answer."""

    prompt: str
    target: str


def pairs_as_own_task(name: str, pairs: Sequence[Text], scoring: PairScoring, chat: Chat | None) -> list[RenderedPair]:
    """Return pairs in the form of a user's own questions; pairs for letters must have options."""
    if not pairs:
        return []
    if scoring == "generated":
        return _generated(name, pairs, chat)
    letters = scoring in ("letter", "letter-text")
    questions = [_question(number, pair, letters=letters) for number, pair in enumerate(pairs, 1)]
    if scoring == "letter-text":
        return _with_answers(letter_task(name, questions), [LETTERS[one.answer or 0] for one in questions], chat)
    task = from_questions(name, questions, (), scoring)
    rendered = []
    for index, (question, asked) in enumerate(zip(questions, task.ask(0, chat=chat), strict=True)):
        requests = task.requests(index, asked.head + asked.ask, chat=chat is not None)
        rendered.append(RenderedPair(*requests[question.answer or 0].arguments))
    return rendered


def _generated(name: str, pairs: Sequence[Text], chat: Chat | None) -> list[RenderedPair]:
    """Return pairs in the form of questions whose answers are generated."""
    answers = [(pair.answer or "").strip() for pair in pairs]
    questions = [
        Question(f"pair {number}", pair.text, accepted=(answer,))
        for number, (pair, answer) in enumerate(zip(pairs, answers, strict=True), 1)
    ]
    task = open_task(name, questions, (), PAIR_FORM)
    return _with_answers(task, answers, chat)


def _with_answers(task: RenderedTask, answers: Sequence[str], chat: Chat | None) -> list[RenderedPair]:
    """Return the prompts of a task with generated answers, each with its answer."""
    prompts = [asked.head + asked.ask for asked in task.ask(0, chat=chat)]
    delimiter = _delimiter(task, prompts[0], chat)
    return [RenderedPair(prompt, delimiter + answer) for prompt, answer in zip(prompts, answers, strict=True)]


def _question(number: int, pair: Text, *, letters: bool) -> Question:
    """Return a pair as a question; an open question needs a second option, which its prompt does not contain."""
    answer = (pair.answer or "").strip()
    if not letters:
        return Question(f"pair {number}", pair.text, (answer, f"not {answer}"), 0)
    return Question(f"pair {number}", pair.text, pair.options, pair.options.index(pair.answer or ""))


def pairs_as_harness_task(task: RenderedTask, pairs: Sequence[Text], chat: Chat | None) -> dict[Text, RenderedPair]:
    """Return the pairs that can have the form of an lm-eval task, in this form.

    If the task's prompts contain only the question and fixed text, every pair can. If the prompts of a multiple-choice
    task also contain the options, a pair with the same number of options can. If the prompts contain anything else, no
    pair can.
    """
    field = _question_field(task)
    if field is None:
        return {}
    if _is_open(task, field, chat):
        return _open_pairs(task, field, pairs, chat)
    found: dict[Text, RenderedPair] = {}
    for count in sorted({len(pair.options) for pair in pairs} - {0}):
        form = _options_form(task, field, count, chat)
        found |= _closed_pairs(task, form, [one for one in pairs if len(one.options) == count], chat) if form else {}
    return found


def option_counts(task: RenderedTask, chat: Chat | None) -> set[int] | None:
    """Return the numbers of options with which a pair can have the form of an lm-eval task; None if every pair can."""
    field = _question_field(task)
    if field is None:
        return set()
    if _is_open(task, field, chat):
        return None
    return {count for count in COUNTS if _options_form(task, field, count, chat)}


def _question_field(task: RenderedTask) -> str | None:
    """Return the field that contains the text of a question in the documents of a task, if there is such a field."""
    return next((name for name in QUESTION_FIELDS if isinstance(task.docs[0].get(name), str)), None)


def _is_open(task: RenderedTask, field: str, chat: Chat | None) -> bool:
    """Return whether documents that differ in all fields except the question have the same prompt.

    The options of one document are replaced, too, because all documents may have the same options.
    """
    docs = _probed(task.docs)
    forms = [_OptionsForm(docs[0], field, paths) for count in COUNTS for paths in _option_paths(docs[0], count)]
    probe = [{**doc, field: QUESTION_MARK} for doc in docs]
    probe += [form.filled(QUESTION_MARK, form.marks()) for form in forms]
    return len(docs) > 1 and len(set(render_prompts(task.name, task.task, probe, 0, chat))) == 1


def _probed(docs: Sequence[Any]) -> list[Any]:
    """Return the last document and some documents that are evenly spread over all documents."""
    return [docs[row] for row in dict.fromkeys([*sample_rows(len(docs), PROBED - 1), len(docs) - 1])]


def _open_pairs(task: RenderedTask, field: str, pairs: Sequence[Text], chat: Chat | None) -> dict[Text, RenderedPair]:
    """Return the pairs with the prompts of a task that asks open questions."""
    docs = [{**task.docs[0], field: pair.text} for pair in pairs]
    prompts = render_prompts(task.name, task.task, docs, 0, chat)
    delimiter = _delimiter(task, prompts[0], chat)
    targets = [delimiter + (pair.answer or "").strip() for pair in pairs]
    return {pair: RenderedPair(*parts) for pair, *parts in zip(pairs, prompts, targets, strict=True)}


def _delimiter(task: RenderedTask, prompt: str, chat: Chat | None) -> str:
    """Return the text that lm-eval inserts between a prompt and an answer."""
    if task.task.OUTPUT_TYPE != "multiple_choice":
        return "" if chat else str(task.task.config.target_delimiter)
    first = str(task.requests(0, prompt, chat=chat is not None)[0].arguments[1])
    return first.removesuffix(str(task.task.doc_to_choice(task.docs[task.rows[0]])[0]))


@dataclass(frozen=True, slots=True)
class _OptionsForm:
    """A document of a task, with the place of its question and the places of its options."""

    doc: Mapping[str, Any]
    field: str
    paths: OptionPaths

    def marks(self) -> list[str]:
        """Return one distinct text per option."""
        return [OPTION_MARK.format(number) for number in range(len(self.paths))]

    def filled(self, question: str, options: Sequence[str]) -> dict[str, Any]:
        """Return a copy of the document with a different question and different options."""
        doc = deepcopy(dict(self.doc))
        doc[self.field] = question
        for (*parents, last), option in zip(self.paths, options, strict=True):
            place: Any = doc
            for key in parents:
                place = place[key]
            place[last] = option
        return doc


def _closed_pairs(
    task: RenderedTask, form: _OptionsForm, pairs: Sequence[Text], chat: Chat | None
) -> dict[Text, RenderedPair]:
    """Return the pairs with the prompts of a task that shows options, and with the answers that the task scores."""
    docs = [form.filled(pair.text, pair.options) for pair in pairs]
    prompts = render_prompts(task.name, task.task, docs, 0, chat)
    rendered = {}
    for pair, doc, prompt in zip(pairs, docs, prompts, strict=True):
        scored = task.task.construct_requests(
            doc=doc, ctx=prompt, metadata=(task.name, 0, 1), apply_chat_template=chat is not None
        )
        rendered[pair] = RenderedPair(*scored[pair.options.index(pair.answer or "")].args[:2])
    return rendered


def _options_form(task: RenderedTask, field: str, count: int, chat: Chat | None) -> _OptionsForm | None:
    """Return the first form with `count` options that documents of a multiple-choice task have, if there is one."""
    if task.task.OUTPUT_TYPE != "multiple_choice":
        return None
    docs: dict[OptionPaths, list[Any]] = {}
    for doc in task.docs:
        for paths in _option_paths(doc, count):
            docs.setdefault(paths, []).append(doc)
    for paths, some in docs.items():
        forms = [_OptionsForm(doc, field, paths) for doc in _probed(some)]
        if len(forms) > 1 and _shows_options(task, forms, chat):
            return forms[0]
    return None


def _option_paths(doc: Mapping[str, Any], count: int) -> Iterator[OptionPaths]:
    """Yield the places in a document that may contain `count` options."""

    def is_list(value: Any) -> bool:
        return isinstance(value, list) and len(value) == count and all(isinstance(one, str) for one in value)

    for name, value in doc.items():
        if is_list(value):
            yield tuple((name, number) for number in range(count))
        elif isinstance(value, Mapping) and is_list(value.get("text")):
            yield tuple((name, "text", number) for number in range(count))
    letters = [letter for letter in LETTERS if isinstance(doc.get(letter), str)]
    if letters == list(LETTERS[:count]):
        yield tuple((letter,) for letter in letters)


def _shows_options(task: RenderedTask, forms: Sequence[_OptionsForm], chat: Chat | None) -> bool:
    """Return whether documents with the same question and options have the same prompt, and the right scored answers.

    The scored answers must be the options themselves, or fixed labels of options that the prompt lists in their order.
    """
    marks = forms[0].marks()
    docs = [form.filled(QUESTION_MARK, marks) for form in forms]
    prompts = set(render_prompts(task.name, task.task, docs, 0, chat))
    scored = {tuple(map(str, task.task.doc_to_choice(doc))) for doc in docs}
    if len(prompts) > 1 or len(scored) > 1:
        return False
    [prompt], [answers] = prompts, scored
    if list(answers) == marks:
        return True
    at = [prompt.find(mark) for mark in marks]
    fixed = not any(mark in answer for mark in marks for answer in answers)
    return fixed and len(set(answers)) == len(marks) and -1 not in at and at == sorted(at)
