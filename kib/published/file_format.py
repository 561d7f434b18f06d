"""The format of a published file, which contains the table of a paper as data, with its source."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kib.spec.messages import show_value
from kib.spec.tables import Positives, check_name
from kib.support.bibtex import entries_in, key_of

__all__ = [
    "ArmSettings",
    "Paper",
    "PublishedFile",
    "PublishedMethod",
    "PublishedModel",
    "PublishedRow",
    "PublishedTable",
    "PublishedTask",
    "arms_of",
    "base_of",
]

ArmSettings = tuple[tuple[str, int], ...]

ARXIV = re.compile(r"[0-9]{2}(0[1-9]|1[0-2])\.[0-9]{4,5}(v[0-9]+)?|[a-z-]+(\.[A-Z]{2})?/[0-9]{7}(v[0-9]+)?")
"""The pattern of current arXiv identifiers, and of the older scheme that was used until 2007."""
DOI = re.compile(r"10\.[0-9]{4,9}/\S+")
URL = re.compile(r"https?://[^\s/.]+(\.[^\s/.]+)+(/\S*)?")
PARENTHESES = re.compile(r"@\w+\s*\(")
OWN_KEY = "kib"
EXCERPT = 40
"""The number of characters of unexpected text quoted in an error."""


def _day(value: str) -> str:
    try:
        day = date.fromisoformat(value).isoformat()
    except ValueError:
        day = ""
    if day != value:  # Python also accepts "20260131" and "2026-W05-6"
        raise ValueError(f'expected a date such as "2026-01-31", got {show_value(value)}')
    if date.fromisoformat(value) > datetime.now(UTC).date() + timedelta(
        days=1
    ):  # tomorrow's date is accepted because the next day may already have begun in a different time zone
        raise ValueError(f"expected a date that is not in the future, got {show_value(value)}")
    return value


def _one_entry(value: str) -> str:
    found = entries_in(value)
    if not found and PARENTHESES.search(value):
        raise ValueError("expected a BibTeX entry in braces, `@TYPE{KEY, …}`, got an entry in parentheses")
    if len(found) != 1:
        hint = "" if found else "; an entry starts with `@TYPE{KEY,` and needs balanced braces"
        raise ValueError(f"expected one BibTeX entry, got {len(found)}{hint}")
    around = value.replace(found[0], "", 1).strip()
    if around:
        raise ValueError(f"expected only a BibTeX entry, got additional text {show_value(around[:EXCERPT])}")
    return _entries(value)


def _arms_of_row(value: Mapping[str, float]) -> Mapping[str, float]:
    if not value:
        raise ValueError("expected the accuracy of at least one arm, got none")
    return value


def _entries(value: str) -> str:
    if not entries_in(value):
        raise ValueError("expected BibTeX entries, got none")
    if any(key_of(entry).lower() == OWN_KEY for entry in entries_in(value)):
        raise ValueError(
            f"the BibTeX key {show_value(OWN_KEY)} is reserved for kib's own entry; expected a different key"
        )
    return value


def _like(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    """Return a validator for strings that must match a pattern completely."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"expected {expected}, got {show_value(value)}")
        return value

    return AfterValidator(check)


