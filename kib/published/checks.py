"""Checks that involve several tables of a published file; every mistake is reported with its key."""

from collections.abc import Iterator
from math import ceil, floor

from kib.published.file_format import PublishedFile, arms_of, base_of
from kib.spec.messages import show_value
from kib.spec.tables import check_name
from kib.support.phrases import counted, offer

__all__ = [
    "KeyPath",
    "Mistakes",
    "contradictions",
    "impossible_accuracies",
    "invalid_methods",
    "invalid_names",
    "invalid_rows",
    "unused_tables",
]

KeyPath = tuple[str | int, ...]
Mistakes = Iterator[tuple[KeyPath, str]]
"""The key and the message of each mistake."""


def invalid_names(data: PublishedFile) -> Mistakes:
    """Yield mistakes for table names that cannot be part of an id."""
    for kind, names in (("models", data.models), ("tasks", data.tasks), ("methods", data.methods)):
        for name in names:
            try:
                check_name(name)
            except ValueError as error:
                yield (kind, name), str(error)


def invalid_methods(data: PublishedFile) -> Mistakes:
    """Yield mistakes for a second base, a passage count without a retriever, or a metric without an lm-eval task."""
    base = None
    for name, method in data.methods.items():
        for key in ("top_k", "sweep") if method.retrieve is None else ():
            if getattr(method, key):
                yield ("methods", name, key), f"`{key}` needs `retrieve`"
        if method.train is None and method.retrieve is None:
            if base is not None:
                yield ("methods", name), f"the method {base} is already the base; expected `train` or `retrieve`"
            base = base or name
    for name, task in data.tasks.items():
        if task.metric is not None and task.task is None:
            yield ("tasks", name, "metric"), "`metric` requires `task`, the lm-eval task with the same questions"


def invalid_rows(data: PublishedFile) -> Mistakes:
    """Yield mistakes for repeated rows and for rows with unknown tasks, models or arms."""
    arms, seen = arms_of(data.methods), set()
    for number, row in enumerate(data.table.rows):
        for key, name, known in (("task", row.task, data.tasks), ("model", row.model, data.models)):
            if name not in known:
                yield ("table", "rows", number, key), f"no table [{key}s.{name}]; {offer(name, known)}"
        for arm in row.accuracy:
            if arm not in arms:
                yield (
                    ("table", "rows", number, "accuracy", arm),
                    (f"no method in [methods] has this arm; {offer(arm, arms)}"),
                )
        graded = row.task in data.tasks and data.tasks[row.task].graded
        for arm in row.error:
            if not graded:
                yield ("table", "rows", number, "error"), f"`error` requires `graded = true` in [tasks.{row.task}]"
                break
            if arm not in row.accuracy:
                yield (
                    ("table", "rows", number, "error", arm),
                    f"the row has no accuracy of this arm; {offer(arm, row.accuracy)}",
                )
        place = (row.task, row.model, row.shots)
        if place in seen:
            yield (
                ("table", "rows", number),
                f"a second row for {row.model} on {row.task}, {row.shots}-shot; expected only one row",
            )
        seen.add(place)


def impossible_accuracies(data: PublishedFile) -> Mistakes:
    """Yield mistakes for accuracies that no number of correct answers can produce, due to a typo or an incorrect n."""
    decimals = data.table.decimals
    if decimals is None:
        return
    for number, row in enumerate(data.table.rows):
        if row.task not in data.tasks:
            continue
        n = data.tasks[row.task].n
        for arm, value in row.accuracy.items():
            below, above = floor(value * n), ceil(value * n)
            reach = 0.5 * 10**-decimals + 1e-9
            if round(value, decimals) != value:
                places = counted(decimals, "decimal")
                yield ("table", "rows", number, "accuracy", arm), f"{value} has more than {places}"
            elif not data.tasks[row.task].graded and min(value - below / n, above / n - value) > reach:
                questions = counted(n, "question")
                near = f"{below} / {n} = {below / n:.{decimals}f}, {above} / {n} = {above / n:.{decimals}f}"
                yield (
                    ("table", "rows", number, "accuracy", arm),
                    f"{value} is not a possible accuracy on {questions}; the nearest possible values are {near}",
                )


def unused_tables(data: PublishedFile) -> Mistakes:
    """Yield mistakes for model, task and method tables that no row uses."""
    used = {
        "models": {row.model for row in data.table.rows},
        "tasks": {row.task for row in data.table.rows},
        "methods": {arm.partition(",")[0] for row in data.table.rows for arm in row.accuracy},
    }
    for kind, names in (("models", data.models), ("tasks", data.tasks), ("methods", data.methods)):
        for name in names:
            if name not in used[kind]:
                yield (kind, name), "this table is not used in any row"


def contradictions(data: PublishedFile, other: PublishedFile, method: str) -> Iterator[str]:
    """Yield each inconsistency between a published file and the sweep of one of its methods."""
    for key in ("arxiv", "acl", "doi", "url"):
        yield from _unequal(f"the paper's {key}", getattr(data.paper, key), getattr(other.paper, key))
    if not {*data.paper.ids} & {*other.paper.ids}:
        yield f"the paper is {', '.join(other.paper.ids)} in the sweep and {', '.join(data.paper.ids)} in this file"
    for key in ("train", "retrieve"):
        ours, theirs = getattr(data.methods[method], key), getattr(other.methods[method], key)
        if ours != theirs:
            yield f"{method}'s {key} is {show_value(theirs)} in the sweep and {show_value(ours)} in this file"
    for task in (name for name in data.tasks if name in other.tasks):
        for key in ("n", "task", "metric", "options"):
            yield from _unequal(f"{task}'s {key}", getattr(data.tasks[task], key), getattr(other.tasks[task], key))
    for model in (name for name in data.models if name in other.models):
        yield from _unequal(f"{model}'s hub", data.models[model].hub, other.models[model].hub)
    yield from _unequal_bases(data, other)


def _unequal(what: str, ours: object, theirs: object) -> Iterator[str]:
    """Yield a sentence if two values differ; a missing value does not count as a difference."""
    if ours is not None and theirs is not None and ours != theirs:
        yield f"{what} is {show_value(theirs)} in the sweep and {show_value(ours)} in this file"


def _unequal_bases(data: PublishedFile, other: PublishedFile) -> Iterator[str]:
    """Yield one sentence per row in which the base accuracies of two files differ by more than rounding."""
    arms = [base_of(one) for one in (data, other)]
    places = [one.table.decimals for one in (data, other)]
    coarse = min((count for count in places if count is not None), default=None)
    reach = 1e-9 if coarse is None or places[0] == places[1] else 0.5 * 10**-coarse + 1e-9
    theirs = {(row.task, row.model, row.shots): row.accuracy.get(arms[1]) for row in other.table.rows}
    for row in data.table.rows:
        start, end = row.accuracy.get(arms[0]), theirs.get((row.task, row.model, row.shots))
        if start is not None and end is not None and abs(start - end) > reach:
            yield (
                f"the base accuracy of {row.model} on {row.task}, {row.shots}-shot, is {end} in the sweep and "
                f"{start} in this file"
            )
