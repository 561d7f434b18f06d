"""What the tables of a benchmark file say of each other: names that must exist, keys that need one another."""

from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from kib.spec.messages import join, offer, show
from kib.spec.tables import SINGULAR, CorpusTable, MethodTable, Table, TaskTable, TrainerTable, own_keys

__all__ = ["Key", "contradictions", "references", "wrong_references", "wrong_templates"]

Key = tuple[str | int, ...]
Tables = Mapping[str, Mapping[str, Table]]
Names = Mapping[str, Collection[str]]
Kind = TypeVar("Kind", bound=Table)


def wrong_references(tables: Tables, names: Names) -> Iterator[tuple[Key, str]]:
    """Each name without a table as (key path, message). `names` knows every table, also those that cannot be read."""
    for kind in ("models", "tasks", "methods"):
        if not names[kind]:
            yield (kind,), f"missing: expected at least one table [{kind}.NAME]"
    for place, kind, name in references(tables):
        if name not in names[kind]:
            yield place, f"expected a {SINGULAR[kind]} of this file, got {show(name)}; {offer(name, names[kind])}"


def contradictions(tables: Tables, names: Names) -> Iterator[tuple[Key, str]]:
    """Keys that are right by themselves and wrong together, each as (key path, message)."""
    for method in _of(tables, "methods", MethodTable):
        yield from _check_method(method)
    for corpus in _of(tables, "corpora", CorpusTable):
        yield from _check_chunk(corpus, names["models"])
    for trainer in _of(tables, "trainers", TrainerTable):
        yield from _check_vary(trainer)
        yield from _check_unseen(trainer)
        yield from _check_circle(trainer, tables["trainers"])


def _check_unseen(trainer: TrainerTable) -> Iterator[tuple[Key, str]]:
    """Text that is not trained on cannot be what is mixed in."""
    for key, unseen in (("validation", trainer.validation), ("held_out", trainer.held_out)):
        if unseen and trainer.replay and unseen.corpus == trainer.replay.corpus:
            message = f"expected text that is not trained on, but {show(unseen.corpus)} is what replay mixes in"
            yield ("trainers", trainer.name, key, "corpus"), message


def wrong_templates(tables: Tables, template: str | None) -> Iterator[tuple[Key, str]]:
    """Templates that jinja cannot read or that show nothing, as (key path, message); `template` is the prompt's."""
    for task in _of(tables, "tasks", TaskTable):
        if task.query is not None:
            yield from _check_template(task.query, ("tasks", task.name, "query"))
    if template is not None:
        yield from _check_template(template, ("prompt", "template"), "passages")


def _of(tables: Tables, kind: str, model: type[Kind]) -> Iterator[Kind]:
    return (table for table in tables[kind].values() if isinstance(table, model))


def references(tables: Tables) -> Iterator[tuple[Key, str, str]]:
    """Every name that stands for another table: (key path, kind, name)."""
    for corpus in _of(tables, "corpora", CorpusTable):
        if corpus.chunk and corpus.chunk.tokenizer is not None:
            yield ("corpora", corpus.name, "chunk", "tokenizer"), "models", corpus.chunk.tokenizer
    for task in _of(tables, "tasks", TaskTable):
        if task.corpus is not None:
            yield ("tasks", task.name, "corpus"), "corpora", task.corpus
    for trainer in _of(tables, "trainers", TrainerTable):
        yield from _trainer_references(trainer)
    for method in _of(tables, "methods", MethodTable):
        yield from _method_references(method)


def _trainer_references(table: TrainerTable) -> Iterator[tuple[Key, str, str]]:
    place = ("trainers", table.name)
    if table.text:
        yield (*place, "text", "writer"), "writers", table.text.writer
    if table.replay:
        yield (*place, "replay", "corpus"), "corpora", table.replay.corpus
    if table.validation and table.validation.corpus is not None:
        yield (*place, "validation", "corpus"), "corpora", table.validation.corpus
    if table.validation and table.validation.writer is not None:
        yield (*place, "validation", "writer"), "writers", table.validation.writer
    if table.held_out:
        yield (*place, "held_out", "corpus"), "corpora", table.held_out.corpus
    if table.tokens is not None:
        yield (*place, "tokens"), "trainers", table.tokens.removeprefix("as:")


def _method_references(table: MethodTable) -> Iterator[tuple[Key, str, str]]:
    place = ("methods", table.name)
    if table.train is not None:
        yield (*place, "train"), "trainers", table.train
    if table.retrieve is not None:
        yield (*place, "retrieve"), "retrievers", table.retrieve
    for kind, names in (("tasks", table.tasks), ("models", table.models)):
        for number, name in enumerate(names or ()):
            yield (*place, kind, number), kind, name


def _check_method(table: MethodTable) -> Iterator[tuple[Key, str]]:
    if table.retrieve is None:
        for key in sorted({"top_k", "choose"} & table.model_fields_set):
            yield ("methods", table.name, key), "only a method that retrieves has it; expected `retrieve` as well"


def _check_chunk(table: CorpusTable, models: Collection[str]) -> Iterator[tuple[Key, str]]:
    if table.chunk and table.chunk.tokens is not None and table.chunk.tokenizer is None and len(models) > 1:
        yield (
            ("corpora", table.name, "chunk"),
            f"expected `tokenizer` as well, since there are several models: {join(sorted(models), 'or')}",
        )


def _check_vary(table: TrainerTable) -> Iterator[tuple[Key, str]]:
    place = ("trainers", table.name)
    for key, values in table.vary.items():
        if key == "text.count":
            yield from _check_counts(table, values)
        elif key in own_keys("trainers") or key.startswith("text."):
            yield (*place, "vary", key), 'cannot be varied; expected an option of the plugin or "text.count"'
    if table.choose is not None and not table.vary:
        yield (*place, "choose"), "nothing to choose from; expected `vary` as well"
    if table.choose == "loss" and table.validation is None:
        yield (*place, "choose"), "there is no loss to choose by; expected `validation` as well"


def _check_counts(table: TrainerTable, values: Collection[object]) -> Iterator[tuple[Key, str]]:
    place = ("trainers", table.name, "vary", "text.count")
    if table.text is None:
        yield place, "only a trainer with `text` has it"
    for number, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield (*place, number), f"expected a whole number from 1, got {show(value)}"


def _check_circle(table: TrainerTable, trainers: Mapping[str, Table]) -> Iterator[tuple[Key, str]]:
    seen = [table.name]
    other: Table | None = table
    while isinstance(other, TrainerTable) and other.tokens is not None:
        name = other.tokens.removeprefix("as:")
        if name == table.name:
            circle = " -> ".join([*seen, name])
            yield ("trainers", table.name, "tokens"), f"expected a trainer that does not lead back here, got {circle}"
        if name in seen:
            return
        seen.append(name)
        other = trainers.get(name)


def _check_template(source: str, place: Key, shown: str | None = None) -> Iterator[tuple[Key, str]]:
    """A jinja template must be one, and where `shown` is given it must use that variable and no other."""
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        names = meta.find_undeclared_variables(ImmutableSandboxedEnvironment().parse(source))
    except TemplateSyntaxError as error:
        yield place, f"expected a jinja template, but line {error.lineno} of it: {(error.message or '').rstrip('.')}"
        return
    if shown is not None and names != {shown}:
        found = join(sorted(names)) or "none"
        yield place, f"expected a template with the variable `{shown}` and no other, got {found}"
