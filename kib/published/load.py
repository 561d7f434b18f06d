"""Published numbers: a paper's table as data, with where it comes from; checked like a benchmark, line by line."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from math import ceil, floor
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kib.errors import KibError, SpecError
from kib.spec.load import read_file
from kib.spec.messages import explain, show_value
from kib.spec.tables import Positives, check_name
from kib.support.bibtex import entries_in, key_of
from kib.support.phrases import offer

__all__ = [
    "Paper",
    "Published",
    "PublishedFile",
    "PublishedMethod",
    "PublishedRow",
    "is_published",
    "load_published",
    "published_in",
]

Settings = tuple[tuple[str, int], ...]
Key = tuple[str | int, ...]
Mistakes = Iterator[tuple[Key, str]]

ARXIV = re.compile(r"[0-9]{2}(0[1-9]|1[0-2])\.[0-9]{4,5}(v[0-9]+)?|[a-z-]+(\.[A-Z]{2})?/[0-9]{7}(v[0-9]+)?")
"""Numbers of today, and those from before 2007."""
DOI = re.compile(r"10\.[0-9]{4,9}/\S+")
URL = re.compile(r"https?://[^\s/.]+(\.[^\s/.]+)+(/\S*)?")
PARENTHESES = re.compile(r"@\w+\s*\(")
OWN_KEY = "kib"
AROUND = 40
"""So many letters of a text that is too much are shown."""


def _day(value: str) -> str:
    try:
        day = date.fromisoformat(value).isoformat()
    except ValueError:
        day = ""
    if day != value:  # Python reads "20260131" and "2026-W05-6" too
        raise ValueError(f'expected a day as "2026-01-31", got {show_value(value)}')
    if date.fromisoformat(value) > datetime.now(UTC).date() + timedelta(days=1):  # somewhere it is tomorrow
        raise ValueError(f"expected a day that has been, got {show_value(value)}")
    return value


def _one_entry(value: str) -> str:
    found = entries_in(value)
    if not found and PARENTHESES.search(value):
        raise ValueError("expected a BibTeX entry in braces, `@TYPE{KEY, …}`, got one in parentheses")
    if len(found) != 1:
        hint = "" if found else "; one begins with `@TYPE{KEY,` and its braces close"
        raise ValueError(f"expected one BibTeX entry, got {len(found)}{hint}")
    around = value.replace(found[0], "", 1).strip()
    if around:
        raise ValueError(f"expected nothing beside the BibTeX entry, got {show_value(around[:AROUND])}")
    return _entries(value)


def _arms_of_row(value: Mapping[str, float]) -> Mapping[str, float]:
    if not value:
        raise ValueError("expected the accuracy of one arm or more, got none")
    return value


def _entries(value: str) -> str:
    if not entries_in(value):
        raise ValueError("expected BibTeX entries, got none")
    if any(key_of(entry).lower() == OWN_KEY for entry in entries_in(value)):
        raise ValueError(f"expected another key than {show_value(OWN_KEY)}, which is that of kib's own entry")
    return value


def _like(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    """A validator of texts that match a pattern whole."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"expected {expected}, got {show_value(value)}")
        return value

    return AfterValidator(check)


