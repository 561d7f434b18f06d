"""The command `kib export`: writes the text of a trainer to files, for training outside kib.

The text is the text of a training run: written by the same writers, without pairs that repeat a question of a task, and
with pairs in the form in which the tasks ask. Pairs are exported as messages if the model is asked in chats, and else
as prompts with completions; documents and paraphrases, which have no question, are exported as texts.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kib import __version__
from kib.commands.announce import announce
from kib.commands.forecast import Forecaster, texts_of
from kib.errors import InputError
from kib.harness.backends import quiet
from kib.identity import digest_file
from kib.interfaces import BackendModel
from kib.plan.plan import Plan
from kib.plan.planner import corpora_of_trainer, text_counts, weights_of_trainer
from kib.plan.question_steps import asks_in_chats
from kib.plan.steps import TextStep, WeightsStep
from kib.plugins.resolve import Lock, resolve
from kib.progress import Progress
from kib.records import Text
from kib.run.plugin_calls import call_plugin
from kib.run.shared_steps import SharedSteps
from kib.run.steps.training_pairs import render_pairs
from kib.spec.load import MethodTable, Spec, read_draft
from kib.spec.tables import models_not_trained_elsewhere
from kib.store.files import indented_json, new_folder, write_text
from kib.store.sealed_json import sealed
from kib.store.work import Work
from kib.support.chat_messages import chat_as_text, messages_of
from kib.support.phrases import counted, join, pairs_that_repeat

__all__ = ["ExportJob", "ExportRequest", "check_target", "default_target", "export", "forecast", "open_job"]

SCHEMA = 1

RECORD = "export.json"

SPLITS = ("training", "validation")

FILES = {f"{split}-{kind}.jsonl": (split, kind) for split in SPLITS for kind in ("pairs", "documents")}
"""The files of an export, each with its split and its kind of text; a file without lines is not written."""

READ_KINDS = ("corpora", "tasks", "writers")
"""The kinds of tables whose plugins an export uses; models are asked nothing."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The options of `kib export`; an option may be None if the file leaves no choice."""

    trainer: str | None = None
    model: str | None = None
    corpus: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class ExportJob:
    """The text to export, the training step that would train on it, and whether its model is asked in chats."""

    text: TextStep
    weights: WeightsStep
    chats: bool
    steps: SharedSteps

    @property
    def record(self) -> Mapping[str, Any]:
        """The record of the text, once it has been written."""
        return self.steps.context.work.record("text", self.text.identity)


def open_job(
    path: Path, request: ExportRequest, work: Work, progress: Progress, *, trust_remote_code: bool = False
) -> ExportJob:
    """Read the tables of a benchmark file that the text of a trainer depends on; methods may be missing.

    Raises InputError if an option of the request is required or does not fit the file.
    """
    spec = read_draft(path, whole=False).spec()
    trainer = _chosen(spec, "trainer", request.trainer, list(spec.trainers), list(spec.trainers))
    bases = models_not_trained_elsewhere(spec.methods.values(), spec.models)
    model = _chosen(spec, "model", request.model, list(spec.models), bases)
    corpora = corpora_of_trainer(spec, trainer)
    corpus = _chosen(spec, "corpus", request.corpus, corpora, corpora)
    count = _count(spec, trainer, request.count)
    with progress.waiting(f"reading {path} and the files that it names"):
        lock = resolve(_needed_tables(spec, trainer, model), trust_remote_code=trust_remote_code)
        weights = weights_of_trainer(spec, lock, model, trainer, corpus, count)
    announce(Lock({key: one for key, one in lock.tables.items() if key[0] in READ_KINDS}), progress)
    plugin = lock.get("models", model).plugin
    chats = asks_in_chats(spec, lock, model) or (isinstance(plugin, BackendModel) and plugin.sends_chats())
    steps = SharedSteps(Plan(spec, lock, ()), work, progress)
    if weights.text is None:
        raise AssertionError(f"trainers.{trainer}: a training step without a text")
    return ExportJob(weights.text, replace(weights, held_out=None), chats, steps)


