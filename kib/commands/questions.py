"""`kib questions`: multiple-choice questions on a user's own documents, written by a writer and checked here.

A question is kept where its quote stands in its passage, its options are distinct, and no other asks the same. Gold is
the quote's range in the document; the order of the options is a draw by the question itself.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kib.errors import InputError
from kib.identity import digest
from kib.interfaces import DraftQuestion, Forecast, PaidWriter, QuestionWriter
from kib.plan.planner import PassagesStep
from kib.plugins.resolve import Lock, Locked, resolve
from kib.progress import Progress
from kib.prompts import LETTERS
from kib.records import Passage
from kib.run.context import RunContext
from kib.run.steps.passages import split_corpus
from kib.spec.load import PriceTable, Spec, load_spec
from kib.store.files import write_text
from kib.store.paid_answers import PaidAnswers, paid_answers_path
from kib.store.work import Work

__all__ = [
    "Job",
    "Made",
    "Sieve",
    "Wanted",
    "check_free",
    "find_quote",
    "forecast",
    "make",
    "normalised",
    "open_job",
    "remembered",
    "say_cost",
    "split",
    "summary",
    "write",
]

SEED = 0
"""Of writers; as for text, questions are written once."""

WRONG = 3
"""Wrong options of a question."""

VALIDATION = 5
"""Of so many groups one is for validation, where a file for it is asked for."""

FEW = 10
"""Groups below which a user is told that intervals will be wide."""

POINTING = re.compile(r"\b(?:this|the|given|above) (?:passage|excerpt|context)\b|\bthe text (?:says|states|mentions)\b")
"""English questions that cannot be understood without their passage."""

REASONS = {
    "options": "options not distinct",
    "quote": "quote not in the passage",
    "answer": "answer stands in the question",
    "pointing": "points at its passage",
    "twin": "asked already",
    "rest": "less specific than those kept",
}
"""Why a question is left out, in the order in which it is looked for."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for: of a corpus, `count` questions written and `keep` kept a passage.

    `group` is what makes questions dependent on each other; `writer` may be None where there is but one.
    """

    corpus: str
    writer: str | None = None
    count: int = 4
    keep: int = 2
    group: Literal["document", "passage"] = "document"


@dataclass(frozen=True, slots=True)
class Job:
    """What questions are made of: passages, a writer and its memory."""

    wanted: Wanted
    passages: Sequence[Passage]
    writer: Locked
    memory: Path
    prices: PriceTable | None


@dataclass(frozen=True, slots=True)
class Made:
    """Questions as lines of a `file` task, how many were written, and why others were left out."""

    rows: Sequence[Row]
    written: int
    rejected: Mapping[str, int]


def open_job(path: Path, wanted: Wanted, work: Work, progress: Progress) -> Job:
    """Read of a benchmark file what questions need; its tasks and methods may still wait for them.

    InputError names a table that is not there, or a writer that writes no questions.
    """
    if wanted.keep > wanted.count:
        raise InputError(f"--keep: of {wanted.count} questions a passage, {wanted.keep} cannot be kept; raise --count")
    spec = load_spec(path)
    spec.table("corpora", wanted.corpus)
    name = _writer(spec, wanted.writer)
    tokenizer = _tokenizer(spec, wanted.corpus)
    bare = replace(
        spec,
        models={tokenizer: spec.models[tokenizer]} if tokenizer else {},
        corpora={wanted.corpus: spec.corpora[wanted.corpus]},
        writers={name: spec.writers[name]},
        retrievers={},
        tasks={},
        trainers={},
        methods={},
    )
    lock = resolve(bare)
    writer = lock.get("writers", name)
    if not isinstance(writer.plugin, QuestionWriter):
        raise InputError(
            f"{path}: writers.{name}: the plugin {writer.plugin_name!r} writes no questions with options; "
            "`openai` of the distribution kib-openai does"
        )
    passages = split_corpus(_step(bare, lock, wanted.corpus), RunContext(bare, lock, work, progress))
    return Job(wanted, list(passages), writer, paid_answers_path(work.folder, writer.plugin_name), spec.prices)


def _writer(spec: Spec, name: str | None) -> str:
    """The writer asked for, or the only one."""
    if name is not None:
        spec.table("writers", name)
        return name
    if len(spec.writers) == 1:
        return next(iter(spec.writers))
    if not spec.writers:
        raise InputError(f"{spec.file}: there is no writer; add a table [writers.NAME] that can write questions")
    names = ", ".join(spec.writers)
    raise InputError(f"{spec.file}: there are {len(spec.writers)} writers; choose one by --writer: {names}")


def _tokenizer(spec: Spec, corpus: str) -> str | None:
    """The model whose tokens a corpus is cut by; None where it is not cut by tokens."""
    chunk = spec.corpora[corpus].chunk
    return (chunk.tokenizer or next(iter(spec.models))) if chunk and chunk.tokens else None


def _step(spec: Spec, lock: Lock, corpus: str) -> PassagesStep:
    """The corpus cut as its table says; a step of its own, because there is no plan before there are questions."""
    chunk, name = spec.corpora[corpus].chunk, _tokenizer(spec, corpus)
    size = chunk.model_dump(mode="json") if chunk else None
    tokenizer = lock.get("models", name).identity if name else None
    return PassagesStep(digest(["questions", lock.get("corpora", corpus).identity, size, tokenizer]), corpus)


def forecast(job: Job) -> str:
    """What the writer would still have to pay for, in words; nothing is sent."""
    plugin = job.writer.plugin
    if not isinstance(plugin, PaidWriter):
        return f"writers.{job.writer.name} pays for nothing"
    where = f"forecast for writer {job.writer.name} on {len(job.passages):,} passages"
    with remembered(job.memory) as kept:
        cost = plugin.forecast(job.passages, job.wanted.count, SEED, kept, "questions")
    return f"{where}: {say_cost(cost, job.prices)}"


@contextmanager
def remembered(memory: Path) -> Iterator[Mapping[str, str]]:
    """What a writer's memory holds, to be read; empty where there is none, and none is made."""
    if not memory.is_file():
        yield {}
        return
    with PaidAnswers.open(memory) as kept:
        yield kept


