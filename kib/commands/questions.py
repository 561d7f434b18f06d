"""The command `kib questions`: a writer drafts multiple-choice questions about the user's documents; kib checks them.

A question is accepted if its passage contains its quote, its options are distinct, and no other question is a
duplicate. The gold range is the position of the quote in the document. A digest of the question determines the order of
the options.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kib.commands.announce import announce
from kib.commands.writer_costs import describe_cost, stored_answers, writing_seconds
from kib.errors import InputError
from kib.identity import digest
from kib.interfaces import DraftQuestion, PaidWriter, QuestionWriter, SkippedPassage
from kib.plan.planner import passages_of
from kib.plugins.resolve import Locked, resolve
from kib.progress import Progress
from kib.prompts import LETTERS
from kib.records import Passage
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, iterate_plugin
from kib.run.speeds import Speed, store_speed, writing_key
from kib.run.steps.passages import split_corpus
from kib.spec.load import PriceTable, Spec, read_draft
from kib.store.files import write_output
from kib.store.paid_answers import PaidAnswers, paid_answers_path
from kib.store.work import Work
from kib.support.phrases import counted
from kib.support.question_text import normalised
from kib.support.quotes import find_quote

__all__ = [
    "KeptQuestions",
    "QuestionFilter",
    "QuestionJob",
    "QuestionRequest",
    "check_free",
    "failure",
    "forecast",
    "normalised",
    "open_job",
    "save",
    "split",
    "summary",
    "write_questions",
]

SEED = 0
"""The seed passed to writers: questions, like training texts, are written only once."""

WRONG = 3
"""The number of incorrect options per question."""

VALIDATION = 5
"""One out of this number of question groups is used for validation, if a file for validation questions is requested."""

FEW = 10
"""The number of question groups below which the summary warns of wide confidence intervals."""

SHOWN_REASONS = 5
"""The maximum number of skipped passages whose reasons the error message lists."""

POINTING = re.compile(r"\b(?:this|the|given|above) (?:passage|excerpt|context)\b|\bthe text (?:says|states|mentions)\b")
"""English phrases that refer to the passage, which is not shown together with the question."""

REASONS = {
    "options": "the options are not distinct",
    "quote": "the quote is not in the passage",
    "answer": "the answer is part of the question",
    "pointing": "the question refers to its passage",
    "twin": "the question was asked before",
    "rest": "the question is less specific than the kept questions",
}
"""The reasons to reject a question, in the order of the checks."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QuestionRequest:
    """The options of `kib questions`: write `count` questions per passage of a corpus, and keep at most `keep`.

    `group` determines whether questions about the same document or only about the same passage form a group of
    dependent questions. `writer` may be None if the file has only one writer.
    """

    corpus: str
    writer: str | None = None
    count: int = 4
    keep: int = 2
    group: Literal["document", "passage"] = "document"


@dataclass(frozen=True, slots=True)
class QuestionJob:
    """Everything required for writing questions: the passages, a writer, and the work folder with the paid answers."""

    request: QuestionRequest
    passages: Sequence[Passage]
    writer: Locked
    paid_answers: Path
    prices: PriceTable | None
    work: Work


@dataclass(frozen=True, slots=True)
class KeptQuestions:
    """The accepted questions as rows of a `file` task, and the counts of written and (by reason) rejected questions.

    `skipped` lists the passages for which the writer could not write any question.
    """

    rows: Sequence[Row]
    written: int
    rejected: Mapping[str, int]
    skipped: Sequence[SkippedPassage] = ()


def open_job(path: Path, request: QuestionRequest, work: Work, progress: Progress) -> QuestionJob:
    """Read the part of a benchmark file needed to write questions; tasks may refer to question files not yet written.

    The file may lack models, tasks and methods. Raises InputError if a required table is missing or the writer cannot
    write questions.
    """
    if request.keep > request.count:
        raise InputError(f"--keep: expected at most {request.count} (the value of --count), got {request.keep}")
    spec = read_draft(path, whole=False).spec()
    spec.table("corpora", request.corpus)
    name = _writer(spec, request.writer)
    tokenizer = _tokenizer(spec, request.corpus)
    bare = replace(
        spec,
        models={tokenizer: spec.models[tokenizer]} if tokenizer else {},
        corpora={request.corpus: spec.corpora[request.corpus]},
        writers={name: spec.writers[name]},
        retrievers={},
        tasks={},
        trainers={},
        judges={},
        methods={},
    )
    with progress.waiting(f"reading {path} and the files that it names"):
        lock = resolve(bare)
    announce(lock, progress)
    writer = lock.get("writers", name)
    if not isinstance(writer.plugin, QuestionWriter):
        raise InputError(
            f"{path}: writers.{name}: the plugin {writer.plugin_name!r} cannot write multiple-choice questions; use "
            "a different plugin, for example `openai` from the distribution kib-openai"
        )
    passages = split_corpus(
        passages_of(bare, lock, request.corpus), RunContext(bare, lock, work.reporting_to(progress.say), progress)
    )
    answers = paid_answers_path(work.folder, writer.plugin_name)
    return QuestionJob(request, list(passages), writer, answers, spec.prices, work)