def _needed_tables(spec: Spec, trainer: str, model: str) -> Spec:
    """Return a spec without the tables that do not affect the text, because their data may not exist yet."""
    tokenizers = {corpus.chunk.tokenizer for corpus in spec.corpora.values() if corpus.chunk}
    models = {name: table for name, table in spec.models.items() if name in {model, *tokenizers}}
    needed = {"train": trainer, "models": (model,), "tasks": tuple(spec.tasks)}
    method = MethodTable.model_validate({"name": "export", **needed})
    return replace(spec, models=models, retrievers={}, methods={method.name: method})


def _chosen(spec: Spec, kind: str, name: str | None, known: Sequence[str], usual: Sequence[str]) -> str:
    """Return the table that an option names or, without the option, the only usual table of a kind."""
    option = "TRAINER" if kind == "trainer" else f"--{kind}"
    if kind == "corpus" and not known:
        raise InputError(f"{spec.file}: no target task names a corpus, so there is no text to export")
    if name is not None:
        if name in known:
            return name
        raise InputError(f"{spec.file}: {option}: expected {join(known, 'or') or f'a declared {kind}'}, got {name}")
    if len(usual) == 1:
        return usual[0]
    if not known:
        hint = ' with the text to export, for example with plugin = "elsewhere"' if kind == "trainer" else ""
        raise InputError(f"{spec.file}: the file declares no {kind}; add a table [{kind}s.NAME]{hint}")
    raise InputError(f"{spec.file}: {option} is missing; choose {join(usual or known, 'or')}")


def _count(spec: Spec, trainer: str, count: int | None) -> int | None:
    """Return the number of texts per passage, which only a trainer with several numbers leaves open."""
    counts = text_counts(spec, trainer)
    if count is not None and count not in counts:
        expected = f"expected {join(list(map(str, counts)), 'or')}" if counts else "the number of texts does not vary"
        raise InputError(f"{spec.file}: --count: {expected}, got {count}")
    if count is None and len(counts) > 1:
        numbers = join(list(map(str, counts)), "or")
        raise InputError(
            f"{spec.file}: trainers.{trainer}.vary: the number of texts per passage varies; choose --count {numbers}"
        )
    return count if count is not None else next(iter(counts), None)


def default_target(job: ExportJob) -> Path:
    """Return the folder for an export without `--output`."""
    return Path("exports", job.steps.plan.spec.name, str(job.weights.trainer))


def check_target(folder: Path, *, force: bool) -> None:
    """Raise InputError if something exists at the path of an export; with `force`, only an export may exist."""
    if file := next((path for path in folder.parents if path.exists() and not path.is_dir()), None):
        raise InputError(f"{folder}: {file} is not a folder; choose a different --output")
    if not folder.exists() and not folder.is_symlink():
        return
    if not force:
        raise InputError(f"{folder}: this path already exists; choose a different --output, or replace it with --force")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() and not folder.is_symlink() else {""}
    if RECORD not in names or names - {RECORD, *FILES}:
        raise InputError(f"{folder}: --force replaces only an earlier export; choose a different --output")


def forecast(job: ExportJob) -> list[str]:
    """Return the cost of the texts that have not been written yet, one line per paid writer."""
    forecaster = Forecaster(job.steps, ())
    lines = [item.words for step in texts_of(job.weights) for item in forecaster.written(step)]
    return lines or ["no paid writer writes this text"]


def export(job: ExportJob, folder: Path) -> list[str]:
    """Write the text and its record to a folder, and return a description of the files."""
    quiet()
    split, open_pairs = _texts(job)
    text_of = {name: (split[part], kind) for name, (part, kind) in FILES.items()}
    lines = {name: list(_lines(job, texts, kind)) for name, (texts, kind) in text_of.items()}
    lines = {name: some for name, some in lines.items() if some}
    with new_folder(folder.absolute()) as made:
        for name, some in lines.items():
            write_text(made / name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in some))
        files = {name: {"lines": len(some), "sha256": digest_file(made / name)} for name, some in lines.items()}
        write_text(made / RECORD, indented_json(sealed(_record(job, split, open_pairs, files))))
    return [*_describe(job, folder, files, open_pairs), f"{folder / RECORD}: counts, digests and identities"]