Arxiv = Annotated[
    str,
    _like(ARXIV, 'an arXiv identifier such as "2312.05934" or "cs/0112017"'),
    Field(json_schema_extra={"pattern": f"^({ARXIV.pattern})$"}),
]
Doi = Annotated[
    str, _like(DOI, 'a DOI such as "10.18653/v1/D19-1410"'), Field(json_schema_extra={"pattern": f"^({DOI.pattern})$"})
]
Url = Annotated[
    str,
    _like(URL, 'a URL such as "https://example.org/paper"'),
    Field(json_schema_extra={"pattern": f"^({URL.pattern})$"}),
]
Fraction = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[str, AfterValidator(_day)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Paper(_Strict):
    """`[paper]`: the source of the numbers."""

    title: Text = Field(description="the paper's title")
    table: Text = Field(description='the name of the table in the paper, such as "Table 1"')
    transcribed: Day = Field(description="the date on which the numbers were copied from the paper, such as 2026-01-31")
    arxiv: Arxiv | None = Field(None, description="the paper's arXiv identifier")
    acl: Text | None = Field(None, description="the paper's ACL Anthology id")
    doi: Doi | None = Field(None, description="the paper's DOI")
    url: Url | None = Field(None, description="the paper's URL, if the paper has no other identifier")
    bibtex: Annotated[str, AfterValidator(_one_entry)] = Field(description="the paper's BibTeX entry")
    cites: Annotated[str, AfterValidator(_entries)] | None = Field(
        None,
        description="BibTeX entries of the data sets used in the paper; the entries for models are derived from `hub`",
    )

    @model_validator(mode="after")
    def _has_an_identifier(self) -> "Paper":
        if not self.ids:
            raise ValueError("expected at least one of `arxiv`, `acl`, `doi` and `url`")
        return self

    @property
    def ids(self) -> list[str]:
        """The identifiers of the paper."""
        named = (("arXiv", self.arxiv), ("ACL", self.acl), ("DOI", self.doi), ("", self.url))
        return [f"{name} {value}".strip() for name, value in named if value]


class PublishedModel(_Strict):
    """`[models.NAME]`: a model in the paper."""

    title: str = Field("", description="the model's name in the paper")
    hub: str | None = Field(
        None, pattern=r"^[^/\s]+/[^/\s]+$", description="the model's id on the Hugging Face Hub, if known"
    )


class PublishedTask(_Strict):
    """`[tasks.NAME]`: a set of questions used in the paper."""

    n: int = Field(
        ge=1,
        le=10_000_000,
        description="the number of questions, which determines the width of the confidence intervals",
    )
    graded: bool = Field(
        False,
        description=(
            "whether a question may have a score between 0 and 1, as in F1; such scores have intervals and p values "
            "only if the rows state an `error`"
        ),
    )
    title: str = Field("", description="a description of the questions")
    options: int | None = Field(
        None, ge=2, description="the number of answer options, used to compute the accuracy of random guessing"
    )
    role: Literal["target", "control"] = Field(
        "target", description="whether the task tests the injected knowledge or knowledge that must not be forgotten"
    )
    task: Text | None = Field(
        None,
        description="the lm-eval task with the same questions; required to rank the rows together with measured rows",
    )
    metric: Text | None = Field(
        None,
        description=(
            "the metric of the lm-eval task, if the paper states that answers were scored in the same way; "
            "requires `task`"
        ),
    )


class PublishedMethod(_Strict):
    """`[methods.NAME]`: a method of injecting knowledge; an empty table denotes the base."""

    train: Text | None = Field(None, description="a description of the training text")
    retrieve: Text | None = Field(None, description="a description of the retriever")
    top_k: Positives = Field(
        (),
        description=(
            "the numbers of passages, with one arm `NAME,k=K` per number; omit this key if the paper does not "
            "state a number"
        ),
    )
    sweep: Text | None = Field(
        None,
        description="the relative path of a published file that contains this method for every K; kib reports the rows "
        "with the highest accuracy of their sweep",
    )


class PublishedRow(_Strict):
    """One line of the table: a model on a task, with the accuracy of each arm."""

    task: str = Field(description="the task")
    model: str = Field(description="the model")
    shots: int = Field(0, ge=0, description="the number of few-shot examples before the question")
    accuracy: Annotated[Mapping[str, Fraction], AfterValidator(_arms_of_row)] = Field(
        description="the accuracy of each arm as printed in the paper, written as a fraction",
        json_schema_extra={"minProperties": 1},
    )
    error: Mapping[str, Fraction] = Field(
        {},
        description=(
            "the standard error of the accuracy of each arm, if the paper states standard errors; only for tasks with "
            "`graded = true`"
        ),
    )


class PublishedTable(_Strict):
    """`[table]`: the published numbers and their properties."""

    decimals: int | None = Field(
        None,
        ge=1,
        le=9,
        description=(
            "the number of printed decimals, used to check that each accuracy is possible with n questions; omit "
            "this key for means"
        ),
    )
    rows: tuple[PublishedRow, ...] = Field(min_length=1, description="the rows of the table")


class PublishedFile(_Strict):
    """The content of a file with `kind = "published"`."""

    schema_: Literal[1] = Field(alias="schema", description="the version of the file format")
    kind: Literal["published"] = Field(description="the kind of file")
    name: Annotated[str, AfterValidator(check_name)] = Field(description="the name of the benchmark in the leaderboard")
    title: str = Field("", description="one line that describes the benchmark")
    paper: Paper = Field(description="the source of the numbers")
    models: Mapping[str, PublishedModel] = Field(min_length=1, description="tables [models.NAME]")
    tasks: Mapping[str, PublishedTask] = Field(min_length=1, description="tables [tasks.NAME]")
    methods: Mapping[str, PublishedMethod] = Field(min_length=1, description="tables [methods.NAME]")
    table: PublishedTable = Field(description="the numbers")


def arms_of(methods: Mapping[str, PublishedMethod]) -> dict[str, tuple[str, ArmSettings]]:
    """Return the method and the settings of every arm by the arm's name, in file order."""
    found: dict[str, tuple[str, ArmSettings]] = {}
    for name, method in methods.items():
        for k in method.top_k:
            found[f"{name},k={k}"] = (name, (("k", k),))
        if not method.top_k:
            found[name] = (name, ())
    return found


def base_of(data: PublishedFile) -> str:
    """Return the name of the method without training and retrieval, or "" if every method trains or retrieves."""
    return next((name for name, one in data.methods.items() if one.train is None and one.retrieve is None), "")