def _writer(spec: Spec, name: str | None) -> str:
    """Return the name of the requested writer, or of the only writer in the file."""
    if name is not None:
        spec.table("writers", name)
        return name
    if len(spec.writers) == 1:
        return next(iter(spec.writers))
    if not spec.writers:
        raise InputError(
            f"{spec.file}: the file declares no writer; add a table [writers.NAME] with a plugin that can write "
            "questions"
        )
    names = ", ".join(spec.writers)
    raise InputError(f"{spec.file}: the file declares {len(spec.writers)} writers; choose one with --writer: {names}")


def _tokenizer(spec: Spec, corpus: str) -> str | None:
    """Return the model with the tokenizer that splits a corpus; None if the corpus is not split by tokens.

    Raises InputError if the corpus is split by tokens and the file declares no model.
    """
    chunk = spec.corpora[corpus].chunk
    if chunk and chunk.tokens and not spec.models:
        raise InputError(
            f"{spec.file}: corpora.{corpus}.chunk: splitting by tokens requires a tokenizer; add a table [models.NAME]"
        )
    return (chunk.tokenizer or next(iter(spec.models))) if chunk and chunk.tokens else None


def forecast(job: QuestionJob, progress: Progress) -> str:
    """Return a sentence that states the expected cost of the missing questions, without sending any request."""
    plugin = job.writer.plugin
    if not isinstance(plugin, PaidWriter):
        return f"writers.{job.writer.name} costs nothing"
    where = f"forecast for writer {job.writer.name} on {counted(len(job.passages), 'passage')}"
    with stored_answers(job.paid_answers, progress.say) as answers, call_plugin(job.writer, "forecast"):
        cost = plugin.forecast(job.passages, job.request.count, SEED, answers, "questions")
    return f"{where}: {describe_cost(cost, job.prices, writing_seconds(job.work, job.writer, cost.calls, 'questions'))}"


def write_questions(job: QuestionJob, progress: Progress) -> KeptQuestions:
    """Write, check and select questions in the order of the passages; raise InputError if no question is accepted."""
    question_filter = QuestionFilter(job.passages, job.request)
    with (
        PaidAnswers.open(job.paid_answers, progress.say) as answers,
        progress.step("writing questions", len(job.passages)) as advance,
    ):
        last, paid, begun = None, len(answers), time.perf_counter()
        try:
            for draft in _drafts(job, answers):
                question_filter.add(draft)
                advance(int(draft.passage != last))
                last = draft.passage
        finally:  # a run that ends early also has a speed
            speed = Speed(len(answers) - paid, time.perf_counter() - begun)
            store_speed(job.work, writing_key(job.writer, "questions"), speed)
    kept = question_filter.result()
    if not kept.rows:
        reasons = [f"{reason} ({counted(count, 'time')})" for reason, count in kept.rejected.items()] + _skipped(kept)
        raise InputError(
            f"corpora.{job.request.corpus}: no question was kept: {', '.join(reasons) or 'none was written'}"
        )
    return kept


def _drafts(job: QuestionJob, answers: PaidAnswers) -> Iterator[DraftQuestion | SkippedPassage]:
    """Yield the writer's questions and skipped passages, in the order of the passages."""
    with call_plugin(job.writer, "questions"):
        drafts = job.writer.plugin.questions(job.passages, job.request.count, SEED, answers)
    return iterate_plugin(job.writer, "questions", drafts, DraftQuestion, SkippedPassage)


@dataclass
class QuestionFilter:
    """Keeps the first valid questions per passage, and counts the rejected questions by reason."""

    passages: Sequence[Passage]
    request: QuestionRequest
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    kept_per_passage: Counter[str] = field(default_factory=Counter)
    asked: set[str] = field(default_factory=set)
    skipped: list[SkippedPassage] = field(default_factory=list)
    written: int = 0

    def __post_init__(self) -> None:
        self.by_id = {passage.id: passage for passage in self.passages}

    def add(self, draft: DraftQuestion | SkippedPassage) -> None:
        """Accept or reject a question, or count a skipped passage.

        The writer must yield the most specific question about a passage first.
        """
        passage = self.by_id.get(draft.passage)
        if passage is None:
            raise InputError(f"the writer returned a question for the unknown passage {draft.passage!r}")
        if isinstance(draft, SkippedPassage):
            self.skipped.append(draft)
            return
        self.written += 1
        place = find_quote(passage.text, draft.quote)
        fault = self._fault(draft, place)
        if fault is not None or place is None:
            self.rejected[REASONS[fault or "quote"]] += 1
            return
        self.asked.add(normalised(draft.text))
        self.kept_per_passage[passage.id] += 1
        self.rows.append(self._row(draft, passage, place))

    def _fault(self, draft: DraftQuestion, place: tuple[int, int] | None) -> str | None:
        """Return the first reason in REASONS for rejecting a question, or None if the question is valid."""
        options = {" ".join(option.casefold().split()) for option in (draft.right, *draft.wrong)}  # -5 is not 5
        question = normalised(draft.text)
        faults = {
            "options": len(draft.wrong) != WRONG or len(options) <= WRONG or "" in options,
            "quote": place is None,
            "answer": _holds(question, draft.right) and not any(_holds(question, option) for option in draft.wrong),
            "pointing": POINTING.search(question) is not None,
            "twin": question in self.asked,
            "rest": self.kept_per_passage[draft.passage] >= self.request.keep,
        }
        return next((reason for reason in REASONS if faults[reason]), None)

    def _row(self, draft: DraftQuestion, passage: Passage, place: tuple[int, int]) -> dict[str, Any]:
        options = sorted((draft.right, *draft.wrong), key=lambda option: digest([draft.text, option]))
        return {
            "id": f"{passage.id}-{self.kept_per_passage[passage.id]}",
            "question": draft.text,
            "options": options,
            "answer": LETTERS[options.index(draft.right)],
            "document": passage.document,
            "start": passage.start + place[0],
            "end": passage.start + place[1],
            "quote": passage.text[slice(*place)],
            "group": passage.document if self.request.group == "document" else passage.id,
        }

    def result(self) -> KeptQuestions:
        """Return the accepted questions and the number of rejected questions per reason."""
        counts = {reason: self.rejected[reason] for reason in REASONS.values() if self.rejected[reason]}
        return KeptQuestions(self.rows, self.written, counts, self.skipped)