def say_cost(cost: Forecast, prices: PriceTable | None) -> str:
    """A forecast in words, with money where the benchmark says what tokens cost."""
    read, written = cost.input_tokens, cost.output_tokens
    text = f"{cost.calls:,} requests, about {read:,} tokens read and {written:,} written"
    if prices is None or prices.input_tokens_million is None or prices.output_tokens_million is None:
        return text
    money = (read * prices.input_tokens_million + written * prices.output_tokens_million) / 1e6
    return f"{text}, about {money:,.2f} by [prices]"


def make(job: Job, progress: Progress) -> Made:
    """Write, check and choose, in the order of the passages. InputError where no question is left."""
    sieve = Sieve(job.passages, job.wanted)
    with PaidAnswers.open(job.memory) as kept, progress.step("writing questions", len(job.passages)) as advance:
        last = None
        for draft in job.writer.plugin.questions(job.passages, job.wanted.count, SEED, kept):
            sieve.add(draft)
            advance(int(draft.passage != last))
            last = draft.passage
    made = sieve.made()
    if not made.rows:
        said = ", ".join(f"{count} {reason}" for reason, count in made.rejected.items()) or "none was written"
        raise InputError(f"corpora.{job.wanted.corpus}: no question is left: {said}")
    return made


@dataclass
class Sieve:
    """Keeps the first questions of a passage that can be kept, and counts why others cannot."""

    passages: Sequence[Passage]
    wanted: Wanted
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    asked: set[str] = field(default_factory=set)
    written: int = 0

    def __post_init__(self) -> None:
        self.by_id = {passage.id: passage for passage in self.passages}

    def add(self, draft: DraftQuestion) -> None:
        """Take a question or count why not; a passage's most specific one comes first."""
        passage = self.by_id.get(draft.passage)
        if passage is None:
            raise InputError(f"the writer gave a question on {draft.passage!r}, which is no passage")
        self.written += 1
        place = find_quote(passage.text, draft.quote)
        fault = self._fault(draft, place)
        if fault is not None or place is None:
            self.rejected[REASONS[fault or "quote"]] += 1
            return
        self.asked.add(normalised(draft.text))
        self.kept[passage.id] += 1
        self.rows.append(self._row(draft, passage, place))

    def _fault(self, draft: DraftQuestion, place: tuple[int, int] | None) -> str | None:
        """The first of REASONS that holds."""
        options = {" ".join(option.casefold().split()) for option in (draft.right, *draft.wrong)}  # -5 is not 5
        question = normalised(draft.text)
        faults = {
            "options": len(draft.wrong) != WRONG or len(options) <= WRONG or "" in options,
            "quote": place is None,
            "answer": _holds(question, draft.right) and not any(_holds(question, option) for option in draft.wrong),
            "pointing": POINTING.search(question) is not None,
            "twin": question in self.asked,
            "rest": self.kept[draft.passage] >= self.wanted.keep,
        }
        return next((reason for reason in REASONS if faults[reason]), None)

    def _row(self, draft: DraftQuestion, passage: Passage, place: tuple[int, int]) -> dict[str, Any]:
        options = sorted((draft.right, *draft.wrong), key=lambda option: digest([draft.text, option]))
        return {
            "id": f"{passage.id}-{self.kept[passage.id]}",
            "question": draft.text,
            "options": options,
            "answer": LETTERS[options.index(draft.right)],
            "document": passage.document,
            "start": passage.start + place[0],
            "end": passage.start + place[1],
            "group": passage.document if self.wanted.group == "document" else passage.id,
        }

    def made(self) -> Made:
        """What is kept, and how often each reason held."""
        counts = {reason: self.rejected[reason] for reason in REASONS.values() if self.rejected[reason]}
        return Made(self.rows, self.written, counts)


