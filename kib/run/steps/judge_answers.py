"""Asks a judge for verdicts on generated answers; a judge stores every verdict that it pays for as it arrives."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kib.errors import InputError, PluginError
from kib.interfaces import NamedModel, PaidJudge
from kib.plan.steps import PlannedCell
from kib.plugins.resolve import Lock, Locked
from kib.records import AnswerToJudge, UnjudgedAnswer, Verdict
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, iterate_plugin
from kib.store.files import make_folder
from kib.store.paid_answers import PaidAnswers, verdicts_path
from kib.store.result_records import JudgingRecord
from kib.support.model_names import describe_kinship
from kib.support.phrases import shortened

__all__ = ["Verdicts", "judge_answers", "judge_remarks", "judging_record"]

EMPTY = Verdict(0, "the answer is empty", abstained=False)
"""The verdict on an answer without text, which no judge is asked for."""

SHOWN_CHARACTERS = 80
"""The number of characters of an answer that an error message quotes."""


@dataclass(slots=True)
class Verdicts:
    """The verdicts of a judge so far, and the error that ended the judging, if any."""

    found: dict[AnswerToJudge, Verdict | UnjudgedAnswer] = field(default_factory=dict)
    error: Exception | None = None

    def of(self, answers: Sequence[AnswerToJudge]) -> list[Verdict]:
        """Return the verdicts on the answers of a cell.

        Raises the error of the judge if a verdict is missing, and InputError if an answer could not be judged.
        """
        verdicts, unjudged = [], []
        for answer in answers:
            verdict = self.found.get(answer) if answer.output.strip() else EMPTY
            if verdict is None:
                raise self.error or PluginError(f"no verdict on the answer {_quoted(answer.output)}")
            if isinstance(verdict, UnjudgedAnswer):
                unjudged.append((answer, verdict.reason))
            else:
                verdicts.append(verdict)
        if unjudged:
            (answer, reason), of = unjudged[0], len(answers)
            raise InputError(
                f"{len(unjudged):,} of {of:,} answers could not be judged, for example {_quoted(answer.output)} to the "
                f"question {_quoted(answer.question)}: {reason}"
            )
        return verdicts


def judge_answers(judge: Locked, answers: Iterable[AnswerToJudge], context: RunContext) -> Verdicts:
    """Return the judge's verdicts on distinct answers with text; an error ends the judging, but loses no verdict."""
    wanted = _with_text(answers)
    verdicts = Verdicts()
    if not wanted:
        return verdicts
    path = verdicts_path(context.work.folder, judge.plugin_name)
    try:
        with (
            _only_judge(path, judge, context),
            PaidAnswers.open(path, context.progress.say) as kept,
            context.progress.step(f"judging with {judge.name}", len(wanted)) as advance,
        ):
            for answer, verdict in zip(wanted, _verdicts(judge, wanted, kept), strict=True):
                verdicts.found[answer] = verdict
                advance(1)
    except Exception as error:  # noqa: BLE001 - the error is raised for each cell that lacks a verdict
        verdicts.error = error
        if isinstance(error, PluginError):  # verdicts of a judge that breaks its contract may belong to other answers
            verdicts.found.clear()
    return verdicts


@contextmanager
def _only_judge(path: Path, judge: Locked, context: RunContext) -> Iterator[None]:
    """Wait until no other run asks judges of this plugin, so that two runs do not pay for the same verdict."""
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        context.progress.say(f"judges.{judge.name}: waiting for another run that asks a judge of the same plugin")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _verdicts(judge: Locked, wanted: Sequence[AnswerToJudge], kept: PaidAnswers) -> Iterator[Verdict | UnjudgedAnswer]:
    """Yield the verdicts of a judge; raise PluginError unless there is one valid verdict per answer."""
    with call_plugin(judge, "judge"):
        given = judge.plugin.judge(wanted, kept)
    number = 0
    verdict: Any
    for verdict in iterate_plugin(judge, "judge", given, Verdict, UnjudgedAnswer):
        number += 1
        if number > len(wanted):
            raise _fault(judge, f"returned more verdicts than the {len(wanted):,} answers")
        if isinstance(verdict, Verdict) and not 0 <= verdict.score <= 1:
            raise _fault(judge, f"returned the score {verdict.score}; expected a number from 0 to 1")
        yield verdict
    if number < len(wanted):
        raise _fault(judge, f"returned {number:,} verdicts on {len(wanted):,} answers")


def _fault(judge: Locked, message: str) -> PluginError:
    source = f"{judge.distribution} {judge.version}".strip()
    return PluginError(f"judges.{judge.name} ({judge.plugin_name}, {source}), judge: {message}")


def _with_text(answers: Iterable[AnswerToJudge]) -> list[AnswerToJudge]:
    """Return the distinct answers for which a judge is asked."""
    return [answer for answer in dict.fromkeys(answers) if answer.output.strip()]


def _quoted(text: str) -> str:
    return f'"{shortened(" ".join(text.split()), SHOWN_CHARACTERS)}"'


def judging_record(
    judge: Locked, answers: Sequence[AnswerToJudge], verdicts: Sequence[Verdict], context: RunContext
) -> JudgingRecord:
    """Return the name of a judge, what its server reported, and the cost of its verdicts on the answers of one cell."""
    served = tuple(dict.fromkeys(verdict.served for verdict in verdicts if verdict.served))
    if not isinstance(judge.plugin, PaidJudge):
        return JudgingRecord(judge.name, served)
    path = verdicts_path(context.work.folder, judge.plugin_name)
    with PaidAnswers.open(path, context.progress.say) as kept, call_plugin(judge, "spent"):
        spent = judge.plugin.spent(_with_text(answers), kept)
    return JudgingRecord(judge.name, served, spent.requests, spent.input_tokens, spent.output_tokens)


def judge_remarks(lock: Lock, plan: PlannedCell) -> list[str]:
    """Return a sentence about the judge of a cell, and one if it is the measured model or of the same family."""
    if plan.judge is None:
        return []
    judge = lock.get("judges", plan.judge)
    name = _language_model(judge)
    called = f"{judge.plugin_name}, model {name}" if name else judge.plugin_name
    remark = f"the judge {judge.name} ({called}) grades the answers"
    model = lock.get("models", plan.weights.model) if plan.weights.system is None else None
    other = _language_model(model) if model else ""
    kin = (
        describe_kinship(f"judge {judge.name}", name, f"model {model.name}", other) if model and name and other else ""
    )
    return [remark, kin] if kin else [remark]


def _language_model(locked: Locked) -> str:
    """Return the name of the language model of a model or judge, or "" if the plugin does not know it."""
    return locked.plugin.language_model() if isinstance(locked.plugin, NamedModel) else ""