def _texts(job: ExportJob) -> tuple[dict[str, Sequence[Text]], int]:
    """Return the texts by split, with rendered pairs, and the number of training pairs that are open questions."""
    form = job.weights.pairs
    texts = job.steps.trainer_texts(replace(job.weights, pairs=None), job.text)
    if form is None:
        return {"training": texts.training, "validation": texts.validation}, 0
    training, open_pairs = render_pairs(texts.training, form, job.steps.context, chat_as_text)
    validation, _ = render_pairs(texts.validation, form, job.steps.context, chat_as_text)
    return {"training": training, "validation": validation}, open_pairs


def _lines(job: ExportJob, texts: Iterable[Text], kind: str) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a file: all pairs, or all other texts."""
    for text in texts:
        if text.prompt is None or text.target is None:
            if kind == "documents":
                yield {"text": text.text}
        elif kind == "pairs":
            yield _pair(text.prompt, text.target, chats=job.chats)


def _pair(prompt: str, target: str, *, chats: bool) -> Mapping[str, Any]:
    """Return a pair as the messages of a chat, or as a prompt with the text that continues it."""
    if not chats:
        return {"prompt": prompt, "completion": target}
    return {"messages": [*messages_of(prompt), {"role": "assistant", "content": target.strip()}]}


def _record(
    job: ExportJob, split: Mapping[str, Sequence[Text]], open_pairs: int, files: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the provenance of an export: what was exported, from which step, in which form."""
    step, own, work = job.weights, job.record, job.steps.context.work
    paid = [record["written"] for text in texts_of(step) if "written" in (record := work.record("text", text.identity))]
    count_tokens = _token_counter(job)
    parts = {
        name: {
            "texts": len(some),
            "kinds": Counter(text.kind for text in some),
            "tokens": None if count_tokens is None else sum(map(count_tokens, some)),
        }
        for name, some in split.items()
        if some
    }
    return {
        "schema": SCHEMA,
        "kib": __version__,
        "benchmark": job.steps.plan.spec.name,
        "trainer": step.trainer,
        "model": step.model,
        "corpus": job.text.passages.corpus,
        "form": step.pairs and {"task": step.pairs.task, "chats": job.chats, "open_pairs": open_pairs},
        "text": {
            "identity": job.text.identity,
            "digest": own.get("digest"),
            "removed_duplicates": own.get("duplicates", 0),
            "removed_pairs_that_repeat_a_question": own.get("repeated questions", 0),
            "validation_identity": step.validation.identity if step.validation else None,
        },
        "written": paid,
        **parts,
        "files": files,
    }


def _token_counter(job: ExportJob) -> Callable[[Text], int] | None:
    """Return a function that counts the tokens of a text without a chat template; None if the tokenizer is unknown."""
    locked = job.steps.plan.lock.get("models", job.weights.model)
    with call_plugin(locked, "tokens"):
        tokens = locked.plugin.tokens()
    if tokens is None:
        return None
    return lambda text: len(tokens(text.text if text.answer is None else f"{text.text} {text.answer}"))


def _describe(job: ExportJob, folder: Path, files: Mapping[str, Any], open_pairs: int) -> Iterator[str]:
    """Yield one line per file, and what a user should know before training on the files."""
    form = job.weights.pairs
    for name, file in files.items():
        _, kind = FILES[name]
        if kind == "documents":
            yield f"{folder / name}: {counted(file['lines'], 'text')} without a question"
        elif form:
            how = "as chats" if job.chats else "as prompts with completions"
            asked = f"in the form of the task {form.task}"
            yield f"{folder / name}: {counted(file['lines'], 'question-answer pair')} {how}, {asked}"
    if repeated := job.record.get("repeated questions"):
        yield f"removed {pairs_that_repeat(repeated)}"
    if open_pairs:
        verb = "is" if open_pairs == 1 else "are"
        yield f"{counted(open_pairs, 'pair')} cannot have the form of the task and {verb} exported as open questions"
    if not any(FILES[name] == ("training", "pairs") for name in files):
        yield "the training text contains no question-answer pairs, which services that train on chats require"