Arxiv = Annotated[
    str,
    _like(ARXIV, 'a number on arXiv, as "2312.05934" or "cs/0112017"'),
    Field(json_schema_extra={"pattern": f"^({ARXIV.pattern})$"}),
]
Doi = Annotated[
    str, _like(DOI, 'a DOI, as "10.18653/v1/D19-1410"'), Field(json_schema_extra={"pattern": f"^({DOI.pattern})$"})
]
Url = Annotated[
    str,
    _like(URL, 'an address, as "https://example.org/paper"'),
    Field(json_schema_extra={"pattern": f"^({URL.pattern})$"}),
]
Fraction = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[str, AfterValidator(_day)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Paper(_Strict):
    """`[paper]`: where the numbers come from."""

    title: Text = Field(description="the paper's title")
    table: Text = Field(description='what the numbers are called there, such as "Table 1"')
    transcribed: Day = Field(description="the day on which they were copied from it, as 2026-01-31")
    arxiv: Arxiv | None = Field(None, description="its number on arXiv")
    acl: Text | None = Field(None, description="its id in the ACL Anthology")
    doi: Doi | None = Field(None, description="its DOI")
    url: Url | None = Field(None, description="where it stands, if it has none of these")
    bibtex: Annotated[str, AfterValidator(_one_entry)] = Field(description="its BibTeX entry")
    cites: Annotated[str, AfterValidator(_entries)] | None = Field(
        None, description="BibTeX entries of the data behind its numbers; models are cited by `hub`"
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> "Paper":
        if not self.ids:
            raise ValueError("expected at least one of `arxiv`, `acl`, `doi` and `url`")
        return self

    @property
    def ids(self) -> list[str]:
        """What the paper is found by."""
        named = (("arXiv", self.arxiv), ("ACL", self.acl), ("DOI", self.doi), ("", self.url))
        return [f"{name} {value}".strip() for name, value in named if value]


class PublishedModel(_Strict):
    """`[models.NAME]`: a model as the paper calls it."""

    title: str = Field("", description="its name in the paper")
    hub: str | None = Field(None, pattern=r"^[^/\s]+/[^/\s]+$", description="its id on the hub, where it is known")


class PublishedTask(_Strict):
    """`[tasks.NAME]`: a set of questions."""

    n: int = Field(ge=1, le=10_000_000, description="the number of questions; without it a number has no interval")
    title: str = Field("", description="the questions in words")
    options: int | None = Field(None, ge=2, description="options of a question: what guessing gives")
    role: Literal["target", "control"] = Field(
        "target", description="whether it asks for the knowledge or for what must not be forgotten"
    )
    task: Text | None = Field(
        None, description="lm-eval's name of the questions: only rows of the same questions are ever ranked together"
    )
    metric: Text | None = Field(
        None,
        description="with `task`, the metric: the paper states that it scored as this task of lm-eval does; left out: "
        "it does not say",
    )


class PublishedMethod(_Strict):
    """`[methods.NAME]`: how the knowledge reached the model; empty: not at all."""

    train: Text | None = Field(None, description="what was trained on, in words")
    retrieve: Text | None = Field(None, description="the retriever, in words")
    top_k: Positives = Field(
        (), description="numbers of passages, an arm `NAME,k=K` each; left out: the paper names none for a row"
    )
    sweep: Text | None = Field(
        None,
        description="a published file, relative to this one, with a method of this name for every K: kib looks which "
        "rows hold the highest number of their sweep",
    )


class PublishedRow(_Strict):
    """One line of the table: a model on a task, and what each arm scored."""

    task: str = Field(description="the task")
    model: str = Field(description="the model")
    shots: int = Field(0, ge=0, description="how many examples stand before the question")
    accuracy: Annotated[Mapping[str, Fraction], AfterValidator(_arms_of_row)] = Field(
        description="accuracy by arm, as printed: fractions", json_schema_extra={"minProperties": 1}
    )


class PublishedTable(_Strict):
    """`[table]`: the numbers."""

    decimals: int | None = Field(
        None, ge=1, le=9, description="decimals printed: each number is held against n; left out: numbers are means"
    )
    rows: tuple[PublishedRow, ...] = Field(min_length=1, description="the lines of the table")


class PublishedFile(_Strict):
    """A file with `kind = "published"`."""

    schema_: Literal[1] = Field(alias="schema", description="the version of the file's format")
    kind: Literal["published"] = Field(description="the kind of file")
    name: Annotated[str, AfterValidator(check_name)] = Field(description="its name in the leaderboard")
    title: str = Field("", description="one line that says what is asked")
    paper: Paper = Field(description="where the numbers come from")
    models: Mapping[str, PublishedModel] = Field(min_length=1, description="tables [models.NAME]")
    tasks: Mapping[str, PublishedTask] = Field(min_length=1, description="tables [tasks.NAME]")
    methods: Mapping[str, PublishedMethod] = Field(min_length=1, description="tables [methods.NAME]")
    table: PublishedTable = Field(description="the numbers")


@dataclass(frozen=True)
class Published:
    """A published file without a mistake; `sweeps` holds the files that methods point at, by method."""

    file: Path
    data: PublishedFile
    sweeps: Mapping[str, "Published"] = field(default_factory=dict)

    def arms(self) -> dict[str, tuple[str, Settings]]:
        """Method and settings of every arm by its name, in the order of the file."""
        return _arms(self.data.methods)

    def source(self) -> str:
        """Where the numbers come from, as a sentence."""
        paper = self.data.paper
        return (
            f"Published in {paper.title}, {paper.table} ({', '.join(paper.ids)}), copied on {paper.transcribed}; not "
            "measured by kib"
        )


def is_published(path: Path) -> bool:
    """Whether a file says that it holds published numbers; SpecError where its syntax is wrong."""
    return read_file(path).data.get("kind") == "published"


def published_in(folder: Path) -> list[str]:
    """The names of the files in a folder that say that they hold published numbers."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            found += [path.name] if is_published(path) else []
        except KibError:
            continue  # whoever names the file is told what is wrong with it
    return found


def load_published(path: Path) -> Published:
    """Read a file of published numbers and those that it points at. SpecError with all mistakes of a file."""
    data = _read(path)
    places = {name: path.parent / method.sweep for name, method in data.methods.items() if method.sweep}
    return Published(path, data, {name: Published(place, _read(place, follow=False)) for name, place in places.items()})


def _read(path: Path, *, follow: bool = True) -> PublishedFile:
    """The data of one file; `follow` looks into the files that it points at."""
    draft = read_file(path)
    try:
        data = PublishedFile.model_validate_json(json.dumps(draft.data))
    except ValidationError as error:
        for place, message in explain(error, draft.data, PublishedFile):
            draft.blame(message + _hint(draft.data, place), *place)
        raise SpecError(draft.mistakes) from None
    checks = (_wrong_names(data), _wrong_rows(data), _impossible(data), _unused(data), _wrong_methods(data))
    for place, message in chain(*checks, _wrong_sweeps(data, path) if follow else ()):
        draft.blame(message, *place)
    if draft.mistakes:
        raise SpecError(draft.mistakes)
    return data


def _hint(data: Any, place: Key) -> str:
    """How a number of a row would have to be written, where it is per cent."""
    value = data
    for part in place:
        known = part in value if isinstance(value, Mapping) else isinstance(value, list)
        value = value[part] if known else None
    if "accuracy" not in place or type(value) not in (int, float) or not 1 < value <= 100:
        return ""
    return f"; per cent are written as fractions: {value / 100:.6g}"


def _wrong_names(data: PublishedFile) -> Mistakes:
    """Names of tables that no id can hold."""
    for kind, names in (("models", data.models), ("tasks", data.tasks), ("methods", data.methods)):
        for name in names:
            try:
                check_name(name)
            except ValueError as error:
                yield (kind, name), str(error)


def _wrong_methods(data: PublishedFile) -> Mistakes:
    """A second base, which no gain could be told over, numbers of passages without a retriever, metrics of nothing."""
    base = None
    for name, method in data.methods.items():
        for key in ("top_k", "sweep") if method.retrieve is None else ():
            if getattr(method, key):
                yield ("methods", name, key), "of passages, but the method has no `retrieve`"
        if method.train is None and method.retrieve is None:
            if base is not None:
                yield ("methods", name), f"a second base beside {base}: say what it trains on or retrieves with"
            base = base or name
    for name, task in data.tasks.items():
        if task.metric is not None and task.task is None:
            yield ("tasks", name, "metric"), "says nothing without `task`, lm-eval's name of the questions"


def _wrong_rows(data: PublishedFile) -> Mistakes:
    """Rows of what has no table, and rows that stand twice."""
    arms, seen = _arms(data.methods), set()
    for number, row in enumerate(data.table.rows):
        for key, name, known in (("task", row.task, data.tasks), ("model", row.model, data.models)):
            if name not in known:
                yield ("table", "rows", number, key), f"no table [{key}s.{name}]; {offer(name, known)}"
        for arm in row.accuracy:
            if arm not in arms:
                yield ("table", "rows", number, "accuracy", arm), f"no arm of [methods]; {offer(arm, arms)}"
        place = (row.task, row.model, row.shots)
        if place in seen:
            yield (
                ("table", "rows", number),
                f"a second row of {row.model} on {row.task}, {row.shots}-shot; one is right",
            )
        seen.add(place)


def _impossible(data: PublishedFile) -> Mistakes:
    """Numbers that no count of right answers gives: slips of the pen, or another n."""
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
                yield ("table", "rows", number, "accuracy", arm), f"{value} has more than {decimals} decimals"
            elif min(value - below / n, above / n - value) > reach:
                near = f"{below} are {below / n:.{decimals}f}, {above} are {above / n:.{decimals}f}"
                yield ("table", "rows", number, "accuracy", arm), f"{value} is no share of {n} questions: {near}"


def _unused(data: PublishedFile) -> Mistakes:
    """Tables without a number."""
    used = {
        "models": {row.model for row in data.table.rows},
        "tasks": {row.task for row in data.table.rows},
        "methods": {arm.partition(",")[0] for row in data.table.rows for arm in row.accuracy},
    }
    for kind, names in (("models", data.models), ("tasks", data.tasks), ("methods", data.methods)):
        for name in names:
            if name not in used[kind]:
                yield (kind, name), "no row holds a number of it"


def _wrong_sweeps(data: PublishedFile, path: Path) -> Mistakes:
    """Sweeps that say nothing of a method: the file itself, no published file, or one of other numbers."""
    for name, method in data.methods.items():
        if method.sweep is None:
            continue
        place = ("methods", name, "sweep")
        if (path.parent / method.sweep).resolve() == path.resolve():
            yield place, "names this file itself; expected one that holds the method for every K"
            continue
        try:
            other = _read(path.parent / method.sweep, follow=False)
        except KibError as error:
            yield place, f"cannot be read: {str(error).splitlines()[0]}"
            continue
        if method.top_k:
            yield place, "the method names its numbers of passages in `top_k`; a sweep is for numbers of no stated K"
        elif name not in other.methods or len(other.methods[name].top_k) < 2:
            yield place, f"{method.sweep} has no method {name} with several `top_k`"
        elif trouble := next(_disagreements(data, other, name), ""):
            yield place, f"{method.sweep} is no sweep of these numbers: {trouble}"


def _disagreements(data: PublishedFile, other: PublishedFile, method: str) -> Iterator[str]:
    """In what a file and a sweep of one of its methods contradict each other, so that they cannot be compared."""
    for key in ("arxiv", "acl", "doi", "url"):
        yield from _unlike(f"the paper's {key}", getattr(data.paper, key), getattr(other.paper, key))
    if not {*data.paper.ids} & {*other.paper.ids}:
        yield f"another paper, {', '.join(other.paper.ids)} and not {', '.join(data.paper.ids)}"
    for key in ("train", "retrieve"):
        ours, theirs = getattr(data.methods[method], key), getattr(other.methods[method], key)
        if ours != theirs:
            yield f"{method}'s {key} is {show_value(theirs)} there and {show_value(ours)} here"
    for task in (name for name in data.tasks if name in other.tasks):
        for key in ("n", "task", "metric", "options"):
            yield from _unlike(f"{task}'s {key}", getattr(data.tasks[task], key), getattr(other.tasks[task], key))
    for model in (name for name in data.models if name in other.models):
        yield from _unlike(f"{model}'s hub", data.models[model].hub, other.models[model].hub)
    yield from _other_bases(data, other)


def _unlike(what: str, ours: object, theirs: object) -> Iterator[str]:
    """That two statements differ; what one side leaves open contradicts nothing."""
    if ours is not None and theirs is not None and ours != theirs:
        yield f"{what} is {show_value(theirs)} there and {show_value(ours)} here"


def _other_bases(data: PublishedFile, other: PublishedFile) -> Iterator[str]:
    """Rows of both files whose models start from other numbers, further apart than rounding puts them."""
    arms = [_base_of(one) for one in (data, other)]
    places = [one.table.decimals for one in (data, other)]
    coarse = min((count for count in places if count is not None), default=None)
    reach = 1e-9 if coarse is None or places[0] == places[1] else 0.5 * 10**-coarse + 1e-9
    theirs = {(row.task, row.model, row.shots): row.accuracy.get(arms[1]) for row in other.table.rows}
    for row in data.table.rows:
        start, end = row.accuracy.get(arms[0]), theirs.get((row.task, row.model, row.shots))
        if start is not None and end is not None and abs(start - end) > reach:
            yield f"base of {row.model} on {row.task}, {row.shots}-shot, is {end} there and {start} here"


def _base_of(data: PublishedFile) -> str:
    """The method that is the model as it is; "" where there is none."""
    return next((name for name, one in data.methods.items() if one.train is None and one.retrieve is None), "")


def _arms(methods: Mapping[str, PublishedMethod]) -> dict[str, tuple[str, Settings]]:
    found: dict[str, tuple[str, Settings]] = {}
    for name, method in methods.items():
        for k in method.top_k:
            found[f"{name},k={k}"] = (name, (("k", k),))
        if not method.top_k:
            found[name] = (name, ())
    return found
