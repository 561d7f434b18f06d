"""Checks across the tables of a benchmark file: names that must exist, and keys that depend on each other."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from kib.spec.line_numbers import KeyPath
from kib.spec.messages import show_value
from kib.spec.tables import (
    SINGULAR,
    CorpusTable,
    MethodTable,
    ModelTable,
    Table,
    TaskTable,
    TrainerTable,
    measured_models,
    own_keys,
)
from kib.support.phrases import join, offer
from kib.support.templates import TemplateFailedError, template_variables

__all__ = ["contradictions", "references", "wrong_references", "wrong_templates"]

Tables = Mapping[str, Mapping[str, Table]]
Names = Mapping[str, Collection[str]]
AnyTable = TypeVar("AnyTable", bound=Table)


def wrong_references(tables: Tables, names: Names) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key path and the message for each name that refers to a missing table.

    `names` also includes tables that cannot be read.
    """
    for kind in ("models", "tasks", "methods"):
        if not names[kind]:
            yield (kind,), f"missing; a benchmark needs at least one table [{kind}.NAME]"
    for path, kind, name in references(tables):
        if name not in names[kind]:
            yield (
                path,
                (
                    f"expected a {SINGULAR[kind]} declared in this file, got {show_value(name)}; "
                    f"{offer(name, names[kind])}"
                ),
            )


def contradictions(tables: Tables, names: Names) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key path and the message for keys that are valid individually but contradict each other."""
    methods = list(_of(tables, "methods", MethodTable))
    models = {table.name: table for table in _of(tables, "models", ModelTable)}
    for method in methods:
        yield from _check_method(method)
        bases = measured_models(method, methods, names["models"])
        if method.system is not None:
            yield from _check_system(method, bases)
            continue
        if method.trained_as in names["models"]:
            yield from _check_trained_elsewhere(method, bases, models, methods)
        yield from _check_cost(method, methods)
    for corpus in _of(tables, "corpora", CorpusTable):
        yield from _check_chunk(corpus, names["models"])
    for task in _of(tables, "tasks", TaskTable):
        yield from _check_judge(task, names["judges"])
    for trainer in _of(tables, "trainers", TrainerTable):
        yield from _check_vary(trainer)
        yield from _check_unseen(trainer)
        yield from _check_circle(trainer, tables["trainers"])
    if len(methods) == len(names["methods"]):
        for model in models.values():
            yield from _check_repeat(model, methods, names["models"])


def _check_unseen(trainer: TrainerTable) -> Iterator[tuple[KeyPath, str]]:
    """Yield a mistake if text declared as excluded from training is also replayed during training."""
    for key, unseen in (("validation", trainer.validation), ("held_out", trainer.held_out)):
        if unseen and trainer.replay and unseen.corpus == trainer.replay.corpus:
            message = (
                f"expected a corpus that is not used for training, but {show_value(unseen.corpus)} is replayed "
                "during training"
            )
            yield ("trainers", trainer.name, key, "corpus"), message


def wrong_templates(tables: Tables, template: str | None) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key path and the message for each invalid query template, and for an invalid prompt `template`."""
    for task in _of(tables, "tasks", TaskTable):
        if task.query is not None:
            yield from _check_template(task.query, ("tasks", task.name, "query"))
    if template is not None:
        yield from _check_template(template, ("prompt", "template"), "passages")


def _of(tables: Tables, kind: str, model: type[AnyTable]) -> Iterator[AnyTable]:
    return (table for table in tables[kind].values() if isinstance(table, model))