def _holds(question: str, option: str) -> bool:
    return f" {normalised(option)} " in f" {question} "


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Split questions into test and validation questions; a digest selects one in five groups for validation.

    Raises InputError if all questions are in one group.
    """
    groups = sorted({str(row["group"]) for row in rows}, key=lambda group: digest(["validation", group]))
    if len(groups) < 2:
        raise InputError(
            f"--validation: all questions are in one group, {groups[0]!r}, and a group cannot be split; omit "
            "--validation, or use --group passage (paid answers are reused)"
        )
    held = set(groups[::VALIDATION])
    return [row for row in rows if row["group"] not in held], [row for row in rows if row["group"] in held]


def check_free(paths: Sequence[Path], *, force: bool) -> None:
    """Raise InputError if the output file exists, because a user may have edited it.

    Also raises InputError if the name of the file does not end in .jsonl.
    """
    for path in paths:
        if path.suffix.lower() != ".jsonl":
            raise InputError(f"{path}: expected a file name that ends in .jsonl")
        if path.exists() and not force:
            raise InputError(
                f"{path}: the file already exists and may have been reviewed; choose a different file or add --force"
            )
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"{paths[0]}: test and validation questions must be written to different files")


def save(rows: Sequence[Row], path: Path) -> None:
    """Write questions to a file for the task plugin `file`; an interrupted write leaves no partial file."""
    write_output(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def summary(kept: KeptQuestions, passages: Sequence[Passage]) -> list[str]:
    """Return the numbers of accepted and rejected questions, and hints for the reviewer of the questions."""
    held = {row["id"].rpartition("-")[0] for row in kept.rows}
    documents = {row["document"] for row in kept.rows}
    groups = {row["group"] for row in kept.rows}
    longest = sum(_right_is_longest(row) for row in kept.rows) / len(kept.rows)
    covered = f"covering {len(held):,} of {counted(len(passages), 'passage')}"
    lines = [
        f"kept {len(kept.rows):,} of {counted(kept.written, 'question')}, {covered}",
        *(f"rejected {count:,}: {reason}" for reason, count in kept.rejected.items()),
        *_skipped(kept),
        f"the correct option is the longest option in {longest:.0%} of the questions (25% by chance)",
    ]
    if len(groups) < FEW and groups == documents and len(held) > len(groups):
        lines.append(
            f"the questions form only {counted(len(groups), 'group')} (one per document), so intervals will be wide; "
            "use --group passage for more groups"
        )
    return lines


def _skipped(kept: KeptQuestions) -> list[str]:
    """Return the number of skipped passages with the first reason as a list of one line, or [] if there are none."""
    if not kept.skipped:
        return []
    number = counted(len(kept.skipped), "passage")
    return [f"no questions were written for {number}; the first reason: {kept.skipped[0].reason}"]


def failure(kept: KeptQuestions, passages: Sequence[Passage]) -> str | None:
    """Return the error message for passages that must not remain without questions, or None if there are none."""
    if all(one.allowed for one in kept.skipped):
        return None
    reasons = [one.reason for one in kept.skipped[:SHOWN_REASONS]]
    more = len(kept.skipped) - len(reasons)
    head = (
        f"no questions were written for {len(kept.skipped):,} of {counted(len(passages), 'passage')}; the questions "
        "about all other passages are saved"
    )
    return "\n  ".join([head, *reasons, *([f"and {counted(more, 'more passage')}"] if more else [])])


def _right_is_longest(row: Row) -> bool:
    right = LETTERS.index(row["answer"])
    return all(len(row["options"][right]) > len(option) for n, option in enumerate(row["options"]) if n != right)