def normalised(text: str) -> str:
    """A text's words alone: equal for two texts that differ in case, space and punctuation."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words) or text.strip()


def _holds(question: str, option: str) -> bool:
    return f" {normalised(option)} " in f" {question} "


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Where a quote stands in a text, line breaks and other space as they come; None where it does not."""
    words = quote.split()
    found = re.search(r"\s+".join(map(re.escape, words)), text) if words else None
    return found.span() if found else None


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Test and validation questions: of five groups one, drawn by their names, is for validation.

    InputError where all questions are of one group.
    """
    groups = sorted({str(row["group"]) for row in rows}, key=lambda group: digest(["validation", group]))
    if len(groups) < 2:
        raise InputError(
            f"--validation: all questions are of one group, {groups[0]!r}, and a group stays together; leave it out, "
            "or take --group passage (what was paid for is kept)"
        )
    held = set(groups[::VALIDATION])
    return [row for row in rows if row["group"] not in held], [row for row in rows if row["group"] in held]


def check_free(paths: Sequence[Path], *, force: bool) -> None:
    """InputError where a file is there already, or is no .jsonl file: a reviewed one is worth more than a new one."""
    for path in paths:
        if path.suffix.lower() != ".jsonl":
            raise InputError(f"{path}: questions are written as JSON lines; expected a name that ends in .jsonl")
        if path.exists() and not force:
            raise InputError(f"{path}: is there already, and perhaps reviewed; name another file or add --force")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"{paths[0]}: test and validation questions need a file each")


def write(rows: Sequence[Row], path: Path) -> None:
    """A file as the task `file` reads it, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def summary(made: Made, passages: Sequence[Passage]) -> list[str]:
    """What was kept and what was left out, and what a reviewer should know of it."""
    held = {row["id"].rpartition("-")[0] for row in made.rows}
    documents = {row["document"] for row in made.rows}
    groups = {row["group"] for row in made.rows}
    longest = sum(_right_is_longest(row) for row in made.rows) / len(made.rows)
    lines = [
        f"kept {len(made.rows):,} of {made.written:,} questions, on {len(held):,} of {len(passages):,} passages",
        *(f"left out {count:,}: {reason}" for reason, count in made.rejected.items()),
        f"the right option is the longest in {longest:.0%} (25% by chance)",
    ]
    if len(groups) < FEW and groups == documents and len(held) > len(groups):
        lines.append(f"with {len(groups)} documents as groups intervals will be wide; --group passage makes more")
    return lines


def _right_is_longest(row: Row) -> bool:
    right = LETTERS.index(row["answer"])
    return all(len(row["options"][right]) > len(option) for n, option in enumerate(row["options"]) if n != right)