def references(tables: Tables) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield every reference to a table as (key path, kind, name)."""
    for corpus in _of(tables, "corpora", CorpusTable):
        if corpus.chunk and corpus.chunk.tokenizer is not None:
            yield ("corpora", corpus.name, "chunk", "tokenizer"), "models", corpus.chunk.tokenizer
    for task in _of(tables, "tasks", TaskTable):
        if task.corpus is not None:
            yield ("tasks", task.name, "corpus"), "corpora", task.corpus
        if task.judge is not None:
            yield ("tasks", task.name, "judge"), "judges", task.judge
    for trainer in _of(tables, "trainers", TrainerTable):
        yield from _trainer_references(trainer)
    for method in _of(tables, "methods", MethodTable):
        yield from _method_references(method)


def _trainer_references(table: TrainerTable) -> Iterator[tuple[KeyPath, str, str]]:
    path = ("trainers", table.name)
    if table.text:
        yield (*path, "text", "writer"), "writers", table.text.writer
    if table.text and table.text.as_task is not None:
        yield (*path, "text", "as_task"), "tasks", table.text.as_task
    if table.replay:
        yield (*path, "replay", "corpus"), "corpora", table.replay.corpus
    if table.validation and table.validation.corpus is not None:
        yield (*path, "validation", "corpus"), "corpora", table.validation.corpus
    if table.validation and table.validation.writer is not None:
        yield (*path, "validation", "writer"), "writers", table.validation.writer
    if table.held_out:
        yield (*path, "held_out", "corpus"), "corpora", table.held_out.corpus
    if table.tokens is not None:
        yield (*path, "tokens"), "trainers", table.tokens.removeprefix("as:")


def _method_references(table: MethodTable) -> Iterator[tuple[KeyPath, str, str]]:
    path = ("methods", table.name)
    if table.train is not None:
        yield (*path, "train"), "trainers", table.train
    if table.trained_as is not None:
        yield (*path, "trained_as"), "models", table.trained_as
    if table.retrieve is not None:
        yield (*path, "retrieve"), "retrievers", table.retrieve
    if table.system is not None:
        yield (*path, "system"), "systems", table.system
    for kind, names in (("tasks", table.tasks), ("models", table.models)):
        for number, name in enumerate(names or ()):
            yield (*path, kind, number), kind, name


def _check_system(table: MethodTable, bases: Sequence[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the mistakes in a method with a system: other ways to provide knowledge, and several bases."""
    path = ("methods", table.name)
    for key in sorted({"train", "trained_as", "retrieve", "top_k", "choose", "cost"} & table.model_fields_set):
        yield (*path, key), f"`{key}` and `system` exclude each other, because a system answers questions on its own"
    if len(bases) > 1:
        where: KeyPath = path if table.models is None else (*path, "models")
        example = show_value(bases[0])
        message = (
            "a system does not use the models of this file; set `models` to the one model whose base the system is "
            f"compared with, for example `models = [{example}]`"
        )
        yield where, message


def _check_method(table: MethodTable) -> Iterator[tuple[KeyPath, str]]:
    if table.retrieve is None and table.system is None:
        for key in sorted({"top_k", "choose"} & table.model_fields_set):
            yield ("methods", table.name, key), f"`{key}` needs `retrieve`"


def _check_repeat(
    table: ModelTable, methods: Collection[MethodTable], models: Collection[str]
) -> Iterator[tuple[KeyPath, str]]:
    measured = [name for method in methods if method.is_base for name in measured_models(method, methods, models)]
    if table.repeat_questions and table.name not in measured:
        yield (
            ("models", table.name, "repeat_questions"),
            "`repeat_questions` needs a method without `train` and `retrieve` that is measured with this model",
        )


