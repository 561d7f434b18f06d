"""Reads a benchmark file into a `Spec`; checks syntax, structure and references without importing any plugin.

No other module reads TOML. All mistakes in a file are reported together, each with its line and key.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from pydantic import ValidationError

from kib.errors import InputError, Mistake, SpecError
from kib.spec.line_numbers import KeyPath, Lines, find_lines
from kib.spec.messages import explain, print_key, show_value
from kib.spec.references import contradictions, wrong_references, wrong_templates
from kib.spec.tables import (
    KINDS,
    TABLES,
    Chunk,
    CorpusTable,
    Head,
    JudgeTable,
    MethodTable,
    ModelTable,
    PluginTable,
    PriceTable,
    PromptTable,
    Replay,
    RetrieverTable,
    SystemTable,
    Table,
    TaskTable,
    TextKey,
    TrainerTable,
    Unseen,
    WriterTable,
    check_name,
    own_keys,
)
from kib.support.phrases import join, offer

__all__ = [
    "KINDS",
    "Chunk",
    "CorpusTable",
    "Draft",
    "JudgeTable",
    "MethodTable",
    "ModelTable",
    "PluginTable",
    "PriceTable",
    "PromptTable",
    "Replay",
    "RetrieverTable",
    "Spec",
    "SystemTable",
    "Table",
    "TaskTable",
    "TextKey",
    "TrainerTable",
    "Unseen",
    "WriterTable",
    "load_spec",
    "own_keys",
    "read_draft",
    "read_file",
]

LATER = ("models", "tasks", "methods")
"""The kinds of tables that a benchmark requires, but that a command that only reads corpora does not require."""

DEEPEST = 16
"""The maximum nesting depth of tables and lists; parsers have limits of their own."""


@dataclass(frozen=True)
class Spec:
    """A valid benchmark file; its tables are in the order of the file."""

    file: Path
    name: str
    title: str
    seeds: tuple[int, ...]
    models: Mapping[str, ModelTable]
    corpora: Mapping[str, CorpusTable]
    retrievers: Mapping[str, RetrieverTable]
    tasks: Mapping[str, TaskTable]
    writers: Mapping[str, WriterTable]
    trainers: Mapping[str, TrainerTable]
    judges: Mapping[str, JudgeTable]
    systems: Mapping[str, SystemTable]
    methods: Mapping[str, MethodTable]
    prompt: PromptTable
    prices: PriceTable | None
    lines: Lines = field(default_factory=Lines, repr=False, compare=False)

    def line(self, *keys: str | int) -> int | None:
        """Return the line of a key path, or of its nearest parent with a line; None if no parent has a line."""
        return self.lines.find(*keys)

    def mistake(self, message: str, *keys: str | int) -> Mistake:
        """Return a mistake located at a key path of this file."""
        return Mistake(self.file, self.line(*keys) or 1, print_key(keys), message)

    def tables(self, kind: str) -> Mapping[str, Table]:
        """Return all tables of a kind, such as "models"."""
        return cast("Mapping[str, Table]", getattr(self, kind))

    def table(self, kind: str, name: str) -> Table:
        """Return one table; if the table does not exist, raise InputError that suggests the most similar name."""
        tables = self.tables(kind)
        if name not in tables:
            raise InputError(f"{self.file}: no table [{kind}.{name}]; {offer(name, tables)}")
        return tables[name]

    def removes_invisible(self, corpus: str | None) -> bool:
        """Return whether invisible characters are removed from a corpus and from questions about the corpus.

        They are also removed from questions without a corpus.
        """
        return corpus is None or self.corpora[corpus].invisible == "remove"


@dataclass
class Draft:
    """The readable part of a benchmark file, and all mistakes in the file."""

    file: Path
    lines: Lines
    data: Mapping[str, Any]
    head: Head | None = None
    tables: dict[str, dict[str, Table]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    salvaged: dict[str, dict[str, Table]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    mistakes: list[Mistake] = field(default_factory=list)

    def blame(self, message: str, *keys: str | int) -> None:
        """Add a mistake unless a mistake with the same key path has already been added."""
        mistake = Mistake(self.file, self.lines.find(*keys) or 1, print_key(keys), message)
        if mistake.key not in {other.key for other in self.mistakes}:
            self.mistakes.append(mistake)

    def names(self, kind: str) -> Collection[str]:
        """Return the names of all tables of a kind, including tables with mistakes."""
        raw = self.data.get(kind)
        return list(raw) if isinstance(raw, Mapping) else []

    def readable(self) -> Mapping[str, Mapping[str, Table]]:
        """Return all tables, with invalid keys removed."""
        return {kind: {**self.tables[kind], **self.salvaged[kind]} for kind in KINDS}

    def spec(self) -> Spec:
        """Return the spec, or raise SpecError that lists all mistakes in the file."""
        if self.mistakes or self.head is None:
            raise SpecError(self.mistakes)
        tables = cast("dict[str, Any]", {kind: MappingProxyType(self.tables[kind]) for kind in KINDS})
        head = self.head
        return Spec(
            file=self.file,
            name=head.name,
            title=head.title,
            seeds=head.seeds,
            prompt=head.prompt,
            prices=head.prices,
            lines=self.lines,
            **tables,
        )


def load_spec(path: Path) -> Spec:
    """Read a benchmark file.

    Raises SpecError that lists all mistakes, or InputError if the file cannot be read.
    """
    return read_draft(path).spec()


def read_draft(path: Path, *, whole: bool = True) -> Draft:
    """Read as much of a benchmark file as possible; raise SpecError if its syntax is invalid.

    If `whole` is False, the file may lack models, tasks and methods, for commands that only read corpora.
    """
    draft = read_file(path)
    if draft.data.get("kind") == "published":
        raise InputError(
            f'{path}: expected a benchmark, got a file of published results (kind = "published"); use '
            "`kib leaderboard` to display it"
        )
    _check_kind(draft)
    _read_head(draft)
    for kind in KINDS:
        _read_kind(draft, kind)
    names = {kind: draft.names(kind) for kind in KINDS}
    prompt = draft.data.get("prompt")
    template = prompt.get("template") if isinstance(prompt, Mapping) else None
    for keys, message in chain(
        wrong_references(draft.readable(), names),
        contradictions(draft.tables, names),
        wrong_templates(draft.readable(), template if isinstance(template, str) else None),
    ):
        draft.blame(message, *keys)
    if not whole:
        draft.mistakes = [
            one for one in draft.mistakes if one.key not in LATER or not one.message.startswith("missing")
        ]
    return draft


def _check_kind(draft: Draft) -> None:
    """Raise SpecError if a file contains tables of published numbers but declares a different `kind`.

    An incorrect `kind` would cause many other mistakes, so no other mistake is reported.
    """
    found = [f"[{name}]" for name in ("paper", "table") if isinstance(draft.data.get(name), Mapping)]
    kind = draft.data.get("kind")
    if found and kind != "benchmark":
        got = "nothing" if kind is None else show_value(kind)
        draft.blame(
            f'expected "published", because a file with {join(found)} contains published results; got {got}', "kind"
        )
        raise SpecError(draft.mistakes)


def read_file(path: Path) -> Draft:
    """Read a benchmark file or published file with its line numbers; raise SpecError if its syntax is invalid."""
    text = _read(path)
    data = _parse(path, text)
    try:
        lines = find_lines(text)
    except RecursionError:
        lines = Lines()
    draft = Draft(path, lines, data)
    draft.data = {key: _clean(draft, value, (key,)) for key, value in data.items()}
    return draft


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a benchmark file (TOML)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SpecError([Mistake(path, line, "", f"expected UTF-8 text, got byte 0x{raw[error.start]:02x}")]) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    import tomli

    if text.startswith("\ufeff"):
        raise SpecError([Mistake(path, 1, "", "expected UTF-8 without a byte order mark (BOM)")])
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise SpecError([Mistake(path, error.lineno, "", _say_syntax(error.msg, error.colno))]) from None
    except (ValueError, RecursionError) as error:
        raise SpecError([Mistake(path, None, "", f"kib cannot parse this TOML file: {error}")]) from None


SYNTAX = {
    "Invalid value": "text must be in quotes; numbers, true and false are written without quotes",
    "Cannot overwrite a value": "a key may appear only once",
    "Cannot declare": "a table may appear only once",
    "Expected '=' after a key": "write `key = value`",
    "Invalid initial character": "a key that contains characters other than letters, digits, - and _ must be in quotes",
    "Illegal character": "text in quotes must end on the same line; use triple quotes for several lines",
    "Unterminated string": "text must end with the same quotation marks that it starts with",
    "Expected newline": "each key must be on a separate line together with its value",
    "Expected ']' at the end of a table": (
        'a name with characters other than letters, digits, - and _ must be in quotes: [methods."ft+rag"]'
    ),
    "Unclosed array": "a list must end with ]",
    "Invalid statement": (
        "expected `key = value`, `[table]` or a comment; a key that contains other characters must be in quotes"
    ),
    "Unescaped '\\'": "write a backslash twice, or put the text in single quotes",
}


def _say_syntax(message: str, column: int) -> str:
    hint = next((hint for start, hint in SYNTAX.items() if message.startswith(start)), "")
    return f"{message} (column {column}){': ' if hint else ''}{hint}"


def _clean(draft: Draft, value: Any, path: KeyPath) -> Any:
    """Remove dates, nan, infinity and deep nesting from a value, and record a mistake for each removed value."""
    if len(path) > DEEPEST and isinstance(value, dict | list):
        draft.blame(f"expected at most {DEEPEST} levels of nested tables and lists", *path[:4])
        return None
    if isinstance(value, dict):
        return {key: _clean(draft, item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(draft, item, (*path, number)) for number, item in enumerate(value)]
    if isinstance(value, date | datetime | time):
        draft.blame(f'expected text, a number, true or false, got a date or time; write "{value}"', *path)
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        draft.blame(f"expected a finite number, got {value}", *path)
        return 0.0
    return value


def _read_head(draft: Draft) -> None:
    """Read the keys above the tables."""
    raw = {key: value for key, value in draft.data.items() if key not in KINDS}
    try:
        draft.head = Head.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        for path, message in explain(error, raw, Head, KINDS):
            draft.blame(message, *path)


def _read_kind(draft: Draft, kind: str) -> None:
    """Read all tables of one kind."""
    tables = draft.data.get(kind, {})
    if not isinstance(tables, Mapping):
        draft.blame(f"expected tables, each under a header [{kind}.NAME], got {show_value(tables)}", kind)
        return
    for name, content in tables.items():
        try:
            check_name(name)
        except ValueError as error:
            draft.blame(str(error), kind, name)
        if not isinstance(content, Mapping):
            draft.blame(f"expected a table under a header [{kind}.NAME], got {show_value(content)}", kind, name)
            continue
        _read_table(draft, kind, name, content)


def _read_table(draft: Draft, kind: str, name: str, content: Mapping[str, Any]) -> None:
    """Read one table; if the table contains mistakes, read it again without the invalid keys."""
    model, keys = TABLES[kind], own_keys(kind)
    data = {key: value for key, value in content.items() if key in keys}
    rest = {key: value for key, value in content.items() if key not in keys}
    if issubclass(model, PluginTable):
        data["options"] = rest
    else:
        for key in rest:
            draft.blame(f"unknown key; {offer(key, keys)}", kind, name, key)
    data["name"] = name
    context = {"folder": draft.file.parent}
    try:
        draft.tables[kind][name] = model.model_validate_json(json.dumps(data), context=context)
    except ValidationError as error:
        mistakes = list(explain(error, data, model))
        for path, message in mistakes:
            hint = '; write "text.count" in quotes' if path == ("vary", "text") else ""
            draft.blame(message + hint, kind, name, *path)
        wrong = {path[0] for path, _ in mistakes}
        wrong |= {"labels"} if "scoring" in wrong else set()  # whether labels fit depends on the scoring
        if "plugin" not in wrong and (table := _salvage(model, data, wrong, context)):
            draft.salvaged[kind][name] = table


def _salvage(
    model: type[Table], data: Mapping[str, Any], wrong: Collection[Any], context: Mapping[str, Any]
) -> Table | None:
    """Return a table without its invalid keys, and without keys that need one of these keys; None if none is valid."""
    left = {key: value for key, value in data.items() if key not in wrong}
    try:
        return model.model_validate_json(json.dumps(left), context=context)
    except ValidationError as error:
        more = {path[0] for path, _ in explain(error, left, model) if path} & left.keys()
        return _salvage(model, left, more, context) if more else None
