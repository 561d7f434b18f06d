"""Reads a user's own questions, and refuses splits that share questions or reword more than the text of a question."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kib.errors import InputError
from kib.interfaces import RemarkingTask
from kib.plugins.resolve import Locked
from kib.records import Question
from kib.run.plugin_calls import call_plugin, check_list, iterate_plugin
from kib.run.visible_text import visible_questions
from kib.support.phrases import counted, quoted
from kib.support.question_text import comparable, question_key, repeated_questions

__all__ = ["OwnQuestions", "read_own_questions", "read_remarks", "read_split"]

SPLITS = ("test", "reworded", "validation", "examples")

LISTED = 20
"""The maximum number of questions that an error lists."""


@dataclass(frozen=True, slots=True)
class OwnQuestions:
    """The questions of a task by split, with the removed invisible characters and the remarks of each split."""

    splits: Mapping[str, Sequence[Question]]
    removed: Mapping[str, Counter[str]]
    remarks: Mapping[str, Sequence[str]]


def read_split(locked: Locked, split: str, *, invisible: bool) -> tuple[list[Question], Counter[str]]:
    """Return the questions of one split in the order of the plugin, and the removed invisible characters by code.

    If `invisible` is set, invisible characters are kept.
    """
    with call_plugin(locked, "questions"):
        questions = locked.plugin.questions(split)
    read, removed = iterate_plugin(locked, "questions", questions, Question), Counter[str]()
    return list(read if invisible else visible_questions(read, removed)), removed


def read_own_questions(locked: Locked, shots: int, *, invisible: bool) -> OwnQuestions:
    """Return all questions of a task, with or without their invisible characters.

    Prompts show at most the first `shots` examples, so only these examples are compared with the other questions.

    Raises InputError if two splits contain the same question, or if a reworded question differs from its test question
    in more than the wording.
    """
    read = {split: read_split(locked, split, invisible=invisible) for split in SPLITS}
    splits = {split: questions for split, (questions, _) in read.items()}
    removed = {split: characters for split, (_, characters) in read.items()}
    _refuse_shared_questions(locked.name, {**splits, "examples": splits["examples"][:shots]})
    rewordings = _refuse_changed_rewordings(locked.name, splits["test"], splits["reworded"])
    remarks = {split: [*read_remarks(locked, split), *_repeated(splits[split])] for split in SPLITS}
    return OwnQuestions(splits, removed, {**remarks, "reworded": [*remarks["reworded"], *rewordings]})


def read_remarks(locked: Locked, split: str) -> list[str]:
    """Return a task's remarks on the questions of a split, which have been read."""
    if not isinstance(locked.plugin, RemarkingTask):
        return []
    with call_plugin(locked, "remarks"):
        return check_list(locked, "remarks", locked.plugin.remarks(split), str)


def _refuse_shared_questions(task: str, splits: Mapping[str, Sequence[Question]]) -> None:
    """Raise InputError that lists the questions in several splits; only a rewording may equal its test question."""
    seen: dict[object, tuple[str, str]] = {}
    shared = []
    for split, questions in splits.items():
        for question in questions:
            first, other = seen.setdefault(question_key(question.text, question.options), (split, question.id))
            if split != first and (first, split) != ("test", "reworded"):
                shared.append(f"{other} ({first}) and {question.id} ({split})")
    if shared:
        verb = "is" if len(shared) == 1 else "are"
        raise InputError(
            f"tasks.{task}: different splits must not contain the same question with the same options, but "
            f"{counted(len(shared), 'pair')} of questions {verb} equal: {_listed(shared)}"
        )


def _repeated(questions: Sequence[Question]) -> list[str]:
    keys = ((one.id, question_key(one.text, one.options)) for one in questions)
    return repeated_questions(keys, options=any(one.options for one in questions))


def _refuse_changed_rewordings(task: str, tested: Sequence[Question], reworded: Sequence[Question]) -> list[str]:
    """Return remarks on the reworded questions; raise InputError if the correct answer or the options have changed."""
    originals = {question.id: question for question in tested}
    pairs = [(originals[question.id], question) for question in reworded if question.id in originals]
    changed = [f"{question.id} ({change})" for original, question in pairs for change in _changes(original, question)]
    unused = len(reworded) - len(pairs)
    without = f"{counted(unused, 'reworded question')} without a test question of the same id"
    if changed:
        more = f"; kib also found {without}" if unused else ""
        raise InputError(
            f"tasks.{task}: reworded: a reworded question must have the options and the correct answer of the test "
            f"question; {counted(len(changed), 'question')} {'differs' if len(changed) == 1 else 'differ'}: "
            f"{_listed(changed)}{more}"
        )
    equal = sum(comparable(original.text) == comparable(question.text) for original, question in pairs)
    remarks = {
        without: unused,
        f"{counted(equal, 'reworded question')} with the same text as the test question": equal,
    }
    return [f"found {remark}" for remark, count in remarks.items() if count]


def _changes(original: Question, reworded: Question) -> Iterator[str]:
    """Yield the difference between the answers or the options of two questions, if there is a difference."""
    right, other = set(map(comparable, original.correct)), set(map(comparable, reworded.correct))
    if right != other:
        texts = [quoted(question.correct) or "that there is none" for question in (reworded, original)]
        yield f"the correct answer is {texts[0]} instead of {texts[1]}"
    elif question_key("", original.options) != question_key("", reworded.options):
        yield "the options differ"


def _listed(items: Sequence[str]) -> str:
    more = f"; and {len(items) - LISTED:,} more" if items[LISTED:] else ""
    return "; ".join(items[:LISTED]) + more