def _check_trained_elsewhere(
    table: MethodTable, bases: Sequence[str], models: Mapping[str, ModelTable], methods: Sequence[MethodTable]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield a mistake if a method with `trained_as` also trains, or does not have exactly one comparable base."""
    path, trained = ("methods", table.name), table.trained_as
    named = (*path, "trained_as")
    if table.train is not None:
        yield named, "expected either `train` or `trained_as`, got both"
    elif trained in bases:
        yield (*path, "models"), f"expected the model from which {trained} was trained, got {trained} itself"
    elif table.models and len(bases) > 1:
        yield (*path, "models"), f"expected a single model, the base of {trained}, got {join(bases)}"
    elif len(bases) > 1:
        yield path, f"`models` is missing; write the base from which {trained} was trained: {join(bases, 'or')}"
    elif not bases:
        others = [f"methods.{one.name}" for one in methods if one.trained_as not in (None, trained)]
        why = f", because {join(others)} {'names' if len(others) == 1 else 'name'} all other models in `trained_as`"
        message = (
            f"the base is missing{why if others else ''}; declare the model from which {trained} was trained as "
            f"another [models.NAME]{', or name it in `models`' if others else ''}"
        )
        yield named, message
    elif (base := models.get(bases[0])) and (other := models.get(str(trained))) and base.plugin != other.plugin:
        message = (
            f'expected a model with the plugin of its base {base.name}, "{base.plugin}", so that both are asked in the '
            f'same way; got {trained} with the plugin "{other.plugin}"'
        )
        yield named, message


def _check_cost(table: MethodTable, methods: Sequence[MethodTable]) -> Iterator[tuple[KeyPath, str]]:
    """Yield a mistake if a cost belongs to no model trained elsewhere, or if another method states a different cost."""
    path = ("methods", table.name, "cost")
    if table.cost is None:
        return
    if table.trained_as is None:
        yield path, "`cost` needs `trained_as`; kib counts all other costs itself"
        return
    first = next(one for one in methods if one.trained_as == table.trained_as and one.cost)
    if first.cost != table.cost:
        message = (
            f"expected a single cost of the model {table.trained_as}, but the method {first.name} states another cost; "
            "a cost applies to all methods with the same model"
        )
        yield path, message


def _check_chunk(table: CorpusTable, models: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    if table.chunk and table.chunk.tokens is not None and table.chunk.tokenizer is None and len(models) > 1:
        yield (
            ("corpora", table.name, "chunk"),
            f"`tokens` requires `tokenizer` if the file declares several models; choose {join(sorted(models), 'or')}",
        )


def _check_judge(table: TaskTable, judges: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield a mistake if a task has a judge without the metric `judge`, or the metric without a judge."""
    if table.judge is not None and not table.judged:
        yield ("tasks", table.name, "judge"), "`judge` needs the metric `judge` in `scoring`"
    if table.judge is None and table.judged:
        known = join(sorted(judges), "or") if judges else "the name of a table [judges.NAME]"
        yield ("tasks", table.name, "scoring"), f"the metric `judge` needs a judge; set `judge` to {known}"


def _check_vary(table: TrainerTable) -> Iterator[tuple[KeyPath, str]]:
    path = ("trainers", table.name)
    for key, values in table.vary.items():
        if key == "text.count":
            yield from _check_counts(table, values)
        elif key in own_keys("trainers") or key.startswith("text."):
            yield (*path, "vary", key), 'this key cannot be varied; expected an option of the plugin or "text.count"'
    if table.choose is not None and not table.vary:
        yield (*path, "choose"), "`choose` needs `vary`"
    if table.choose == "loss" and table.validation is None:
        yield (*path, "choose"), '`choose = "loss"` needs `validation`'


def _check_counts(table: TrainerTable, values: Collection[object]) -> Iterator[tuple[KeyPath, str]]:
    path = ("trainers", table.name, "vary", "text.count")
    if table.text is None:
        yield path, '"text.count" needs `text`'
    for number, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield (*path, number), f"expected a whole number of at least 1, got {show_value(value)}"


def _check_circle(table: TrainerTable, trainers: Mapping[str, Table]) -> Iterator[tuple[KeyPath, str]]:
    seen = [table.name]
    other: Table | None = table
    while isinstance(other, TrainerTable) and other.tokens is not None:
        name = other.tokens.removeprefix("as:")
        if name == table.name:
            circle = " -> ".join([*seen, name])
            yield ("trainers", table.name, "tokens"), f"expected a trainer without circular references, got {circle}"
        if name in seen:
            return
        seen.append(name)
        other = trainers.get(name)


def _check_template(source: str, path: KeyPath, shown: str | None = None) -> Iterator[tuple[KeyPath, str]]:
    """Yield a mistake if a template is invalid jinja or, if `shown` is given, uses variables not listed in `shown`."""
    try:
        names = template_variables(source)
    except TemplateFailedError as error:
        where = f", line {error.line}" if error.line is not None else ""
        yield path, f"invalid Jinja template{where}: {error}"
        return
    if shown is not None and names != {shown}:
        found = join(sorted(names)) or "none"
        yield path, f"expected a template with the single variable `{shown}`, got the variables: {found}"
